"""evaluate: clips x explainers -> scores. The classifier's own passes are made once and shared; a killed run goes on.

Clips of one length are explained together, in the order of their ids; none is padded. The order in which clips are
given does not matter. In which batch a clip is changes its numbers by rounding alone. What is finished lies in
`.parts-*` inside the folder, one file per batch and explainer, until all of it becomes `scores.parquet`.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import torch

from ..audio.files import clip_sha256, load_clip
from ..classifiers.base import Classifier
from ..errors import DataError, EarmarkError, ModelError
from ..explanation import package_versions
from ..fills import Fill
from ..types import Clip, Samples
from .batches import Batch
from .config import EvaluateConfig
from .entrants import Entrant, Given, entrants_of
from .parts import Parts
from .rows import rows_of
from .scores import ABOUT, Scores, load_scores, ordered, table_of

WAITING = 4  # batches' worth of clips that are held until others of their length come
INVERSE_DB = -90.0  # to which ISTFT(STFT(x)) must be x


@runtime_checkable
class Progress(Protocol):
    """Takes steps done, steps in all, and values worth showing."""

    def __call__(self, done: int, total: int, values: dict[str, float] | None = None) -> None:
        """Shows them."""


def evaluate(
    classifier: Classifier,
    clips: Iterable[Clip],
    explainers: Sequence[Given] | Mapping[str, Given],
    config: EvaluateConfig | None = None,
    *,
    folder: str | Path | None = None,
    told: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Scores:
    """Scores explainers on clips, all under the same protocol.

    Parameters
    ----------
    clips
        Each counts once; silent ones are left out before any method sees them, and counted.
    explainers
        Registry names, folders of fitted explainers, or explainers; a mapping gives them names. Methods that draw at
        random run once per seed, those that are given as explainers with their own.
    config, changes
        The settings; keyword changes replace single ones.
    folder
        Where the scores are written; a run that was killed goes on there, and one that is finished is read. One
        process at a time may write there.
    told
        What the result card says of the data, such as `data`, `folds` and `mixture`.

    Raises
    ------
    DataError
        If no clip could be scored, or two have one id.
    InputError, ModelError
        If an explainer is unknown, does not fit the classifier, or is named twice: before any work.
    """
    config = replace(config or EvaluateConfig(), **changes)
    Fill(config.fill)  # refuses an unknown one
    entrants = entrants_of(classifier, explainers, config.seeds)
    listed = sorted(clips, key=lambda clip: clip.id)
    _refuse_doubles(listed)
    about = _about(classifier, entrants, config, dict(told or {}))
    about["key"] = _key(about, entrants, listed)
    place = None if folder is None else Path(folder)
    if place is not None and (there := finished(place, about["key"])):
        return there
    counted = Counted(n=len(listed))
    job = _Job(classifier, entrants, config, Parts(place, about["key"]), _Steps(progress, counted, len(entrants)))
    tables = [
        table for chosen, samples in _batches(classifier, listed, counted, config) for table in job(chosen, samples)
    ]
    if not tables:
        reason = next(iter(counted.broken.values()), ", ".join(counted.excluded) or "there was none")
        raise DataError(f"None of {len(listed)} clips could be scored: {reason}")
    found = {"clips": counted.to_dict(), "inverse_db": job.inverse_db, "wall_s": job.wall_s()}
    scores = Scores(ordered(tables), {**about, **_of_model(classifier), **found})
    if place is not None:
        scores.save(place)
        job.parts.clear()
    return scores


def finished(place: Path, key: str | None = None) -> Scores | None:
    """Returns the scores that a folder holds, if they are whole and, where a key is given, made by the same run."""
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        return load_scores(place) if key in (None, about["key"]) else None
    except (EarmarkError, OSError, ValueError, KeyError, TypeError):
        return None


# -- clips ----------------------------------------------------------------------------------------------------------


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


def _batches(
    classifier: Classifier, clips: Sequence[Clip], counted: Counted, config: EvaluateConfig
) -> Iterator[tuple[list[Clip], Samples]]:
    """Yields clips of one length together, in an order that depends on the clips alone; few are held at a time."""
    waiting: dict[int, list[tuple[Clip, Samples]]] = {}
    for clip in clips:
        samples = prepared(classifier, clip, counted)
        if samples is None:
            continue
        batch = waiting.setdefault(samples.shape[1], [])
        batch.append((clip, samples))
        if len(batch) == config.batch:
            yield _together(waiting.pop(samples.shape[1]))
        elif sum(map(len, waiting.values())) >= WAITING * config.batch:
            yield _together(waiting.pop(next(iter(waiting))))  # the length that waits longest
    for _, batch in sorted(waiting.items()):
        yield _together(batch)


def _together(batch: Sequence[tuple[Clip, torch.Tensor]]) -> tuple[list[Clip], Samples]:
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


def _refuse_doubles(clips: Sequence[Clip]) -> None:
    twice = [clip_id for clip_id, n in Counter(clip.id for clip in clips).items() if n > 1]
    if twice:
        raise DataError(f"Clips are told apart by their ids, and {twice[0]!r} is there twice; give each its own.")


# -- the work -------------------------------------------------------------------------------------------------------


@dataclass
class _Job:
    """Scores batches, and reads what an earlier run finished."""

    classifier: Classifier
    entrants: Sequence[Entrant]
    config: EvaluateConfig
    parts: Parts
    steps: "_Steps"
    inverse_db: float | None = None  # of the first batch
    seconds: dict[str, float] = field(default_factory=dict)

    def wall_s(self) -> dict[str, float]:
        """Returns the seconds that each explainer's maps and scores took, over all seeds and all runs into a folder."""
        return {name: round(seconds, 2) for name, seconds in self.seconds.items()}

    def __call__(self, clips: Sequence[Clip], samples: Samples) -> Iterator[pa.Table]:
        """Yields the rows of each explainer on a batch."""
        if self.inverse_db is None:
            self.inverse_db = _inverse_db(self.classifier, samples)
        batch: Batch | None = None
        for entrant in self.entrants:
            path = self.parts.path(clips, samples, entrant)
            there = self.parts.read(path)
            if there is None:
                began = time.perf_counter()
                batch = batch or Batch.of(self.classifier, clips, samples)
                table = table_of(rows_of(batch, entrant.explainer, self.config, name=entrant.name, seed=entrant.seed))
                there = table, time.perf_counter() - began
                self.parts.write(*there, path)
            self.seconds[entrant.name] = self.seconds.get(entrant.name, 0.0) + there[1]
            self.steps.add(len(clips))
            yield there[0]


