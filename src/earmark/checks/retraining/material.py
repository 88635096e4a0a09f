"""Material: the clips that a check retrains on, decoded once to one length, on disk, and which of them test."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...classifiers.base import Classifier
from ...classifiers.decoded import TrainingSet, decode
from ...data.folders import split_by_group
from ...errors import DataError
from ...types import Clip, ComplexStft, seeded

CHUNK = 16
PARTS = ("training", "test")


@dataclass(frozen=True)
class Split:
    """Clips to learn from, clips to test on, and in words how they were told apart."""

    training: tuple[Clip, ...]
    test: tuple[Clip, ...]
    words: str


def split(clips: Sequence[Clip], classifier: Classifier, held_out: float, seed: int = 0) -> Split:
    """Returns the clips that the classifier learned from, and those that it never saw, by the folds on its card.

    Where the card's folds do not divide these clips, a share of the groups is held out.

    Raises
    ------
    DataError
        If clips have none or several of the classifier's labels, or one part would be empty.
    """
    odd = [clip.id for clip in clips if len(clip.labels) != 1 or clip.labels[0] not in classifier.labels]
    if odd or not clips:
        raise DataError(
            f"Retraining needs clips with exactly one label of {classifier.name}, got {len(odd)} without one of "
            f"{len(clips)}{f', for instance {odd[0]}' if odd else ''}; name the column with --label-column."
        )
    learned, chosen = (folds_of(classifier.card.get(name)) for name in ("folds", "select_folds"))
    training = tuple(clip for clip in clips if clip.fold in learned)
    test = tuple(clip for clip in clips if clip.fold is not None and clip.fold not in learned | chosen)
    if training and test:
        return Split(training, test, f"{_told(training)} train, {_told(test)} test")
    training, test = (tuple(part) for part in split_by_group(clips, held_out, seed))
    if not training or not test:
        raise DataError(f"{len(clips)} clips cannot be divided into two parts by group; give more of them.")
    return Split(training, test, f"{held_out:.0%} of the groups are held out to test")


@dataclass(frozen=True, eq=False)
class Material:
    """A classifier that is explained, and decoded clips to train and to test on.

    Parameters
    ----------
    classifier
        The intact model, whose predicted labels are explained.
    training, test
        Samples of one length in memory maps, and their labels.
    """

    classifier: Classifier
    training: TrainingSet
    test: TrainingSet

    @classmethod
    def of(cls, classifier: Classifier, parts: Split, clip_s: float, folder: Path) -> "Material":
        """Decodes clips into files in a folder, which stay there."""
        rate, labels = classifier.sample_rate, classifier.labels
        sets = [
            decode(clips, labels, rate, clip_s, folder / f"decoded-{name}.safetensors")
            for name, clips in zip(PARTS, (parts.training, parts.test), strict=True)
        ]
        return cls(classifier, *sets)

    @property
    def parts(self) -> tuple[tuple[str, TrainingSet], ...]:
        """Training and test clips with their names."""
        return (("training", self.training), ("test", self.test))

    @property
    def groups(self) -> list[str]:
        """What each test clip comes from."""
        return [clip.group or clip.id for clip in self.test.clips]

    @cached_property
    def truth(self) -> Int[Tensor, " clip"]:
        """The position of each test clip's label."""
        return self.test.labels.argmax(1)

    @property
    def chance(self) -> float:
        """The accuracy of always naming the label that most training clips have."""
        common = int(self.training.labels.sum(0).argmax())
        return float((self.truth == common).double().mean())

    @cached_property
    def band_mean(self) -> ComplexStft:
        """The mean magnitude of each STFT bin over the training clips, with the phase of one noise for every clip.

        The phase is not the clip's own: that of a tone goes on from frame to frame, so that the inverse STFT would let
        its band stand out again, whatever the magnitude.
        """
        stft, n_samples = self.classifier.stft, self.training.samples.shape[1]
        total, n_frames = torch.zeros(stft.n_freq, dtype=torch.float64), 0
        for samples in chunks(self.training.samples):
            magnitude = stft(samples).abs()
            total += magnitude.double().sum((0, 2))
            n_frames += len(samples) * magnitude.shape[2]
        noise = stft(torch.randn(1, n_samples, generator=seeded(0)))
        return torch.sgn(noise) * (total / n_frames).float()[:, None]

    @cached_property
    def sha256(self) -> str:
        """What tells these clips, and this classifier, from others."""
        digest = hashlib.sha256(self.classifier.fingerprint.encode())
        for name, part in self.parts:
            digest.update(json.dumps([name, [[clip.id, clip.labels, clip.group] for clip in part.clips]]).encode())
            for row in part.samples:
                digest.update(np.ascontiguousarray(row).tobytes())
        return digest.hexdigest()


def chunks(rows: np.ndarray, size: int = CHUNK) -> Iterator[Tensor]:
    """Yields rows of an array on disk, some at a time."""
    for start in range(0, len(rows), size):
        yield torch.from_numpy(np.array(rows[start : start + size]))


def folds_of(told: object) -> set[int]:
    """Returns the folds that a card names as `1,2,3`."""
    return {int(part) for part in str(told or "").split(",") if part.strip().isdigit()}


def _told(clips: Sequence[Clip]) -> str:
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
