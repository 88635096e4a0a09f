"""Controls of a trained decoder: does its map come from the classifier, from its own architecture, or from the sound?

A decoder that was trained for one classifier meets unusual input when that classifier is re-drawn, so that a map that
changes then says little (protocol of decoder controls). Beside it (D1) stand the same decoder with the latents of
another clip (D2), whose map must change, and decoders that were never trained (D3), whose masks must lose more. What
needs training, D4 to D6, is the check `decoder-refits`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch

from ..classifiers.base import Classifier
from ..errors import EarmarkError
from ..explainers.base import Explainer
from ..types import Clip
from .compared import Compared, Picture, Rows
from .config import CheckConfig
from .decoder_scores import Scorer
from .decoder_words import (
    OTHER,
    RANDOM,
    Control,
    Judged,
    Reading,
    beats_untrained,
    follows_latents,
    told,
    told_of_redrawn,
)
from .randomization import LEAST_CLIPS, Tally, statistics
from .redraw import Redraw
from .results import CheckResult, Progress
from .subject import Subject
from .words import several

NAME = "decoder"


@runtime_checkable
class TrainedDecoder(Protocol):
    """What an explainer with a trained decoder does for its controls; private methods, for checks alone.

    A method that serves these, and `_on(classifier)` (see `rebinding.py`), is checked; nothing else is asked of it.
    Its maps are asked for the labels that the intact classifier decides.
    """

    def _crossed(self) -> Explainer:
        """Returns the explainer that reads, for each clip, the latents of the clip before it in the batch.

        All else stays each clip's own: its sound, its level, the label that is asked for.
        """

    def _untrained(self, seed: int) -> Explainer:
        """Returns the explainer with a decoder of the same size that has its first weights, drawn by a seed."""

    def _refitted(self, classifier: Classifier, clips: Sequence[Clip], **changes: Any) -> Explainer:
        """Returns a decoder of the same size, trained by the same recipe on another classifier or otherwise changed.

        `changes` are settings of the fit, always among them `seed`, `epochs` and `blind` (zeros in place of latents, so
        that the sound alone is known), and the fit's own `progress` and `resume_dir`.
        """


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Compares the maps of D1 to D3 with the intact ones, and scores the masks of those on the intact classifier.

    It passes if maps with the latents of another clip are clearly less alike to the intact ones than these are to
    themselves, and if at equal areas the masks of the trained decoder lose less than those of untrained ones.
    """
    explainer = subject.explainer
    if not isinstance(explainer, TrainedDecoder):
        return does_not_apply(NAME, subject)
    if len(subject.scored) < LEAST_CLIPS:
        return too_few(NAME, subject)
    run = _Run(subject, config, explainer, progress)
    redrawn = run.redrawn()
    controls = [*([redrawn] if redrawn else []), run.crossed(), run.untrained()]
    reading = Reading(subject, config, controls, levels_of(run.compared, config), run.intact)
    judged: list[Judged] = [told_of_redrawn(reading)] if redrawn else []
    judged += [follows_latents(reading), beats_untrained(reading)]
    about = {"draws": list(config.seeds), "notes": run.notes, "failures": dict(run.compared.failures)}
    steps = [(control.key, f"{control.key}-{config.seeds[0]}") for control in controls]
    return told(NAME, reading, judged, {**about, "pictures": shown(run.compared, config.n_shown, steps)})


