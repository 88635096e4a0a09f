"""The numbers of APEX: how the basis is learned, and what a prototype bank keeps. Imports no torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...errors import InputError

View = Literal["square", "time", "frequency", "time-frequency"]
Form = Literal["general", "orthogonal"]
Schedule = Literal["paper", "epic"]
Selection = Literal["sum", "mean"]

FIRST, LAST = 100, 5  # prototypes per channel in the first stage and at the end (n_0, n_S)


@dataclass(frozen=True)
class ApexConfig:
    """How APEX is fitted; the paper's symbols in parentheses, defaults as published where they are.

    Raises
    ------
    InputError
        If a value lies outside its range; the sentence names it.
    """

    view: View = "time-frequency"  # where a prototype is looked for: cell, column, row, or column and row
    form: Form = "general"  # U = exp(A), or orthogonal: U = exp(A - A^T)
    schedule: Schedule = "paper"  # prototypes per channel and stage (n_s)
    n_stages: int = 10  # how often prototypes are selected anew (s = 0..9)
    epochs_per_stage: int = 2  # passes over the pairs of a stage
    batch_size: int = 512  # (clip, channel) pairs per optimizer step
    learning_rate: float = 1e-3  # of Adam; an entry of A moves by at most about this much in a step
    betas: tuple[float, float] = (0.9, 0.999)  # decay of Adam's two moments
    eps: float = 1e-8  # Adam's denominator guard
    weight_decay: float = 1e-5  # L2 on A, coupled (in the gradient); pulls U toward I
    selection: Selection = "sum"  # a_k is the sum over cells (the paper's), or their mean if lengths vary
    bank_size: int = 5  # prototypes per channel and sign in the bank (m)
    per_group: int | None = 1  # prototypes of one recording in a channel (q); None is no limit
    near_copy_cosine: float | None = 0.98  # a clip whose pooled vector is closer to a kept one is dropped
    candidates: int = 4  # the bank is chosen from this many times m
    standardize: bool | None = (
        None  # channels to equal size before purity is learned; by default where a layer is named
    )
    held_out: float = 0.2  # share of the clips, by group, kept for the diagnostics
    pictures: bool = True  # keep small pictures of prototypes, for where their sound is not at hand
    clips_per_batch: int = 16  # clips of equal length in one forward pass
    seed: int = 42  # of the shuffles and of the held-out clips

    def __post_init__(self) -> None:
        for name, kind in (("view", View), ("form", Form), ("schedule", Schedule), ("selection", Selection)):
            _one_of(name, getattr(self, name), get_args(kind))
        for name in (
            "n_stages",
            "epochs_per_stage",
            "batch_size",
            "bank_size",
            "candidates",
            "clips_per_batch",
        ):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(self.learning_rate > 0, "learning_rate", "positive", self.learning_rate)
        _require(self.weight_decay >= 0, "weight_decay", "0 or more", self.weight_decay)
        _require(self.per_group is None or self.per_group >= 1, "per_group", "at least 1 or None", self.per_group)
        _require(0 <= self.held_out < 1, "held_out", "a share from 0 to below 1", self.held_out)

    @property
    def prototypes_per_stage(self) -> tuple[int, ...]:
        """Prototypes per channel, one number for each stage (n_s)."""
        return prototype_schedule(self.schedule, self.n_stages)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; `standardize` only where it is on, so that earlier fits are known by theirs."""
        values = {**asdict(self), "betas": list(self.betas)}
        return values if self.standardize else {k: v for k, v in values.items() if k != "standardize"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ApexConfig":
        """Returns the configuration that `to_dict` wrote."""
        return cls(**{**values, "betas": tuple(values["betas"])})


def prototype_schedule(name: str, n_stages: int = 10) -> tuple[int, ...]:
    """Returns how many prototypes per channel each stage trains on.

    `paper`: floor(linspace(100, 5, n_stages)), "linearly ... to 5 by the conclusion". `epic`: int(max(5, 100 - 9.5 s))
    of EPIC's code, which never reaches 5 in ten stages; for another number of stages 9.5 becomes 95 / n_stages.

    Examples
    --------
    >>> prototype_schedule("paper")
    (100, 89, 78, 68, 57, 47, 36, 26, 15, 5)
    """
    _one_of("schedule", name, get_args(Schedule))
    steps = max(n_stages - 1, 1) if name == "paper" else n_stages
    # In whole numbers, so that no rounding of a step can lower a count.
    return tuple(max(LAST, (FIRST * steps - (FIRST - LAST) * s) // steps) for s in range(n_stages))


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is one of {', '.join(allowed)}, got {value!r}; choose one of these.")


def _require(fulfilled: bool, name: str, expected: str, value: object) -> None:
    if not fulfilled:
        raise InputError(f"{name} is {expected}, got {value!r}; change it.")
