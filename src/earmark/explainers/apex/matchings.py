"""What is known of the channels of several layers: who is matched with whom, and in which layer they begin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

FEW_CLIPS = 30  # below, chance alone gives high correlations, and it is said
SURE = 0.05
MOST_CHAINS = 50  # in the summary


@dataclass(frozen=True, eq=False)
class Matching:
    """Two layers whose channels are paired.

    Parameters
    ----------
    layer, other
        Their numbers, the shallow one first.
    channels, others
        `[pair]`, the channels of each.
    correlations
        `[pair]`, of pooled activations, in [-1, 1].
    overlaps
        `[pair]`, Jaccard overlap of prototypes, in [0, 1].
    ious
        `[pair]`, intersection over union of seconds, on average over the clips that both name; NaN where there is none.
    correlation_chance
        Mean absolute correlation of matched channels, if the clips of one layer are shuffled.
    overlap_chance
        Of two random sets.
    overlap_shuffled, p_value
        Mean overlap of shuffled pairs, and the share of shuffles with at least the overlap found.
    n_shared
        Clips that paired channels both name, over all pairs.
    """

    layer: int
    other: int
    channels: Int[Tensor, " pair"]
    others: Int[Tensor, " pair"]
    correlations: Float[Tensor, " pair"]
    overlaps: Float[Tensor, " pair"]
    ious: Float[Tensor, " pair"]
    correlation_chance: float
    overlap_chance: float
    overlap_shuffled: float
    p_value: float
    n_shared: int

    @property
    def correlation(self) -> float:
        """Mean absolute correlation of paired channels."""
        return float(self.correlations.abs().mean())

    @property
    def overlap(self) -> float:
        """Mean Jaccard overlap of their prototypes."""
        return float(self.overlaps.mean())

    @property
    def iou(self) -> float | None:
        """Mean intersection over union of seconds, over pairs that share a clip; `None` where none does."""
        known = self.ious[~self.ious.isnan()]
        return float(known.mean()) if len(known) else None

    def to_dict(self) -> dict[str, Any]:
        """Returns what holds for the two layers as a whole."""
        return {
            "layer": self.layer,
            "other": self.other,
            "n_pairs": len(self.channels),
            "correlation": self.correlation,
            "correlation_chance": self.correlation_chance,
            "overlap": self.overlap,
            "overlap_chance": self.overlap_chance,
            "overlap_shuffled": self.overlap_shuffled,
            "p_value": self.p_value,
            "iou": self.iou,
            "n_shared": self.n_shared,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row for each pair of channels."""
        columns = (self.channels, self.others, self.correlations, self.overlaps, self.ious)
        names = ("channel", "other_channel", "correlation", "overlap", "iou")
        return [
            {"layer": self.layer, "other": self.other}
            | {name: None if value != value else value for name, value in zip(names, row, strict=True)}
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ]


@dataclass(frozen=True)
class Chain:
    """A channel of the last layer and the channels before it, each matched with that of the next layer.

    Parameters
    ----------
    channels
        One for each layer, shallow to deep; `None` before its first.
    correlations
        Absolute, one for each step between two layers.
    """

    channels: tuple[int | None, ...]
    correlations: tuple[float | None, ...]

    @property
    def weakest(self) -> float:
        """The smallest correlation of its steps; a chain that does not begin at the first layer has 0."""
        return min((0.0 if value is None else value for value in self.correlations), default=0.0)


@dataclass(frozen=True, eq=False)
class Consistency:
    """How consistent the channels of several layers of a classifier are.

    Parameters
    ----------
    classifier, view
        Of the layers' APEX.
    layers
        Their numbers, shallow to deep.
    matchings
        One for each two layers.
    n_clips
        Clips over which activations were correlated.
    threshold
        Of the overlap, for the emergence layer.
    seed
        Of the shuffles.
    """

    classifier: str
    view: str
    layers: tuple[int, ...]
    matchings: tuple[Matching, ...]
    n_clips: int
    threshold: float
    seed: int

    def of(self, layer: int, other: int) -> Matching:
        """Returns the matching of two different layers, named in any order."""
        wanted = (min(layer, other), max(layer, other))
        return next(one for one in self.matchings if (one.layer, one.other) == wanted)

    def table(self, name: str) -> list[list[float | None]]:
        """Returns a number of each two layers, as in `Matching.to_dict`; a layer is equal to itself."""
        own = 1.0 if name in ("correlation", "overlap", "iou") else None
        return [[own if a == b else self.of(a, b).to_dict()[name] for b in self.layers] for a in self.layers]

    @property
    def emergence(self) -> int:
        """The first layer whose overlap with the last is above the threshold and above chance; at worst the last."""
        last = self.layers[-1]
        for layer in self.layers[:-1]:
            found = self.of(layer, last)
            if found.overlap > self.threshold and found.p_value <= SURE:
                return layer
        return last

    def chains(self) -> list[Chain]:
        """Returns the chains that end in each channel of the last layer, those that hold best first."""
        steps = [self.of(a, b) for a, b in zip(self.layers[:-1], self.layers[1:], strict=True)]
        before = [
            {other: (channel, abs(value)) for channel, other, value in zip(*_lists(step), strict=True)}
            for step in steps
        ]
        found = [_chain(int(channel), before) for channel in steps[-1].others.sort().values]
        return sorted(found, key=lambda chain: (-chain.weakest, chain.channels[-1]))

    @property
    def notes(self) -> list[str]:
        """What a reader should beware of, in sentences."""
        notes = []
        if self.n_clips < FEW_CLIPS:
            notes.append(
                f"Channels were matched on {self.n_clips} clips, and with so few any two layers match well: compare "
                "each correlation with that of chance."
            )
        if self.view == "frequency":
            notes.append("The frequency view names no moments, so there is no overlap of seconds.")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the single pairs, as plain JSON values."""
        return {
            "classifier": self.classifier,
            "view": self.view,
            "layers": list(self.layers),
            "n_clips": self.n_clips,
            "seed": self.seed,
            "threshold": self.threshold,
            "emergence_layer": self.emergence,
            "notes": self.notes,
            "pairs_of_layers": [one.to_dict() for one in self.matchings],
            "chains": [
                {"channels": list(one.channels), "correlations": list(one.correlations), "weakest": one.weakest}
                for one in self.chains()[:MOST_CHAINS]
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Returns one row for each pair of channels of each two layers."""
        return [row for one in self.matchings for row in one.rows()]


def _lists(step: Matching) -> tuple[list[int], list[int], list[float]]:
    return step.channels.tolist(), step.others.tolist(), step.correlations.tolist()


def _chain(last: int, before: Sequence[Mapping[int, tuple[int, float]]]) -> Chain:
    channels: list[int | None] = [last]
    correlations: list[float | None] = []
    for step in reversed(before):
        at = channels[0]
        channel, value = step.get(at, (None, None)) if at is not None else (None, None)
        channels.insert(0, channel)
        correlations.insert(0, value)
    return Chain(tuple(channels), tuple(correlations))
