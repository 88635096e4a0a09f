"""What the controls of a trained decoder say: intervals, a verdict for each control in words, tables and charts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..metrics.intervals import LEVEL, Interval, bootstrap, least_p, paired_difference
from .compared import Rows
from .config import CheckConfig
from .decoder_scores import DROP, score_names
from .results import Chart, CheckResult, Line, Point, Table
from .similarity import MEASURES
from .subject import Subject
from .verdict import ENOUGH
from .words import joined, number, point, several, spread

ITSELF = 0.95  # similarity from which a map counts as what it was
BY_ORDER = ("rank_correlation", "iou_of_top")  # a decoder's logits have no zero of their own, which SSIM would need
AGAIN = "again"
OTHER, RANDOM = "another clip, intact explainer", "random map"


@dataclass(frozen=True, eq=False)
class Control:
    """One control.

    Parameters
    ----------
    key, what
        Its name, as in `D2`, and what it is, in words.
    draws
        For each draw, how alike its maps are to the intact ones.
    scores
        For each draw, what its masks keep; only where it explains the intact classifier.
    """

    key: str
    what: str
    draws: list[Rows]
    scores: list[Rows] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.what if self.key == AGAIN else f"{self.key}: {self.what}"


@dataclass(frozen=True)
class Judged:
    """What one control says; `passed` is `None` where nothing can be said, or nothing is asked."""

    key: str
    passed: bool | None
    sentence: str
    counts: bool = True  # whether the verdict rests on it


class Reading:
    """Intervals of all controls on the same clips.

    Parameters
    ----------
    subject, config
        What is checked, and how.
    controls
        Those that were made.
    levels
        By name, maps of other clips and random ones.
    intact
        What the masks of the explainer itself keep.
    """

    def __init__(
        self,
        subject: Subject,
        config: CheckConfig,
        controls: Sequence[Control],
        levels: Mapping[str, list[Rows]],
        intact: Rows,
    ) -> None:
        self.subject, self.config, self.levels, self.intact = subject, config, levels, intact
        self.controls = {control.key: control for control in controls}
        self.groups = subject.groups

    @property
    def measures(self) -> tuple[str, ...]:
        """The similarities that decide: the one that is asked for, or the two of order."""
        return BY_ORDER if self.config.decides == "all" else (self.config.decides,)

    def interval(self, draws: list[Rows], name: str) -> Interval:
        """Returns the mean of a number over clips and draws."""
        values = _matrix(draws, name)
        return bootstrap(values.flatten(), *self._resampled(values))

    def alike(self, key: str, measure: str) -> Interval:
        """Returns how alike a control's maps are to the intact ones."""
        return self.interval(self.controls[key].draws, measure)

    def above_other(self, key: str, measure: str) -> Interval:
        """Returns by how much a control's maps are more alike to the intact ones than those of other clips are."""
        values = _matrix(self.controls[key].draws, measure)
        other = _matrix(self.levels[OTHER], measure).nanmean(0)
        return self._difference(values, other.expand_as(values))

    def below_again(self, key: str, measure: str) -> Interval:
        """Returns by how much a control's maps are less alike to the intact ones than those of a second fit are."""
        again, values = (_matrix(self.controls[k].draws, measure) for k in (AGAIN, key))
        return self._difference(again, values)

    def loss(self, key: str, name: str = DROP) -> Interval:
        """Returns by how much a score of a control's masks is above that of the explainer's own."""
        values = _matrix(self.controls[key].scores, name)
        return self._difference(values, _matrix([self.intact], name).expand_as(values))

    def loss_to_again(self, key: str) -> Interval:
        """Returns by how much a control's masks lose more than those of a second fit of equal effort."""
        values, again = (_matrix(self.controls[k].scores, DROP) for k in (key, AGAIN))
        return self._difference(values, again)

    def unchanged(self, key: str) -> float:
        """Returns the share of maps that are the intact ones; NaN where none could be made."""
        return float(_matrix(self.controls[key].draws, "unchanged").nanmean())

    @property
    def is_enough(self) -> bool:
        """Whether there are so many recordings that a difference can be told from chance."""
        return least_p(len(set(self.groups))) < LEVEL

    def _difference(self, first: Float[Tensor, "draw clip"], second: Float[Tensor, "draw clip"]) -> Interval:
        return paired_difference(first.flatten(), second.flatten(), *self._resampled(first))

    def _resampled(self, values: Float[Tensor, "draw clip"]) -> tuple[list[str], list[int]]:
        return self.groups * len(values), [draw for draw in range(len(values)) for _ in self.groups]


