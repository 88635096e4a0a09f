"""Clips as a classifier takes them: those of one length together, and a count of those that are left out, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from ..audio.files import clip_sha256, load_clip
from ..classifiers.base import Classifier
from ..errors import DataError, EarmarkError
from ..types import Clip, Samples

WAITING = 4  # batches' worth of clips that are held until others of their length come


@runtime_checkable
class Progress(Protocol):
    """Takes steps done, steps in all, and values worth showing."""

    def __call__(self, done: int, total: int, values: dict[str, float] | None = None) -> None:
        """Shows them."""


@dataclass
class Counted:
    """Which clips were scored, and why others were not."""

    n: int = 0
    scored: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many are not known to be left out."""
        return self.n - sum(self.excluded.values()) - len(self.broken)

    def to_dict(self) -> dict[str, Any]:
        """Returns counts and coverage."""
        counts = {"n": self.n, "scored": self.scored, "coverage": self.scored / max(self.n, 1)}
        return {**counts, "excluded": dict(sorted(self.excluded.items())), "broken": dict(sorted(self.broken.items()))}


def together(
    classifier: Classifier, clips: Sequence[Clip], counted: Counted, size: int
) -> Iterator[tuple[list[Clip], Samples]]:
    """Yields at most `size` clips of one length together, in an order that depends on the clips alone; few are held."""
    waiting: dict[int, list[tuple[Clip, Samples]]] = {}
    for clip in clips:
        samples = prepared(classifier, clip, counted)
        if samples is None:
            continue
        batch = waiting.setdefault(samples.shape[1], [])
        batch.append((clip, samples))
        if len(batch) == size:
            yield _joined(waiting.pop(samples.shape[1]))
        elif sum(map(len, waiting.values())) >= WAITING * size:
            yield _joined(waiting.pop(next(iter(waiting))))  # the length that waits longest
    for _, batch in sorted(waiting.items()):
        yield _joined(batch)


def _joined(batch: Sequence[tuple[Clip, torch.Tensor]]) -> tuple[list[Clip], Samples]:
    return [clip for clip, _ in batch], torch.cat([samples for _, samples in batch])


def prepared(classifier: Classifier, clip: Clip, counted: Counted) -> Samples | None:
    """Returns a clip as the classifier takes it, or nothing, with the reason counted."""
    try:
        samples = classifier.prepare(load_clip(clip))
    except (EarmarkError, OSError) as error:
        counted.broken[clip.id] = str(error)
        return None
    if bool((samples == samples[:, :1]).all()):
        counted.excluded["silent or constant"] += 1
        return None
    counted.scored += 1
    return samples


def refuse_doubles(clips: Sequence[Clip]) -> None:
    """Refuses clips of which two have one id.

    Raises
    ------
    DataError
        If two have.
    """
    twice = [clip_id for clip_id, n in Counter(clip.id for clip in clips).items() if n > 1]
    if twice:
        raise DataError(f"Clips are told apart by their ids, and {twice[0]!r} is there twice; give each its own.")


def refuse_empty(n_tables: int, counted: Counted) -> None:
    """Refuses a run of which nothing is left.

    Raises
    ------
    DataError
        If there is no table; the sentence has the first reason.
    """
    if not n_tables:
        reason = next(iter(counted.broken.values()), ", ".join(counted.excluded) or "there was none")
        raise DataError(f"None of {counted.n} clips could be scored: {reason}")


def sha256_of(clip: Clip) -> str:
    """Returns the hash of a clip's sound, or the kind of error that reading it meets."""
    try:
        return clip_sha256(clip)
    except (EarmarkError, OSError) as error:
        return type(error).__name__
