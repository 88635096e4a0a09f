"""What a pre-trained model costs when it is loaded and explained, beside its preprocessor and its bare forward pass.

    python benchmarks/pretrained_speed.py [--repeats 15] [models ...]

Models of the published sizes with random weights, saved, and loaded by `load_classifier`. On one clip these take
turns: the model's own preprocessor, the bare forward pass of what it gives, `predict`, and an APEX explanation (a
random basis, no prototypes; without sound and page). Ratios are taken turn by turn, to preprocessor and forward pass
together.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import markdown, put

import earmark as em
from earmark.classifiers.hugging_face.load import quiet
from earmark.classifiers.panns import Panns, PannsConfig
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.disentangle import final_basis
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash
from earmark.training.loop import seeded_globals

RATE = 16000
LABELS = {"id2label": {i: f"label {i}" for i in range(10)}, "problem_type": "multi_label_classification"}


@dataclass(frozen=True)
class Model:
    """A classifier, its own preprocessor, and its own forward pass of what that gives."""

    classifier: em.Classifier
    seconds: float
    process: Callable[[np.ndarray], Any]
    forward: Callable[[Any], Any]


def hub(kind: str, folder: Path, seconds: float, extractor: str | None = None, **changes: Any) -> Model:
    """Returns a model of transformers of its published size, saved and loaded."""
    import transformers

    name = {"AST": "ASTForAudio", "ConvNext": "ConvNextForImage", "Wav2Vec2": "Wav2Vec2ForSequence"}[kind]
    with seeded_globals(0), quiet():
        config = getattr(transformers, f"{kind}Config")(**changes, **LABELS)
        model = getattr(transformers, f"{name}Classification")(config).eval()
        model.save_pretrained(folder)
        own = getattr(transformers, extractor)() if extractor else None
        if own is not None:
            own.save_pretrained(folder)
    classifier = em.load_classifier(folder, **({} if own else {"front_end": "birdset"}))
    module = classifier.module.model

    def process(samples: np.ndarray) -> torch.Tensor:
        if own is None:
            return classifier.front_end(torch.from_numpy(samples)[None])[:, None]
        return own(samples, sampling_rate=RATE, return_tensors="pt")[module.main_input_name]

    return Model(classifier, seconds, process, module)


def cnn14(folder: Path, seconds: float) -> Model:
    """Returns CNN14 of PANNs, whose front end is part of the network."""
    folder.mkdir()
    with seeded_globals(0):
        module = Panns(PannsConfig("cnn14", n_labels=10))
    torch.save({"model": module.state_dict()}, folder / "Cnn14.pth")
    labels = list(LABELS["id2label"].values())
    classifier = em.load_classifier(folder / "Cnn14.pth", labels=labels, task="multilabel")

    def process(samples: np.ndarray) -> torch.Tensor:
        return classifier.front_end(torch.from_numpy(samples)[None]).transpose(1, 2)[:, None]

    return Model(classifier, seconds, process, classifier.module)


MODELS: dict[str, Callable[[Path], Model]] = {
    "AST base": lambda folder: hub("AST", folder, 10.0, "ASTFeatureExtractor"),
    "Wav2Vec2 base": lambda folder: hub("Wav2Vec2", folder, 5.0, "Wav2Vec2FeatureExtractor"),
    "ConvNext base": lambda folder: hub(
        "ConvNext", folder, 5.0, hidden_sizes=[128, 256, 512, 1024], depths=[3, 3, 27, 3], num_channels=1
    ),
    "CNN14": lambda folder: cnn14(folder, 10.0),
}


def apex_of(classifier: em.Classifier) -> em.Apex:
    """Returns an APEX with a random basis and no prototypes."""
    n_channels = classifier.tap(classifier._noise()).map.shape[1]
    A = torch.randn(n_channels, n_channels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    U, U_inv = final_basis(A / torch.linalg.matrix_norm(A, 2), "general")
    no_vectors = torch.zeros(0, n_channels)
    bank = PrototypeBank((), no_vectors, BankRules("time"), classifier.fingerprint, basis_hash(U), n_channels, 0)
    return em.Apex(classifier, U, U_inv, ApexConfig(view="time"), bank, {})


def row(name: str, model: Model, repeats: int) -> list[Any]:
    """Returns one line of the table."""
    classifier, apex = model.classifier, apex_of(model.classifier)
    n_samples = round(model.seconds * classifier.sample_rate)
    noise = 0.1 * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(1))
    clip, samples = em.Waveform(noise, classifier.sample_rate), noise[0].numpy()
    apex.explain(clip)  # probes the head and the geometry once
    seconds = {part: [] for part in ("process", "forward", "predict", "explain")}
    with torch.no_grad():
        for _ in range(repeats):
            features = timed(seconds["process"], lambda: model.process(samples))
            timed(seconds["forward"], lambda features=features: model.forward(features))
            timed(seconds["predict"], lambda: classifier.predict(clip))
            timed(seconds["explain"], lambda: apex.explain(clip))
    plain = [a + b for a, b in zip(seconds["process"], seconds["forward"], strict=True)]
    return [
        name,
        f"{sum(p.numel() for p in classifier.module.parameters()) / 1e6:.0f} M",
        f"{model.seconds:g} s",
        classifier.head.tier,
        *(1000 * statistics.median(seconds[part]) for part in ("process", "forward")),
        *(ratio(seconds[part], plain) for part in ("predict", "explain")),
    ]


def timed(into: list[float], call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    into.append(time.perf_counter() - began)
    return result


def ratio(of: list[float], to: list[float]) -> str:
    """Returns the median of a ratio, and its 10 and 90 %."""
    found = np.array(of) / np.array(to)
    low, middle, high = np.quantile(found, [0.1, 0.5, 0.9])
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], default=[])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--print", action="store_true", help="show the table, and leave the README as it is")
    asked = parser.parse_args()
    header = ["model", "parameters", "clip", "tier", "its preprocessor, ms", "bare forward, ms"]
    header += ["`predict` / both", "APEX explanation / both"]
    rows = []
    for name in asked.models or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(name, MODELS[name](Path(folder) / "model"), asked.repeats))
    table = f"Median of {asked.repeats} (10 to 90 %).\n\n" + markdown(header, rows)
    if asked.print:
        print(table)
    else:
        put("pretrained_speed", f"python benchmarks/pretrained_speed.py --repeats {asked.repeats}", table)


if __name__ == "__main__":
    main()
