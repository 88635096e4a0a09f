"""What a classifier listens to: a prototype bank read class by class.

Where the head averages its (lifted) map and applies one linear layer, channel k adds `(w_c U^-1)_k (U v)_k` to the
logit of class c for a clip with pooled vector v. That is linear in v, so its mean over the clips that carry label c is
exactly that of their mean vector, which the bank keeps (`class_means`). A *share* is such a mean contribution over
the sum of all positive ones: the shares of the channels that speak for a class sum to 1, others are below 0.

A channel that is below zero in a class, on average, is known by its negative prototypes, else by its positive ones.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .bank import Prototype, PrototypeBank

EARLIER = (
    "This bank was saved by an earlier version, without the means of its classes; fit APEX again (`earmark fit apex`) "
    "to see shares of the logit."
)


@dataclass(frozen=True, eq=False)
class Weights:
    """A linear head in the basis of a bank.

    Parameters
    ----------
    labels
        The classifier's.
    folded
        `[label, channel]`, float64: `W U^-1`, for a map that is averaged over its cells.
    bias
        `[label]`.
    """

    labels: tuple[str, ...]
    folded: Float[Tensor, "label channel"]
    bias: Float[Tensor, " label"]


@dataclass(frozen=True)
class ChannelOverview:
    """What a channel is to a class.

    Parameters
    ----------
    channel
        Its index in the basis.
    share, contribution
        Mean share of the logit and mean contribution over the clips of the class; `None` where they are not known.
    activation
        Mean over these clips of `(U GAP(Z))_k`; `None` in a bank without class means.
    prototypes
        Its positive prototypes, or the negative ones where the activation is below 0.
    purity
        Their mean purity, in [-1, 1].
    histogram, class_purity
        How many of them carry each label, the most frequent first; the share of the first, in [0, 1].
    dead, duplicates
        Whether it is dead; the channels that are active together with it throughout.
    """

    channel: int
    share: float | None
    contribution: float | None
    activation: float | None
    prototypes: tuple[Prototype, ...] = field(repr=False)
    purity: float
    histogram: dict[str, int]
    class_purity: float
    dead: bool
    duplicates: tuple[int, ...]

    @property
    def sign(self) -> str:
        """`negative` where the class excites it below zero, else `positive`."""
        return "negative" if self.activation is not None and self.activation < 0 else "positive"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        plain = ("channel", "share", "contribution", "activation", "sign", "purity", "histogram", "class_purity")
        return {
            **{name: getattr(self, name) for name in plain},
            "dead": self.dead,
            "duplicates": list(self.duplicates),
            "prototypes": [prototype.to_dict() for prototype in self.prototypes],
        }


@dataclass(frozen=True)
class ClassOverview:
    """What speaks for a class, on average over the clips that carry its label.

    Parameters
    ----------
    label, n_clips
        The class, and how many clips the means are taken over.
    logit, offset
        The mean logit, and the head's bias in it; `None` where shares are not known.
    channels
        The strongest first: by share, or else by how many of their prototypes carry the label.
    covered
        The sum of the shown channels' shares, in [0, 1]; `None` where shares are not known.
    """

    label: str
    n_clips: int
    logit: float | None
    offset: float | None
    channels: tuple[ChannelOverview, ...]
    covered: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        plain = ("label", "n_clips", "logit", "offset", "covered")
        return {
            **{name: getattr(self, name) for name in plain},
            "channels": [channel.to_dict() for channel in self.channels],
        }


@dataclass(frozen=True, eq=False)
class Overview:
    """A bank as a global explanation.

    Parameters
    ----------
    bank
        What is told.
    classes
        In the order of the classifier's labels.
    labels, shares
        Of all classes with clips, `[label, channel]`; `None` where shares are not known.
    note
        Why shares are not known; empty where they are.
    others
        Labels of the training clips that the classifier does not have.
    """

    bank: PrototypeBank
    classes: tuple[ClassOverview, ...]
    labels: tuple[str, ...]
    shares: Float[Tensor, "label channel"] | None
    note: str = ""
    others: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[int, ...]:
        """The channels shown for any class, each once, in the order in which classes show them."""
        return tuple(dict.fromkeys(row.channel for one in self.classes for row in one.channels))

    @property
    def shared(self) -> dict[int, tuple[str, ...]]:
        """The channels that are shown for several classes, with these."""
        found: dict[int, list[str]] = {}
        for one in self.classes:
            for row in one.channels:
                found.setdefault(row.channel, []).append(one.label)
        return {channel: tuple(labels) for channel, labels in found.items() if len(labels) > 1}

    @property
    def recordings(self) -> dict[str, tuple[int, ...]]:
        """The recordings that stand for several of the shown channels, with these; the busiest first."""
        found: dict[str, set[int]] = {}
        for one in self.classes:
            for row in one.channels:
                for prototype in row.prototypes:
                    found.setdefault(prototype.group or prototype.clip_id, set()).add(row.channel)
        several = {name: tuple(sorted(channels)) for name, channels in found.items() if len(channels) > 1}
        return dict(sorted(several.items(), key=lambda item: (-len(item[1]), item[0])))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "fingerprint": self.bank.fingerprint,
            "basis_sha256": self.bank.basis_sha256,
            "view": self.bank.view,
            "n_channels": self.bank.n_channels,
            "n_clips": self.bank.n_clips,
            "note": self.note,
            "other_labels": list(self.others),
            "classes": [one.to_dict() for one in self.classes],
            "channels": [_about(self.bank, channel) for channel in range(self.bank.n_channels)],
            "dead": list(self.bank.dead),
            "duplicates": [list(pair) for pair in self.bank.duplicates],
            "shared": {str(channel): list(labels) for channel, labels in self.shared.items()},
            "recordings": {name: list(channels) for name, channels in self.recordings.items()},
        }


def overview(
    bank: PrototypeBank, labels: Sequence[str], weights: Weights | None, *, note: str = "", top: int = 8
) -> Overview:
    """Returns what a bank says of each class.

    Parameters
    ----------
    labels
        The classes to tell of, in their order.
    weights
        The head in the bank's basis; `None` where its logits are not sums over channels.
    note
        Why there are no weights.
    top
        Channels per class.
    """
    if bank.class_means is None:
        weights, note = None, EARLIER
    contributions = None if weights is None else _contributions(bank, weights)
    shares = None if contributions is None else shares_of(contributions)
    classes = tuple(_class(bank, label, weights, contributions, top) for label in labels)
    others = tuple(label for label in bank.class_labels if weights is not None and label not in weights.labels)
    return Overview(bank, classes, bank.class_labels, shares, note, others)


def shares_of(contributions: Float[Tensor, "label channel"]) -> Float[Tensor, "label channel"]:
    """Returns contributions over the sum of the positive ones of their class; zeros where nothing is positive."""
    positive = contributions.clamp_min(0).sum(1, keepdim=True)
    return torch.where(positive > 0, contributions / positive.clamp_min(1e-30), 0.0)


def _contributions(bank: PrototypeBank, weights: Weights) -> Float[Tensor, "label channel"]:
    """Returns the mean contribution of each channel to the logit of each label of the clips; 0 for other labels."""
    assert bank.class_means is not None
    rows = torch.zeros_like(bank.class_means)
    for row, label in enumerate(bank.class_labels):
        if label in weights.labels:
            rows[row] = weights.folded[weights.labels.index(label)] * bank.class_means[row]
    return rows


def _class(
    bank: PrototypeBank, label: str, weights: Weights | None, contributions: Tensor | None, top: int
) -> ClassOverview:
    row = bank.class_labels.index(label) if label in bank.class_labels else None
    n_clips = 0 if row is None else bank.class_counts[row]
    if weights is None or contributions is None or row is None:
        channels = (_channel(bank, channel, row) for channel in _by_label(bank, label)[:top])
        return ClassOverview(label, n_clips, None, None, tuple(channels), None)
    offset = float(weights.bias[weights.labels.index(label)])
    shares = shares_of(contributions[row : row + 1])[0]
    order = shares.argsort(descending=True, stable=True)[:top].tolist()
    shown = [channel for channel in order if shares[channel] > 0]
    return ClassOverview(
        label,
        n_clips,
        offset + float(contributions[row].sum()),
        offset,
        tuple(_channel(bank, k, row, float(shares[k]), float(contributions[row, k])) for k in shown),
        float(shares[shown].sum()),
    )


def _by_label(bank: PrototypeBank, label: str) -> list[int]:
    """Returns the channels with prototypes of a label: those with most of them first, of these the purest."""
    counts = [histogram.get(label, 0) for histogram in bank.class_histograms]
    found = (channel for channel, count in enumerate(counts) if count)
    return sorted(found, key=lambda channel: (-counts[channel], -bank.purity[channel], channel))


def _channel(
    bank: PrototypeBank,
    channel: int,
    row: int | None,
    share: float | None = None,
    contribution: float | None = None,
) -> ChannelOverview:
    means = bank.class_means
    activation = None if means is None or row is None else float(means[row, channel])
    below = activation is not None and activation < 0
    prototypes = tuple(p for p in bank.of(channel, positive=not below) if p.sign != "weakest")
    histogram = histogram_of(prototypes)
    return ChannelOverview(
        channel=channel,
        share=share,
        contribution=contribution,
        activation=activation,
        prototypes=prototypes,
        purity=sum(p.purity for p in prototypes) / max(len(prototypes), 1),
        histogram=histogram,
        class_purity=max(histogram.values(), default=0) / max(len(prototypes), 1),
        dead=channel in bank.dead,
        duplicates=duplicates_of(bank, channel),
    )


def histogram_of(prototypes: Iterable[Prototype]) -> dict[str, int]:
    """Returns how many prototypes carry each label, the most frequent first."""
    counts = Counter(label for p in prototypes for label in p.label.split(";") if label)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def duplicates_of(bank: PrototypeBank, channel: int) -> tuple[int, ...]:
    """Returns the channels that are active together with a channel throughout."""
    pairs = (pair for pair in bank.duplicates if channel in pair)
    return tuple(sorted(second if first == channel else first for first, second in pairs))


def _about(bank: PrototypeBank, channel: int) -> dict[str, Any]:
    """Returns what is known of a channel whatever the class."""
    return {
        "channel": channel,
        "purity": bank.purity[channel],
        "class_purity": bank.class_purity[channel],
        "histogram": bank.class_histograms[channel],
        "dead": channel in bank.dead,
        "duplicates": list(duplicates_of(bank, channel)),
    }
