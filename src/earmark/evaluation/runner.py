"""evaluate: clips x explainers -> scores. The classifier's own passes are made once and shared; a killed run goes on.

Clips of one length are explained together, in the order of their ids; none is padded. The order in which clips are
given does not matter. In which batch a clip is changes its numbers by rounding alone. What is finished lies in
`.parts-*` inside the folder, one file per batch and explainer, until all of it becomes `scores.parquet`.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..classifiers.base import Classifier
from ..classifiers.learned import learned_from
from ..errors import EarmarkError, ModelError
from ..explanation import package_versions
from ..fills import Fill
from ..types import Clip, Samples
from .batches import Batch
from .config import EvaluateConfig
from .entrants import Entrant, Given, entrants_of
from .loading import Counted, Progress, refuse_doubles, refuse_empty, sha256_of, together
from .parts import Parts
from .rows import rows_of
from .scores import RESULTS, Scores, load_scores

INVERSE_DB = -90.0  # to which ISTFT(STFT(x)) must be x


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
    refuse_doubles(listed)
    about = _about(classifier, entrants, config, dict(told or {}))
    about["key"] = _key(about, entrants, listed)
    place = None if folder is None else Path(folder)
    if place is not None and (there := finished(place, about["key"])):
        return there
    counted = Counted(n=len(listed))
    job = _Job(
        classifier,
        entrants,
        config,
        Parts(place, about["key"], RESULTS.schema),
        _Steps(progress, counted, len(entrants)),
    )
    tables = [
        table
        for chosen, samples in together(classifier, listed, counted, config.batch)
        for table in job(chosen, samples)
    ]
    refuse_empty(len(tables), counted)
    found = {"clips": counted.to_dict(), "inverse_db": job.inverse_db, "wall_s": job.wall_s()}
    scores = Scores(RESULTS.ordered(tables), {**about, **_of_model(classifier), **found})
    if place is not None:
        scores.save(place)
        job.parts.clear()
    return scores


def finished(place: Path, key: str | None = None) -> Scores | None:
    """Returns the scores that a folder holds, if they are whole and, where a key is given, made by the same run."""
    try:
        return load_scores(place) if RESULTS.is_of(place, key) else None
    except EarmarkError:
        return None


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
            path = self.parts.path(clips, samples, entrant.name, entrant.seed)
            there = self.parts.read(path)
            if there is None:
                began = time.perf_counter()
                batch = batch or Batch.of(self.classifier, clips, samples)
                table = RESULTS.table_of(
                    rows_of(batch, entrant.explainer, self.config, name=entrant.name, seed=entrant.seed)
                )
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
        [entrant.explainer._learned() for entrant in entrants],
        [[clip.id, sha256_of(clip), clip.labels, clip.group, clip.fold, _events(clip)] for clip in clips],
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _events(clip: Clip) -> list[dict[str, Any]]:
    return [event.to_dict() for event in clip.events]


def _of_model(classifier: Classifier) -> dict[str, Any]:
    """Returns what the result card says of the classifier beyond what the scores depend on."""
    card = classifier.card
    parity = card.get("front_end_parity", "own front end")
    return {"normalizes": classifier.front_end.normalizes, "parity": parity, "learned_from": learned_from(card)}


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
