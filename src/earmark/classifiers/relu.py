"""Gives every activation call of a module a stand-in of its own, so that rules for its gradient can be hooked.

Methods that change how gradients pass a ReLU hook `nn.ReLU` modules. A ReLU called as a function has no module, and
one module used twice has one hook for two places: published tables hold rows of guided backpropagation that are plain
gradients for that reason. Here calls are caught where all of them end, in torch's own functions, also those of
`nn.ReLU` itself and those in place, and each is done by a module made for it. The user's module gets no hooks but two,
which say when it runs and are removed afterwards.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import ModelError

F = nn.functional
Pair = tuple[int, int]


def _relu(*_args: Any, **_kwargs: Any) -> nn.Module:
    return nn.ReLU()


def _clamp(_x: Tensor, min: Any = None, max: Any = None, **_kwargs: Any) -> nn.Module | None:
    at_zero = isinstance(min, int | float) and min == 0 and max is None
    return nn.ReLU() if at_zero else None


def _threshold(_x: Tensor, threshold: float, value: float, *_args: Any, **_kwargs: Any) -> nn.Module | None:
    return nn.ReLU() if threshold == 0 and value == 0 else None


def _elu(_x: Tensor, alpha: float = 1.0, *_args: Any, **_kwargs: Any) -> nn.Module:
    return nn.ELU(alpha)


def _leaky_relu(_x: Tensor, negative_slope: float = 0.01, *_args: Any, **_kwargs: Any) -> nn.Module:
    return nn.LeakyReLU(negative_slope)


def _softplus(_x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> nn.Module:
    return nn.Softplus(beta, threshold)


class MaxOfWindows(nn.Module):
    """Maxima over windows that overlap, as maxima over copies of these that do not.

    Rules for maxima hand values back to the place of each maximum; where windows overlap, two of them may share a
    place, and the known rule keeps one.

    Parameters
    ----------
    kernel, stride, padding, dilation
        Of two axes each, as of `nn.MaxPool2d`.
    """

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.pool = nn.MaxPool1d(kernel[0] * kernel[1])

    def forward(self, x: Tensor) -> Tensor:
        """Returns the maxima of `[batch, channel, row, column]`, or of `[batch, channel, column]`."""
        if x.ndim == 3:
            return self(x[:, :, None])[:, :, 0]
        top, side = self.padding
        padded = F.pad(x, (side, side, top, top), value=torch.finfo(x.dtype).min / 4)
        rows = padded.unfold(2, self._span(0), self.stride[0])[..., :: self.dilation[0]]
        windows = rows.unfold(3, self._span(1), self.stride[1])[..., :: self.dilation[1]]
        batch, channel, n_rows, n_columns = windows.shape[:4]
        return self.pool(windows.reshape(batch, channel * n_rows * n_columns, -1)).reshape(
            x.shape[0], channel, n_rows, -1
        )

    def _span(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


def _pool(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(
        _x: Tensor,
        kernel: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        **_kwargs: Any,
    ) -> nn.Module:
        given = ((kernel, 1), (stride or kernel, 1), (padding, 0), (dilation, 1))
        pairs = [_pair(value, absent if kind is nn.MaxPool1d else None) for value, absent in given]
        if ceil_mode or all(size <= step for size, step in zip(pairs[0], pairs[1], strict=True)):
            return kind(kernel, stride or kernel, padding, dilation, ceil_mode=ceil_mode)
        return MaxOfWindows(*pairs)

    return build


def _pair(value: Any, absent: int | None) -> Pair:
    """Returns a setting of two axes; of one axis, the other is `absent`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    if absent is not None:
        return absent, values[0]
    return values[0], values[-1]


#: Functions that a stand-in can do, and how it is made from a call's arguments; `None` for calls that are none.
STAND_INS: dict[Any, Callable[..., nn.Module | None]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _relu),
    **dict.fromkeys((torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_), _clamp),
    **dict.fromkeys((torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_), _clamp),
    **dict.fromkeys((F.threshold, torch.threshold, torch.threshold_), _threshold),
    **dict.fromkeys((F.elu, F.elu_), _elu),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky_relu),
    F.softplus: _softplus,
    **dict.fromkeys((torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_), lambda *_: nn.Sigmoid()),
    **dict.fromkeys((torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), lambda *_: nn.Tanh()),
    **dict.fromkeys((torch.max_pool1d, F.max_pool1d), _pool(nn.MaxPool1d)),
    **dict.fromkeys((torch.max_pool2d, F.max_pool2d), _pool(nn.MaxPool2d)),
}

