"""The small types that everything else passes around, and the names of tensor axes.

Axes are spelled `batch channel sample freq mel frame label` everywhere; frequency comes before time.
Tensor types are checked in the test run (jaxtyping with beartype) and free in production.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from .errors import TargetError

if TYPE_CHECKING:
    from .audio.waveform import Waveform

Stage = Literal["waveform", "stft", "features", "map", "latents", "logits"]
Task = Literal["multiclass", "multilabel"]
View = Literal["square", "time", "frequency", "time-frequency"]
ScoreFunction = Literal["logit", "log_prob", "prob", "contrast"]

Samples = Float[Tensor, "batch sample"]
ComplexStft = Complex[Tensor, "batch freq frame"]
Features = Float[Tensor, "batch mel frame"]
Map = Float[Tensor, "batch channel freq frame"]
Logits = Float[Tensor, "batch label"]


@dataclass(frozen=True)
class Region:
    """A box in time and frequency.

    Parameters
    ----------
    start_s, end_s
        Time bounds in seconds, `start_s <= end_s`.
    low_hz, high_hz
        Frequency bounds in hertz, `low_hz <= high_hz`.
    weight
        How much the box counts; its meaning is the maker's (for APEX, the channel's contribution).
    label
        What the box shows.
    """

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    weight: float = 1.0
    label: str = ""

    def to_dict(self) -> dict[str, float | str]:
        """Returns the fields in the order of `explanation.json`."""
        return {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "low_hz": self.low_hz,
            "high_hz": self.high_hz,
            "weight": self.weight,
            "label": self.label,
        }


@dataclass(frozen=True)
class Clip:
    """One recording, or a part of it, as a data set yields it.

    Parameters
    ----------
    id
        Unique in its data set and stable between runs; ties are broken by it.
    source
        A file, a waveform in memory, or a function that makes the waveform.
    labels
        What is known to sound in it.
    group
        What must not be split between training and test: source recording, recordist, speaker.
    fold
        The published fold, if there is one.
    start_s, end_s
        The part of the source that is meant, in seconds; `None` is the source's own start or end.
    events
        Ground truth: where each label sounds.
    """

    id: str
    source: "Path | Waveform | Callable[[], Waveform]"
    labels: tuple[str, ...] = ()
    group: str | None = None
    fold: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    events: tuple[Region, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Target:
    """Which label is explained, and which scalar of the logits.

    Parameters
    ----------
    index, label
        The label's position in `classifier.labels`, and its name.
    score
        `logit`, `log_prob`, `prob`, or `contrast` (this logit minus the one at `against`).
    against, against_label
        The other label of a contrast.
    """

    index: int
    label: str
    score: ScoreFunction = "logit"
    against: int | None = None
    against_label: str | None = None

    def of(self, logits: Logits, task: Task) -> Float[Tensor, " batch"]:
        """Returns the scalar that is explained, one per clip, differentiable in the logits."""
        if self.score == "contrast":
            return logits[:, self.index] - logits[:, self.against]
        if self.score == "logit":
            return logits[:, self.index]
        if self.score == "prob":
            return probabilities(logits, task)[:, self.index]
        log_probs = logits.log_softmax(-1) if task == "multiclass" else torch.nn.functional.logsigmoid(logits)
        return log_probs[:, self.index]


def probabilities(logits: Float[Tensor, "*batch label"], task: Task) -> Float[Tensor, "*batch label"]:
    """Returns softmax for one label of many, sigmoid for each label on its own."""
    return logits.softmax(-1) if task == "multiclass" else logits.sigmoid()


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a classifier says about one clip; it carries logits, so probabilities are derived once.

    Parameters
    ----------
    logits
        `[label]`, as the model returned them.
    labels
        The label names in the order of the logits.
    task
        `multiclass` or `multilabel`.
    threshold
        Probability from which a label of a multi-label classifier counts as present.
    """

    logits: Float[Tensor, " label"]
    labels: tuple[str, ...]
    task: Task
    threshold: float = 0.5

    @property
    def probs(self) -> Float[Tensor, " label"]:
        """Probabilities in [0, 1], by task."""
        return probabilities(self.logits, self.task)

    @property
    def index(self) -> int:
        """The position of the largest logit."""
        return int(self.logits.argmax())

    @property
    def label(self) -> str:
        """The name of the largest logit."""
        return self.labels[self.index]

    @property
    def decided(self) -> tuple[str, ...]:
        """The labels that count as present: the top one, or every one above the threshold.

        A multi-label clip with nothing above the threshold falls back to its top label.
        """
        if self.task == "multiclass":
            return (self.label,)
        above = (self.probs >= self.threshold).nonzero().flatten().tolist()
        return tuple(self.labels[i] for i in above) or (self.label,)

    def top(self, n: int = 5) -> list[dict[str, Any]]:
        """Returns the `n` most probable labels as `{"label", "logit", "prob"}`, largest first."""
        order = self.logits.argsort(descending=True, stable=True)[:n].tolist()
        return [{"label": self.labels[i], "logit": float(self.logits[i]), "prob": float(self.probs[i])} for i in order]


def resolve_target(
    target: "str | SupportsIndex | Target | None",
    prediction: Prediction,
    *,
    against: str | None = None,
) -> Target:
    """Returns the target that a user means by a name, a position, or nothing (the top label).

    Raises
    ------
    TargetError
        If the label does not exist; the sentence names the nearest ones.
    """
    if isinstance(target, Target):
        if target.score == "contrast" and target.against is None:
            raise TargetError(f"A contrast needs a second label, and {target.label!r} has none; set against.")
        for index in (target.index, target.index if target.against is None else target.against):
            label_index(index, prediction.labels)
        return target
    index = prediction.index if target is None else label_index(target, prediction.labels)
    if against is None:
        return Target(index, prediction.labels[index])
    other = label_index(against, prediction.labels)
    if other == index:
        raise TargetError(f"A contrast needs two different labels, got {against!r} twice; name another one.")
    return Target(index, prediction.labels[index], "contrast", other, prediction.labels[other])


def label_index(label: str | SupportsIndex, labels: Sequence[str]) -> int:
    """Returns the position of a label given by name or position."""
    if not isinstance(label, str):
        label = operator.index(label)
        if 0 <= label < len(labels):
            return label
        raise TargetError(f"Label {label} does not exist: the classifier has labels 0 to {len(labels) - 1}.")
    if label in labels:
        return list(labels).index(label)
    import difflib

    near = difflib.get_close_matches(label, labels, n=3, cutoff=0.4) or list(labels[:5])
    raise TargetError(
        f"Label {label!r} is unknown to this classifier; did you mean {', '.join(map(repr, near))}? "
        "`earmark info CLASSIFIER` lists all labels."
    )


def seeded(seed: int, *parts: int) -> torch.Generator:
    """Returns a generator of its own for `seed` and what it is for; the global one is never touched.

    Zeros at the end of `parts` do not count: `(seed, 1)` and `(seed, 1, 0)` are the same.
    """
    import numpy as np

    state = np.random.SeedSequence([seed, *parts]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