# -- each control in words --------------------------------------------------------------------------------------------


def told_of_redrawn(reading: Reading) -> Judged:
    """Says what is left under re-drawn weights; the check `randomization` judges it."""
    measure = reading.measures[0]
    kept, other = reading.alike("D1", measure), reading.interval(reading.levels[OTHER], measure)
    text = (
        f"D1, all layers of the classifier re-drawn: maps are like the intact ones by {spread(kept)} "
        f"({MEASURES[measure]}), those of other clips by {spread(other)}; the check randomization judges this."
    )
    return Judged("D1", None, text, counts=False)


def follows_latents(reading: Reading) -> Judged:
    """Says whether maps follow the latents: with those of another clip they are clearly not what they were."""
    found = {measure: reading.alike("D2", measure) for measure in reading.measures}
    known = [measure for measure in found if not math.isnan(found[measure].high)]
    if not known:
        return Judged("D2", None, "D2, latents of another clip: no two recordings of one length could be crossed.")
    measure = max(known, key=lambda name: found[name].high)
    other = reading.interval(reading.levels[OTHER], measure)
    passed = found[measure].high < ITSELF
    words = "so they follow the latents" if passed else f"not clearly below {ITSELF}, so they hardly need the latents"
    text = (
        f"D2, latents of another clip: maps are like the intact ones by {spread(found[measure])} ({MEASURES[measure]}; "
        f"those of other clips by {spread(other)}), {words}; a decoder that also reads the clip's own level, or "
        f"is told the label, keeps a part of its map. {_lost(reading, 'D2')}"
    )
    return Judged("D2", passed, text)


def beats_untrained(reading: Reading) -> Judged:
    """Says whether the masks of the trained decoder lose less than those of untrained ones."""
    measure, lost = reading.measures[0], reading.loss("D3")
    passed = None if math.isnan(lost.low) else lost.low > 0
    text = (
        f"D3, untrained decoders: maps are like the trained one's by {spread(reading.alike('D3', measure))} "
        f"({MEASURES[measure]}), which is what the architecture gives. {_lost(reading, 'D3')}{_beats(passed)}"
    )
    return Judged("D3", passed, text)


def differs(reading: Reading, key: str) -> Judged:
    """Says whether maps of a decoder of another classifier differ from the intact ones.

    They do if they are less alike than those of a second fit on the intact classifier, or no more alike than those of
    other clips, by each measure that decides.
    """
    verdicts = {measure: _differs_by(reading, key, measure) for measure in reading.measures}
    measure = min(verdicts, key=lambda name: {False: 0, None: 1, True: 2}[verdicts[name]])
    passed, kept = verdicts[measure], reading.alike(key, measure)
    again = spread(reading.alike(AGAIN, measure)) if AGAIN in reading.controls else "–"
    words = {True: "they differ", False: "they do not differ", None: "nothing can be said"}[passed]
    text = (
        f"{key}, {reading.controls[key].what}: maps are like the intact ones by {spread(kept)} ({MEASURES[measure]}), "
        f"those of a second fit on the intact classifier by {again}, those of other clips by "
        f"{spread(reading.interval(reading.levels[OTHER], measure))}: {words}."
    )
    return Judged(key, passed, text)


def _differs_by(reading: Reading, key: str, measure: str) -> bool | None:
    below = reading.below_again(key, measure).low > 0 if AGAIN in reading.controls else False
    above = reading.above_other(key, measure)
    return None if math.isnan(above.low) else below or above.low <= 0


def beats_sound_alone(reading: Reading) -> Judged:
    """Says whether a decoder that reads the maps beats one of equal size that knows the sound alone.

    The explainer itself must, and so must a second fit of as few epochs as the control had: else it may be the longer
    training that shows.
    """
    lost = reading.loss("D6")
    equal = reading.loss_to_again("D6").low > 0 if AGAIN in reading.controls else False
    passed: bool | None = None if math.isnan(lost.low) else lost.low > 0
    text = f"D6, a decoder of the sound alone: {_lost(reading, 'D6')}{_beats(passed)}"
    if passed and not equal:
        text += " A second fit of equally few epochs does not, so this can be the longer training: raise epochs."
        passed = None
    return Judged("D6", passed, text)


