"""What is held of each operation that is not linear: how a gate is made from one run, and which factor is one.

A rule gets an operation's result and arguments at a map, and returns the operation with its gates held: a function of
the same arguments that is affine in those that depend on the map. Operations without a rule run as they are.

Of a product of two things that depend on the map, the one with the higher rank is held: softmax and the scale of a
norm (3) before sigmoids (2) before tanh and other limited functions (1) before anything else (0), and comparisons and
choices (4) before all. What is made of gates alone is a gate, until a linear layer mixes it. Equal ranks: none is held,
and the head is not affine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .tape import Step

Hold = Callable[..., Any]
Named = dict[str, Any]
Rule = Callable[[Any, Named], Hold]  # the result and the arguments by name

SWITCH = 4
_RANKS = {"_softmax": 3, "_safe_softmax": 3, "rsqrt": 3, "sigmoid": 2, "hardsigmoid": 2}
_RANKS |= {"tanh": 1, "erf": 1, "hardtanh": 1}
_MIXERS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution")

#: Products: the function, and the positions of their two factors.
PRODUCTS: dict[str, tuple[Callable[..., Tensor], tuple[int, int]]] = {
    "mul": (torch.mul, (0, 1)),
    "div": (torch.div, (0, 1)),
    "mm": (torch.mm, (0, 1)),
    "bmm": (torch.bmm, (0, 1)),
    "mv": (torch.mv, (0, 1)),
    "dot": (torch.dot, (0, 1)),
    "addmm": (torch.addmm, (1, 2)),
    "baddbmm": (torch.baddbmm, (1, 2)),
    "addcmul": (torch.addcmul, (1, 2)),
}


@dataclass(frozen=True)
class Made:
    """A rule, the positions of the arguments on which the held operation depends, and whether the gate is smooth."""

    rule: Rule
    smooth: bool
    positions: tuple[int, ...] = (0,)

    def reads(self, step: Step) -> tuple[int, ...]:
        """Returns the slots that the held operation reads."""
        return step.slots(self.positions)


def rule_for(step: Step) -> Made | None:
    """Returns the rule of an operation, if it has one."""
    return _RULES.get(step.name)


def rank(step: Step, ranks: list[int]) -> int:
    """Returns how much the result of an operation is a gate, given this of what it reads."""
    if step.name in _MIXERS:
        return 0
    limited = step.name == "clamp" and None not in (step.named()["min"], step.named()["max"])
    return max(_RANKS.get(step.name, int(limited)), min(ranks, default=SWITCH))


def held_factor(step: Step, ranks: dict[int, int]) -> int | None:
    """Returns the position of the factor that is held, or `None` where none is, or none has to be."""
    first, second = PRODUCTS[step.name][1]
    if len(step.slots((first, second))) < 2:
        return None
    left, right = (ranks[step.args[i].index] for i in (first, second))
    if left == right or (step.name == "div" and left > right):
        return None
    return first if left > right else second


def held_product(step: Step, position: int) -> Rule:
    """Returns the rule of a product with one factor held."""
    multiply, name = PRODUCTS[step.name][0], list(step.named())[position]

    def rule(_result: Tensor, named: Named) -> Hold:
        factor = named[name].clone()
        return lambda *args, **kwargs: multiply(*args[:position], factor, *args[position + 1 :], **kwargs)

    return rule


def constant(result: Any, _named: Named) -> Hold:
    """Holds a result as it is: comparisons, choices, whole numbers."""
    kept = _cloned(result)
    return lambda *_args, **_kwargs: _cloned(kept)


def _cloned(result: Any) -> Any:
    return result.clone() if isinstance(result, Tensor) else tuple(part.clone() for part in result)


def _first(named: Named) -> Tensor:
    x = next(iter(named.values()))
    assert isinstance(x, Tensor)
    return x


# -- piecewise linear -------------------------------------------------------------------------------------------------


def _pieces(slope: Callable[[Tensor, Named], Tensor], inner: float = 0.0) -> Rule:
    """Holds the slope of each element; pieces without slope are constants, the others pass `inner` at 0."""

    def rule(y: Tensor, named: Named) -> Hold:
        slopes = slope(_first(named), named).to(y)
        rest = torch.where(slopes == 0, y, inner)
        return lambda x, *_args, **_kwargs: x * slopes + rest

    return rule


def _within(x: Tensor, low: Any, high: Any) -> Tensor:
    inside = torch.ones_like(x, dtype=torch.bool)
    inside = inside if low is None else inside & (x >= low)
    return inside if high is None else inside & (x <= high)


def _one_of_two(y: Tensor, named: Named) -> Hold:
    """Holds which of two arguments is the result: `maximum` and `minimum`."""
    first = _first(named) == y
    return lambda a, b: torch.where(first, a, b)


def _along_axis(result: Any, named: Named) -> Hold:
    """Holds the choice along an axis (`max`, `min`, `median`, `kthvalue`, `topk`, `sort`), or among all elements."""
    if isinstance(result, Tensor):
        position = (_first(named) == result).flatten().to(torch.uint8).argmax()
        return lambda x, *_args, **_kwargs: x.flatten()[position]
    index, axis, keep = result[1].clone(), named["dim"], named.get("keepdim", True)

    def hold(x: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        chosen = x.gather(axis, index if keep else index.unsqueeze(axis))
        return (chosen if keep else chosen.squeeze(axis)), index

    return hold


def _over_axes(y: Tensor, named: Named) -> Hold:
    """Holds which one element is the largest (smallest) over several axes, the first of equal ones: `amax`, `amin`."""
    x = _first(named)
    axes = [i % x.ndim for i in (named["dim"] or range(x.ndim))]
    spread = y if named["keepdim"] else _with_axes(y, axes)
    index = _gathered(x == spread, axes).to(torch.uint8).argmax(-1, keepdim=True)

    def hold(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return _gathered(x, axes).gather(-1, index).reshape(y.shape)

    return hold


def _with_axes(y: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        y = y.unsqueeze(axis)
    return y


def _gathered(x: Tensor, axes: list[int]) -> Tensor:
    """Returns the tensor with some axes flattened into the last one."""
    rest = [i for i in range(x.ndim) if i not in axes]
    return x.permute(*rest, *axes).flatten(len(rest))


def _pooled(n_axes: int) -> Rule:
    """Holds the choice in each window of the last axes, which torch counts through them."""

    def rule(result: tuple[Tensor, Tensor], _named: Named) -> Hold:
        index = result[1].clone()
        flat = index.flatten(-n_axes)
        return lambda x, *_args, **_kwargs: (x.flatten(-n_axes).gather(-1, flat).reshape(index.shape), index)

    return rule


# -- smooth -----------------------------------------------------------------------------------------------------------


def _chord(slope_at_zero: float, at_zero: float = 0.0) -> Rule:
    """Holds the factor `(y - y(0)) / x` of each element, which at 0 is the slope."""

    def rule(y: Tensor, named: Named) -> Hold:
        x = _first(named)
        factor = torch.where(x == 0, slope_at_zero, (y - at_zero) / x)
        return lambda x, *_args, **_kwargs: x * factor + at_zero

    return rule


def _layer_norm(result: tuple[Tensor, ...], named: Named) -> Hold:
    """Holds the scale; the mean is linear and stays."""
    axes = tuple(range(-len(named["normalized_shape"]), 0))
    scale = result[2].reshape(*_first(named).shape[: axes[0]], *(1 for _ in axes))

    def hold(x: Tensor, _shape: Any, weight: Tensor | None, bias: Tensor | None, *_rest: Any) -> tuple[Tensor, ...]:
        return (_affine((x - x.mean(axes, keepdim=True)) * scale, weight, bias), *result[1:])

    return hold


def _rms_norm(result: tuple[Tensor, ...], _named: Named) -> Hold:
    return lambda x, _shape, weight, *_rest: (_affine(x * result[1], weight, None), *result[1:])


def _group_norm(result: tuple[Tensor, ...], named: Named) -> Hold:
    """Holds the scale of each group."""
    scale = result[2][..., None]

    def hold(x: Tensor, weight: Tensor | None, bias: Tensor | None, *_rest: Any) -> tuple[Tensor, ...]:
        groups = x.reshape(named["N"], named["group"], -1)
        normed = ((groups - groups.mean(-1, keepdim=True)) * scale).reshape(x.shape)
        by_channel = [None if w is None else w.reshape(-1, *(1,) * (x.ndim - 2)) for w in (weight, bias)]
        return (_affine(normed, *by_channel), *result[1:])

    return hold


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _glu(_result: Tensor, named: Named) -> Hold:
    axis = named["dim"]
    gate = _first(named).chunk(2, axis)[1].sigmoid()
    return lambda x, *_args, **_kwargs: x.chunk(2, axis)[0] * gate


def _attention(result: tuple[Any, ...], named: Named) -> Hold:
    """Holds the attention weights of a fused operation."""
    mask = named.get("attn_mask", named.get("attn_bias"))
    weights = torch.ops.aten._scaled_dot_product_attention_math(
        named["query"], named["key"], named["value"], mask, 0.0, named["is_causal"], scale=named["scale"]
    )[1]
    return lambda _query, _key, value, *_args, **_kwargs: (weights @ value, *result[1:])


def _switch(slope: Callable[[Tensor, Named], Tensor], inner: float = 0.0) -> Made:
    return Made(_pieces(slope, inner), smooth=False)


def _choice(rule: Rule, positions: tuple[int, ...] = (0,)) -> Made:
    return Made(rule, False, positions)


def _curve(slope_at_zero: float, at_zero: float = 0.0) -> Made:
    return Made(_chord(slope_at_zero, at_zero), smooth=True)


_RULES: dict[str, Made] = {
    "relu": _switch(lambda x, _: x > 0),
    "leaky_relu": _switch(lambda x, a: torch.where(x > 0, torch.ones_like(x), a["negative_slope"])),
    "_prelu_kernel": _switch(lambda x, a: torch.where(x > 0, torch.ones_like(x), a["weight"])),
    "hardshrink": _switch(lambda x, a: x.abs() > a["lambd"]),
    "threshold": _switch(lambda x, a: x > a["threshold"]),
    "abs": _switch(lambda x, _: x.sign()),
    "hardtanh": _switch(lambda x, a: _within(x, a["min_val"], a["max_val"])),
    "clamp": _switch(lambda x, a: _within(x, a["min"], a["max"])),
    "clamp_min": _switch(lambda x, a: _within(x, a["min"], None)),
    "clamp_max": _switch(lambda x, a: _within(x, None, a["max"])),
    "hardsigmoid": _switch(lambda x, _: _within(x, -3, 3).to(x) / 6, 0.5),
    "maximum": _choice(_one_of_two, (0, 1)),
    "minimum": _choice(_one_of_two, (0, 1)),
    **dict.fromkeys(("max", "min", "median", "kthvalue", "topk", "sort"), _choice(_along_axis)),
    **dict.fromkeys(("amax", "amin"), _choice(_over_axes)),
    **dict.fromkeys(("max_pool2d_with_indices", "adaptive_max_pool2d"), _choice(_pooled(2))),
    **dict.fromkeys(("max_pool3d_with_indices", "adaptive_max_pool3d"), _choice(_pooled(3))),
    **dict.fromkeys(("silu", "gelu", "hardswish"), _curve(0.5)),
    "mish": _curve(0.6),
    **dict.fromkeys(("tanh", "elu", "celu"), _curve(1.0)),
    "erf": _curve(2 / math.sqrt(math.pi)),
    "sigmoid": _curve(0.25, 0.5),
    "softplus": _curve(0.5, math.log(2)),
    "native_layer_norm": Made(_layer_norm, smooth=True),
    "_fused_rms_norm": Made(_rms_norm, smooth=True),
    "native_group_norm": Made(_group_norm, smooth=True),
    "glu": Made(_glu, smooth=True),
    **{
        f"_scaled_dot_product_{kind}": Made(_attention, True, (2,))
        for kind in ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
    },
}
