"""What many explanation folders say, a line for each: they are read one after the other, and what is kept is small.

*Agreement of methods* is told where the same sound and the same target were explained more than once, by different
methods or settings, for the same classifier: the mean over the others of the intersection over union of the areas
that the regions cover on the clip's STFT grid, in [0, 1]. Exact repeats do not count. Two explanations without a
region tell nothing of each other; one without and one with a region have 0.

*Agreement with the label* is told where a table names the clip's labels: whether the predicted label is among them, or,
for a multi-label classifier, whether the target counts as heard exactly if it is among them.
"""

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..audio.stft import Stft
from ..classifiers.base import Grid
from ..errors import InputError
from ..masking import region_mask
from ..render.summary import Summary
from ..types import Prediction, Region
from .explanations import LIST, MARKER, SCHEMA, listed_folders

Truth = Mapping[str, tuple[str, ...]]  # labels of clips, by their path without ending, and by their file name

_FAULTS = (OSError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, SafetensorError)


def find_folders(root: Path) -> Iterator[Path]:
    """Yields the folders of explanations in a folder and below, sorted; hidden ones, and what lies in one, are not."""
    for place, folders, names in os.walk(root):
        folders[:] = [] if MARKER in names else sorted(name for name in folders if not name.startswith("."))
        if MARKER in names or LIST in names:
            yield Path(place)


def summaries(root: Path, truth: Truth | None = None) -> Iterator[Summary | tuple[str, str]]:
    """Yields what each explanation below a folder says; for one that cannot be read, its folder and the reason."""
    for folder in find_folders(root):
        relative = folder.relative_to(root).as_posix()
        if (folder / MARKER).is_file():
            try:
                yield _with_truth(_summary(folder, relative), truth or {})
            except _FAULTS as error:
                yield relative, f"it holds a damaged explanation ({type(error).__name__}: {error})"
        else:
            yield from ((f"{relative}/{name}", "it is listed, and missing") for name in _missing(folder))


def _missing(folder: Path) -> list[str]:
    try:
        return [str(name) for name in listed_folders(folder) if not (folder / name / MARKER).is_file()]
    except _FAULTS as error:
        return [f"{LIST} ({type(error).__name__})"]


def _summary(folder: Path, relative: str) -> Summary:
    about = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    if about["schema"] > SCHEMA:
        raise ValueError(f"it was written by a newer earmark, schema {about['schema']}")
    said, evidence, made, target = (about[name] for name in ("prediction", "evidence", "provenance", "target"))
    grid = Grid(**{**about["grid"], "stft": Stft(**about["grid"]["stft"])})
    regions = tuple(Region(**region) for region in about["regions"])
    sound = about["sound"]
    duration_s = sound["n_samples"] / sound["sample_rate"]
    prob = _probability(folder, said, target["label"])
    contrast = f", not {target['against_label']}" if target["against_label"] is not None else ""
    multilabel = said["task"] == "multilabel"
    same = (about["name"], *sound.values(), made.get("start_s"), made.get("end_s"), made["fingerprint"])
    return Summary(
        folder=relative,
        name=str(about["name"]),
        target=f"{target['label']}{contrast}",
        prob=prob,
        heard=str(said["label"]),
        heard_prob=float(said["prob"]),
        method=str(made["method"]),
        view=str(evidence.get("view", "")),
        basis=str(evidence.get("basis", "")),
        classifier=str(made["classifier"]),
        fingerprint=str(made["fingerprint"]),
        covered=None if evidence.get("covered") is None else float(evidence["covered"]),
        regions=regions,
        whole=_whole(evidence, duration_s, grid),
        duration_s=duration_s,
        has_page=(folder / "index.html").is_file(),
        grid=grid,
        same=(*same, target["label"], target["against_label"]),
        maker=_digest([made["method"], made["config"], evidence.get("contributions"), about["regions"]]),
        decided=(target["label"], prob >= said["threshold"]) if multilabel else (said["label"], True),
    )


def _probability(folder: Path, said: Mapping[str, Any], label: str) -> float:
    """Returns the probability of a label: from the most probable ones, or else from the stored logits."""
    for one in said["top"]:
        if one["label"] == label:
            return float(one["prob"])
    labels = tuple(said["labels"])
    prediction = Prediction(_tensor(folder, "logits"), labels, said["task"], said["threshold"])
    return float(prediction.probs[labels.index(label)])