def _lost(reading: Reading, key: str) -> str:
    """Returns what masks lose, in words."""
    if not reading.controls[key].scores:
        return ""
    own, theirs = reading.interval([reading.intact], DROP), reading.interval(reading.controls[key].scores, DROP)
    return (
        f"At equal areas its masks lose {number(theirs.mean, 1)} % of the probability, the explainer's own "
        f"{number(own.mean, 1)} %: difference {spread(reading.loss(key), 1)}."
    )


def _beats(passed: bool | None) -> str:
    words = {True: "The explainer beats it.", False: "The explainer does not beat it.", None: "This is not defined."}
    return f" {words[passed]}"


# -- the result -------------------------------------------------------------------------------------------------------


def told(name: str, reading: Reading, judged: Sequence[Judged], about: dict[str, Any]) -> CheckResult:
    """Returns the result: passed if all controls that count are, not judged if one of them cannot be."""
    verdicts = [one.passed for one in judged if one.counts]
    passed = None if None in verdicts or not verdicts else True
    passed = False if False in verdicts else passed
    passed = passed if reading.is_enough else None
    counts = {
        "n": len(reading.groups),
        "groups": len(set(reading.groups)),
        "passed_by": {one.key: one.passed for one in judged},
        "unchanged": {key: reading.unchanged(key) for key in reading.controls},
    }
    sentences = [*(one.sentence.strip() for one in judged), _size(reading)]
    return CheckResult(
        name, passed, " ".join(sentences), tuple(_tables(reading)), tuple(_charts(reading)), {**about, **counts}
    )


def _size(reading: Reading) -> str:
    n, n_groups = len(reading.groups), len(set(reading.groups))
    text = joined([several(n, "clip"), several(n_groups, "recording")])
    if not reading.is_enough:
        return f"({text}: too few recordings to judge by.)"
    return f"({text}{f'; fewer than {ENOUGH} clips make a weak verdict' if n < ENOUGH else ''}.)"


def _tables(reading: Reading) -> Iterator[Table]:
    rows = [_alike_row(reading, control.name, control.draws) for control in reading.controls.values()]
    rows += [_alike_row(reading, name, draws) for name, draws in reading.levels.items()]
    yield Table("How alike maps are to the intact ones", ("maps of", *MEASURES.values(), "unchanged"), tuple(rows))
    scored = [control for control in reading.controls.values() if control.scores]
    columns = [column for control in scored for column in (control.name, "minus the explainer's")]
    names = score_names(reading.config.decoder.areas)
    rows = [_score_row(reading, scored, name, text) for name, text in names.items()]
    yield Table("What masks keep", ("score", "the explainer", *columns), tuple(rows))


def _alike_row(reading: Reading, name: str, draws: list[Rows]) -> tuple[str, ...]:
    unchanged = float(_matrix(draws, "unchanged").nanmean())
    share = "–" if math.isnan(unchanged) else f"{100 * unchanged:.0f} %"
    return (name, *(spread(reading.interval(draws, measure)) for measure in MEASURES), share)


def _score_row(reading: Reading, scored: Sequence[Control], name: str, text: str) -> tuple[str, ...]:
    cells = [spread(reading.interval([reading.intact], name))]
    for control in scored:
        cells += [spread(reading.interval(control.scores, name)), spread(reading.loss(control.key, name))]
    return (text, *cells)


def _charts(reading: Reading) -> Iterator[Chart]:
    for measure in BY_ORDER:
        points = [point("second fit" if key == AGAIN else key, reading.alike(key, measure)) for key in reading.controls]
        lines = [Line("controls", tuple(points))]
        for name, draws in reading.levels.items():
            at = point("", reading.interval(draws, measure))
            lines.append(Line(name, tuple(Point(one.x, at.mean, at.low, at.high) for one in points)))
        yield Chart(MEASURES[measure], "control", "similarity to the intact map", tuple(lines))


def _matrix(draws: Sequence[Rows], name: str) -> Float[Tensor, "draw clip"]:
    return torch.tensor([rows[name] for rows in draws], dtype=torch.float64)
