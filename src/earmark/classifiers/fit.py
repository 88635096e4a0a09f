"""Trains a `SmallCnn` on labeled clips and writes it as a folder that `load_classifier` reads."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import functional

from ..audio.files import load_clip
from ..data import arrays
from ..errors import DataError, EarmarkError
from ..training import augment, scores
from ..training.config import AugmentConfig, LoopConfig
from ..training.loop import Progress, seeded_globals, train
from ..types import Clip, Task
from .card import write_whole
from .front_ends import LogMel, LogMelConfig, front_end_from_dict
from .small import SmallCnn, SmallCnnConfig


@dataclass(frozen=True)
class TrainingSet:
    """Clips as samples of one length, in a memory map, with their labels.

    Parameters
    ----------
    samples
        `[clip, sample]` at the front end's rate, mono, cut or zero-padded to one length.
    labels
        `[clip, label]`, 0 or 1.
    clips
        Those that could be read, in the order of the rows.
    skipped
        Why each of the others could not, by its id.
    """

    samples: np.ndarray
    labels: Float[Tensor, "clip label"]
    clips: tuple[Clip, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def batch(self, index: np.ndarray) -> tuple[Float[Tensor, "batch sample"], Float[Tensor, "batch label"]]:
        """Returns samples and labels of the clips at `index`."""
        return torch.from_numpy(self.samples[index]), self.labels[torch.from_numpy(index)]


def decode(clips: Sequence[Clip], labels: tuple[str, ...], sample_rate: int, clip_s: float, path: Path) -> TrainingSet:
    """Decodes every clip once into a memory map beside the checkpoint; clips pass through two threads.

    Clips that cannot be read are left out, and named under `skipped`.

    Raises
    ------
    DataError
        If a clip has a label that training does not know, or no clip can be read.
    """
    truth = _truth(clips, labels)
    n_samples = round(clip_s * sample_rate)
    rows = arrays.create(path, (len(clips), n_samples))

    def put(index: int) -> str | None:
        try:
            waveform = load_clip(clips[index]).mono().resample(sample_rate).fit(n_samples)
        except (EarmarkError, OSError) as error:
            return str(error)
        rows[index] = waveform.samples[0].numpy()
        return None

    with ThreadPoolExecutor(2) as pool:
        problems = list(pool.map(put, range(len(clips))))
    skipped = {clip.id: problem for clip, problem in zip(clips, problems, strict=True) if problem}
    good = [index for index, problem in enumerate(problems) if not problem]
    if not good:
        raise DataError(f"None of {len(clips)} clips can be read; the first: {next(iter(skipped.values()))}")
    for row, index in enumerate(good):
        if row != index:
            rows[row] = rows[index]
    return TrainingSet(rows[: len(good)], truth[good], tuple(clips[index] for index in good), skipped)


def _truth(clips: Sequence[Clip], labels: tuple[str, ...]) -> Float[Tensor, "clip label"]:
    truth = torch.zeros(len(clips), len(labels))
    for index, clip in enumerate(clips):
        unknown = set(clip.labels) - set(labels)
        if unknown:
            raise DataError(f"Clip {clip.id} has labels {sorted(unknown)} that no training clip has; add some.")
        truth[index, [labels.index(label) for label in clip.labels]] = 1
    return truth


def fit_classifier(
    training: Sequence[Clip],
    selection: Sequence[Clip],
    folder: Path,
    *,
    task: Task = "multiclass",
    clip_s: float = 5.0,
    loop: LoopConfig | None = None,
    augmentation: AugmentConfig | None = None,
    front_end: LogMelConfig | None = None,
    progress: Progress | None = None,
    resume_dir: Path | None = None,
) -> dict[str, Any]:
    """Trains on `training`, chooses the epoch by `selection`, and writes `config.json` and `model.safetensors`.

    Parameters
    ----------
    training, selection
        Labeled clips; no group may be in both.
    folder
        Where the model goes.
    clip_s
        Clips are cut or zero-padded to this many seconds in training.
    loop
        Its `batch_size` is lowered to the number of training clips where these are fewer.
    resume_dir
        Where decoded clips lie meanwhile, and a checkpoint of each epoch, from which a training that was killed goes
        on to the same result; who names it removes it. By default `folder`, without what is removed at the end.

    Returns
    -------
    summary
        Labels, the chosen epoch, its score, the history, and under `skipped` why clips could not be read, by id.

    Raises
    ------
    DataError
        If clips are missing, groups are in both parts, labels do not fit the task, or no clip of a label can be read.
    MismatchError
        If the checkpoint belongs to a training on other sounds or with other settings.
    """
    loop, augmentation = loop or LoopConfig(), augmentation or AugmentConfig()
    _check_parts(training, selection)
    _check_labels([*training, *selection], task)
    labels = tuple(sorted({label for clip in training for label in clip.labels}))
    features = LogMel(front_end)
    folder.mkdir(parents=True, exist_ok=True)
    working = resume_dir or folder
    temporary = [working / f".decoded-{name}.safetensors" for name in ("training", "selection")]
    try:
        fit_set = decode(training, labels, features.sample_rate, clip_s, temporary[0])
        choose_set = decode(selection, labels, features.sample_rate, clip_s, temporary[1])
        _check_heard(fit_set, labels)
        loop = replace(loop, batch_size=min(loop.batch_size, len(fit_set.clips)))
        module, history = _trained(
            fit_set, choose_set, working, task, clip_s, loop, augmentation, features, len(labels), progress
        )
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    save_small(folder, module, features, labels, task, {"loop": asdict(loop), "augmentation": asdict(augmentation)})
    if resume_dir is None:
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    summary = {"labels": labels, "epoch": best["epoch"], "score": best["score"], "history": history}
    return {**summary, "skipped": {**fit_set.skipped, **choose_set.skipped}}


def _trained(
    fit_set: TrainingSet,
    choose_set: TrainingSet,
    folder: Path,
    task: Task,
    clip_s: float,
    loop: LoopConfig,
    augmentation: AugmentConfig,
    features: LogMel,
    n_labels: int,
    progress: Progress | None,
) -> tuple[SmallCnn, list[dict[str, float]]]:
    """Returns a network trained on decoded clips, and what each epoch came to; see `fit_classifier`."""
    with seeded_globals(loop.seed, 0):
        module = SmallCnn(SmallCnnConfig(features.config.n_mels, n_labels))
    history = train(
        module,
        lambda _epoch, generator: _shuffled(fit_set, loop.batch_size, generator),
        lambda batch, generator: _loss(module, features, batch, augmentation, task, generator),
        lambda: _validate(module, features, choose_set, task),
        loop,
        n_steps=len(fit_set.clips) // loop.batch_size,
        folder=folder,
        progress=progress,
        settings={
            "clips": [_clips_sha256(fit_set), _clips_sha256(choose_set)],
            "task": task,
            "clip_s": clip_s,
            "augmentation": asdict(augmentation),
            "front_end": features.to_dict(),
        },
    )
    return module, history


def save_small(
    folder: Path,
    module: SmallCnn,
    front_end: LogMel,
    labels: tuple[str, ...],
    task: Task,
    training: dict[str, Any],
    threshold: float = 0.5,
) -> None:
    """Writes `model.safetensors` and, last, `config.json`, by which a folder counts as a classifier."""
    config = {
        "kind": "small-cnn",
        "schema": 1,
        "architecture": module.config.to_dict(),
        "front_end": front_end.to_dict(),
        "labels": list(labels),
        "task": task,
        "threshold": threshold,
        "training": training,
    }
    weights = folder / ".model.part"
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, weights)
    weights.replace(folder / "model.safetensors")
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")


def load_small(folder: Path) -> tuple[SmallCnn, LogMel, dict[str, Any]]:
    """Returns network, front end and configuration of a folder that `save_small` wrote."""
    config = json.loads((folder / "config.json").read_text())
    architecture = config["architecture"]
    architecture["channels"] = tuple(architecture["channels"])
    with seeded_globals(0):
        module = SmallCnn(SmallCnnConfig(**architecture))
    module.load_state_dict(load_file(folder / "model.safetensors"))
    front_end = front_end_from_dict(config["front_end"])
    assert isinstance(front_end, LogMel)
    return module.eval(), front_end, config


def score_classifier(folder: Path, clips: Sequence[Clip], clip_s: float = 5.0) -> dict[str, Any]:
    """Returns `n` and `accuracy`, or `macro_average_precision` for several labels per clip, on labeled clips.

    Where clips cannot be read, `n` counts the others, and `skipped` says why, by id.
    """
    module, front_end, config = load_small(folder)
    path = folder / ".decoded-test.safetensors"
    try:
        data = decode(clips, tuple(config["labels"]), front_end.sample_rate, clip_s, path)
        logits = predict_all(module, front_end, data)
    finally:
        path.unlink(missing_ok=True)
    about = {"n": len(data.clips), **({"skipped": dict(data.skipped)} if data.skipped else {})}
    if config["task"] == "multiclass":
        return {**about, "accuracy": scores.accuracy(logits, data.labels)}
    return {**about, "macro_average_precision": scores.macro_average_precision(logits, data.labels)}


def _shuffled(data: TrainingSet, batch_size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.labels), generator=generator).numpy()
    for start in range(0, len(order) - batch_size + 1, batch_size):
        yield data.batch(order[start : start + batch_size])


def _loss(
    module: SmallCnn,
    front_end: LogMel,
    batch: tuple[Tensor, Tensor],
    augmentation: AugmentConfig,
    task: Task,
    generator: Generator,
) -> Tensor:
    samples, labels = batch
    with torch.no_grad():
        features = front_end(augment.augment_samples(samples, augmentation, generator))
        features, labels = augment.augment_features(features, labels, augmentation, generator)
    logits = module(features)
    if task == "multiclass":
        return functional.cross_entropy(logits, labels)
    return functional.binary_cross_entropy_with_logits(logits, labels)


def predict_all(module: SmallCnn, front_end: LogMel, data: TrainingSet) -> Float[Tensor, "clip label"]:
    """Returns the logits of every clip, in batches of 16."""
    index = np.arange(len(data.labels))
    with torch.inference_mode():
        batches: Iterable[np.ndarray] = (index[i : i + 16] for i in range(0, len(index), 16))
        return torch.cat([module(front_end(data.batch(rows)[0])) for rows in batches])


def _validate(module: SmallCnn, front_end: LogMel, data: TrainingSet, task: Task) -> dict[str, float]:
    score = scores.accuracy if task == "multiclass" else scores.macro_average_precision
    return {"score": score(predict_all(module, front_end, data), data.labels)}


def _clips_sha256(data: TrainingSet) -> str:
    """Returns the sha256 of the clips' ids, cuts, labels and samples, in order."""
    about = [(clip.id, clip.start_s, clip.end_s, clip.labels) for clip in data.clips]
    digest = hashlib.sha256(json.dumps(about).encode())
    for row in data.samples:
        digest.update(np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def _check_labels(clips: Sequence[Clip], task: Task) -> None:
    odd = [clip for clip in clips if len(clip.labels) != 1]
    if task == "multiclass" and odd:
        raise DataError(
            f"{len(odd)} clips (for instance {odd[0].id}, with {len(odd[0].labels)}) do not have exactly one label; "
            "give each one label, or train with --multilabel."
        )
    if not any(clip.labels for clip in clips):
        raise DataError("No clip has a label; name the column that holds them with --label-column.")


def _check_heard(data: TrainingSet, labels: tuple[str, ...]) -> None:
    """Refuses to train a label whose clips are all broken."""
    silent = sorted(set(labels) - {label for clip in data.clips for label in clip.labels})
    if silent:
        why = next(iter(data.skipped.values()))
        raise DataError(f"No training clip of {', '.join(silent)} can be read ({why}); mend or remove these clips.")


def _check_parts(training: Sequence[Clip], selection: Sequence[Clip]) -> None:
    if not training or not selection:
        raise DataError(
            f"Training needs clips to learn from and clips to choose the epoch by, got {len(training)} and "
            f"{len(selection)}; widen --folds or --select-folds."
        )
    check_apart({"training": training, "selection": selection})


def check_apart(parts: Mapping[str, Sequence[Clip]]) -> None:
    """Refuses parts, by their names, that share a group or a clip; a clip without a group is one of its own.

    Raises
    ------
    DataError
        If two of them do.
    """
    groups = {name: {clip.group or clip.id for clip in clips} for name, clips in parts.items()}
    for first, second in combinations(parts, 2):
        shared = groups[first] & groups[second]
        if shared:
            raise DataError(
                f"{len(shared)} groups (for instance {min(shared)!r}) are in both {first} and {second} clips; "
                "choose folds that keep groups apart."
            )
