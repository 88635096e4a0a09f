"""Tape: the tensor operations through which a function's output depends on its input, recorded in one run.

What is recorded are torch's own elementary operations (`aten`), below modules, methods, functions and in-place or
scripted spellings of the same thing. A tape can be run again on another input of the same shape; what does not depend
on the input (weights, masks, positions) is kept as it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ModelError
from ..types import Logits, Map

HeadFunction = Callable[[Map], Logits]


class TapeError(ModelError):
    """A function cannot be recorded: its output depends on its input in ways that are not tensor operations."""


@dataclass(frozen=True)
class Slot:
    """Stands for a tensor that depends on the input."""

    index: int


@dataclass(frozen=True, eq=False)
class Step:
    """One operation.

    Parameters
    ----------
    operation
        An overload of `torch.ops.aten`.
    args, kwargs
        Its arguments, with a `Slot` for each tensor that depends on the input.
    outputs
        The slot of each tensor that it returns, in order; an in-place operation returns the slot that it changes.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """The operation without namespace, overload, and the underscore of in-place operations."""
        name = str(self.operation._schema.name).removeprefix("aten::")
        return name.removesuffix("_") if self.in_place and not name.endswith("__") else name

    @cached_property
    def in_place(self) -> bool:
        """Whether it changes its first argument."""
        return bool(self.operation._schema.is_mutable)

    @cached_property
    def writes_slot(self) -> bool:
        """Whether it changes a tensor that depended on the input before."""
        return self.in_place and isinstance(self.args[0], Slot)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """The slots that it reads."""
        leaves = [leaf for part in (*self.args, *self.kwargs.values()) for leaf in _parts(part)]
        return tuple(leaf.index for leaf in leaves if isinstance(leaf, Slot))

    def slots(self, positions: Sequence[int]) -> tuple[int, ...]:
        """Returns the slots among the arguments at some positions."""
        given = [self.args[i] for i in positions if i < len(self.args)]
        return tuple(argument.index for argument in given if isinstance(argument, Slot))

    def named(self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns arguments by name, defaults included; without arguments those that were recorded."""
        schema = self.operation._schema.arguments
        args, kwargs = self.args if args is None else args, self.kwargs if kwargs is None else kwargs
        given = dict(zip((argument.name for argument in schema), args, strict=False))
        return {argument.name: argument.default_value for argument in schema} | given | kwargs


#: Does one step on tensors in place of slots; returns what the operation returns.
Perform = Callable[[Step, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, eq=False)
class Tape:
    """A recorded function of maps of one shape.

    Parameters
    ----------
    steps
        In the order in which they ran.
    output
        The slot of the logits; slot 0 is the map.
    storages
        Of each slot, a number that slots share which are views of the same memory.
    is_float
        Of each slot, whether it holds floating-point numbers.
    """

    steps: tuple[Step, ...]
    output: int
    storages: tuple[int, ...]
    is_float: tuple[bool, ...]

    def run(self, maps: Map, perform: Perform | None = None, steps: Sequence[Step] | None = None) -> Logits:
        """Returns the logits of maps, by the recorded operations or by `perform`; the maps are not changed."""
        perform, steps = perform or plainly, self.steps if steps is None else steps
        last = {slot: i for i, step in enumerate(steps) for slot in (*step.outputs, *step.inputs)}
        last[self.output] = len(steps)
        values: dict[int, Tensor] = {0: maps.clone()}
        for i, step in enumerate(steps):
            result = perform(step, *_filled(step, values))
            values.update(zip(step.outputs, _tensors(result), strict=True))
            for slot in (*step.outputs, *step.inputs):
                if last[slot] == i:
                    values.pop(slot, None)  # attention weights of many layers would fill the memory
        return values[self.output]


_VIEWS = ("view", "_unsafe_view")


def plainly(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Does what was recorded; a constant that the operation would change is copied first."""
    if step.in_place and not step.writes_slot:
        args = (args[0].clone(), *args[1:])
    if step.name in _VIEWS and not isinstance(args[1], torch.dtype):
        return args[0].reshape(args[1])  # with gates held, memory may be laid out in another order
    if step.name == "detach":  # the logits depend on these numbers all the same
        return torch.ops.aten.alias.default(args[0])
    return step.operation(*args, **kwargs)


def record(function: HeadFunction, maps: Map) -> Tape:
    """Runs a function once on maps `[batch, channel, freq, frame]` and returns its tape.

    Raises
    ------
    TapeError
        If the function takes numbers out of tensors, changes constants while it runs, or loses track of its input.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # That gradients are asked for keeps torch from fused paths, of whole attention layers for example.
        inputs = maps.detach().clone().requires_grad_(True).clone()
        with _Recorder(inputs) as recorder:
            logits = function(inputs)
    return recorder.tape(logits)


class _Recorder(TorchDispatchMode):
    """Writes down each operation that reads a tensor which depends on the input."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.known: dict[int, int] = {}
        self.places: dict[tuple[Any, ...], int] = {}
        self.tensors: list[Tensor] = []  # kept alive, so that neither ids nor storages are used again
        self._slot(inputs)
        self.constants: list[tuple[Tensor, int]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch asks; otherwise it imports its compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kept = tuple(self._kept(part) for part in args)
        named = {name: self._kept(part) for name, part in kwargs.items()}
        if not any(isinstance(leaf, Slot) for part in (*kept, *named.values()) for leaf in _parts(part)):
            return func(*args, **kwargs)
        if func._schema.is_mutable and not isinstance(kept[0], Slot):  # a constant comes to depend on the input
            kept = (args[0].detach().clone(), *kept[1:])
            self._keep_constants((*args[1:], *kwargs.values()))
        else:
            self._keep_constants((*args, *kwargs.values()))
        result = func(*args, **kwargs)
        outputs = _tensors(result)
        if not outputs:
            raise TapeError("The head takes numbers out of its tensors while it runs.")
        self.steps.append(Step(func, kept, named, tuple(self._slot(tensor) for tensor in outputs)))
        return result

    def tape(self, logits: Tensor) -> Tape:
        output = self._kept(logits)
        if not isinstance(output, Slot):
            raise TapeError("The logits do not depend on the map by tensor operations.")
        if any(constant._version != version for constant, version in self.constants):
            raise TapeError("The head changes its constants while it runs.")
        storages = tuple(tensor.untyped_storage()._cdata for tensor in self.tensors)
        is_float = tuple(tensor.is_floating_point() for tensor in self.tensors)
        return Tape(tuple(self.steps), output.index, storages, is_float)

    def _slot(self, tensor: Tensor) -> int:
        """Returns the slot of a result, a new one if it is not known yet."""
        if id(tensor) not in self.known:
            self.known[id(tensor)] = self.places[_place(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self.known[id(tensor)]

    def _kept(self, part: Any) -> Any:
        """Returns what is written down of an argument: a slot, or a constant without its gradient."""
        if isinstance(part, tuple | list):
            return [self._kept(leaf) for leaf in part]
        if not isinstance(part, Tensor):
            return part
        slot = self._find(part)
        if slot is not None:
            return Slot(slot)
        if part.requires_grad and not part.is_leaf:
            raise TapeError("The head depends on its map by operations that cannot be recorded.")
        return part.detach()

    def _find(self, tensor: Tensor) -> int | None:
        """Returns the slot of a tensor, also under another name for the same numbers (`detach`)."""
        slot = self.known.get(id(tensor))
        return self.places.get(_place(tensor)) if slot is None else slot

    def _keep_constants(self, given: tuple[Any, ...]) -> None:
        """Remembers the constants among some arguments, and how often they have been changed."""
        for leaf in (leaf for part in given for leaf in _parts(part)):
            if isinstance(leaf, Tensor) and not leaf.is_inference() and self._find(leaf) is None:
                self.constants.append((leaf, leaf._version))


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Returns what two tensors share that are the same numbers in memory."""
    layout = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
    return (tensor.untyped_storage()._cdata, *layout)


def _parts(part: Any) -> Sequence[Any]:
    """Returns the elements of a list, and of anything else itself: arguments of operations are nested no deeper."""
    return part if isinstance(part, tuple | list) else (part,)


def _tensors(result: Any) -> list[Tensor]:
    return [part for part in _parts(result) if isinstance(part, Tensor)]


def _filled(step: Step, values: dict[int, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of a step with tensors in place of slots; `None` for what was left out as not needed."""
    given = (*step.args, *step.kwargs.values())
    filled = [
        [values.get(leaf.index) if isinstance(leaf, Slot) else leaf for leaf in part]
        if isinstance(part, list)
        else (values.get(part.index) if isinstance(part, Slot) else part)
        for part in given
    ]
    n_args = len(step.args)
    return tuple(filled[:n_args]), dict(zip(step.kwargs, filled[n_args:], strict=True))
