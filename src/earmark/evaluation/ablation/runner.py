"""ablate: clips with the regions that APEX shows taken out, beside controls. A killed run goes on.

Clips of one length are passed together, in the order of their ids; none is padded. What is finished lies in `.parts-*`
inside the folder, one file per batch and view, until all of it becomes `ablation.parquet`.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...classifiers.base import Classifier
from ...classifiers.learned import learned_from
from ...errors import EarmarkError, InputError, ModelError
from ...explainers.apex.explainer import Apex
from ...explainers.apex.views import check_view
from ...explainers.base import Explainer
from ...explainers.load import load_explainer
from ...explanation import package_versions
from ...types import Clip
from ..loading import Counted, Progress, refuse_doubles, refuse_empty, sha256_of, together
from ..parts import Parts
from .chosen import with_view
from .config import AblationConfig
from .rows import Tap, rows_of
from .table import RESULTS, Ablation, load_ablation

Given = str | Path | Explainer[Any]

BATCH = 8  # clips in one pass of their own, and of one part on disk


def ablate(
    classifier: Classifier,
    clips: Iterable[Clip],
    explainers: Given | Sequence[Given],
    config: AblationConfig | None = None,
    *,
    folder: str | Path | None = None,
    told: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Ablation:
    """Masks the region of APEX's top channel in each clip, and controls, and scores what is left.

    One forward pass of each clip is shared by all; each distinct masked clip is one more, whatever controls share it.

    Parameters
    ----------
    explainers
        One APEX or several, as names, folders or objects. A view is asked of the one that was fitted for it, or else of
        the first, whose basis is then asked where its channels are strongest in that view; the table says which.
    config, changes
        The settings; keyword changes replace single ones.
    folder
        Where the results are written; a run that was killed goes on there, and one that is finished is read.
    told
        What the result card says of the data, such as `data` and `folds`.
    progress
        Takes clips times views done, and in all.

    Raises
    ------
    DataError
        If no clip could be scored, or two have one id.
    ModelError
        If an explainer is no APEX of this classifier, or its map does not have a view: before any work.
    """
    config = replace(config or AblationConfig(), **changes)
    asked = asked_of(classifier, explainers, config.views)
    listed = sorted(clips, key=lambda clip: clip.id)
    refuse_doubles(listed)
    about = _about(classifier, asked, config, dict(told or {}))
    about["key"] = _key(about, listed)
    place = None if folder is None else Path(folder)
    if place is not None and (there := finished(place, about["key"])):
        return there
    counted, parts = Counted(n=len(listed)), Parts(place, about["key"], RESULTS.schema)
    tables = list(_tables(classifier, listed, asked, config, parts, counted, progress))
    refuse_empty(len(tables), counted)
    found = Ablation(
        RESULTS.ordered(tables), {**about, "clips": counted.to_dict(), "learned_from": learned_from(classifier.card)}
    )
    if place is not None:
        found.save(place)
        parts.clear()
    return found


def asked_of(
    classifier: Classifier, explainers: Given | Sequence[Given], views: Sequence[str]
) -> dict[str, tuple[Apex, str]]:
    """Returns for each view the APEX that is asked, and the view for which its basis was fitted.

    Raises
    ------
    InputError
        If there is none.
    ModelError
        If one is no APEX of this classifier, or its map does not have a view.
    """
    given = [explainers] if isinstance(explainers, str | Path | Explainer) else list(explainers)
    loaded = [one if isinstance(one, Explainer) else load_explainer(one, classifier=classifier) for one in given]
    if not loaded:
        raise InputError("There is no APEX to ablate; name at least one.")
    apexes = []
    for one in loaded:
        if not isinstance(one, Apex):
            raise ModelError(
                f"Regions of views are APEX's, and {one.method} has none; fit one with `earmark fit apex`."
            )
        if one.classifier.fingerprint != classifier.fingerprint:
            raise ModelError(f"An APEX of {classifier.name} is needed, got one of {one.classifier.name}.")
        apexes.append(one)
    for view in views:
        check_view(view, 2 if classifier.has_frequency else 1)
    by_view = {one.config.view: one for one in reversed(apexes)}
    chosen = {view: by_view.get(view, apexes[0]) for view in views}  # type: ignore[call-overload]
    return {view: (with_view(one, view), one.config.view) for view, one in chosen.items()}  # type: ignore[arg-type]


def finished(place: Path, key: str | None = None) -> Ablation | None:
    """Returns the ablation that a folder holds, if it is whole and, where a key is given, of the same run."""
    try:
        return load_ablation(place) if RESULTS.is_of(place, key) else None
    except EarmarkError:
        return None


def _tables(
    classifier: Classifier,
    clips: Sequence[Clip],
    asked: Mapping[str, tuple[Apex, str]],
    config: AblationConfig,
    parts: Parts,
    counted: Counted,
    progress: Progress | None,
) -> Iterator[pa.Table]:
    """Yields the rows of each batch and view, as they are read or made."""
    done = 0
    for chosen, samples in together(classifier, clips, counted, BATCH):
        tap: Tap | None = None
        for view, (apex, fitted) in asked.items():
            path = parts.path(chosen, samples, view)
            there = parts.read(path)
            if there is None:
                began = time.perf_counter()
                tap = tap or Tap.of(classifier, chosen, samples)
                there = RESULTS.table_of(rows_of(tap, apex, config, fitted)), time.perf_counter() - began
                parts.write(*there, path)
            yield there[0]
            done += len(chosen)
            if progress:
                progress(done, counted.left * len(asked))


def _about(
    classifier: Classifier, asked: Mapping[str, tuple[Apex, str]], config: AblationConfig, told: dict[str, Any]
) -> dict[str, Any]:
    return {
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint,
        "task": classifier.task,
        "threshold": classifier.threshold,
        "labels": list(classifier.labels),
        "front_end": classifier.front_end.to_dict(),
        "explainers": {
            view: {"fitted": fitted, "basis_sha256": apex.bank.basis_sha256, "config": apex._config()}
            for view, (apex, fitted) in asked.items()
        },
        "config": config.to_dict(),
        "told": told,
        "versions": package_versions(),
    }


def _key(about: dict[str, Any], clips: Sequence[Clip]) -> str:
    """Returns the sha256 of all that the rows depend on."""
    known = [about, [[clip.id, sha256_of(clip), clip.labels, clip.group, clip.fold] for clip in clips]]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
