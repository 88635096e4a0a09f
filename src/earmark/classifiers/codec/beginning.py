"""How a codec begins: as the principal components of short pieces of sound, so that it sounds before it is trained.

An `EncodecModel` of random weights lets almost nothing of a sound through, and silence is then the best that it can
give back for thousands of steps. Here each strided layer first does what principal components do (its patch, turned
so that the largest come first, and cut to its channels); the decoder does the opposite, and everything else (the
blocks between, the other taps and channels) is small and random. Signals stay small too, where the ELU between the
layers is close to a straight line.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...types import Samples
from ..hugging_face.load import import_transformers

GAIN = 0.25  # of samples behind the first layer: the ELU bends -0.1 by 5 %
SMALL = 0.05  # of what the layers are beside principal components, relative to how they are drawn
TINY = 1e-3  # the same, in layers whose every output is prescribed
RECURRENT = 0.3  # the same, of the LSTM

Basis = Float[Tensor, "out in"]


@torch.no_grad()
def begin(model: Any, sounds: Samples) -> None:
    """Sets the weights of an `EncodecModel` so that it is close to a transform by principal components.

    Latents come out with a mean square of 1 over `sounds`.

    Parameters
    ----------
    model
        Untrained; of any strides, filters and channels.
    sounds
        What the components are found in, `[clip, sample]`, at least as long as the hop.
    """
    for part in (model.encoder, model.decoder):
        _make_quiet(part)
    hop = model.config.hop_length
    pieces = sounds[:, : sounds.shape[1] // hop * hop]
    down, up = _convolutions(model.encoder), _convolutions(model.decoder)[::-1]
    _set(down[0], torch.full((1, 1), GAIN), SMALL)
    _set(up[0], torch.full((1, 1), 1 / GAIN), SMALL)
    carried = GAIN * pieces[..., None]
    for first, second in zip(down[1:-1], up[1:-1], strict=True):
        carried = _between(first, second, carried)
    basis = principal(carried, model.config.hidden_size)
    size = (carried @ basis.T).square().mean().sqrt().clamp_min(1e-9)
    _set(down[-1], basis / size, TINY)
    _set(up[-1], basis.T * size, TINY)


def principal(values: Float[Tensor, "clip frame channel"], n: int) -> Basis:
    """Returns at most `n` orthonormal rows, the directions in which values are largest, largest first."""
    rows = values.flatten(0, 1).double()
    _, directions = torch.linalg.eigh(rows.T @ rows)
    return directions.flip(1).T[:n].to(values)


def _between(first: Any, second: Any, carried: Tensor) -> Float[Tensor, "clip frame channel"]:
    """Sets a strided layer and its opposite; returns what the first hands on of what it is handed."""
    stride, n = first.stride[0], carried.shape[-1]
    patches = carried.reshape(len(carried), -1, stride * n)
    basis = principal(patches, first.out_channels)
    taps = basis.reshape(len(basis), stride, n).transpose(1, 2)
    weight = first.weight * SMALL
    weight[: len(basis)] = 0
    weight[: len(basis), :n, -stride:] = taps
    first.weight = weight + _dust(weight)
    weight = second.weight * SMALL
    weight[: len(basis)] = 0
    weight[: len(basis), :n, :stride] = taps
    second.weight = weight + _dust(weight)
    return patches @ basis.T


def _set(layer: Any, basis: Basis, small: float) -> None:
    """Makes a layer without stride a matrix of its last tap, the present moment, and what is beside it small."""
    weight = layer.weight * small
    weight[: len(basis)] = 0
    weight[: len(basis), : basis.shape[1], -1] = basis
    layer.weight = weight + _dust(weight)


def _dust(weight: Tensor) -> Tensor:
    """Returns next to nothing, so that no row is zero: its direction would be lost in the weight norm."""
    return 1e-5 * torch.randn_like(weight)


def _convolutions(part: Any) -> list[Any]:
    """Returns the convolutions beside residual blocks, in order."""
    kinds = import_transformers().models.encodec.modeling_encodec
    return [
        layer.conv for layer in part.layers if isinstance(layer, (kinds.EncodecConv1d, kinds.EncodecConvTranspose1d))
    ]


def _make_quiet(part: Any) -> None:
    """Makes residual blocks the identity, nearly, recurrent layers small, and biases zero."""
    kinds = import_transformers().models.encodec.modeling_encodec
    for layer in part.modules():
        if isinstance(layer, (kinds.EncodecConv1d, kinds.EncodecConvTranspose1d)):
            layer.conv.bias.zero_()
        elif isinstance(layer, kinds.EncodecLSTM):
            for parameter in layer.parameters():
                parameter.mul_(RECURRENT)
        elif isinstance(layer, kinds.EncodecResnetBlock):
            _make_identity(layer)


def _make_identity(block: Any) -> None:
    last = block.block[-1].conv
    last.weight = last.weight * SMALL
    if not isinstance(block.shortcut, nn.Identity):
        way = block.shortcut.conv
        way.weight = TINY * way.weight + torch.eye(way.in_channels, device=way.weight.device)[:, :, None]
