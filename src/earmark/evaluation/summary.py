"""Summaries: the mean of each metric with its interval, per explainer, protocol, area and re-entry stage.

Intervals are 95 % percentile bootstraps over groups (recordings); with several seeds, these are drawn as well. A number
without its interval and its count is not printed. Values that are not defined are left out of a mean, and counted.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from ..masks import MapFlag
from ..metrics.identities import broken_identities
from ..metrics.intervals import bootstrap, paired_difference
from ..metrics.matched import area_under
from .against import compared
from .columns import METRIC_COLUMNS
from .scores import Scores
from .warnings import GAP, warnings_of

CURVES = ("average_drop", "average_gain", "faithfulness", "faithfulness_logit", "input_fidelity", "energy_kept")
MIXED = ("source_kept", "contaminant_kept", "contrast_db")  # curves of mixtures
HEADLINE = {"curve": "insertion_minus_deletion", "localization": "localization_auc"}
UNDER_FAITHFULNESS = "area under faithfulness"

Row = Mapping[str, Any]
Key = tuple[str, str, str, int]  # group, clip, target, seed
Values = dict[Key, float]


def summarize(scores: Scores) -> dict[str, Any]:
    """Returns the summary as JSON values.

    Returns
    -------
    summary
        `card` (under what the scores were made), `clips` (counts and coverage), `decisions` (mean confidence and
        accuracy), `tables` (one per protocol, stage and area), `curves` (areas under the curves of equal area),
        `against` (paired differences to the controls), `stages` (differences between re-entry stages),
        `broken_identities` (none, unless a table is wrong), `warnings` (what a reader must know).
    """
    rows = scores.table.to_pylist()
    under = under_curves(scores, rows)
    once = list({(row["clip"], row["target"]): row for row in rows}.values())  # each explained decision
    decisions, tables = _decisions(once), _tables(scores, rows)
    return {
        "card": _card(scores, once),
        "clips": scores.about["clips"],
        "decisions": decisions,
        "explainers": scores.about["explainers"],
        "tables": tables,
        "curves": _curve_tables(scores, under),
        "against": _against(scores, rows, under),
        "stages": _stages(scores, under),
        "broken_identities": _broken(tables),
        "warnings": warnings_of(scores.about, rows),
    }


def methods_of(scores: Scores) -> dict[str, str]:
    """Returns the method of each explainer by its name."""
    return {name: entrants[0]["method"] for name, entrants in scores.about["explainers"].items()}


def areas_of(scores: Scores) -> list[float]:
    """Returns the areas over which curves are taken: those of the grid from .01 to .5."""
    return [area for area in scores.about["config"]["areas"] if 0.01 <= area <= 0.5]


def _card(scores: Scores, rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the settings under which every number was made."""
    about = scores.about
    names = ("classifier", "fingerprint", "task", "threshold", "front_end", "inverse_db", "versions")
    settings = {name: about["config"][name] for name in ("reentry", "fill", "areas", "smooth", "seeds")}
    decision = "the top label" if about["task"] == "multiclass" else "every label above the threshold"
    mask = {"score": "logit", "decision": decision, "mask": "linear gain on the STFT magnitude"}
    silence = [row["silence_prob"] for row in rows if row["silence_prob"] is not None]
    more = {
        "parity": about.get("parity"),
        "normalizes": about.get("normalizes"),
        "silence_score": sum(silence) / len(silence) if silence else None,
        "wall_s": about.get("wall_s"),
    }
    return {**{name: about.get(name) for name in names}, **settings, **mask, **more, **about.get("told", {})}


def _decisions(once: Sequence[Row]) -> dict[str, Any]:
    """Returns mean confidence and accuracy over clips and labels, and decisions on mixtures that are the source's."""
    known = [row["correct"] for row in once if row["correct"] is not None]
    probs = [row["prob"] for row in once if row["prob"] is not None]
    return {
        "n": len(once),
        "mean_prob": sum(probs) / len(probs) if probs else None,
        "accuracy": sum(known) / len(known) if known else None,
        "undecided": sum(bool(row["undecided"]) for row in once),
        "mixtures": sum(row["mixture"] is not None for row in once),
        "of_source": sum(row["mixture"] is not None and bool(row["correct"]) for row in once),
    }


# -- tables ---------------------------------------------------------------------------------------------------------


def _tables(scores: Scores, rows: Sequence[Row]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["protocol"], row["reentry"], row["area"]][row["explainer"]].append(row)
    return [
        {
            "protocol": protocol,
            "reentry": reentry,
            "area": area,
            "rows": [_table_row(name, found[protocol, reentry, area][name]) for name in scores.explainers],
        }
        for protocol, reentry, area in sorted(found, key=lambda key: (key[0], str(key[1]), key[2] or 0))
    ]