def _inverse_db(classifier: Classifier, samples: Samples) -> float:
    """Returns how far `ISTFT(STFT(x))` is from x, in dB below it, rounded to whole ones.

    Raises
    ------
    ModelError
        If it is more than -90 dB: a mask of ones would change the clip.
    """
    stft = classifier.stft
    gap = stft.inverse(stft(samples), samples.shape[1]) - samples
    ratio = float(gap.double().square().sum() / samples.double().square().sum())
    db = round(10 * math.log10(max(ratio, 1e-30)))
    if db > INVERSE_DB:
        raise ModelError(
            f"The STFT of {classifier.name} does not give the clip back: {db} dB, at most {INVERSE_DB:.0f} is needed "
            "to score masks; choose a window and a hop that overlap more."
        )
    return float(db)


class _Steps:
    """Counts clips done by all explainers."""

    def __init__(self, progress: Progress | None, counted: Counted, n_entrants: int) -> None:
        self.progress, self.counted, self.n_entrants, self.done = progress, counted, n_entrants, 0

    def add(self, n: int) -> None:
        self.done += n
        if self.progress:
            self.progress(self.done, self.counted.left * self.n_entrants)


# -- what the scores depend on --------------------------------------------------------------------------------------


def _key(about: dict[str, Any], entrants: Sequence[Entrant], clips: Sequence[Clip]) -> str:
    """Returns the sha256 of all that the scores depend on."""
    known = [
        about,
        [entrant.basis() for entrant in entrants],
        [[clip.id, _sha256(clip), clip.labels, clip.group, clip.fold, _events(clip)] for clip in clips],
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _events(clip: Clip) -> list[dict[str, Any]]:
    return [event.to_dict() for event in clip.events]


def _sha256(clip: Clip) -> str:
    try:
        return clip_sha256(clip)
    except (EarmarkError, OSError) as error:
        return type(error).__name__


def _of_model(classifier: Classifier) -> dict[str, Any]:
    """Returns what the result card says of the classifier beyond what the scores depend on."""
    card = classifier.card
    loop = card.get("training", {}).get("loop", {})
    learned = {"data": card.get("data"), "folds": card.get("folds"), "seed": loop.get("seed")}
    parity = card.get("front_end_parity", "own front end")
    return {"normalizes": classifier.front_end.normalizes, "parity": parity, "learned_from": learned}


def _about(
    classifier: Classifier, entrants: Sequence[Entrant], config: EvaluateConfig, told: dict[str, Any]
) -> dict[str, Any]:
    several: dict[str, list[dict[str, Any]]] = {}
    for entrant in entrants:
        several.setdefault(entrant.name, []).append(entrant.about())
    return {
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint,
        "task": classifier.task,
        "threshold": classifier.threshold,
        "front_end": classifier.front_end.to_dict(),
        "explainers": several,
        "config": config.to_dict(),
        "told": told,
        "versions": package_versions(),
    }
