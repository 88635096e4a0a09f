"""What an ablation found: means with intervals by condition, and paired differences of APEX's region to its controls.

Everything is told within a view, since the regions of views differ in area. A decision (clip and label) has one weight:
draws of a control are levels of their own in the bootstrap, beside recordings.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...classifiers.learned import learned_warning
from ...metrics.intervals import N_RESAMPLES, bootstrap, holm, least_p, paired_difference
from ...types import seeded
from ..summary import told
from .classification import classified
from .config import CONTROLS, NONE, REGION
from .table import Ablation

Row = Mapping[str, Any]
Decision = tuple[str, str]  # clip, target

OUTCOMES = ("prob_lost", "logit_lost", "drop", "flip")
HEADLINE = "logit_lost"


def summarize(found: Ablation) -> dict[str, Any]:
    """Returns the summary as JSON values."""
    rows = found.table.to_pylist()
    told_of = found.about
    whole = [row for row in rows if row["condition"] == NONE]
    once = {(row["clip"], row["target"]): row for row in whole}
    return {
        "card": _card(found),
        "clips": told_of["clips"],
        "decisions": {
            "n": len(once),
            "mean_prob": sum(row["whole_prob"] for row in once.values()) / max(len(once), 1),
            "undecided": sum(bool(row["undecided"]) for row in once.values()),
        },
        "passes": {"whole": told_of["clips"]["scored"], "masked": _passes(rows)},
        "warnings": _warnings(told_of, rows),
        "views": [_table(part, told_of["labels"], key) for key, part in _parts(rows).items()],
    }


def _warnings(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Returns a sentence for each thing that a reader must know."""
    data, folds = about["told"].get("data"), {row["clip"]: row["fold"] for row in rows}
    said = learned_warning(about["classifier"], about.get("learned_from") or {}, data, folds)
    return [said] if said else []


def _card(found: Ablation) -> dict[str, Any]:
    about, config = found.about, found.about["config"]
    return {
        **about["told"],
        "classifier": about["classifier"],
        "fingerprint": about["fingerprint"],
        "task": about["task"],
        **{f"basis of {view}": f"fitted for {one['fitted']}" for view, one in about["explainers"].items()},
        **config,
        "versions": about["versions"],
    }


def _passes(rows: Sequence[Row]) -> int:
    """Returns how many masked clips were scored: each distinct region of a clip once per fill."""
    where = ("clip", "target", "view", "fill", "kept", "freq", "frame", "height", "width")
    scored = (row for row in rows if row["condition"] != NONE and row["failed"] is None)
    return len({tuple(row[name] for name in where) for row in scored})


def _parts(rows: Sequence[Row]) -> dict[tuple[str, str, bool], list[Row]]:
    """Returns the rows of each view, fill and direction, in the order of the settings' names."""
    found: dict[tuple[str, str, bool], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["view"], row["fill"], row["kept"]].append(row)
    return dict(sorted(found.items()))


def _table(rows: Sequence[Row], labels: Sequence[str], key: tuple[str, str, bool]) -> dict[str, Any]:
    by_condition: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_condition[row["condition"]].append(row)
    order = [name for name in (NONE, REGION, *CONTROLS) if name in by_condition]
    top = {name: [row for row in by_condition[name] if row["is_top"]] for name in order}
    return {
        "view": key[0],
        "fill": key[1],
        "kept": key[2],
        "rows": [_row(name, by_condition[name]) for name in order if name != NONE],
        "against": _against({name: by_condition[name] for name in order if name != NONE}),
        "classification": [] if key[2] else classified(top, labels),
    }


def _row(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    scored = [row for row in rows if row["failed"] is None]
    groups, runs = [row["group"] for row in scored], [(row["seed"], row["draw"]) for row in scored]
    decisions = {(row["clip"], row["target"]) for row in rows}
    return {
        "condition": name,
        "n": len({(row["clip"], row["target"]) for row in scored}),
        "unmatched": len(decisions) - len({(row["clip"], row["target"]) for row in scored}),
        "draws": len(set(runs)),
        **{what: _mean(scored, what) for what in ("area", "area_stft", "removed_db", "softer_db", "overlap")},
        "metrics": {m: told(bootstrap(_tensor(scored, m), groups, runs)) for m in ("prob", *OUTCOMES)},
        "per_area_percent": _ratio(scored, "area", 100.0),
        "per_db": _ratio(scored, "softer_db", 1.0),
    }


def _mean(rows: Sequence[Row], what: str) -> float | None:
    return math.fsum(row[what] for row in rows) / len(rows) if rows else None


def _tensor(rows: Sequence[Row], what: str) -> torch.Tensor:
    return torch.tensor([math.nan if row[what] is None else row[what] for row in rows], dtype=torch.float64)


def _ratio(rows: Sequence[Row], size: str, factor: float) -> dict[str, float | None]:
    """Returns the logit lost for each unit of a size, over all clips together, with an interval over recordings."""
    clusters = {group: i for i, group in enumerate(dict.fromkeys(row["group"] for row in rows))}
    sums = torch.zeros(2, max(len(clusters), 1), dtype=torch.float64)
    for row in rows:
        sums[:, clusters[row["group"]]] += torch.tensor([row[HEADLINE], factor * row[size]], dtype=torch.float64)
    lost, sizes = sums
    if float(sizes.sum()) <= 1e-6 * max(len(rows), 1):
        return {"mean": None, "low": None, "high": None}
    drawn = torch.randint(len(clusters), (N_RESAMPLES, len(clusters)), generator=seeded(0))
    ratios = lost[drawn].sum(1) / sizes[drawn].sum(1).clamp_min(1e-12)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"mean": float(lost.sum() / sizes.sum()), "low": low, "high": high}


# -- paired with the controls ---------------------------------------------------------------------------------------


def _against(by_condition: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """Returns region minus control for each outcome, corrected over the controls after Holm."""
    own = {(row["clip"], row["target"]): row for row in by_condition.get(REGION, ())}
    controls = [name for name in by_condition if name != REGION]
    found = []
    for outcome in OUTCOMES:
        rows = [_difference(own, by_condition[name], outcome) for name in controls]
        known = [i for i, row in enumerate(rows) if row["p"] is not None]
        corrected = dict(zip(known, holm([rows[i]["p"] for i in known]), strict=True))
        found.append(
            {
                "outcome": outcome,
                "rows": [
                    {"control": name, **row, "p_holm": corrected.get(i)}
                    for i, (name, row) in enumerate(zip(controls, rows, strict=True))
                ],
            }
        )
    return found


def _difference(own: Mapping[Decision, Row], rows: Sequence[Row], outcome: str) -> dict[str, Any]:
    scored = [row for row in rows if row["failed"] is None]
    region = _tensor([own[row["clip"], row["target"]] for row in scored], outcome)
    groups, runs = [row["group"] for row in scored], [(row["seed"], row["draw"]) for row in scored]
    row = told(paired_difference(region, _tensor(scored, outcome), groups, runs))
    row["n_pairs"], row["n"] = row["n"], len({(one["clip"], one["target"]) for one in scored})
    return {**row, "p": None if row["p"] is None else max(row["p"], least_p(row["n_clusters"]))}