#: Activations that no rule is known for.
OTHERS = {
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.mish: "Mish",
    F.hardswish: "Hardswish",
    F.hardsigmoid: "Hardsigmoid",
    F.hardtanh: "Hardtanh",
    F.relu6: "ReLU6",
    F.selu: "SELU",
    F.celu: "CELU",
    F.glu: "GLU",
    F.prelu: "PReLU",
    torch.prelu: "PReLU",
}


class Activations(TorchFunctionMode):
    """Watches a module's activation calls, and has each done by a stand-in.

    Parameters
    ----------
    module
        Calls count only while it runs, in the thread that watches.
    stand_ins
        One for each call, in order, as an earlier watch found them; `None` makes them.

    Attributes
    ----------
    calls
        The stand-ins of all calls so far.
    others
        Names of activations met for which there is none.
    nodes
        Where the stand-ins' results lie in torch's graph.
    """

    def __init__(self, module: nn.Module, stand_ins: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        self.module, self.stand_ins = module, stand_ins
        self.calls: list[nn.Module] = []
        self.others: set[str] = set()
        self.nodes: set[Any] = set()
        self._running, self._thread = 0, threading.get_ident()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does a call, or has it done."""
        kwargs = kwargs or {}
        if not self._running:
            return func(*args, **kwargs)
        if func in OTHERS:
            self.others.add(OTHERS[func])
        build = STAND_INS.get(func)
        made = _built(build, args, kwargs) if build else None
        return func(*args, **kwargs) if made is None else self._done(made, func, args, kwargs)

    def _done(self, made: nn.Module, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        stand_in = self._next(made)
        x = args[0] if args else kwargs["input"]
        if not x.requires_grad:
            return func(*args, **kwargs)
        result = stand_in(x.clone())
        self.nodes.add(result.grad_fn)
        in_place = kwargs.get("inplace") or func.__name__.endswith("_")
        return x.copy_(result) if in_place else result

    def _next(self, made: nn.Module) -> nn.Module:
        if self.stand_ins is not None:
            place = len(self.calls)
            if place >= len(self.stand_ins) or type(self.stand_ins[place]) is not type(made):
                raise ModelError(
                    f"{type(self.module).__name__} calls other activations than in an earlier pass over clips of this "
                    "length, so that rules for gradients cannot be hooked; use a method that needs none."
                )
            made = self.stand_ins[place]
        self.calls.append(made)
        return made

    def _begin(self, *_: object) -> None:
        self._running += threading.get_ident() == self._thread

    def _end(self, *_: object) -> None:
        self._running -= threading.get_ident() == self._thread


def _built(build: Callable[..., nn.Module | None], args: Any, kwargs: dict[str, Any]) -> nn.Module | None:
    """Returns the stand-in for a call, made from its arguments under the builders' names."""
    named = {("kernel" if key == "kernel_size" else key): value for key, value in kwargs.items()}
    first = () if args else (named.pop("input"),)
    for unused in ("inplace", "return_indices", "out"):
        named.pop(unused, None)
    return build(*first, *args, **named)


@contextmanager
def watched(module: nn.Module, stand_ins: Sequence[nn.Module] | None = None) -> Iterator[Activations]:
    """Yields the watch over a module's activation calls; afterwards the module is what it was.

    Parameters
    ----------
    stand_ins
        What does the calls, in order; `None` has new ones made and counted.

    Raises
    ------
    ModelError
        If a part of the module is compiled, so that its calls cannot be seen.
    """
    check_visible(module)
    watch = Activations(module, stand_ins)
    handles = (
        module.register_forward_pre_hook(watch._begin),
        module.register_forward_hook(watch._end, always_call=True),
    )
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def check_visible(module: nn.Module) -> None:
    """Refuses a module with parts whose calls Python does not see.

    Raises
    ------
    ModelError
        If there is one.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"Layer {name or type(module).__name__!r} is compiled by TorchScript, so that its ReLUs cannot be "
                "seen; wrap the module that it was made of."
            )


def check_all_seen(scores: Tensor, watch: Activations) -> None:
    """Refuses scores with a ReLU on the way back from them that no stand-in did: torch's own count must agree.

    Raises
    ------
    ModelError
        If there is one.
    """
    unseen = [node for node in _graph(scores) if node.name().startswith("ReluBackward") and node not in watch.nodes]
    if unseen:
        raise ModelError(
            f"{type(watch.module).__name__} has {len(unseen)} ReLUs that could not be replaced, so that guided "
            "gradients would be plain ones; use a method that needs no ReLU, such as saliency."
        )


def _graph(scores: Tensor) -> set[Any]:
    """Returns all nodes on the way back from scores."""
    seen: set[Any] = set()
    ahead = [scores.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead.extend(following for following, _ in node.next_functions)
    return seen
