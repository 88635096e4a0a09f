"""Trains a `SmallCnn` on labeled clips and writes it as a folder that `load_classifier` reads."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save, save_file
from torch import Generator, Tensor
from torch.nn import functional

from ..data.backgrounds import background_name, background_recordings
from ..errors import MismatchError
from ..training import augment, scores
from ..training.backgrounds import Background, decode_background
from ..training.config import AugmentConfig, BackgroundConfig, LoopConfig
from ..training.loop import Progress, seeded_globals, train
from ..training.parallel import device_of, process_index
from ..types import Clip, Task, seeded
from .card import write_whole
from .clips import check_heard, check_labels, check_parts
from .decoded import TrainingSet, clips_sha256, decode
from .front_ends import LogMel, LogMelConfig, front_end_from_dict
from .small import SmallCnn, SmallCnnConfig

BACKGROUND_STREAM = 3  # part of the seed of what is mixed into the clips that choose the epoch


@dataclass(frozen=True)
class _Recipe:
    """How to train, beside the clips."""

    task: Task
    clip_s: float
    loop: LoopConfig
    augmentation: AugmentConfig
    features: LogMel
    channels: tuple[int, ...] | None
    background: Background | None
    start: dict[str, Tensor] | None = None

    def settings(self) -> dict[str, Any]:
        """Returns what a checkpoint must agree with, beside clips and loop."""
        about: dict[str, Any] = {
            "task": self.task,
            "clip_s": self.clip_s,
            "augmentation": asdict(self.augmentation),
            "front_end": self.features.to_dict(),
        }
        if self.channels:
            about["channels"] = self.channels
        if self.background:
            levels = {k: v for k, v in asdict(self.background.config).items() if k != "background"}
            about["background"] = {**levels, "sha256": self.background.sha256()}
        if self.start:
            about["start"] = hashlib.sha256(save({k: v.contiguous() for k, v in self.start.items()})).hexdigest()
        return about


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
    channels: tuple[int, ...] | None = None,
    background: BackgroundConfig | None = None,
    start: Path | None = None,
    progress: Progress | None = None,
    resume_dir: Path | None = None,
    log_folder: Path | None = None,
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
    channels
        Widths of the network's blocks; by default those of `SmallCnnConfig`.
    background
        Recordings that are mixed into the clips. Those that choose the epoch get each its own piece, once, of the
        recordings that training hears; the held-out recordings (see `background_recordings`) are for tests alone.
    start
        A trained folder whose weights are the first ones, in place of random ones; its labels, front end and widths
        must be those asked for.
    resume_dir
        Where decoded clips lie meanwhile, and a checkpoint, from which a training that was killed goes on to the same
        result; who names it removes it. By default `folder`, without what is removed at the end.
    log_folder
        Where TensorBoard's logs go, if it is installed; none by default.

    Returns
    -------
    summary
        Labels, the chosen epoch, its score, the history, and under `skipped` why clips could not be read, by id; with
        a background, also the numbers of recordings that were heard and held out.

    Raises
    ------
    DataError
        If clips are missing, groups are in both parts, labels do not fit the task, or no clip of a label can be read.
    MismatchError
        If the checkpoint belongs to a training on other sounds or with other settings, or `start` does not fit.
    """
    loop, augmentation = loop or LoopConfig(), augmentation or AugmentConfig()
    check_parts(training, selection)
    check_labels([*training, *selection], task)
    labels = tuple(sorted({label for clip in training for label in clip.labels}))
    features = LogMel(front_end)
    first = None if start is None else _first_weights(start, labels, features, channels)
    folder.mkdir(parents=True, exist_ok=True)
    working = resume_dir or folder
    mine = f"-{process_index()}" if process_index() else ""
    temporary = [working / f".decoded-{name}{mine}.safetensors" for name in ("training", "selection", "background")]
    try:
        fit_set = decode(training, labels, features.sample_rate, clip_s, temporary[0])
        choose_set = decode(selection, labels, features.sample_rate, clip_s, temporary[1])
        check_heard(fit_set, labels)
        noise, about = _background(background, features.sample_rate, temporary[2])
        loop = replace(loop, batch_size=min(loop.batch_size, len(fit_set.clips)))
        if noise:
            _mix_in(choose_set, noise, loop)
        recipe = _Recipe(task, clip_s, loop, augmentation, features, channels, noise, first)
        module, history = _trained((fit_set, choose_set), (working, log_folder), recipe, len(labels), progress)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    made = {"loop": asdict(loop), "augmentation": asdict(augmentation), **about}
    if process_index() == 0:
        save_small(folder, module, features, labels, task, made)
        if resume_dir is None:
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    summary = {"labels": labels, "epoch": best["epoch"], "score": best["score"], "history": history}
    skipped = {**fit_set.skipped, **choose_set.skipped, **(noise.skipped if noise else {})}
    return {**summary, **about, "skipped": skipped}