def _tensor(folder: Path, name: str) -> Tensor:
    with safe_open(folder / "tensors.safetensors", framework="pt") as file:
        return file.get_tensor(name)


def _whole(evidence: Mapping[str, Any], duration_s: float, grid: Grid) -> Region:
    edges = evidence["geometry"]["row_edges_hz"] if "geometry" in evidence else (0.0, grid.sample_rate / 2)
    return Region(0.0, duration_s, edges[0], edges[-1])


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


# -- agreement with labels ------------------------------------------------------------------------------------------


def read_truth(path: Path, label_column: str = "label") -> dict[str, tuple[str, ...]]:
    """Returns the labels of clips from a table with the column `file_name`, by path without ending and by name.

    A name that occurs with different labels is left out: only its path tells which clip is meant.

    Raises
    ------
    DataError
        If the table cannot be read, or lacks a column.
    """
    from ..data._rows import read_rows, require_column

    columns, rows = read_rows(path)
    for column in ("file_name", label_column):
        require_column(path, column, columns)
    by_path: dict[str, tuple[str, ...]] = {}
    by_name: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        file = PurePosixPath(row["file_name"].replace("\\", "/"))
        labels = tuple(sorted({label.strip() for label in row[label_column].split(";")} - {""}))
        by_path[file.with_suffix("").as_posix()] = labels
        by_name[file.name].add(labels)
    named = {name: next(iter(found)) for name, found in by_name.items() if len(found) == 1}
    return named | by_path


def _with_truth(summary: Summary, truth: Truth) -> Summary:
    """Returns the summary with the labels of its clip, found by its folder's path or by its name."""
    parts = PurePosixPath(summary.folder).parts
    paths = ["/".join(parts[i:]) for i in range(len(parts))]
    found = next((truth[key] for key in [*paths[:-1], summary.name] if key in truth), None)
    if found is None:
        return summary
    label, heard = summary.decided
    return replace(summary, truth=found, agrees=(label in found) == heard)


# -- agreement of methods -------------------------------------------------------------------------------------------


def with_agreement(rows: Sequence[Summary], root: Path) -> list[Summary]:
    """Returns the rows, each with its agreement with the others of its clip and target."""
    groups = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.same].append(index)
    found = list(rows)
    for indices in (indices for indices in groups.values() if len(indices) > 1):
        for same in _same_sound([(i, rows[i]) for i in indices], root):
            for i, agreement in _agreements([(i, rows[i]) for i in same]):
                found[i] = replace(rows[i], agreement=agreement)
    return found


def _same_sound(rows: Iterable[tuple[int, Summary]], root: Path) -> list[list[int]]:
    """Returns the positions of rows in parts whose stored samples are the same; clips may share a name."""
    parts = defaultdict(list)
    for index, row in rows:
        try:
            samples = _tensor(root / row.folder, "samples").contiguous().numpy().tobytes()
        except _FAULTS:
            continue
        parts[hashlib.sha256(samples).digest()].append(index)
    return list(parts.values())


def _agreements(rows: Sequence[tuple[int, Summary]]) -> Iterator[tuple[int, float | None]]:
    """Yields the mean intersection over union of each with all that are no repeats of it."""
    masks = [region_mask(row.regions, row.grid).bool() for _, row in rows if row.grid is not None]
    for i, (index, row) in enumerate(rows):
        others = [j for j, (_, other) in enumerate(rows) if j != i and other.maker != row.maker]
        values = [overlap_of(masks[i], masks[j]) for j in others]
        known = [value for value in values if not math.isnan(value)]
        yield index, sum(known) / len(known) if known else None


def overlap_of(first: Tensor, second: Tensor) -> float:
    """Returns the intersection over union of two masks, in [0, 1]; NaN where both are empty."""
    union = int(torch.logical_or(first, second).sum())
    return int(torch.logical_and(first, second).sum()) / union if union else math.nan


def refuse_empty(root: Path, rows: Sequence[Summary], failed: Sequence[tuple[str, str]]) -> None:
    """Refuses a folder in which there is nothing to report.

    Raises
    ------
    InputError
        If there is no explanation that can be read.
    """
    if not rows:
        broken = f" that can be read: {failed[0][0]}: {failed[0][1]}" if failed else ""
        raise InputError(f"{root} holds no explanation{broken}; name a folder that `earmark explain` wrote into.")
