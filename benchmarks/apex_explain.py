"""What an APEX explanation costs: passes of the model, counted, and time against a plain forward pass.

    python benchmarks/apex_explain.py

Pairs of a plain forward pass and an explanation (without sound and page) take turns on one clip; the ratio is taken
pair by pair. Also the largest change of a logit, tapped and folded.
"""

import statistics
import time

import torch
from tables import markdown, put

import earmark as em
from earmark.classifiers.small import SmallCnn, SmallCnnConfig, n_parameters
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.disentangle import final_basis
from earmark.explainers.apex.explainer import FoldedHead
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash
from earmark.training.loop import seeded_globals

PAIRS = 60


def counted(classifier, function):
    """Returns the number of forward and backward passes of the module that a call takes."""
    counts = {"forward": 0, "backward": 0}

    def forward(*_):
        counts["forward"] += 1

    def backward(*_):
        counts["backward"] += 1

    handles = [
        classifier.module.register_forward_hook(forward),
        classifier.module.linear.register_full_backward_hook(backward),
    ]
    function()
    for handle in handles:
        handle.remove()
    return counts


def embedded(name):
    """Returns an embedded classifier with its APEX."""
    classifier = em.load_classifier(name)
    return classifier, em.load_explainer("apex", classifier=classifier)


def wide():
    """Returns a network as wide as CNN10 (64 to 512 channels, random weights), with a random basis and no bank."""
    with seeded_globals(0):
        module = SmallCnn(SmallCnnConfig(channels=(64, 128, 256, 512)))
    classifier = em.wrap(module, em.LogMel(), [f"label {i}" for i in range(10)], map_layer="blocks", name="CNN10-wide")
    A = torch.randn(512, 512, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    U, U_inv = final_basis(A / torch.linalg.matrix_norm(A, 2), "general")
    no_vectors = torch.zeros(0, 512)
    bank = PrototypeBank((), no_vectors, BankRules("square"), classifier.fingerprint, basis_hash(U), 512, 0)
    return classifier, em.Apex(classifier, U, U_inv, ApexConfig(view="square"), bank, {})


def row(classifier, apex, clip):
    """Returns one line of the table."""
    waveform = clip.resample(classifier.sample_rate)
    apex.explain(waveform)  # probes geometry once
    counts = counted(classifier, lambda: apex.explain(waveform))
    ratios, plains = [], []
    with torch.no_grad():
        for _ in range(PAIRS):
            began = time.perf_counter()
            classifier.logits(classifier.prepare(waveform))
            plains.append(time.perf_counter() - began)
            began = time.perf_counter()
            apex.explain(waveform)
            ratios.append((time.perf_counter() - began) / plains[-1])
        samples = classifier.prepare(waveform)
        tapped = classifier.tap(samples)
        same = torch.equal(tapped.logits, classifier.logits(samples))
        folded = float((FoldedHead(apex).to(samples)(tapped.map) - tapped.logits).abs().max())
    ratios.sort()
    spread = f"{ratios[PAIRS // 10]:.3f} to {ratios[-PAIRS // 10]:.3f}"
    parameters = f"{n_parameters(classifier.module) / 1e6:.2f} M"
    plain_ms = 1000 * statistics.median(plains)
    passes = f"{counts['forward']}, {counts['backward']}"
    return [classifier.name, parameters, plain_ms, passes, statistics.median(ratios), spread, same, folded, apex.cond]


def main() -> None:
    clip = em.scenes(1, 11)[0].source()
    header = ["classifier", "parameters", "plain forward, ms", "forward, backward passes"]
    header += [f"time / plain forward, median of {PAIRS}", "10 to 90 %"]
    header += ["tapped logits bit-exact", "largest change when folded (float32)", "cond(U)"]
    models = [embedded("scenes-cnn"), embedded("esc10-cnn"), wide()]
    table = markdown(header, [row(*model, clip) for model in models])
    put("apex_explain", "python benchmarks/apex_explain.py", table)


if __name__ == "__main__":
    main()