def _table_row(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    filled = [metric for metric in METRIC_COLUMNS if any(row[metric] is not None for row in rows)]
    probs = [row["prob"] for row in rows if row["prob"] is not None]
    clusters = [row["group"] for row in rows], [row["seed"] for row in rows]
    return {
        "explainer": name,
        "n": len(rows),
        "failed": sum(row["failed"] is not None for row in rows),
        "flagged": sum(_is_flagged(row) for row in rows),
        "mean_prob": sum(probs) / len(probs) if probs else None,
        "metrics": {m: told(bootstrap(_tensor([row[m] for row in rows]), *clusters)) for m in filled},
    }


def _is_flagged(row: Row) -> bool:
    """Says whether a map is unusual, or its values miss their sum."""
    return bool((row["map_flags"] or 0) & _marks(row["protocol"])) or (row["completeness_gap"] or 0) > GAP


def _marks(protocol: str) -> int:
    """Returns the flags that change what a protocol scores: signs and values above 1 only matter to native masks."""
    order = MapFlag.NOT_FINITE | MapFlag.ZERO | MapFlag.CONSTANT
    return int(order | MapFlag.NEGATIVE | MapFlag.ABOVE_ONE if protocol == "soft" else order)


def _tensor(values: Sequence[float | None]) -> torch.Tensor:
    return torch.tensor([math.nan if value is None else value for value in values], dtype=torch.float64)


def told(interval: Any) -> dict[str, Any]:
    """Returns an interval as JSON values: nothing for what is not defined."""
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(interval).items()}


def _broken(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a sentence for each identity that a table breaks; means over other clips than all prove nothing."""
    found = []
    for table in tables:
        for row in table["rows"]:
            means = {m: v["mean"] for m, v in row["metrics"].items() if v["mean"] is not None and not v["n_missing"]}
            broken = broken_identities(means, n=row["n"], mean_prob=row["mean_prob"], rounding=1e-9)
            where = f"{table['protocol']}, area {table['area']}, {table['reentry']}, {row['explainer']}"
            found += [f"{where}: {sentence}" for sentence in broken]
    return found


# -- curves of equal area -------------------------------------------------------------------------------------------

Under = dict[tuple[str, str], dict[Key, dict[str, float]]]  # by stage and explainer, then by clip, then by metric


def under_curves(scores: Scores, rows: Sequence[Row]) -> Under:
    """Returns the areas under the curves of each clip."""
    areas = areas_of(scores)
    if len(areas) < 2:
        return {}
    found: dict[tuple[str, str], dict[Key, dict[float, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["protocol"] == "matched":
            found[row["reentry"], row["explainer"]][_key(row)][row["area"]] = row
    return {key: _areas(curves, areas) for key, curves in found.items()}


def _areas(curves: Mapping[Key, Mapping[float, Row]], areas: Sequence[float]) -> dict[Key, dict[str, float]]:
    mixed = any(row["mixture"] is not None for at in curves.values() for row in at.values())
    names = (*CURVES, *MIXED) if mixed else CURVES
    heights = {m: torch.stack([_tensor([at[a][m] for a in areas]) for at in curves.values()]) for m in names}
    under = {metric: area_under(height, areas).tolist() for metric, height in heights.items()}
    return {key: {metric: under[metric][i] for metric in names} for i, key in enumerate(curves)}


def _key(row: Row) -> Key:
    return row["group"], row["clip"], row["target"], row["seed"]


def _curve_tables(scores: Scores, under: Under) -> list[dict[str, Any]]:
    areas = areas_of(scores)
    return [
        {
            "reentry": stage,
            "from": areas[0],
            "to": areas[-1],
            "rows": [_curve_row(name, under[stage, name]) for name in scores.explainers],
        }
        for stage in dict.fromkeys(stage for stage, _ in sorted(under))
    ]


def _curve_row(name: str, found: Mapping[Key, Mapping[str, float]]) -> dict[str, Any]:
    groups, seeds = [key[0] for key in found], [key[3] for key in found]
    names = next(iter(found.values()), {})
    metrics = {m: told(bootstrap(_tensor([v[m] for v in found.values()]), groups, seeds)) for m in names}
    return {"explainer": name, "n": len(found), "metrics": metrics}


def _stages(scores: Scores, under: Under) -> list[dict[str, Any]]:
    """Returns for each explainer how far each stage's areas under curves are from those of the first, on each clip."""
    first, *others = scores.about["config"]["reentry"]
    return [
        {"stage": stage, "first": first, "rows": [_gap_row(name, under, first, stage) for name in scores.explainers]}
        for stage in others
        if under
    ]


def _gap_row(name: str, under: Under, first: str, stage: str) -> dict[str, Any]:
    ours, theirs = under[stage, name], under[first, name]
    groups, seeds = [key[0] for key in theirs], [key[3] for key in theirs]
    metrics = {}
    for metric in CURVES[:-1]:
        here, there = (_tensor([at[key][metric] for key in theirs]) for at in (ours, theirs))
        metrics[metric] = told(paired_difference(here, there, groups, seeds))
    return {"explainer": name, "n": len(theirs), "metrics": metrics}


# -- against the controls -------------------------------------------------------------------------------------------


def _against(scores: Scores, rows: Sequence[Row], under: Under) -> list[dict[str, Any]]:
    """Returns paired differences of headline numbers to each control, on the same clips, corrected after Holm."""
    headlines: dict[tuple[str, str | None], dict[str, Values]] = defaultdict(dict)
    for (stage, name), found in under.items():
        headlines[UNDER_FAITHFULNESS, stage][name] = {key: v["faithfulness"] for key, v in found.items()}
    for row in rows:
        if metric := HEADLINE.get(row["protocol"]):
            values = headlines[metric, row["reentry"]].setdefault(row["explainer"], {})
            values[_key(row)] = math.nan if row[metric] is None else row[metric]
    methods = methods_of(scores)
    return [
        {"metric": metric, "reentry": stage, **one}
        for (metric, stage), values in headlines.items()
        for one in compared(values, methods)
    ]
