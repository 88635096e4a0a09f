"""Trains a classifier on the latents of a frozen codec, which are computed once and augmented at each step."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

from ...training import scores
from ...training.augment import augment_latents
from ...training.config import LatentAugmentConfig, LoopConfig
from ...training.loop import Progress, seeded_globals, train
from ...training.parallel import device_of
from ...types import Clip, Task
from ..clips import check_heard, check_labels, check_parts
from ..decoded import TrainingSet, clips_sha256, decode
from .base import Codec, Latents
from .front_end import CodecFrontEnd
from .latent import LatentConfig, LatentTransformer
from .load import LAPPED
from .saved import load_latent, save_latent

BATCH = 8  # clips that are coded at once

Labels = Float[Tensor, "clip label"]


@dataclass(frozen=True, eq=False)
class CodedClips:
    """Latents of clips of one length, and their labels."""

    latents: Latents
    labels: Labels

    def batch(self, rows: Tensor) -> tuple[Latents, Labels]:
        """Returns latents and labels of some clips."""
        return self.latents[rows], self.labels[rows]


@dataclass(frozen=True)
class LatentRecipe:
    """How to train, beside clips and codec.

    Parameters
    ----------
    task, clip_s
        As for any classifier; clips are cut or zero-padded to `clip_s` seconds.
    loop
        How long and how fast.
    size
        Of the transformer.
    continuous
        Latents before they are quantized.
    steps
        Steps in all, in place of the loop's epochs; 0: as many epochs as the loop says.
    augmentation
        What is done to latents at each step.
    """

    task: Task = "multiclass"
    clip_s: float = 1.0
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=40, learning_rate=1e-3))
    size: LatentConfig = field(default_factory=LatentConfig)
    continuous: bool = False
    steps: int = 0
    augmentation: LatentAugmentConfig = field(default_factory=LatentAugmentConfig)


def fit_latent_classifier(
    training: Sequence[Clip],
    selection: Sequence[Clip],
    folder: Path,
    codec: Codec,
    recipe: LatentRecipe | None = None,
    *,
    codec_folder: str | Path = "lapped",
    home: Path | None = None,
    resume_dir: Path | None = None,
    progress: Progress | None = None,
    log_folder: Path | None = None,
) -> dict[str, Any]:
    """Trains on `training`, chooses the epoch by `selection`, writes a folder that `load_classifier` reads.

    Parameters
    ----------
    training, selection
        Labeled clips; no group may be in both.
    codec, codec_folder
        The codec, and where it lies: that is recorded, with its fingerprint.
    home
        Where the classifier's folder will be at last, if that is not `folder`: paths are told from there.
    resume_dir, log_folder
        As for `fit_classifier`.

    Returns
    -------
    summary
        Labels, the chosen epoch, its score, the history, and under `skipped` why clips could not be read, by id.

    Raises
    ------
    DataError
        If clips are missing, groups are in both parts, or labels do not fit the task.
    MismatchError
        If the checkpoint belongs to another training.
    """
    recipe = recipe or LatentRecipe()
    check_parts(training, selection)
    check_labels([*training, *selection], recipe.task)
    labels = tuple(sorted({label for clip in training for label in clip.labels}))
    front_end = CodecFrontEnd(codec, continuous=recipe.continuous)
    working = resume_dir or folder
    for needed in (folder, working):
        needed.mkdir(parents=True, exist_ok=True)
    learned, about = _coded(training, labels, front_end, recipe.clip_s, working / ".decoded-training.safetensors")
    check_heard(about, labels)
    chosen, other = _coded(selection, labels, front_end, recipe.clip_s, working / ".decoded-selection.safetensors")
    loop = _loop(recipe, len(learned.labels))
    with seeded_globals(loop.seed, 0):
        module = LatentTransformer(recipe.size, codec.n_channels, len(labels))
    module.calibrate(learned.latents)
    history = train(
        module,
        lambda _epoch, generator: _shuffled(learned, loop.batch_size, generator),
        lambda batch: _loss(module(batch[0]), batch[1], recipe.task),
        lambda: {"score": _score(module, chosen, recipe.task)},
        loop,
        n_steps=len(learned.labels) // loop.batch_size,
        folder=working,
        prepare=lambda batch, generator: augment_latents(batch[0], batch[1], recipe.augmentation, generator),
        beside=(),
        progress=progress,
        log_folder=log_folder,
        settings={
            "clips": [clips_sha256(about), clips_sha256(other)],
            "codec": codec.fingerprint,
            **{name: value for name, value in asdict(recipe).items() if name not in ("loop", "steps")},
        },
    )
    made = {"loop": asdict(loop), "clip_s": recipe.clip_s, "codec": codec.name}
    save_latent(folder, module, front_end, _told(codec_folder, home or folder), labels, recipe.task, made)
    if resume_dir is None:
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    skipped = {**about.skipped, **other.skipped}
    return {"labels": labels, "epoch": best["epoch"], "score": best["score"], "history": history, "skipped": skipped}


def score_latent_classifier(folder: Path, clips: Sequence[Clip], clip_s: float, codec: Codec) -> dict[str, Any]:
    """Returns `n` and `accuracy`, or `macro_average_precision` for several labels, on labeled clips."""
    classifier = load_latent(folder, codec=codec)
    front_end, module = classifier.front_end, classifier.module
    assert isinstance(front_end, CodecFrontEnd) and isinstance(module, LatentTransformer)
    coded, about = _coded(clips, classifier.labels, front_end, clip_s, folder / ".decoded-test.safetensors")
    name = "accuracy" if classifier.task == "multiclass" else "macro_average_precision"
    skipped = {"skipped": dict(about.skipped)} if about.skipped else {}
    return {"n": len(coded.labels), **skipped, name: _score(module, coded, classifier.task)}


def encode_all(samples: Callable[[Tensor], Tensor], n_clips: int, front_end: CodecFrontEnd) -> Latents:
    """Returns the latents of all clips, coded in small batches where the codec is."""
    device = front_end.codec.device
    parts = [torch.arange(first, min(first + BATCH, n_clips)) for first in range(0, n_clips, BATCH)]
    with torch.no_grad():
        return torch.cat([front_end(samples(rows).to(device)).cpu() for rows in parts])


def _coded(
    clips: Sequence[Clip], labels: tuple[str, ...], front_end: CodecFrontEnd, clip_s: float, path: Path
) -> tuple[CodedClips, TrainingSet]:
    """Returns latents and labels of clips, and what was decoded."""
    try:
        data = decode(clips, labels, front_end.sample_rate, clip_s, path)
        latents = encode_all(lambda rows: data.batch(rows.numpy())[0], len(data.clips), front_end)
        data = replace(data, samples=data.samples.copy())  # the file goes
    finally:
        path.unlink(missing_ok=True)
    return CodedClips(latents, data.labels), data


def _told(codec_folder: str | Path, home: Path) -> str:
    """Returns the codec's folder as it is seen from the folder in which the classifier's will lie."""
    if str(codec_folder) == LAPPED:
        return LAPPED
    return Path(os.path.relpath(Path(codec_folder).resolve(), home.resolve().parent)).as_posix()


def _loop(recipe: LatentRecipe, n_clips: int) -> LoopConfig:
    loop = replace(recipe.loop, batch_size=min(recipe.loop.batch_size, n_clips))
    return replace(loop, epochs=max(1, -(-recipe.steps // (n_clips // loop.batch_size)))) if recipe.steps else loop


def _shuffled(data: CodedClips, batch_size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.labels), generator=generator)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        yield data.batch(order[start : start + batch_size])


def _loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    if task == "multiclass":
        return functional.cross_entropy(logits, labels)
    return functional.binary_cross_entropy_with_logits(logits, labels)


def _score(module: LatentTransformer, data: CodedClips, task: Task) -> float:
    with torch.inference_mode():
        logits = torch.cat([module(part.to(device_of(module))).cpu() for part in data.latents.split(64)])
    score = scores.accuracy if task == "multiclass" else scores.macro_average_precision
    return score(logits, data.labels)