class _Run:
    """The controls of one explainer that need no training."""

    def __init__(
        self, subject: Subject, config: CheckConfig, explainer: TrainedDecoder, progress: Progress | None
    ) -> None:
        self.subject, self.config, self.explainer, self.notes = subject, config, explainer, list[str]()
        n_parts = 2 + 2 + 3 * len(config.seeds)  # maps and scores of the intact one and of D2, each draw of D1 and D3
        self.tally, self.n_done = Tally(progress, n_parts * len(subject.scored)), 0
        self.compared = Compared(subject, NAME, tick=self.tally.add)
        self.scorer = Scorer(self.compared, config.decoder.areas)
        self.intact = self._scores("intact", lambda: subject.explainer)
        _ = self.compared.intact
        self._done()

    def redrawn(self) -> Control | None:
        """D1: the trained decoder around classifiers with new weights; `None` where there are none."""
        try:
            redraw = Redraw(self.subject.classifier, statistics(self.subject, self.config.n_statistics))
            layers = range(len(redraw.layers))
            make = [(seed, partial(self._on_redrawn, redraw, layers, seed)) for seed in self.config.seeds]
            return Control("D1", "all layers of the classifier re-drawn", [self._rows("D1", *one) for one in make])
        except EarmarkError as error:
            self.notes.append(f"D1 was not made: {error}")
            return None

    def crossed(self) -> Control:
        """D2: the trained decoder with latents of another clip; clips that met no other recording are left out."""
        seed, foreign = self.config.seeds[0], met_another(self.subject)
        if not all(foreign):
            left_out = several(foreign.count(False), "clip")
            self.notes.append(f"D2 leaves out {left_out} that met no other recording in their batch.")
        rows = self._rows("D2", seed, self.explainer._crossed)
        scores = self._scores(f"D2-{seed}", self.explainer._crossed)
        return Control("D2", "latents of another clip", [_only(rows, foreign)], [_only(scores, foreign)])

    def untrained(self) -> Control:
        """D3: decoders with first weights."""
        draws, scores = [], []
        for seed in self.config.seeds:
            make = partial(self.explainer._untrained, seed)
            draws.append(self._rows("D3", seed, make))
            scores.append(self._scores(f"D3-{seed}", make))
        return Control("D3", "untrained decoder", draws, scores)

    def _on_redrawn(self, redraw: Redraw, layers: Sequence[int], seed: int) -> Explainer:
        return self.subject.on(redraw.draw(layers, seed))

    def _rows(self, key: str, seed: int, make: Callable[[], Explainer]) -> Rows:
        n_shown = self.config.n_shown if seed == self.config.seeds[0] else 0
        rows = self.compared.rows(f"{key}-{seed}", make, n_shown=n_shown)
        self._done()
        return rows

    def _scores(self, part: str, make: Callable[[], Explainer]) -> Rows:
        rows = self.scorer.rows(part, make)
        self._done()
        return rows

    def _done(self) -> None:
        """Counts one more part, whether it was made now or was there."""
        self.n_done += 1
        self.tally.skip(self.n_done * len(self.subject.scored))


# -- shared with the controls that train ------------------------------------------------------------------------------


def does_not_apply(name: str, subject: Subject) -> CheckResult:
    """Returns the result for a method without a decoder."""
    return CheckResult(name, None, f"This does not apply: {subject.name} has no trained decoder to control.")


def too_few(name: str, subject: Subject) -> CheckResult:
    """Returns the result where clips cannot be compared with one another."""
    sentence = f"Controls of a decoder compare clips with one another, and there is {len(subject.scored)}: add more."
    return CheckResult(name, None, sentence)


def levels_of(compared: Compared, config: CheckConfig) -> dict[str, list[Rows]]:
    """Returns how alike intact maps are to those of other clips, and to random ones."""
    return {
        OTHER: [compared.other_clips(seed) for seed in config.seeds],
        RANDOM: [compared.random_maps(seed) for seed in config.seeds],
    }


def shown(compared: Compared, n_shown: int, steps: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Returns, for a few clips, small pictures of the sound, the intact map, and those of parts by name."""
    if n_shown < 1:
        return []
    clips, _ = next(compared.subject.batches())
    rows: list[list[Picture]] = [*compared.shown_intact(n_shown), *(compared.pictures[part] for _, part in steps)]
    names = ["sound", "intact", *(name for name, _ in steps)]
    targets = compared.targets[0]
    return [
        {"clip": clip.id, "label": target.label, "names": names, "maps": [row[i] for row in rows]}
        for i, (clip, target) in enumerate(zip(clips[:n_shown], targets, strict=False))
    ]


def met_another(subject: Subject) -> list[bool]:
    """Returns for each clip whether the one before it in its batch is of another recording."""
    found = []
    for clips, _ in subject.batches():
        groups = [clip.group or clip.id for clip in clips]
        found += [group != groups[i - 1] for i, group in enumerate(groups)]
    return found


def _only(rows: Rows, kept: Sequence[bool]) -> Rows:
    return {name: [v if k else torch.nan for v, k in zip(values, kept, strict=True)] for name, values in rows.items()}
