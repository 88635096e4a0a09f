"""Randomization: do maps change when what the classifier has learned is taken away?

From the head to the input, layer by layer, all parameters are re-drawn with the layer's own default initializer, and
statistics of normalization are estimated anew; then each layer alone. The map of the same label before and after is
compared with maps that must be unlike: random ones, and those of other clips on the intact model. What the explainer
itself has learned stays: an APEX keeps its basis U. Source: Adebayo et al. (2018), "Sanity checks for saliency maps";
`parity` is their test as it was published.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ..classifiers.base import Classifier
from ..explainers import FITTED
from ..explainers.base import Explainer
from .compared import Compared, Rows
from .config import CheckConfig
from .redraw import Redraw
from .results import CheckResult, Progress
from .subject import Subject
from .verdict import Controls, Step, told

NAME = "randomization"
LEAST_CLIPS = 2


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Compares maps before and after weights are re-drawn.

    A method passes if, after all layers are re-drawn, its maps are not more like the intact ones than maps of other
    clips are, within the 95 % interval of the paired difference; it fails if most of its maps have not changed at all.

    Raises
    ------
    ModelError
        If nothing can be re-drawn.
    """
    if len(subject.scored) < LEAST_CLIPS:
        sentence = f"Randomization compares clips with one another, and there is {len(subject.scored)}: add more."
        return CheckResult("randomization", None, sentence)
    batches = statistics(subject, config.n_statistics)
    redraw = Redraw(subject.classifier, batches, most=config.most_layers, parity=config.parity)
    run = _Run(subject, config, redraw)
    done = Tally(progress, run.n_explained)
    run.compared.tick = done.add
    steps = list(run.steps(done.skip))
    controls = run.controls(done.skip)
    return told(subject, config, steps, controls, {**run.about(), "pictures": run.pictures()})


def statistics(subject: Subject, most: int) -> list[Tensor]:
    """Returns batches of at most so many clips in all, evenly spaced; those of one length are put together again."""
    n = len(subject.scored)
    wanted = {i * n // most for i in range(most)} if n > most else set(range(n))
    by_length: dict[int, list[Tensor]] = {}
    place = 0
    for clips, samples in subject.batches():
        rows = [i for i in range(len(clips)) if place + i in wanted]
        place += len(clips)
        if rows:
            by_length.setdefault(samples.shape[1], []).append(samples[rows])
    return [some for alike in by_length.values() for some in torch.cat(alike).split(subject.batch)]


@dataclass
class Tally:
    """Says how many clips were explained, of all."""

    progress: Progress | None
    total: int
    done: int = 0

    def add(self, n: int) -> None:
        """Goes on by a number."""
        self.skip(self.done + n)

    def skip(self, to: int) -> None:
        """Goes on to a number, past what was there already."""
        self.done = max(self.done, to)
        if self.progress:
            self.progress(min(self.done, self.total), self.total)


@dataclass(eq=False)
class _Run:
    """One randomization of one subject."""

    subject: Subject
    config: CheckConfig
    redraw: Redraw

    def __post_init__(self) -> None:
        self.compared = Compared(self.subject, NAME, self.config.parity)
        self._drawn = lru_cache(maxsize=1)(self.redraw.draw)

    @cached_property
    def sets(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Kind, name and layers of each step, from the head on; what is asked for twice is explained once."""
        last = len(self.redraw.layers) - 1
        cascade = [("cascade", f"from-{k}", tuple(range(k, last + 1))) for k in range(last, -1, -1)]
        alone = [("alone", f"from-{k}" if k == last else f"only-{k}", (k,)) for k in range(last, -1, -1)]
        return [*cascade, *(alone if self.config.independent else [])]

    @property
    def others(self) -> list[int]:
        """Seeds of the explainer beside its own; none where it draws nothing."""
        own = self.subject.explainer._seed()
        return [seed for seed in self.config.seeds if seed != own] if self.subject.is_random else []

    @property
    def n_explained(self) -> int:
        """Clips to be explained in all."""
        names = {name for _, name, _ in self.sets}
        return len(self.subject.scored) * (1 + len(names) * len(self.config.seeds) + len(self.others))

    def steps(self, reached: Callable[[int], None]) -> Iterator[Step]:
        """Yields what is left of the maps after each step."""
        n, found = len(self.subject.scored), dict[str, dict[int, Rows]]()
        for seed in self.config.seeds:
            for _, name, layers in self.sets:
                if seed not in found.setdefault(name, {}):
                    found[name][seed] = self._step(name, layers, seed)
                    reached(n * (1 + sum(map(len, found.values()))))
        for kind, name, layers in self.sets:
            layer = self.redraw.layers[layers[0]]
            yield Step(kind, layer.name, layer.n_parameters, [found[name][seed] for seed in self.config.seeds])

    def controls(self, reached: Callable[[int], None]) -> Controls:
        """Returns what maps are compared with."""
        seeds = self.config.seeds
        several = [self.compared.rows(f"seed-{s}", partial(self.subject.with_seed, s)) for s in self.others]
        reached(self.n_explained)
        other = [self.compared.other_clips(seed) for seed in seeds]
        return Controls(other, [self.compared.random_maps(seed) for seed in seeds], several)

    def pictures(self) -> list[dict[str, Any]]:
        """Returns, for a few clips, small pictures of the sound and of the map after each step of the first draw."""
        steps = [(name, layers) for kind, name, layers in self.sets if kind == "cascade"]
        clips, _ = next(self.subject.batches())
        if self.config.n_shown < 1:
            return []
        rows = [*self.compared.shown_intact(self.config.n_shown)]
        rows += [self.compared.pictures[_part(name, self.config.seeds[0])] for name, _ in steps]
        names = ["sound", "intact", *(self.redraw.layers[layers[0]].name for _, layers in steps)]
        labels = [target.label for target in self.compared.targets[0]]
        return [
            {"clip": clip.id, "label": label, "names": names, "maps": [row[i] for row in rows]}
            for i, (clip, label) in enumerate(zip(clips[: self.config.n_shown], labels, strict=False))
        ]

    def about(self) -> dict[str, Any]:
        """Returns settings and counts."""
        layers = [
            {"name": la.name, "modules": list(la.names), "parameters": la.n_parameters} for la in self.redraw.layers
        ]
        notes = []
        if by_normal := self.redraw.by_normal:
            notes.append(
                f"{', '.join(by_normal)}: no initializer of its own, so each tensor is re-drawn from a normal "
                "distribution with its own mean and deviation."
            )
        if self.subject.explainer.method in FITTED:
            notes.append(f"What {self.subject.explainer.method} learned from the intact model stays in it as it is.")
        return {
            "layers": layers,
            "n_statistics": 0 if self.config.parity else self.redraw.n_statistics,
            "parity": self.config.parity,
            "draws": list(self.config.seeds),
            "other_seeds": self.others,
            "failures": dict(self.compared.failures),
            "notes": notes,
        }

    def _step(self, name: str, layers: tuple[int, ...], seed: int) -> Rows:
        """Returns how alike maps are when some layers are re-drawn; maps of the first draw are kept for the page."""
        is_shown = name.startswith("from-") and seed == self.config.seeds[0]
        n_shown = self.config.n_shown if is_shown else 0

        def make() -> Explainer:
            redrawn: Classifier = self._drawn(layers, seed)
            return self.subject.on(redrawn)

        return self.compared.rows(_part(name, seed), make, n_shown=n_shown)


def _part(name: str, seed: int) -> str:
    return f"{name}-draw-{seed}"
