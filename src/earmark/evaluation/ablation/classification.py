"""How good the classifier still is with the regions taken out: T1-Acc, cmAP and AUROC, with intervals over recordings.

One mask for each clip, that of its top label. Resampled clips count as often as their recording was drawn; of controls
with several draws, the numbers of the draws are averaged. Labels that no clip has are left out (`ignore`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...types import seeded

N_RESAMPLES = 1000
METRICS = ("top1", "cmap", "auroc")

Row = Mapping[str, Any]
Counts = Float[Tensor, "resample clip"]


def classified(rows: Mapping[str, Sequence[Row]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Returns for each condition the metrics with intervals, and what APEX's region loses beyond it.

    Parameters
    ----------
    rows
        By condition, those of clips' top labels; `region` is compared with all others.
    labels
        The classifier's.
    """
    own = _by_clip(rows["region"])
    found = []
    for condition, given in rows.items():
        theirs = _by_clip(given)
        clips = [clip for clip in theirs if clip in own]
        if clips:
            groups = [theirs[clip][0]["group"] for clip in clips]
            counts = _counts(groups)
            present = _present([theirs[clip][0] for clip in clips], labels)
            here, region = (_means([side[clip] for clip in clips], present, counts) for side in (theirs, own))
            told = {name: _told(here[name]) for name in METRICS}
            beyond = {} if condition == "region" else {n: _told(region[n] - here[n]) for n in METRICS}
            row = {"condition": condition, "n": len(clips), "n_clusters": len(set(groups))}
            found.append({**row, "metrics": told, "region_minus": beyond})
    return found


def _by_clip(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns the rows of each clip that has a label and all of whose draws were scored, in the order of draws."""
    several: dict[str, list[Row]] = {}
    for row in rows:
        several.setdefault(row["clip"], []).append(row)
    whole = {c: v for c, v in several.items() if all(r["logits"] is not None and r["labels"] for r in v)}
    return {clip: sorted(own, key=lambda row: (row["seed"], row["draw"])) for clip, own in whole.items()}


def _present(rows: Sequence[Row], labels: Sequence[str]) -> Bool[Tensor, "clip label"]:
    return torch.tensor([[label in row["labels"].split(";") for label in labels] for row in rows])


def _counts(groups: Sequence[str]) -> Counts:
    """Returns ones, and then how often each clip counts in each resample of the recordings."""
    codes = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    drawn = torch.randint(len(codes), (N_RESAMPLES, len(codes)), generator=seeded(0))
    counts = torch.zeros(N_RESAMPLES, len(codes), dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    every = torch.cat([torch.ones(1, len(codes), dtype=torch.float64), counts])
    return every[:, [codes[group] for group in groups]]


def _means(
    rows: Sequence[Sequence[Row]], present: Bool[Tensor, "clip label"], counts: Counts
) -> dict[str, Float[Tensor, " resample"]]:
    """Returns metrics of each resample, the first of which is the clips themselves."""
    draws = []
    for draw in range(len(rows[0])):
        logits = torch.tensor([own[draw]["logits"] for own in rows], dtype=torch.float64)
        hits = torch.tensor([own[draw]["top_hit"] for own in rows], dtype=torch.float64)
        columns = [(logits[:, k], present[:, k]) for k in range(logits.shape[1]) if present[:, k].any()]
        precisions = torch.stack([weighted_precision(s, p, counts) for s, p in columns])
        areas = torch.stack([weighted_auroc(s, p, counts) for s, p in columns])
        top1 = (counts @ hits) / counts.sum(1)
        draws.append({"top1": top1, "cmap": precisions.nanmean(0), "auroc": areas.nanmean(0)})
    return {name: torch.stack([draw[name] for draw in draws]).mean(0) for name in METRICS}


def weighted_precision(
    scores: Float[Tensor, " clip"], present: Bool[Tensor, " clip"], counts: Counts
) -> Float[Tensor, " resample"]:
    """Returns average precision of clips that count several times, ties in the order of clips."""
    order = scores.argsort(descending=True, stable=True)
    weight = counts[:, order]
    hits = weight * present[order]
    precision = hits.cumsum(1) / weight.cumsum(1).clamp_min(1e-12)
    return (hits * precision).sum(1) / hits.sum(1)


def weighted_auroc(
    scores: Float[Tensor, " clip"], present: Bool[Tensor, " clip"], counts: Counts
) -> Float[Tensor, " resample"]:
    """Returns the area under the ROC curve of clips that count several times, ties half."""
    gaps = scores[present][:, None] - scores[~present][None]
    wins = (gaps > 0).double() + 0.5 * (gaps == 0).double()
    real, rest = counts[:, present], counts[:, ~present]
    return ((real @ wins) * rest).sum(1) / (real.sum(1) * rest.sum(1))


def _told(values: Float[Tensor, " resample"]) -> dict[str, float | None]:
    """Returns the first value, and the 95 % interval of the others."""
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = values[1:].nanquantile(tails).tolist()
    named = {"mean": float(values[0]), "low": low, "high": high}
    return {name: None if value != value else value for name, value in named.items()}
