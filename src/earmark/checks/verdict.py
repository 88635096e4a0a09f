"""What the randomization of weights says of an explainer: the verdict in words, tables and charts.

The verdict rests on paired differences: similarity after all layers are re-drawn, minus that to maps of other clips
on the intact model, on the same clips, resampled over recordings and draws. It passes if the difference is not above
zero within its 95 % interval by any measure of the map as it is used (SSIM, signed Spearman, IoU of the top 10 %;
absolute values are neither ranked nor heard), or by the one measure that is asked to decide. What leaves most maps
unchanged does not depend on the model, and fails.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.intervals import Interval, bootstrap, paired_difference
from .compared import Rows, column
from .config import AS_USED, CheckConfig
from .results import Chart, CheckResult, Line, Point, Table
from .similarity import MEASURES
from .subject import Subject
from .words import joined, number, point, several, spread

ENOUGH = 100  # clips of a firm verdict
WIDE = 0.2  # upper end of a difference that is called zero
MOST = 0.5  # share of maps that may stay as they are


@dataclass(frozen=True)
class Step:
    """One step of the randomization: its kind (cascade, alone), the layer that is new in it, and one part per draw."""

    kind: str
    layer: str
    n_parameters: int
    draws: list[Rows]


@dataclass(frozen=True)
class Controls:
    """What maps are compared with, one part per draw: other clips, random maps, other seeds of the explainer."""

    other_clip: list[Rows]
    random_map: list[Rows]
    other_seed: list[Rows]

    def named(self) -> Iterator[tuple[str, list[Rows]]]:
        """Yields names of those that there are."""
        yield "another clip, intact model", self.other_clip
        yield "random map", self.random_map
        if self.other_seed:
            yield "another seed, intact model", self.other_seed


@dataclass(frozen=True)
class Final:
    """One measure after full randomization, and against maps of other clips."""

    after: Interval
    other: Interval
    difference: Interval

    @property
    def passed(self) -> bool | None:
        """Whether the difference is not above zero within its interval; `None` where it is not defined."""
        return None if math.isnan(self.difference.low) else self.difference.low <= 0


def told(
    subject: Subject, config: CheckConfig, steps: Sequence[Step], controls: Controls, about: dict[str, Any]
) -> CheckResult:
    """Returns the result of the randomization."""
    words = _Words(subject, config, steps, controls)
    return CheckResult(
        "randomization",
        words.passed,
        words.sentence(),
        tuple(words.tables()),
        tuple(words.charts()),
        {**about, **words.counts()},
    )


class _Words:
    """Intervals of all steps, and what is said of them."""

    def __init__(self, subject: Subject, config: CheckConfig, steps: Sequence[Step], controls: Controls) -> None:
        self.subject, self.config, self.steps, self.controls = subject, config, steps, controls
        self.full = [step for step in steps if step.kind == "cascade"][-1]
        self.groups = subject.groups
        self._known: dict[tuple[int, str], Interval] = {}
        self.finals = {measure: self._final(measure) for measure in MEASURES}
        self.unchanged = float(column(self.full.draws, "unchanged").nanmean())  # NaN where no map could be made

    def interval(self, draws: list[Rows], measure: str) -> Interval:
        """Returns the mean of a measure over clips and draws."""
        key = (id(draws), measure)
        if key not in self._known:
            values = column(draws, measure)
            self._known[key] = bootstrap(values, self.groups * len(draws), self._runs(draws))
        return self._known[key]

    def _runs(self, draws: list[Rows]) -> list[int]:
        return [draw for draw in range(len(draws)) for _ in self.groups]

    def _final(self, measure: str) -> Final:
        after, other = self.full.draws, self.controls.other_clip
        difference = paired_difference(
            column(after, measure), column(other, measure), self.groups * len(after), self._runs(after)
        )
        return Final(self.interval(after, measure), self.interval(other, measure), difference)

    @property
    def deciding(self) -> str:
        """The measure that decides: the one asked for, or that by which the maps are most surely too alike."""
        if self.config.decides != "all":
            return self.config.decides
        known = [measure for measure in AS_USED if self.finals[measure].passed is not None]
        return max(known, key=lambda measure: self.finals[measure].difference.low, default="rank_correlation")

    @property
    def passed(self) -> bool | None:
        """The verdict."""
        return False if self.unchanged > MOST else self.finals[self.deciding].passed

    @property
    def n_lost(self) -> int:
        """How many maps could not be compared, since one of the two failed."""
        return int(column(self.full.draws, "unchanged").isnan().sum())

    def counts(self) -> dict[str, Any]:
        """Returns shares and counts beside the similarities."""
        n_constant = int(column(self.full.draws, "constant").nansum())
        return {
            "n": len(self.groups),
            "groups": len(set(self.groups)),
            "decides": self.config.decides,
            "unchanged": self.unchanged,
            "constant_after": n_constant,
            "failed": self.n_lost,
            "passed_by": {measure: final.passed for measure, final in self.finals.items()},
        }

    # -- in words -------------------------------------------------------------------------------------------------

    def sentence(self) -> str:
        """Returns the verdict with its numbers."""
        parts = [self._main(), self._others(), self._lost(), self._size()]
        return " ".join(part for part in parts if part)

    def _main(self) -> str:
        name, measure = self.subject.name, MEASURES[self.deciding]
        what = "all layers but the head" if self.config.parity else "all layers"
        if math.isnan(self.unchanged):
            return f"{name} cannot be judged: none of its maps could be made."
        if self.unchanged > MOST:
            return (
                f"{name} ignores the model: with {what} re-drawn, {100 * self.unchanged:.0f} % of its maps are what "
                "they were."
            )
        final = self.finals[self.deciding]
        numbers = (
            f"with {what} re-drawn, its maps are like the intact ones by {spread(final.after)} ({measure}), those of "
            f"other clips by {spread(final.other)}; difference {spread(final.difference)}"
        )
        if final.passed is None:
            return f"{name} cannot be judged: {measure} is not defined for its maps."
        if final.passed:
            wide = ", but the interval is too wide to tell much" if final.difference.high > WIDE else ""
            return f"{name} loses its maps when the model forgets: {numbers}, not above zero{wide}."
        return f"{name} keeps its maps when the model forgets: {numbers}, above zero."

    def _others(self) -> str:
        """Says by which other measures the verdict would be another one."""
        if self.unchanged > MOST:
            return ""
        other = {m: f for m, f in self.finals.items() if m != self.deciding and f.passed not in (None, self.passed)}
        if not other:
            return ""
        numbers = joined(
            [f"{MEASURES[m]} ({number(f.after.mean)} against {number(f.other.mean)})" for m, f in other.items()]
        )
        return f"It would {'fail' if self.passed else 'pass'} by {numbers}."

    def _lost(self) -> str:
        """Says how many maps are left out."""
        if not self.n_lost or math.isnan(self.unchanged):
            return ""
        n_all = len(self.groups) * len(self.full.draws)
        return f"{self.n_lost} of {several(n_all, 'pair')} of maps are left out, since one of the two failed."

    def _size(self) -> str:
        counted = [several(len(self.groups), "clip"), several(len(set(self.groups)), "recording")]
        text = f"{joined(counted)}, {several(len(self.full.draws), 'draw')}"
        few = f"; fewer than {ENOUGH} clips or 3 draws make a weak verdict" if self._is_small() else ""
        return f"({text}{few}.)"

    def _is_small(self) -> bool:
        return len(self.groups) < ENOUGH or len(self.full.draws) < 3

    # -- tables -----------------------------------------------------------------------------------------------------

    def tables(self) -> Iterator[Table]:
        """Yields the verdict by each measure, then all steps."""
        names = [name for name, _ in self.controls.named()]
        columns = ("measure", "after", *names, "after − another clip", "not above")
        rows = tuple(self._final_row(measure) for measure in MEASURES)
        yield Table("All layers re-drawn", columns, rows)
        for kind, title in (("cascade", "From the head to the input"), ("alone", "Each layer alone")):
            steps = [step for step in self.steps if step.kind == kind]
            if steps:
                head = ("layer", "parameters", *MEASURES.values(), "unchanged")
                yield Table(title, head, tuple(self._step_row(step) for step in steps))

    def _final_row(self, measure: str) -> tuple[str, ...]:
        final = self.finals[measure]
        controls = [spread(self.interval(draws, measure)) for _, draws in self.controls.named()]
        verdict = {True: "yes", False: "no", None: "–"}[final.passed]
        return (MEASURES[measure], spread(final.after), *controls, spread(final.difference), verdict)

    def _step_row(self, step: Step) -> tuple[str | int, ...]:
        unchanged = float(column(step.draws, "unchanged").nanmean())
        values = [spread(self.interval(step.draws, measure)) for measure in MEASURES]
        share = "–" if math.isnan(unchanged) else f"{100 * unchanged:.0f} %"
        return (step.layer, step.n_parameters, *values, share)

    # -- charts -----------------------------------------------------------------------------------------------------

    def charts(self) -> Iterator[Chart]:
        """Yields one chart for each measure: the cascade, each layer alone, and the controls as level lines."""
        for measure, name in MEASURES.items():
            lines = [self._line(kind, title, measure) for kind, title in KINDS]
            xs = [p.x for p in lines[0].points]
            lines += [self._level(control, draws, measure, xs) for control, draws in self.controls.named()]
            kept = tuple(line for line in lines if line.points)
            yield Chart(name, "layer, from the head to the input", "similarity to the intact map", kept)

    def _line(self, kind: str, title: str, measure: str) -> Line:
        steps = [step for step in self.steps if step.kind == kind]
        return Line(title, tuple(point(step.layer, self.interval(step.draws, measure)) for step in steps))

    def _level(self, name: str, draws: list[Rows], measure: str, xs: Sequence[str | float]) -> Line:
        at = point("", self.interval(draws, measure))
        return Line(name, tuple(Point(x, at.mean, at.low, at.high) for x in xs))


KINDS = (("cascade", "re-drawn from the head to here"), ("alone", "re-drawn alone"))
