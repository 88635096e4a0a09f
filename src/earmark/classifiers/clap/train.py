"""Trains a small CLAP: of all labels' prompts, drawn anew at each step, a clip's own shall be the nearest.

Texts come first: their tower learns which of them mean one label, in seconds. Then both towers learn where sounds lie.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...audio.waveform import Waveform
from ...errors import DataError
from ...training import augment
from ...training.config import AugmentConfig, LoopConfig
from ...training.loop import Progress, train
from ...training.parallel import device_of
from ...types import Clip, Features
from ..clips import check_heard, check_parts
from ..decoded import TrainingSet, clips_sha256, decode
from ..front_ends import FrontEnd
from ..zero_shot import TEMPLATE, filled_in
from .config import ClapSize
from .model import SmallClap, untrained
from .prompts import Prompts, prompts_of

PART = 16  # clips of the selection in one pass
SOME = 64  # training clips by which a fresh model is calibrated
TEXTS = "texts"  # the folder of their checkpoint

Truth = Float[Tensor, "clip label"]
Batch = tuple[Features, Truth, Int[Tensor, "clip label two"]]


@dataclass(frozen=True, eq=False)
class PromptTable:
    """Every text of the training, as tokens.

    Parameters
    ----------
    tokens
        `[text, token]`, label after label.
    first, count
        `[label]`, where the texts of each label begin, and how many they are.
    """

    tokens: Int[Tensor, "text token"]
    first: Int[Tensor, " label"]
    count: Int[Tensor, " label"]

    @classmethod
    def of(cls, clap: SmallClap, prompts: Mapping[str, Prompts]) -> "PromptTable":
        """Returns the table of all texts that are learned from; those held out are not in it."""
        texts = [own.texts for own in prompts.values()]
        count = torch.tensor([len(own) for own in texts])
        return cls(clap.tokens([text for own in texts for text in own]), count.cumsum(0) - count, count)

    def draw(self, generator: Generator) -> Int[Tensor, "label two"]:
        """Returns the positions of two texts of each label."""
        chance = torch.rand(len(self.count), 2, generator=generator)
        return self.first[:, None] + (chance * self.count[:, None]).long().clamp_max(self.count[:, None] - 1)


@dataclass(eq=False)
class _Learner:
    """The steps of one training."""

    clap: SmallClap
    front_end: FrontEnd
    table: PromptTable
    names: Int[Tensor, "label token"]
    augmentation: AugmentConfig
    held_out: tuple[Features, Int[Tensor, " clip"]]

    def prepared(self, batch: tuple[Tensor, Truth], generator: Generator) -> Batch:
        """Returns augmented features, mixed labels, and which texts are compared with: for all clips the same."""
        samples, truth = batch
        features = self.front_end(augment.augment_samples(samples, self.augmentation, generator))
        features, truth = augment.augment_features(features, truth, self.augmentation, generator)
        return features, truth, self.table.draw(generator).expand(len(features), -1, -1)

    def text_loss(self, drawn: Int[Tensor, "label two"]) -> Tensor:
        """Returns the cross-entropy of texts among others, the nearest of which shall be that of the same label."""
        tokens = self.table.tokens.to(drawn.device)
        one, other = (self.clap.text(tokens[drawn[:, i]]) for i in (0, 1))
        logits = self.clap.model.logit_scale_a.detach().exp() * one @ other.T
        return functional.cross_entropy(logits, torch.arange(len(drawn), device=drawn.device))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the cross-entropy over prompts and that of texts alone, and both as terms."""
        features, truth, drawn = batch
        text = self.clap.text(self.table.tokens.to(drawn.device)[drawn[0, :, 0]])
        logits = self.clap.model.logit_scale_a.exp() * self.clap.audio(features) @ text.T
        terms = {"sounds": functional.cross_entropy(logits, truth), "texts": self.text_loss(drawn[0])}
        return terms["sounds"] + terms["texts"], terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the mean over labels of the share of their clips whose nearest name is theirs."""
        features, truth = self.held_out
        device = device_of(self.clap.model)
        names = self.clap.text(self.names.to(device))
        nearest = torch.cat([(self.clap.audio(x.to(device)) @ names.T).argmax(1).cpu() for x in features.split(PART)])
        right = (nearest == truth).float()
        means = [float(right[truth == label].mean()) for label in truth.unique()]
        return {"score": float(np.mean(means))}


def fit_clap(
    training: Sequence[Clip],
    selection: Sequence[Clip],
    folder: Path,
    size: ClapSize | None = None,
    loop: LoopConfig | None = None,
    *,
    augmentation: AugmentConfig | None = None,
    prompts: Mapping[str, Prompts] | None = None,
    resume_dir: Path | None = None,
    progress: Progress | None = None,
    log_folder: Path | None = None,
) -> dict[str, Any]:
    """Trains both towers from first weights, and writes a folder that `load_classifier(folder, prompts=[...])` reads.

    Parameters
    ----------
    training, selection
        Clips of one label each, of any number of data sets; no group may be in both. Names of prompts choose the
        epoch, held-out prompts are not read.
    prompts
        By label; by default the built-in ones (see `prompts_of`).
    resume_dir, log_folder
        As for `fit_classifier`.

    Returns
    -------
    summary
        Labels, the chosen epoch, its score, the history, sizes, and under `skipped` why clips could not be read.

    Raises
    ------
    DataError
        If there are no clips to learn from or to choose by, fewer than two labels, or clips without exactly one.
    InputError
        If a prompt is of no use, or transformers is not installed.
    MismatchError
        If the checkpoint belongs to another training.
    """
    size, loop = size or ClapSize(), loop or LoopConfig()
    check_parts(training, selection)
    labels = labels_of(training, selection)
    given = prompts or prompts_of(labels)
    prompts = {label: given[label] for label in labels}
    clap = untrained(size, [text for own in prompts.values() for text in own.texts], loop.seed)
    working = resume_dir or folder
    for needed in (folder, working):
        needed.mkdir(parents=True, exist_ok=True)
    files = [working / f".decoded-{part}.safetensors" for part in ("training", "selection")]
    few = _few_of_each(selection, size.select_per_label)
    try:
        parts = [decoded(clips, labels, size, path) for clips, path in zip((training, few), files, strict=True)]
        check_heard(parts[0], labels)
        history = _trained(clap, parts, prompts, (size, loop, augmentation), (working, log_folder), progress)
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    clap.save(folder)
    if resume_dir is None:
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
        shutil.rmtree(folder / TEXTS, ignore_errors=True)
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    return {
        "labels": labels,
        "epoch": best["epoch"],
        "score": best["score"],
        "parameters": sum(p.numel() for p in clap.model.parameters()),
        "n_training": len(parts[0].clips),
        "n_selection": len(parts[1].clips),
        "history": history,
        "skipped": {**parts[0].skipped, **parts[1].skipped},
    }


def labels_of(training: Sequence[Clip], *others: Sequence[Clip]) -> tuple[str, ...]:
    """Returns the labels of training clips; every clip must have exactly one, of these, and they are at least two.

    Raises
    ------
    DataError
        If that is not so.
    """
    every = [*training, *(clip for part in others for clip in part)]
    odd = [clip for clip in every if len(clip.labels) != 1]
    if odd:
        raise DataError(
            f"{len(odd)} clips (for instance {odd[0].id}, with {len(odd[0].labels)}) do not have exactly one label, "
            "and each is told from all other labels' prompts; leave them out, or name the column with --label-column."
        )
    labels = tuple(sorted({clip.labels[0] for clip in training}))
    if len(labels) < 2:
        raise DataError(f"Clips have {labels[0]!r} as their only label, and sounds are told apart; add other clips.")
    if unknown := sorted({clip.labels[0] for clip in every} - set(labels)):
        raise DataError(f"No training clip has the label {unknown[0]!r}, and others have; add some, or leave it out.")
    return labels


def decoded(clips: Sequence[Clip], labels: tuple[str, ...], size: ClapSize, path: Path) -> TrainingSet:
    """Returns clips as samples of one length, the shorter ones repeated, as the feature extractor repeats them."""
    return decode(clips, labels, size.rate, size.clip_s, path, repeated)


def repeated(waveform: Waveform, n_samples: int) -> Waveform:
    """Returns a sound as often as it goes in whole, then silence; a longer one is cut."""
    times = max(1, n_samples // waveform.n_samples)
    return Waveform(waveform.samples.repeat(1, times), waveform.sample_rate).fit(n_samples)


def _trained(
    clap: SmallClap,
    parts: Sequence[TrainingSet],
    prompts: Mapping[str, Prompts],
    numbers: tuple[ClapSize, LoopConfig, AugmentConfig | None],
    folders: tuple[Path, Path | None],
    progress: Progress | None,
) -> list[dict[str, float]]:
    """Trains a model in place, and returns what each epoch came to."""
    size, loop, augmentation = numbers[0], numbers[1], numbers[2] or AugmentConfig()
    front_end, truth = clap.front_end, parts[0].labels.argmax(1)
    names = clap.tokens([filled_in(TEMPLATE, own.name) for own in prompts.values()])
    held_out = (_features(front_end, parts[1]), parts[1].labels.argmax(1))
    learner = _Learner(clap, front_end, PromptTable.of(clap, prompts), names, augmentation, held_out)
    some = np.linspace(0, len(truth) - 1, min(SOME, len(truth))).round().astype(int)
    with torch.no_grad():
        clap.calibrate(front_end(parts[0].batch(some)[0]), learner.table.tokens)
    settings = {
        "clips": [clips_sha256(part) for part in parts],
        "prompts": {label: own.texts for label, own in prompts.items()},
        "size": asdict(size),
        "augmentation": asdict(augmentation),
    }
    if size.text_steps:
        _texts_first(learner, size, loop, folders[0] / TEXTS, settings)
    per_label = size.per_label or int(truth.bincount().min())
    loop = replace(loop, batch_size=min(loop.batch_size, per_label * len(prompts)))
    return train(
        clap.model,
        lambda _epoch, generator: _drawn(parts[0], truth, per_label, loop.batch_size, generator),
        learner.loss,
        learner.validate,
        loop,
        n_steps=per_label * len(prompts) // loop.batch_size,
        folder=folders[0],
        prepare=learner.prepared,
        beside=(),
        progress=progress,
        log_folder=folders[1],
        settings=settings,
    )


def _texts_first(learner: _Learner, size: ClapSize, loop: LoopConfig, folder: Path, settings: dict[str, Any]) -> None:
    """Trains the tower of texts alone."""
    model = learner.clap.model
    train(
        nn.ModuleList([model.text_model, model.text_projection]),
        lambda _epoch, generator: (learner.table.draw(generator) for _ in range(size.text_steps)),
        learner.text_loss,
        lambda: {"score": 0.0},
        LoopConfig(epochs=1, learning_rate=size.text_rate, weight_decay=loop.weight_decay, seed=loop.seed),
        n_steps=size.text_steps,
        folder=folder,
        beside=(model,),
        settings=settings,
    )


def _drawn(
    data: TrainingSet, truth: Int[Tensor, " clip"], per_label: int, batch_size: int, generator: Generator
) -> Iterator[tuple[Tensor, Truth]]:
    """Yields batches with as many clips of each label, in another order and of other clips each time."""
    rows = []
    for label in range(data.labels.shape[1]):
        own = (truth == label).nonzero()[:, 0]
        order = torch.cat([torch.randperm(len(own), generator=generator) for _ in range(-(-per_label // len(own)))])
        rows.append(own[order[:per_label]])
    mixed = torch.cat(rows)[torch.randperm(per_label * len(rows), generator=generator)].numpy()
    for start in range(0, len(mixed) - batch_size + 1, batch_size):
        yield data.batch(mixed[start : start + batch_size])


def _few_of_each(clips: Sequence[Clip], most: int) -> list[Clip]:
    """Returns at most so many clips of each label, evenly spaced."""
    by_label: dict[str, list[Clip]] = {}
    for clip in clips:
        by_label.setdefault(clip.labels[0], []).append(clip)
    return [own[i * len(own) // min(most, len(own))] for own in by_label.values() for i in range(min(most, len(own)))]


def _features(front_end: FrontEnd, data: TrainingSet) -> Features:
    """Returns the features of all clips."""
    rows = [np.arange(first, min(first + PART, len(data.clips))) for first in range(0, len(data.clips), PART)]
    with torch.no_grad():
        return torch.cat([front_end(data.batch(part)[0]) for part in rows])
