"""What stability comes to: intervals over recordings, references, a verdict, tables and a chart."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..metrics.intervals import LEVEL, Interval, bootstrap, least_p, paired_difference
from .moved import Row, slope
from .results import Cell, Chart, CheckResult, Line, Table
from .stability import OTHER_CLIP, OTHER_SEED
from .words import point, spread

REFERENCES = (OTHER_SEED, OTHER_CLIP)
ALIKE = ("rank_correlation", "iou_of_top", "ssim")
PROTOTYPES = ("channels", "contributions", "regions")
UNITS = {
    "time_shift": ("shift", 1000, " ms"),
    "pitch_shift": ("pitch", 1, " semitones"),
    "white_noise": ("white noise at", 1, " dB"),
    "pink_noise": ("pink noise at", 1, " dB"),
    "gain": ("gain", 1, " dB"),
}
FOLLOWS = 0.5  # seconds of the map for each second of the sound, at least, for a map that moves with it


def change_name(name: str, amount: float) -> str:
    """Returns a change in words.

    Examples
    --------
    >>> change_name("time_shift", -0.1), change_name("time_stretch", 1.05), change_name("white_noise", 20)
    ('shift -100 ms', 'stretch x 1.05', 'white noise at 20 dB')
    """
    if name == "time_stretch":
        return f"stretch x {amount:g}"
    if name not in UNITS:
        return name
    word, scale, unit = UNITS[name]
    sign = "" if "noise" in name else "+"
    return f"{word} {amount * scale:{sign}g}{unit}"


def interval_of(rows: Sequence[Row], key: str) -> Interval:
    """Returns the mean of a number with its interval over recordings."""
    values = torch.tensor([float(row.get(key, math.nan)) for row in rows], dtype=torch.float64)
    return bootstrap(values, [row["group"] for row in rows])


def per_clip(rows: Sequence[Row], number: Callable[[Sequence[Row]], float]) -> list[Row]:
    """Returns one row for each clip, with `value` made of all of its rows."""
    clips: dict[str, list[Row]] = {}
    for row in rows:
        clips.setdefault(row["clip"], []).append(row)
    return [{"clip": clip, "group": own[0]["group"], "value": number(own)} for clip, own in clips.items()]


def clip_slope(rows: Sequence[Row]) -> float:
    """Returns how far the map of one clip moved for each second that its sound moved."""
    moved, shifts = ([row[key] for row in rows] for key in ("moved_s", "amount"))
    return slope(torch.tensor(moved, dtype=torch.float64), torch.tensor(shifts, dtype=torch.float64))


def mean_of(rows: Sequence[Row], key: str) -> float:
    """Returns the mean of the numbers that are defined, else NaN."""
    known = [row[key] for row in rows if not math.isnan(row.get(key, math.nan))]
    return math.fsum(known) / len(known) if known else math.nan


def unchanged(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of clips whose decision the change left as it was."""
    return [row for row in rows if row["unchanged"] == 1]


