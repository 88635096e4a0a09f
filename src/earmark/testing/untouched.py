"""What of a user's model and process could be found changed afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .report import expect


def state_of(module: nn.Module) -> dict[str, Any]:
    """Returns weights, buffers, mode, hooks, requires_grad and .grad of a module, and the process's own state.

    Of the generators, torch's and numpy's; Python's is left out, since type checkers draw from it.
    """
    about: dict[str, Any] = {}
    for name, part in module.named_modules():
        about[f"mode of {name or 'the module'}"] = part.training
        tables = {key: dict(table) for key, table in vars(part).items() if key.endswith("_hooks") and table}
        about[f"hooks of {name or 'the module'}"] = tables
    for name, parameter in module.named_parameters(remove_duplicate=False):
        about[f"requires_grad of {name}"] = parameter.requires_grad
        about[f".grad of {name}"] = bits(parameter.grad)
    values = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    about |= {f"value of {name}": bits(value) for name, value in values}
    numpy = np.random.get_state(legacy=False)["state"]
    return about | {
        "torch's generator": bits(torch.get_rng_state()),
        "numpy's generator": (numpy["key"].tobytes(), numpy["pos"]),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


def bits(tensor: Tensor | None) -> tuple[str, tuple[int, ...], bytes] | None:
    """Returns kind, shape and bytes of a tensor; NaN equals NaN."""
    if tensor is None:
        return None
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return str(tensor.dtype), tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Fails a check if the block changes a module or the process, also if it raises."""
    before = state_of(module)
    try:
        yield
    finally:
        after = state_of(module)
        changed = [name for name in before | after if before.get(name) != after.get(name)]
        expect(not changed, f"{', '.join(changed[:4])} changed", "everything as it was")


@contextmanager
def in_training(module: nn.Module) -> Iterator[None]:
    """Puts a module into train mode with gradients left over, every other parameter frozen; restores it."""
    modes = [(part, part.training) for part in module.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    try:
        module.train()
        for i, (parameter, _, _) in enumerate(parameters):
            parameter.requires_grad_(i % 2 == 0)
            parameter.grad = torch.ones_like(parameter)
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter, learned, grad in parameters:
            parameter.requires_grad_(learned)
            parameter.grad = grad


@dataclass
class Counted:
    """Passes of a module, one for each clip of a batch, and the kinds of tensor that it was given."""

    forward: int = 0
    backward: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        self.kinds: set[tuple[torch.dtype, torch.device]] = set()


@contextmanager
def counting(
    module: nn.Module,
    *,
    at_call: Callable[[int], None] = lambda number: None,
    at_backward: Callable[[int], None] = lambda number: None,
) -> Iterator[Counted]:
    """Counts passes through a module.

    Parameters
    ----------
    at_call, at_backward
        Are told the number of each forward call before it runs, and of each backward pass, and may raise.
    """
    counted, backwards = Counted(), count(1)

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        counted.calls += 1
        counted.kinds |= {(x.dtype, x.device) for x in inputs if isinstance(x, Tensor)}
        at_call(counted.calls)

    def backward(gradient: Tensor) -> None:
        counted.backward += len(gradient)
        at_backward(next(backwards))

    def after(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        counted.forward += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    handles = [module.register_forward_pre_hook(before, prepend=True), module.register_forward_hook(after)]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()
