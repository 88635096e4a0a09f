"""Context managers that look into a module, or change it for a moment, and always restore it."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError

#: One pass at a time: mode, hooks and the global generators are shared by all threads of a process.
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def at_rest(*modules: nn.Module) -> Iterator[None]:
    """Puts modules in eval mode, their parameters without gradient, and restores both, and global random state.

    Every forward pass of earmark runs inside this block, so that a user's module is afterwards what it was: mode of
    each submodule, `requires_grad` of each parameter, and the global generators of torch, numpy and Python, also after
    an error. Inside, autocast is off: a module runs in its own precision wherever it is called. Threads take turns.
    """
    with _ONE_AT_A_TIME:
        modes = [(part, part.training) for module in modules for part in module.modules()]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
        with same_chance(devices), own_precision():
            try:
                for part, training in modes:
                    if training:
                        part.training = False
                for parameter in learned:
                    parameter.requires_grad_(False)
                yield
            finally:
                for part, training in modes:
                    if part.training is not training:
                        part.training = training
                for parameter in learned:
                    parameter.requires_grad_(True)


@contextmanager
def same_chance(devices: list[int]) -> Iterator[None]:
    """Restores the global generators: torch's on the CPU and on these GPUs, numpy's and Python's."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def own_precision() -> Iterator[None]:
    """Switches autocast off, so that numbers do not depend on where earmark is called."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


@contextmanager
def plain_floats() -> Iterator[None]:
    """Makes new tensors float32 on the CPU and traceable, whatever the user's defaults are; restores these."""
    dtype = torch.get_default_dtype()
    with torch.inference_mode(False), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def traceable() -> Iterator[None]:
    """Switches gradients off, and a user's `torch.inference_mode` too: its tensors can never be traced afterwards.

    What is probed once and kept is computed inside.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def record(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list that gets a clone of the layer's output at each forward pass; of several, the first tensor.

    Cloned, because a following in-place ReLU would overwrite it; the clone stays in the graph.
    """
    outputs: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        found = main_tensor(output)
        if found is None:
            raise ModelError(
                f"The map layer returned {type(output).__name__}, a tensor was expected; "
                "choose a layer that returns its map alone."
            )
        outputs.append(found.clone())

    handle = layer.register_forward_hook(hook)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def replace(layer: nn.Module, value: Tensor) -> Iterator[None]:
    """Makes the layer return a clone of `value`, whatever it computes, in place of its first tensor."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        return with_main_tensor(output, value.clone())  # layers that follow may work in place

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def cut(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list that gets the layer's output at each forward pass as a leaf, on which what follows depends.

    So gradients with respect to a map cost one forward pass, and nothing before the layer is traced.
    """
    leaves: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        found = main_tensor(output)
        if found is None:
            raise ModelError(f"The map layer returned {type(output).__name__}, a tensor was expected.")
        leaf = found.detach().clone().requires_grad_()
        leaves.append(leaf)
        return with_main_tensor(output, leaf.clone())  # a clone, since layers that follow may work in place

    handle = layer.register_forward_hook(hook)
    try:
        yield leaves
    finally:
        handle.remove()


class Past:
    """What a module computed before a layer was done, in one pass, so that passes with another map need not again.

    Kept are the outputs of the layer and of the largest parts that were done by then, call by call; a part is skipped
    if all that it returned are tensors without gradient, alone or in tuples and dictionaries.

    Parameters
    ----------
    module
        What is run.
    layer
        Name of the layer in it.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        self.module, self.layer, self.name = module, find_layer(module, layer), layer
        self.calls: dict[nn.Module, list[object]] = {}
        self.known = False

    def anew(self) -> "Past":
        """Returns the same without what is kept, for other features."""
        return Past(self.module, self.name)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps what is computed in the one pass inside."""
        self.calls, self.known = {}, False
        inside: list[nn.Module] = []

        def enter(part: nn.Module, _inputs: object) -> None:
            if not self.known:
                inside.append(part)

        def leave(part: nn.Module, _inputs: object, output: object) -> None:
            if self.known:
                return
            inside.pop()
            if not inside:  # else part of a larger one
                self.calls.setdefault(part, []).append(_copied(output))
            self.known = part is self.layer

        parts = self._parts()
        handles = [part.register_forward_pre_hook(enter) for part in parts]
        handles += [part.register_forward_hook(leave) for part in parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            kept = self.calls.items()
            self.calls = {part: outputs for part, outputs in kept if all(one is not _UNKNOWN for one in outputs)}
            self.known = self.known and self.layer in self.calls

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Has each part return what it returned before, as often as it ran; later calls are run."""
        before = {part: vars(part).get("forward") for part in self.calls}
        try:
            for part, outputs in self.calls.items():
                part.forward = _replay(outputs, part.forward)
            yield
        finally:
            for part, own in before.items():
                vars(part).pop("forward", None)
                if own is not None:
                    part.forward = own

    def _parts(self) -> list[nn.Module]:
        """Returns the layer, and all parts beside it and beside what it is part of."""
        names = self.name.split(".")
        holders = [self.module.get_submodule(".".join(names[:depth])) for depth in range(len(names))]
        parts = {part: None for holder in holders for part in holder.children() if part not in holders}
        return [*parts]


_UNKNOWN = object()  # what a part returned that cannot be returned again


def _copied(output: object) -> object:
    """Returns a copy of what a part returned, or `_UNKNOWN`."""
    if output is None or isinstance(output, bool | int | float | str):
        return output
    if isinstance(output, Tensor):
        return _UNKNOWN if output.requires_grad else output.clone()
    if type(output) in (tuple, list):
        copies = [_copied(part) for part in output]  # type: ignore[attr-defined]
        return _UNKNOWN if any(copy is _UNKNOWN for copy in copies) else type(output)(copies)  # type: ignore[call-arg]
    if isinstance(output, dict):
        named = {name: _copied(part) for name, part in output.items()}
        return _UNKNOWN if any(copy is _UNKNOWN for copy in named.values()) else type(output)(**named)
    return _UNKNOWN


def _replay(outputs: list[object], run: Callable[..., object]) -> Callable[..., object]:
    """Returns a forward pass that first returns copies of earlier outputs, since what follows may work in place."""
    left = iter(outputs)

    def forward(*args: object, **kwargs: object) -> object:
        for output in left:
            return _copied(output)
        return run(*args, **kwargs)

    return forward


def with_main_tensor(output: object, value: Tensor) -> object:
    """Returns a layer's output with another first tensor."""
    if isinstance(output, tuple):
        return (value, *output[1:])
    if isinstance(output, dict):  # transformers' outputs are ordered dictionaries
        first = next(name for name, part in output.items() if isinstance(part, Tensor))
        return type(output)(**{**output, first: value})
    return value


def main_tensor(output: object) -> Tensor | None:
    """Returns a layer's output, or the first tensor of a tuple or of a dictionary; `None` where there is none."""
    if isinstance(output, tuple):
        output = output[0] if output else None
    elif isinstance(output, dict):
        output = next((part for part in output.values() if isinstance(part, Tensor)), None)
    return output if isinstance(output, Tensor) else None


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """Returns the submodule called `name`.

    Raises
    ------
    ModelError
        If there is none; the sentence names close ones.
    """
    layers = {layer: part for layer, part in module.named_modules() if layer}
    if name in layers:
        return layers[name]
    import difflib

    near = difflib.get_close_matches(name, layers, n=4, cutoff=0.3) or list(layers)[-4:]
    raise ModelError(
        f"map_layer {name!r} is no layer of {type(module).__name__}; did you mean {', '.join(map(repr, near))}?"
    )
