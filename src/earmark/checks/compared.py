"""Maps of changed explainers beside the intact one's, on the same clips and for the same labels.

What is compared is any explainer that a function makes: one around a re-drawn classifier, one with another seed, and
for trained explainers one with other parts of its own (decoder controls). Each comparison is a part by name: a killed
run goes on after it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..classifiers.base import Grid
from ..explainers.base import Explainer
from ..types import Samples, Target, seeded
from .pictures import loudness, small
from .similarity import Similarity, Values, similarity
from .subject import Subject

Rows = dict[str, list[float]]  # one number per clip for each measure, and the flags
Picture = list[list[int]]  # bytes, the lowest row first
Other = Callable[[Values, int], Values]  # maps of a batch and its position -> what they are compared with


@dataclass(eq=False)
class Compared:
    """The intact explainer's maps, computed once, and what is compared with them.

    Parameters
    ----------
    subject
        Whose maps.
    name
        What the names of parts begin with.
    parity
        As in `similarity`.
    tick
        Called with the number of clips after each batch.
    """

    subject: Subject
    name: str
    parity: bool = False
    tick: Callable[[int], None] = lambda n: None
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    @cached_property
    def targets(self) -> list[list[Target]]:
        """The explained labels of each batch: what the intact classifier decided."""
        return [self.subject.decisions(samples) for _, samples in self.subject.batches()]

    @cached_property
    def intact(self) -> list[Tensor]:
        """The maps of each batch, NaN where there is none."""

        def explain() -> dict[str, Tensor]:
            found = {}
            for i, (_, samples) in enumerate(self.subject.batches()):
                found[str(i)] = self.subject.maps(self.subject.explainer, samples, self.targets[i], failed=torch.nan)
                self.tick(len(samples))
            return found

        kept = self.subject.memory.tensors(f"{self.name}/intact", explain)
        return [kept[str(i)] for i in range(len(kept))]

    def rows(self, part: str, make: Callable[[], Explainer], *, n_shown: int = 0) -> Rows:
        """Returns how alike the maps of an explainer are to the intact ones, clip by clip; it is made if needed.

        NaN where a map, intact or not, could not be made.

        Parameters
        ----------
        n_shown
            Of so many clips, the first ones, small pictures are kept under the part's name in `pictures`.
        """

        def compare() -> dict[str, Any]:
            explainer, found, shown = make(), [], []
            before = Counter(self.subject.failures)
            for i, (_, samples) in enumerate(self.subject.batches()):
                after = self.subject.maps(explainer, samples, self.targets[i], failed=torch.nan)
                found.append(similarity(self.intact[i], after, parity=self.parity))
                shown += [] if i else small(after[:n_shown], self._grid(samples)).tolist()
                self.tick(len(samples))
            return {"rows": joined(found), "failures": self.subject.failures - before, "pictures": shown}

        kept = self._kept(part, compare)
        if part not in self.pictures:
            self.failures.update(kept["failures"])
        self.pictures[part] = kept["pictures"]
        return kept["rows"]

    def rows_of(self, part: str, other: Other) -> Rows:
        """Returns how alike other maps are to the intact ones, such as random ones, or those of other clips."""

        def compare() -> Rows:
            pairs = ((maps, other(maps, i)) for i, maps in enumerate(self.intact))
            return joined([similarity(*pair, parity=self.parity) for pair in pairs])

        return self._kept(part, compare)

    def shown_intact(self, n_shown: int) -> tuple[list[Picture], list[Picture]]:
        """Returns small pictures of the first clips' sound and of their maps."""
        _, samples = next(self.subject.batches())
        grid = self._grid(samples)
        return loudness(samples[:n_shown], grid).tolist(), small(self.intact[0][:n_shown], grid).tolist()

    def random_maps(self, draw: int) -> Rows:
        """Returns how alike maps are to uniform noise."""

        def noise(maps: Values, i: int) -> Values:
            return torch.rand(maps.shape, generator=seeded(draw, 1, i))

        return self.rows_of(f"random-map-{draw}", noise)

    def other_clips(self, draw: int) -> Rows:
        """Returns how alike maps are to that of another clip on the intact model, of its own label.

        Another recording where there is one of the same length; NaN where there is no other clip of that length.
        """
        lengths = [maps.shape[2] for maps in self.intact]
        pools = {n: torch.cat([m for m in self.intact if m.shape[2] == n]) for n in set(lengths)}
        groups = {n: self._groups_of(n, lengths) for n in pools}
        chosen = {n: others(groups[n], draw) for n in pools}
        begun = dict.fromkeys(pools, 0)

        def other(maps: Values, _i: int) -> Values:
            n, begin = maps.shape[2], begun[maps.shape[2]]
            begun[n] += len(maps)
            return pools[n][chosen[n][begin : begin + len(maps)].clamp_min(0)]

        rows = self.rows_of(f"other-clip-{draw}", other)
        alone = torch.cat([chosen[n] < 0 for n in sorted(pools)]).tolist()  # batches are sorted by length
        return {k: [torch.nan if a else v for v, a in zip(values, alone, strict=True)] for k, values in rows.items()}

    def _groups_of(self, length: int, lengths: Sequence[int]) -> list[str]:
        batches = zip(self.subject.batches(), lengths, strict=True)
        return [clip.group or clip.id for (clips, _), n in batches if n == length for clip in clips]

    def _grid(self, samples: Samples) -> Grid:
        return self.subject.classifier.grid(samples.shape[1])

    def _kept(self, part: str, make: Callable[[], Any]) -> Any:
        return self.subject.memory.json(f"{self.name}/{part}", make)


def joined(found: Sequence[Similarity]) -> Rows:
    """Returns the rows of batches, one after another."""
    rows = [one.to_dict() for one in found]
    return {name: [value for row in rows for value in row[name]] for name in rows[0]}


def others(groups: Sequence[str], draw: int) -> Int[Tensor, " clip"]:
    """Returns another clip for each, of another group where there is one; -1 where a clip is alone."""
    generator = seeded(draw, 2)
    chosen = []
    for i, group in enumerate(groups):
        free = [j for j in range(len(groups)) if groups[j] != group] or [j for j in range(len(groups)) if j != i]
        chosen.append(free[int(torch.randint(len(free), (), generator=generator))] if free else -1)
    return torch.tensor(chosen)


def column(rows: Sequence[Rows], measure: str) -> Float[Tensor, " row"]:
    """Returns one measure of several draws, one after another."""
    return torch.tensor([value for row in rows for value in row[measure]], dtype=torch.float64)
