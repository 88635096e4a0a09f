"""`check_metric`: what every metric promises: a pure function, one number per clip, whatever clips are beside it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .report import NotApplicableError, Report, expect, run_checks
from .untouched import bits

Metric = Callable[..., Tensor]
Arguments = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class MetricSubject:
    """A metric, and what it is checked on; see `check_metric`."""

    metric: Metric
    args: Arguments
    limits: tuple[float, float]
    degenerate: Mapping[str, tuple[Arguments, Sequence[float]]]
    rounding: float

    @property
    def n_clips(self) -> int:
        """Clips in the batch."""
        return len(_tensors(self.args)[0])

    def values(self) -> Tensor:
        """Returns the metric of the whole batch."""
        return self.metric(*self.args)


def check_metric(
    metric: Metric,
    *args: Any,
    limits: tuple[float, float] = (-math.inf, math.inf),
    degenerate: Mapping[str, tuple[Arguments, Sequence[float]]] | None = None,
    rounding: float = 1e-5,
    without: Iterable[str] = (),
) -> Report:
    """Checks what every metric promises.

    Parameters
    ----------
    metric
        `metric(*args)` returns one number per clip.
    args
        At least two clips: tensors whose first axis is the clip, or dataclasses of such tensors.
    limits
        The range that the metric states, ends included.
    degenerate
        By name, arguments and the values stated for them, one for each clip, NaN where the metric is undefined.
    rounding
        How far float32 may be from float64, relative to the largest value.
    without
        Names of checks that are left out, from `METRIC_CHECKS`.
    """
    own = _mapped(args, torch.clone)
    subject = MetricSubject(metric, own, limits, degenerate or {}, rounding)
    return run_checks(getattr(metric, "__name__", str(metric)), subject, METRIC_CHECKS, without)


def one_number_per_clip(subject: MetricSubject) -> str:
    """A float for each clip."""
    values = subject.values()
    good = tuple(values.shape) == (subject.n_clips,) and values.is_floating_point()
    expect(good, f"{values.dtype} of shape {tuple(values.shape)}", f"floats of shape ({subject.n_clips},)")
    return f"{subject.n_clips} clips"


def pure(subject: MetricSubject) -> None:
    """Inputs and generators are what they were, and a second call returns the same bits."""
    before = [bits(tensor) for tensor in _tensors(subject.args)], _generators()
    first, second = subject.values(), subject.values()
    after = [bits(tensor) for tensor in _tensors(subject.args)], _generators()
    expect(before[0] == after[0], "changed inputs", "inputs as they were")
    expect(before[1] == after[1], "a generator that moved", "no random numbers")
    expect(bits(first) == bits(second), "other values from a second call", "the same bits")


def batch_is_single(subject: MetricSubject) -> None:
    """A clip has the same number alone."""
    alone = [subject.metric(*_rows(subject.args, slice(i, i + 1))) for i in range(subject.n_clips)]
    _same(torch.cat(alone), subject.values(), "alone")


def order_is_nothing(subject: MetricSubject) -> None:
    """Clips in another order have their numbers in that order."""
    turned = torch.arange(subject.n_clips).flip(0)
    _same(subject.metric(*_rows(subject.args, turned)), subject.values()[turned], "in another order")


def stated_range(subject: MetricSubject) -> str:
    """Numbers lie in the range that is stated."""
    values, (low, high) = subject.values(), subject.limits
    known = values[~values.isnan()].double()
    if low == -math.inf and high == math.inf:
        raise NotApplicableError("no range is stated")
    if not len(known):
        raise NotApplicableError("no clip has a number")
    came = f"values from {float(known.min()):.6g} to {float(known.max()):.6g}"
    expect(bool(((known >= low) & (known <= high)).all()), came, f"{low:g} to {high:g}")
    return came


def stated_degenerate(subject: MetricSubject) -> str:
    """Degenerate clips have the numbers that are stated."""
    if not subject.degenerate:
        raise NotApplicableError("no degenerate case is stated")
    for name, (args, expected) in subject.degenerate.items():
        came = subject.metric(*args).double()
        known = torch.tensor(expected, dtype=torch.float64)
        same = came.shape == known.shape and torch.allclose(came, known, rtol=0, atol=1e-6, equal_nan=True)
        expect(same, f"{came.tolist()} for {name}", f"{known.tolist()}")
    return ", ".join(subject.degenerate)


def precision_is_nothing(subject: MetricSubject) -> str:
    """Float32 and float64 of the same numbers lead to the same value, but for rounding."""
    single = _mapped(subject.args, lambda x: x.float() if x.is_floating_point() else x)
    double = _mapped(single, lambda x: x.double() if x.is_floating_point() else x)
    a, b = (subject.metric(*args).double() for args in (single, double))
    expect(torch.equal(a.isnan(), b.isnan()), "NaN in one precision only", "the same in both")
    if not bool((~b.isnan()).any()):
        return "NaN"
    apart = float((a - b).abs().nan_to_num().max() / b.abs().nan_to_num().max().clamp_min(1))
    expect(apart <= subject.rounding, f"{apart:.1e} between float32 and float64", f"at most {subject.rounding:.0e}")
    return f"to {apart:.0e}"


def _same(came: Tensor, expected: Tensor, where: str) -> None:
    same = came.shape == expected.shape and bits(came) == bits(expected)
    expect(same, f"{came.tolist()} {where}", f"{expected.tolist()}")


def _generators() -> Any:
    numpy = np.random.get_state(legacy=False)["state"]
    return bits(torch.get_rng_state()), numpy["key"].tobytes(), numpy["pos"]


def _tensors(value: Any) -> list[Tensor]:
    """Returns the tensors of arguments, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    _mapped(value, keep)
    return found


def _rows(value: Any, rows: slice | Tensor) -> Any:
    return _mapped(value, lambda tensor: tensor[rows])


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Returns arguments with each tensor replaced; those in dataclasses too."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_mapped(part, function) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{k: function(v) for k, v in parts.items() if isinstance(v, Tensor)})
    return value


#: All checks by name, in the order in which they run.
METRIC_CHECKS: dict[str, Callable[[MetricSubject], str | None]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        pure,
        one_number_per_clip,
        batch_is_single,
        order_is_nothing,
        stated_range,
        stated_degenerate,
        precision_is_nothing,
    )
}
