"""Follows a forward pass through convolutions and pools, and says where the cells of its layers lie.

A convolution or pool of kernel k, dilation d, stride s and padding p moves the center of cell 0 by
`((k - 1) d / 2 - p) jump` and multiplies the step between cells, `jump`, by s. Layers are told apart by the shape of
their output: where two ways to one shape disagree (by more than half a cell), or cells are moved by a step that is not
followed, there is no answer, and the place of cells has to be probed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Line = tuple[float, float]  # start and jump: cell i is centered at start + i * jump
Place = tuple[tuple[int, Line], ...]  # of each axis of a tensor, the axis of the features and the line on it
Move = tuple[float, float]  # shift of the center in cells, stride
Size = tuple[int, int]


class Walk(TorchDispatchMode):
    """Records, inside a `with` block, where the cells of each shape of tensor lie on the features.

    Parameters
    ----------
    shape
        Rows and columns of the features that pass through the block, in either order.
    """

    def __init__(self, shape: Size) -> None:
        super().__init__()
        rows, columns = (0, (0.0, 1.0)), (1, (0.0, 1.0))
        self._places: dict[Size, Place | None] = {
            (1, shape[1]): (rows, columns),
            (shape[1], shape[0]): (columns, rows),
            shape: (rows, columns),
        }
        self._reached: set[Size] = set()

    def lines(self, shape: Size) -> tuple[Line, Line] | None:
        """Returns the lines of both axes of a map of `shape` (freq, frame), or `None` where they are not known."""
        for size, order in ((shape, (0, 1)), (shape[::-1], (1, 0))):
            place = dict(self._places.get(size) or ())
            if size in self._reached and tuple(place) == order:
                return place[0], place[1]
        return None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch asks; otherwise it imports its compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation as it is, and follows it if it is one that moves cells."""
        out = func(*args, **(kwargs or {}))
        step = _STEPS.get(func.overloadpacket)
        if step is not None and args[0].ndim in (3, 4):
            self._follow(args[0], step(*args), out[0] if isinstance(out, tuple) else out)
        return out

    def _follow(self, source: Tensor, moves: Sequence[Move] | None, target: Tensor) -> None:
        if _size(source) not in self._places:
            return
        before, after = self._places[_size(source)], None
        if before is not None and moves is not None:
            after = tuple(
                (axis, (start + shift * jump, jump * stride))
                for (axis, (start, jump)), (shift, stride) in zip(before, moves, strict=True)
            )
        self._reached.add(_size(target))
        if not _agree(self._places.setdefault(_size(target), after), after):
            self._places[_size(target)] = None


def _agree(first: Place | None, second: Place | None) -> bool:
    """Says whether two ways lead to one place: by the same steps, and to within half a step.

    A convolution of even width beside a shortcut (positions of tokens) moves cells by half of one; the first counts.
    """
    if first is None or second is None:
        return first is second
    pairs = zip(first, second, strict=True)
    return all(a == b and j == k and abs(s - t) <= j / 2 for (a, (s, j)), (b, (t, k)) in pairs)


def _size(tensor: Tensor) -> Size:
    """Returns the last two axes of `[batch, channel, a, b]`; the first is one for `[batch, channel, b]`."""
    return (1 if tensor.ndim == 3 else tensor.shape[2], tensor.shape[-1])


def _two(values: int | Sequence[int], default: int = 1) -> list[int]:
    values = [values] if isinstance(values, int) else list(values)
    return values * 2 if len(values) == 1 else values


def _kernel(size: Sequence[int], stride: Any, padding: Any, dilation: Any) -> list[Move]:
    moves = [
        ((k - 1) * d / 2 - p, float(s))
        for k, s, p, d in zip(size, _two(stride), _two(padding), _two(dilation), strict=False)
    ]
    return moves if len(moves) == 2 else [(0.0, 1.0), *moves]


def _convolution(
    _x: Tensor, weight: Tensor, _bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *_rest: Any
) -> list[Move] | None:
    return None if transposed else _kernel(weight.shape[2:], stride, padding, dilation)


def _max_pool(
    _x: Tensor, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, *_rest: Any
) -> list[Move] | None:
    return _kernel(_two(size), stride or size, padding, dilation)


def _average_pool(_x: Tensor, size: Any, stride: Any = (), padding: Any = 0, *_rest: Any) -> list[Move] | None:
    return _kernel(_two(size), stride or size, padding, 1)


def _pad(_x: Tensor, pad: Sequence[int], *_rest: Any) -> list[Move] | None:
    pad = [*pad, 0, 0, 0]
    return [(-float(pad[2]), 1.0), (-float(pad[0]), 1.0)]


def _slice(
    x: Tensor, dim: int = 0, start: int | None = None, _end: int | None = None, stride: int = 1
) -> list[Move] | None:
    moves = [(0.0, 1.0), (0.0, 1.0)]
    start = start or 0
    place = dim - x.ndim if dim >= 0 else dim
    if place in (-1, -2) and x.ndim + place >= 2:
        moves[place] = (float(start + x.shape[dim] if start < 0 else start), float(stride))
    return moves


_aten = torch.ops.aten
_STEPS: dict[Any, Callable[..., list[Move] | None]] = {
    _aten.convolution: _convolution,
    _aten.max_pool2d_with_indices: _max_pool,
    _aten.avg_pool2d: _average_pool,
    _aten.constant_pad_nd: _pad,
    _aten.slice: _slice,
}
