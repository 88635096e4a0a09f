"""ablate: clips with the regions that APEX shows taken out, beside controls. A killed run goes on.

Clips of one length are passed together, in the order of their ids; none is padded. What is finished lies in `.parts-*`
inside the folder, one file per batch and view, until all of it becomes `ablation.parquet`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from ...audio.files import clip_sha256
from ...classifiers.base import Classifier
from ...errors import DataError, EarmarkError, InputError, ModelError
from ...explainers.apex.explainer import Apex
from ...explainers.apex.views import check_view
from ...explainers.base import Explainer
from ...explainers.load import load_explainer
from ...explanation import package_versions
from ...types import Clip, Samples
from ..runner import WAITING, Counted, Progress, prepared
from ..scores import write_table
from .chosen import with_view
from .config import AblationConfig
from .rows import Tap, rows_of
from .table import ABOUT, Ablation, Parts, load_ablation, ordered, table_of

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
    if twice := [name for name, n in Counter(clip.id for clip in listed).items() if n > 1]:
        raise DataError(f"Clips are told apart by their ids, and {twice[0]!r} is there twice; give each its own.")
    about = _about(classifier, asked, config, dict(told or {}))
    about["key"] = _key(about, listed)
    place = None if folder is None else Path(folder)
    if place is not None and (there := finished(place, about["key"])):
        return there
    counted, parts = Counted(n=len(listed)), Parts(place, about["key"])
    tables = list(_tables(classifier, listed, asked, config, parts, counted, progress))
    if not tables:
        reason = next(iter(counted.broken.values()), ", ".join(counted.excluded) or "there was none")
        raise DataError(f"None of {len(listed)} clips could be scored: {reason}")
    found = Ablation(ordered(tables), {**about, "clips": counted.to_dict()})
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
        check_view(view, 1 if classifier.map_axes == "T" else 2)
    by_view = {one.config.view: one for one in reversed(apexes)}
    chosen = {view: by_view.get(view, apexes[0]) for view in views}  # type: ignore[call-overload]
    return {view: (with_view(one, view), one.config.view) for view, one in chosen.items()}  # type: ignore[arg-type]


def finished(place: Path, key: str | None = None) -> Ablation | None:
    """Returns the ablation that a folder holds, if it is whole and, where a key is given, of the same run."""
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        return load_ablation(place) if key in (None, about["key"]) else None
    except (EarmarkError, OSError, ValueError, KeyError, TypeError):
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
    for chosen, samples in _batches(classifier, clips, counted):
        tap: Tap | None = None
        for view, (apex, fitted) in asked.items():
            path = parts.path(chosen, samples, view)
            table = parts.read(path)
            if table is None:
                tap = tap or Tap.of(classifier, chosen, samples)
                table = table_of(rows_of(tap, apex, config, fitted))
                if path is not None:
                    write_table(table, path)
            yield table
            done += len(chosen)
            if progress:
                progress(done, counted.left * len(asked))


def _batches(classifier: Classifier, clips: Sequence[Clip], counted: Counted) -> Iterator[tuple[list[Clip], Samples]]:
    """Yields clips of one length together, in an order that depends on the clips alone."""
    waiting: dict[int, list[tuple[Clip, Samples]]] = {}
    for clip in clips:
        samples = prepared(classifier, clip, counted)
        if samples is None:
            continue
        batch = waiting.setdefault(samples.shape[1], [])
        batch.append((clip, samples))
        if len(batch) == BATCH:
            yield _together(waiting.pop(samples.shape[1]))
        elif sum(map(len, waiting.values())) >= WAITING * BATCH:
            yield _together(waiting.pop(next(iter(waiting))))  # the length that waits longest
    for _, batch in sorted(waiting.items()):
        yield _together(batch)


def _together(batch: Sequence[tuple[Clip, torch.Tensor]]) -> tuple[list[Clip], Samples]:
    return [clip for clip, _ in batch], torch.cat([samples for _, samples in batch])


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
    known = [about, [[clip.id, _sha256(clip), clip.labels, clip.group, clip.fold] for clip in clips]]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _sha256(clip: Clip) -> str:
    try:
        return clip_sha256(clip)
    except (EarmarkError, OSError) as error:
        return type(error).__name__
