"""Context managers that look into a module, or change it for a moment, and always restore it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ModelError


@contextmanager
def at_rest(*modules: nn.Module) -> Iterator[None]:
    """Puts modules in eval mode, their parameters without gradient, and restores both, and global random state.

    Every forward pass of earmark runs inside this block, so that a user's module is afterwards what it was: mode of
    each submodule, `requires_grad` of each parameter, and the global generator, also after an error.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    grads = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    devices = sorted({p.device.index or 0 for p, _ in grads if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            for part, training in modes:
                if training:
                    part.training = False
            for parameter, wanted in grads:
                if wanted:
                    parameter.requires_grad_(False)
            yield
        finally:
            for part, training in modes:
                part.training = training
            for parameter, wanted in grads:
                if wanted:
                    parameter.requires_grad_(True)


@contextmanager
def record(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list that gets a clone of the layer's output at each forward pass.

    Cloned, because a following in-place ReLU would overwrite it; the clone stays in the graph.
    """
    outputs: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise ModelError(
                f"The map layer returned {type(output).__name__}, a tensor was expected; "
                "choose a layer that returns its map alone."
            )
        outputs.append(output.clone())

    handle = layer.register_forward_hook(hook)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def replace(layer: nn.Module, value: Tensor) -> Iterator[None]:
    """Makes the layer return `value`, whatever it computes."""

    def hook(_module: nn.Module, _inputs: object, _output: object) -> Tensor:
        return value

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


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
