"""Explainers beside controls: paired differences on the same clips, corrected for their number, and what they mean."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ..metrics.intervals import LEVEL, holm, least_p, paired_difference

CONTROLS = ("energy", "random")  # what a method has to beat, by the names of methods
TRIVIAL = ("all-ones", "all-zeros")  # rows that mark the ends of the scale; nothing is asked of them

Values = Mapping[tuple[str, str, str, int], float]  # by group, clip, target and seed


def compared(values: Mapping[str, Values], methods: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yields, for each control that is there, the paired differences of all explainers to it.

    Parameters
    ----------
    values
        One number per explainer, clip and seed, higher is better; means over seeds are compared.
    methods
        The method of each explainer.
    """
    means = {name: _by_clip(found) for name, found in values.items()}
    for control in (name for name in values if methods[name] in CONTROLS):
        others = [name for name in values if name != control and methods[name] not in TRIVIAL]
        if others:
            yield {"control": control, "rows": _rows(means, control, others)}


def _rows(means: Mapping[str, Mapping[Any, float]], control: str, others: Sequence[str]) -> list[dict[str, Any]]:
    from .summary import told

    found = []
    for name in others:
        shared = [clip for clip in means[name] if clip in means[control]]
        first, second = (torch.tensor([means[n][c] for c in shared], dtype=torch.float64) for n in (name, control))
        row = told(paired_difference(first, second, [clip[0] for clip in shared]))
        found.append({**row, "p": None if row["p"] is None else max(row["p"], least_p(row["n_clusters"]))})
    known = [i for i, row in enumerate(found) if row["p"] is not None]
    corrected = dict(zip(known, holm([found[i]["p"] for i in known]), strict=True))
    return [
        {"explainer": n, **row, "p_holm": corrected.get(i)}
        for i, (n, row) in enumerate(zip(others, found, strict=True))
    ]


def _by_clip(found: Values) -> dict[tuple[str, str, str], float]:
    """Returns the mean over seeds of each clip and target."""
    several: dict[tuple[str, str, str], list[float]] = {}
    for (group, clip, target, _), value in found.items():
        several.setdefault((group, clip, target), []).append(value)
    return {key: math.fsum(values) / len(values) for key, values in several.items()}


# -- what it means --------------------------------------------------------------------------------------------------


def verdicts(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns for each explainer whether it beats the controls at equal area, at the first re-entry stage.

    Returns
    -------
    verdicts
        `explainer`, `beats` and `fails` (names of controls), `sentence`; nothing where fewer than two areas were
        scored, or there is no control.
    """
    from .summary import UNDER_FAITHFULNESS

    stage = summary["card"]["reentry"][0]
    tables = [t for t in summary["against"] if t["metric"] == UNDER_FAITHFULNESS and t["reentry"] == stage]
    controls = {table["control"] for table in tables}
    names = dict.fromkeys(row["explainer"] for table in tables for row in table["rows"])
    methods = {name: entrants[0]["method"] for name, entrants in summary["explainers"].items()}
    return [_verdict(name, tables, methods) for name in names if name not in controls]


def _verdict(name: str, tables: Sequence[Mapping[str, Any]], methods: Mapping[str, str]) -> dict[str, Any]:
    rows = {table["control"]: row for table in tables for row in table["rows"] if row["explainer"] == name}
    beats = [control for control, row in rows.items() if _is_sure(row) and row["mean"] > 0]
    fails = [control for control in rows if control not in beats]
    missing = [method for method in CONTROLS if method not in {methods[control] for control in rows}]
    return {"explainer": name, "beats": beats, "fails": fails, "sentence": _sentence(name, rows, beats, fails, missing)}


def _is_sure(row: Mapping[str, Any]) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < LEVEL


def too_few(summary: Mapping[str, Any]) -> str | None:
    """Returns a sentence where there are so few recordings that no difference can be sure, however large it is."""
    tables = [table for table in summary["against"] if table["rows"]]
    if not tables:
        return None
    n, m = max(row["n_clusters"] for t in tables for row in t["rows"]), max(len(t["rows"]) for t in tables)
    if m * least_p(n) < LEVEL:
        return None
    return (
        f"There are too few recordings ({n}) for {m} comparisons: whatever the scores, no p-value can be below {LEVEL}."
    )


def _sentence(
    name: str, rows: Mapping[str, Any], beats: Sequence[str], fails: Sequence[str], missing: Sequence[str]
) -> str:
    said = [f"beats {' and '.join(f'{control} ({difference(rows[control])})' for control in beats)}"] if beats else []
    for control in fails:
        worse = _is_sure(rows[control]) and rows[control]["mean"] < 0
        said.append(f"{'is worse than' if worse else 'does not beat'} {control} ({difference(rows[control])})")
    end = ": it has shown nothing here" if fails else ""
    rest = f" ({' and '.join(missing)} was not scored)" if missing else ""
    return f"{name} {', '.join(said)}{end}{rest}."


def difference(row: Mapping[str, Any]) -> str:
    """Returns a paired difference with its interval and corrected p-value in words."""
    if row["mean"] is None:
        return "undefined"
    if row["low"] is None or row["high"] is None:
        return "no interval"
    return f"{row['mean']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}], {p_value(row['p_holm'])}"


def p_value(value: float | None) -> str:
    """Returns a p-value in words."""
    return "p undefined" if value is None else "p\u00a0<\u00a00.001" if value < 0.001 else f"p\u00a0=\u00a0{value:.3f}"
