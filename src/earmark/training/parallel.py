"""One training on one or several processes, on CPU or GPU: Hugging Face Accelerate, behind the few things we need.

The module is never wrapped and its `forward` never replaced, since what is trained is called by functions of the
methods. Gradients are summed after the last backward pass of a step, weighted by clips, so that they are those of the
whole batch also where slices differ in size.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from .config import Precision

Batch = Any


def process_index() -> int:
    """Returns which process of a launched job this is, 0 where nothing was launched, without importing anything."""
    return int(os.environ.get("RANK", 0)) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0


class Parallel:
    """The processes of a training, seen from one of them.

    Parameters
    ----------
    accelerator
        A Hugging Face Accelerator, alive inside `parallel` alone.
    device
        Where the loss is computed.
    """

    def __init__(self, accelerator: Any, device: torch.device) -> None:
        self._accelerator = accelerator
        self._tools = import_module("accelerate.utils")
        self.n_processes: int = accelerator.num_processes
        self.index: int = accelerator.process_index
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this process writes, validates and reports."""
        return self.index == 0

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """What keeps gradients of float16 from vanishing; none in other precisions."""
        return self._accelerator.scaler

    @property
    def scale(self) -> float:
        """By what gradients are enlarged at the moment."""
        return self.scaler.get_scale() if self.scaler else 1.0

    def autocast(self) -> AbstractContextManager[None]:
        """Returns the block in which the loss is computed in the chosen precision."""
        return self._accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a loss to the parameters, scaled where float16 asks for it."""
        self._accelerator.backward(loss)

    def prepared(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Returns the optimizer that takes scaled gradients back and skips steps that overflow."""
        return self._accelerator.prepare_optimizer(optimizer) if self.scaler else optimizer

    def parts(self, batch: Batch, accumulation: int) -> Iterator[tuple[Batch, float]]:
        """Yields the parts of a batch that this process takes, on its device, with their shares of the clips."""
        n_parts = self.n_processes * accumulation
        if n_parts == 1:
            yield self._tools.send_to_device(batch, self.device), 1.0
            return
        n_clips = batch_length(batch)
        first = self.index * accumulation
        bounds = [n_clips * part // n_parts for part in range(first, first + accumulation + 1)]
        for start, end in pairwise(bounds):
            if end > start:
                yield self._tools.send_to_device(rows_of(batch, start, end), self.device), (end - start) / n_clips

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by the sum over processes; where no process has one, there is none."""
        if self.n_processes == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        known = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        flat = self._sum(torch.cat([known, *(g.flatten() for g in grads)]))
        pieces = flat[len(parameters) :].split([p.numel() for p in parameters])
        for p, piece, has in zip(parameters, pieces, flat[: len(parameters)].tolist(), strict=True):
            p.grad = piece.view_as(p).to(p.dtype) if has else None

    def sum_values(self, values: dict[str, float]) -> dict[str, float]:
        """Returns the sum of each named number over processes."""
        if self.n_processes == 1:
            return values
        total: dict[str, float] = {}
        for part in self._tools.gather_object([values]):
            for name, value in part.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def from_main(self, value: Any) -> Any:
        """Returns the main process's value on every process."""
        return value if self.n_processes == 1 else self._tools.broadcast_object_list([value])[0]

    def same_everywhere(self, module: nn.Module) -> None:
        """Gives every process the main process's weights and statistics."""
        if self.n_processes > 1:
            with torch.no_grad():
                for value in module.state_dict().values():
                    value.copy_(self._tools.broadcast(value.contiguous()))

    def _sum(self, values: Tensor) -> Tensor:
        return self._accelerator.reduce(values, "sum")


@contextmanager
def parallel(precision: Precision, module: nn.Module, beside: Sequence[nn.Module] | None) -> Iterator[Parallel]:
    """Gives the processes and the device of a training.

    The process group of a launched job stays for the next training; all else is as it was afterwards.

    Parameters
    ----------
    beside
        What goes to the GPU with `module` inside the block, if there is a GPU. With `None` nothing is moved, and the
        device is the one that `module` is on.

    Raises
    ------
    TrainingError
        If Accelerate is not installed.
    """
    accelerate, home = _accelerate(), device_of(module)
    on_cpu = not torch.cuda.is_available() or (beside is None and home.type == "cpu")
    with _own_state(), _back_home([module, *(beside or ())]) as modules:
        accelerator = accelerate.Accelerator(
            cpu=on_cpu,
            mixed_precision="no" if on_cpu else precision,
            gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(num_steps=1),
        )
        device = home if beside is None else accelerator.device
        for moved in () if beside is None else modules:
            moved.to(device)
        yield Parallel(accelerator, device)


def device_of(module: nn.Module) -> torch.device:
    """Returns where a module's first weights are; the CPU if it has none."""
    return next((value.device for value in module.state_dict().values()), torch.device("cpu"))


def batch_length(batch: Batch) -> int:
    """Returns the number of clips of a batch: the length of its first tensor."""
    for value in _leaves(batch):
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    raise TypeError(f"A batch holds tensors whose first axis is the clip; this one has none: {type(batch).__name__}.")


def rows_of(batch: Batch, start: int, end: int) -> Batch:
    """Returns some clips of a batch of tuples, lists, dicts and tensors; scalars and all else are kept as they are."""
    if isinstance(batch, Tensor):
        return batch[start:end] if batch.ndim else batch
    if isinstance(batch, tuple | list):
        parts = [rows_of(value, start, end) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if isinstance(batch, Mapping):
        return {name: rows_of(value, start, end) for name, value in batch.items()}
    return batch


def _leaves(batch: Batch) -> Iterator[Any]:
    if isinstance(batch, tuple | list | Mapping):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _leaves(value)
    else:
        yield batch


def _accelerate() -> Any:
    try:
        with warnings.catch_warnings():  # it adds a filter of its own
            return import_module("accelerate")
    except ImportError as error:
        raise TrainingError(
            f"Training needs Hugging Face Accelerate, which is not installed ({error}); "
            'install it with pip install "earmark[train]".'
        ) from error


@contextmanager
def _own_state() -> Iterator[None]:
    """Hides the Accelerator that a caller may have inside the block, and brings it back after."""
    states = import_module("accelerate.state")
    shared = [kind._shared_state for kind in (states.AcceleratorState, states.PartialState, states.GradientState)]
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    try:
        yield
    finally:
        for state, values in zip(shared, before, strict=True):
            state.clear()
            state.update(values)


@contextmanager
def _back_home(modules: Sequence[nn.Module]) -> Iterator[Sequence[nn.Module]]:
    """Brings modules back to their devices after the block, also on error."""
    homes = [device_of(module) for module in modules]
    try:
        yield modules
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)