def changed_rows(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of changes, without those of references."""
    return [row for row in rows if row["change"] not in REFERENCES]


def headline(rows: Sequence[Row]) -> dict[str, Interval]:
    """Returns the numbers that a verdict rests on, with intervals over recordings.

    Returns
    -------
    numbers
        `alike`: the rank correlation after a change that leaves the decision, each clip's mean over changes; `other`:
        that with another clip of the label; `above`: their difference on the same clips; `again`: that with another
        seed; `slope`: how far the map moves for each second that the sound moves.
    """
    kept = unchanged(changed_rows(rows))
    alike = per_clip(kept, lambda own: mean_of(own, "rank_correlation"))
    other = {row["clip"]: row["rank_correlation"] for row in rows if row["change"] == OTHER_CLIP}
    again = [row for row in rows if row["change"] == OTHER_SEED]
    shifted = [row for row in kept if row["change"] == "time_shift"]
    groups = [row["group"] for row in alike]
    values = torch.tensor([row["value"] for row in alike], dtype=torch.float64)
    others = torch.tensor([other.get(row["clip"], math.nan) for row in alike], dtype=torch.float64)
    return {
        "alike": bootstrap(values, groups),
        "other": bootstrap(others, groups),
        "above": paired_difference(values, others, groups),
        "again": interval_of(again, "rank_correlation"),
        "slope": interval_of(per_clip(shifted, clip_slope), "value"),
    }


def result_of(rows: Sequence[Row], about: Mapping[str, Any]) -> CheckResult:
    """Returns the verdict, with its tables and chart."""
    numbers = headline(rows)
    passed, sentence = verdict(numbers)
    names = list(dict.fromkeys((row["change"], row["amount"]) for row in changed_rows(rows)))
    tables = [_changes_table(rows, names), _unchanged_table(rows, names), *_move_table(rows), _reference_table(rows)]
    tables += _prototype_table(rows, names)
    failed = sorted({row["failed"] for row in rows if row.get("failed")})
    n_failed = sum(bool(row.get("failed")) for row in rows)
    return CheckResult(
        "stability",
        passed,
        sentence,
        tuple(tables),
        (_chart(rows, names),),
        {**about, "n_failed": n_failed, "failures": failed[:5]},
    )


def verdict(numbers: Mapping[str, Interval]) -> tuple[bool | None, str]:
    """Returns whether maps stay and move as they should, and the sentence that says so."""
    above, moves = numbers["above"], numbers["slope"]
    told = (
        f"Where the decision stays, maps before and after a small change correlate by {spread(numbers['alike'])}, "
        f"those of two clips of one label by {spread(numbers['other'])}; "
        f"for each second that the sound moves, the map moves by {spread(moves)} s."
    )
    if least_p(min(above.n_clusters, moves.n_clusters)) >= LEVEL:
        return None, f"{told} There are too few recordings or no shifts to judge by."
    stays, follows = above.low > 0, moves.low > FOLLOWS
    if stays and follows:
        return True, f"{told} It stays itself and moves with its sound, which says nothing of its being right."
    reasons = ["is no more alike than maps of different clips"] if not stays else []
    reasons += ["does not move with the sound"] if not follows else []
    return False, f"{told} It {' and '.join(reasons)}."


# -- tables ---------------------------------------------------------------------------------------------------------

_Names = Sequence[tuple[str, float]]
Cells = tuple[Cell, ...]


def _of(rows: Sequence[Row], name: tuple[str, float]) -> list[Row]:
    return [row for row in rows if (row["change"], row["amount"]) == name]


def _changes_table(rows: Sequence[Row], names: _Names) -> Table:
    columns = (
        "change",
        "N",
        "rank correlation",
        "IoU of the top",
        "SSIM",
        "as it lies",
        "change of p",
        "decisions kept",
    )
    keys = (*ALIKE, "as_it_lies", "confidence_change", "unchanged")
    body: list[Cells] = [
        (change_name(*name), _n(_of(rows, name)), *(_cell(_of(rows, name), key) for key in keys)) for name in names
    ]
    return Table("All clips, taken back before they are compared", columns, tuple(body))


def _unchanged_table(rows: Sequence[Row], names: _Names) -> Table:
    columns = ("change", "N", "rank correlation", "IoU of the top", "SSIM", "as it lies")
    some = {name: unchanged(_of(rows, name)) for name in names}
    body: list[Cells] = [
        (change_name(*n), _n(own), *(_cell(own, key) for key in (*ALIKE, "as_it_lies"))) for n, own in some.items()
    ]
    return Table("Clips whose decision stayed", columns, tuple(body))


def _move_table(rows: Sequence[Row]) -> list[Table]:
    """Returns how far maps moved, shift by shift, and the slope over all shifts."""
    shifted = [row for row in rows if row["change"] == "time_shift"]
    if not shifted:
        return []
    body: list[Cells] = []
    for amount in dict.fromkeys(row["amount"] for row in shifted):
        own = [{**row, "moved_ms": 1000 * row["moved_s"]} for row in shifted if row["amount"] == amount]
        near = [{**row, "near": _near(row["moved_s"], amount)} for row in own]
        body.append((f"{1000 * amount:+g} ms", _n(own), _cell(own, "moved_ms", 0), _cell(near, "near")))
    slopes = per_clip(shifted, clip_slope)
    body.append(("all: seconds per second", _n(slopes, "value"), _cell(slopes, "value"), ""))
    columns = ("shift of the sound", "N", "shift of the map, ms", "maps that moved half to one and a half as far")
    return [Table("Does the map move with the sound?", columns, tuple(body))]


def _near(moved_s: float, shift_s: float) -> float:
    return math.nan if math.isnan(moved_s) else float(abs(moved_s - shift_s) <= 0.5 * abs(shift_s))


def _reference_table(rows: Sequence[Row]) -> Table:
    told = {OTHER_SEED: "same clip, other seed", OTHER_CLIP: "other clip of the label"}
    body: list[Cells] = []
    for name, words in told.items():
        own = [row for row in rows if row["change"] == name]
        numbers = tuple(_cell(own, key) for key in ALIKE) if own else ("nothing is drawn at random", "", "")
        body.append((words, _n(own), *numbers))
    return Table("References", ("maps of", "N", "rank correlation", "IoU of the top", "SSIM"), tuple(body))


def _prototype_table(rows: Sequence[Row], names: _Names) -> list[Table]:
    if not any("channels" in row for row in rows):
        return []
    columns = ("change", "N", "shown channels in common", "rank correlation of contributions", "IoU of regions")
    body: list[Cells] = [
        (change_name(*name), _n(_of(rows, name), "channels"), *(_cell(_of(rows, name), key) for key in PROTOTYPES))
        for name in names
    ]
    return [Table("Channels and regions", columns, tuple(body))]


def _cell(rows: Sequence[Row], key: str, places: int = 2) -> str:
    return spread(interval_of(rows, key), places)


def _n(rows: Sequence[Row], key: str = "rank_correlation") -> int:
    return sum(not math.isnan(row.get(key, math.nan)) for row in rows)


def _chart(rows: Sequence[Row], names: _Names) -> Chart:
    """Returns the rank correlation change by change, beside the references."""
    back = tuple(
        point(change_name(*name), interval_of(unchanged(_of(rows, name)), "rank_correlation")) for name in names
    )
    lies = tuple(point(change_name(*name), interval_of(unchanged(_of(rows, name)), "as_it_lies")) for name in names)
    lines = [Line("taken back", back)]
    if any(point.mean is not None for point in lies):
        lines.append(Line("as it lies", lies))
    for reference in REFERENCES:
        own = [row for row in rows if row["change"] == reference]
        if own:
            level = interval_of(own, "rank_correlation")
            lines.append(Line(reference, tuple(point(change_name(*name), level) for name in names)))
    return Chart("Maps before and after", "change", "rank correlation, decisions unchanged", tuple(lines))
