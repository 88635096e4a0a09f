"""Gates held as they are in a clip, so that a head becomes affine in its map: exact contributions for T3 and T4.

A rectifier is a factor of 0 or 1, a maximum a choice of one input, `silu(x)` the factor `silu(x) / x`; sigmoids,
softmax and attention weights that multiply something are numbers, and so is the scale of a LayerNorm. With all of
these held as they are at a map Z, `logit_c = b_eff + sum J_c * Z` with `J_c` the gradient through what remains, and
`b_eff` what remains says of the map of zeros; it is never made from the logit and the sum. Nothing here is trusted:
`holds` compares with the head itself, and what has no rule runs as it is, so that it shows where it is not affine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..types import Logits, Map
from . import gate_rules
from .gate_rules import Hold, Rule
from .surgery import own_precision
from .tape import HeadFunction, Perform, Step, Tape, plainly

CHECKED_LABELS = 4  # rows of J that a test looks at


@dataclass(frozen=True)
class _Plan:
    """What is held of one step, the slots that it still reads then, and whether that is smooth."""

    rule: Rule | None
    reads: tuple[int, ...]
    smooth: bool = False


class Gated:
    """A recorded head, and what of it is held.

    Parameters
    ----------
    tape
        The head, for maps of one shape.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape, self.plans = tape, _plans(tape)
        self.steps = _live(tape, self.plans)

    @property
    def smooth(self) -> bool:
        """Whether any gate is more than piecewise linear."""
        return any(self.plans[step].smooth for step in self.steps)


class Held:
    """A head with the gates of given maps: affine in maps, clip by clip.

    Parameters
    ----------
    gated
        The head, for maps of this shape.
    maps
        `[batch, channel, freq, frame]`, whose gates are held.

    Attributes
    ----------
    own
        The logits of these maps, `[batch, label]`.
    """

    def __init__(self, gated: Gated, maps: Map) -> None:
        self.gated, self.maps = gated, maps.detach()
        self._holds: dict[Step, Hold] = {}
        with torch.inference_mode(False), torch.no_grad():
            self.own = gated.tape.run(self.maps, _observer(gated.plans, self._holds))

    def logits(self, maps: Map) -> Logits:
        """Returns the logits of other maps with the gates of these; differentiable."""
        return self.gated.tape.run(maps, self._perform, self.gated.steps)

    @own_precision()
    def linearize(self, index: int) -> tuple[Map, Float[Tensor, " batch"]]:
        """Returns `J`, the gradient of logit `index` in each cell `[batch, channel, freq, frame]`, and `b_eff`."""
        zero, logits = self._at_zero
        if not logits.requires_grad:
            return torch.zeros_like(zero), logits[:, index].detach()
        with torch.inference_mode(False), torch.enable_grad():
            (J,) = torch.autograd.grad(logits[:, index].sum(), zero, retain_graph=True)
        return J, logits[:, index].detach()

    @property
    def is_flat(self) -> bool:
        """Whether nothing is left of the first logits but their offsets."""
        n_labels = min(self.own.shape[1], CHECKED_LABELS)
        return not any(bool((self.linearize(index)[0] != 0).any()) for index in range(n_labels))

    @cached_property
    def _at_zero(self) -> tuple[Map, Logits]:
        with torch.inference_mode(False), torch.enable_grad():
            zero = torch.zeros_like(self.maps.clone()).requires_grad_(True)
            return zero, self.logits(zero)

    def _perform(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hold = self._holds.get(step)
        if hold is None:
            return plainly(step, args, kwargs)
        result = hold(*args, **kwargs)
        if not step.writes_slot:
            return result
        return args[0].copy_(result)


def holds(function: HeadFunction, held: Held, others: Map, close: Callable[[Tensor, Tensor], bool]) -> bool:
    """Says whether a head is its tape, and affine with the gates of random maps held.

    The tape must say what the head says of other maps too; with gates held, it must say the same of these maps, and
    `b_eff + sum J * Z` of these, of others and of larger ones.
    """
    with torch.no_grad():
        same = close(held.gated.tape.run(others), function(others))
        if not same or not close(held.logits(held.maps), function(held.maps)):
            return False
        for index in range(min(held.own.shape[1], CHECKED_LABELS)):
            J, offset = held.linearize(index)
            for other in (held.maps, others, 10 * others):
                if not close(offset + (J * other).sum((1, 2, 3)), held.logits(other)[:, index]):
                    return False
    return True


def _observer(plans: dict[Step, _Plan], holds: dict[Step, Hold]) -> Perform:
    """Returns how steps are done while gates are observed: as recorded, and what is held of them is kept."""

    def perform(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rule = plans[step].rule
        if rule is None:
            return plainly(step, args, kwargs)
        before = (args[0].clone(), *args[1:]) if step.in_place else args
        result = plainly(step, args, kwargs)
        holds[step] = rule(result, step.named(before, kwargs))
        return result

    return perform


def _plans(tape: Tape) -> dict[Step, _Plan]:
    """Returns what is held of each step; which factor of a product is a gate follows from how it was made."""
    ranks = dict.fromkeys(range(len(tape.storages)), 0)
    plans = {}
    for step in tape.steps:
        plans[step] = _plan(step, ranks, tape.is_float)
        rank = gate_rules.rank(step, [ranks[i] for i in step.inputs if tape.is_float[i]])
        ranks.update({i: rank if tape.is_float[i] else gate_rules.SWITCH for i in step.outputs})
    return plans


def _plan(step: Step, ranks: dict[int, int], is_float: Sequence[bool]) -> _Plan:
    if not any(is_float[i] for i in step.outputs):
        return _Plan(gate_rules.constant, ())
    if step.name in gate_rules.PRODUCTS:
        position = gate_rules.held_factor(step, ranks)
        if position is None:
            return _Plan(None, step.inputs)
        gate = step.args[position].index
        rule = gate_rules.held_product(step, position)
        return _Plan(rule, tuple(i for i in step.inputs if i != gate), ranks[gate] != gate_rules.SWITCH)
    made = gate_rules.rule_for(step)
    return _Plan(None, step.inputs) if made is None else _Plan(made.rule, made.reads(step), made.smooth)


def _live(tape: Tape, plans: dict[Step, _Plan]) -> tuple[Step, ...]:
    """Returns the steps that the logits still depend on; a step that writes memory which is read later counts."""
    needed = {tape.storages[tape.output]}
    live = []
    for step in reversed(tape.steps):
        if any(tape.storages[i] in needed for i in step.outputs):
            live.append(step)
            needed |= {tape.storages[i] for i in plans[step].reads}
            if step.writes_slot:
                needed.add(tape.storages[step.args[0].index])
    return tuple(reversed(live))