def _first_weights(
    start: Path, labels: tuple[str, ...], features: LogMel, channels: tuple[int, ...] | None
) -> dict[str, Tensor]:
    """Returns the weights of a trained folder, if it is a network for the same features and labels."""
    module, front_end, config = load_small(start)
    same = {
        "labels": tuple(config["labels"]) == labels,
        "front end": front_end.to_dict() == features.to_dict(),
        "widths": tuple(module.config.channels) == (channels or SmallCnnConfig().channels),
    }
    if not all(same.values()):
        other = ", ".join(what for what, fits in same.items() if not fits)
        raise MismatchError(f"{start.name} has another {other}, so training cannot start from it; start anew.")
    return module.state_dict()


def _background(
    config: BackgroundConfig | None, sample_rate: int, path: Path
) -> tuple[Background | None, dict[str, Any]]:
    """Returns the recordings that training hears, and what to say of them."""
    if config is None or config.background is None:
        return None, {}
    heard, held = background_recordings(config.background)
    noise = decode_background(heard, config, sample_rate, path)
    levels = {"snr_db": config.background_snr_db, "share": config.background_share}
    names = {"heard": len(noise), "held_out": len(held)}
    return noise, {"background": {"name": background_name(config.background), **levels, **names}}


def _mix_in(data: TrainingSet, noise: Background, loop: LoopConfig) -> None:
    """Mixes background into decoded clips, in their file."""
    generator = seeded(loop.seed, BACKGROUND_STREAM)
    for start in range(0, len(data.clips), 16):
        rows = torch.from_numpy(np.array(data.samples[start : start + 16]))
        data.samples[start : start + 16] = noise.add(rows, generator).numpy()


def _trained(
    parts: tuple[TrainingSet, TrainingSet],
    folders: tuple[Path, Path | None],
    recipe: _Recipe,
    n_labels: int,
    progress: Progress | None,
) -> tuple[SmallCnn, list[dict[str, float]]]:
    """Returns a network trained on decoded clips, and what each epoch came to; see `fit_classifier`."""
    fit_set, choose_set = parts
    loop, features = recipe.loop, recipe.features
    size = SmallCnnConfig(features.config.n_mels, n_labels)
    size = replace(size, channels=recipe.channels or size.channels)
    with seeded_globals(loop.seed, 0):
        module = SmallCnn(size)
    if recipe.start:
        module.load_state_dict(recipe.start)
    history = train(
        module,
        lambda _epoch, generator: _shuffled(fit_set, loop.batch_size, generator),
        lambda batch: _loss(module, batch, recipe.task),
        lambda: _validate(module, features, choose_set, recipe.task),
        loop,
        n_steps=len(fit_set.clips) // loop.batch_size,
        folder=folders[0],
        prepare=lambda batch, generator: _prepared(batch, recipe, generator),
        beside=(),
        progress=progress,
        log_folder=folders[1],
        settings={"clips": [clips_sha256(fit_set), clips_sha256(choose_set)], **recipe.settings()},
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


def _prepared(batch: tuple[Tensor, Tensor], recipe: _Recipe, generator: Generator) -> tuple[Tensor, Tensor]:
    """Returns augmented features and labels of samples and labels."""
    samples, labels = batch
    if recipe.background:
        samples = recipe.background.add(samples, generator)
    features = recipe.features(augment.augment_samples(samples, recipe.augmentation, generator))
    return augment.augment_features(features, labels, recipe.augmentation, generator)


def _loss(module: SmallCnn, batch: tuple[Tensor, Tensor], task: Task) -> Tensor:
    features, labels = batch
    if task == "multiclass":
        return functional.cross_entropy(module(features), labels)
    return functional.binary_cross_entropy_with_logits(module(features), labels)


def predict_all(module: SmallCnn, front_end: LogMel, data: TrainingSet) -> Float[Tensor, "clip label"]:
    """Returns the logits of every clip, in batches of 16, wherever the network is."""
    index, device = np.arange(len(data.labels)), device_of(module)
    with torch.inference_mode():
        batches: Iterable[np.ndarray] = (index[i : i + 16] for i in range(0, len(index), 16))
        return torch.cat([module(front_end(data.batch(rows)[0]).to(device)).cpu() for rows in batches])


def _validate(module: SmallCnn, front_end: LogMel, data: TrainingSet, task: Task) -> dict[str, float]:
    score = scores.accuracy if task == "multiclass" else scores.macro_average_precision
    return {"score": score(predict_all(module, front_end, data), data.labels)}
