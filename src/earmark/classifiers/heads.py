"""Head tiers: how a label's logit depends on the map, found by probing and confirmed on random maps.

A head of tier T1 is affine in the map: `logit_c = b_c + sum W_c[d, f, t] Z[d, f, t]`. Tier T2 is that after the map
is lifted by a LayerNorm whose statistics come from the pooled vector. Tiers T3 and T4 are affine once their gates are
held as they are in a clip (see `gates`): T3 is piecewise linear (rectifiers, maxima), or linear with weights that
depend on the length of the clip; T4 has smooth gates. Anything else is T0: its map can be tapped and shown, but
contributions of channels are known by ablation only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import EarmarkError, ModelError
from ..types import Logits, Map
from . import gates
from .promises import MISFITS
from .surgery import own_precision
from .tape import HeadFunction, record

#: Largest relative difference between a head and its claimed form on random maps, in float32.
#: Two orders above the rounding of sums over a few thousand terms, three below any real non-linearity.
TOLERANCE = 1e-4

#: Random maps are tried as they are and this much larger: a rectifier behind a large bias, or a soft limit of logits,
#: looks affine to small maps.
SCALES = (1.0, 1000.0)

RECORDED = 8  # shapes of maps for which a recorded head is kept

_HELD = (
    "contributions are exact and additive with its {what} held as they are in each clip, so that removing a channel "
    "can change the logit by another amount, and the basis is tapped, never folded into the model."
)
_NOTICES = {
    "T0": "This head is not linear in its map (tier T0): contributions are measured by removing one channel at a "
    "time, they are not additive, and the basis is tapped, never folded into the model.",
    "T3": "This head is piecewise linear in its map (tier T3): " + _HELD.format(what="rectifiers and maxima"),
    "T4": "This head has smooth gates (tier T4): " + _HELD.format(what="gates, attention and norms"),
}


@dataclass(frozen=True, eq=False)
class Head:
    """How logits come from the map.

    Parameters
    ----------
    tier
        `T0` anything, `T1` affine in the map, `T2` affine after the LayerNorm lift, `T3` piecewise linear, `T4`
        affine with smooth gates held.
    function
        The model's own head: map `[batch, channel, freq, frame]` to logits `[batch, label]`.
    weight
        `[label, channel]` for a head that averages over cells (of the lifted map), or
        `[label, channel, freq, frame]` for one weight per cell; `None` but for T1 and T2.
    bias
        `[label]`: the logits of a zero (lifted) map; `None` but for T1 and T2.
    norm
        The LayerNorm between pooling and the linear layer (T2).
    """

    tier: str
    function: HeadFunction
    weight: Tensor | None = None
    bias: Tensor | None = None
    norm: nn.LayerNorm | None = None

    _recorded: dict[tuple[object, ...], gates.Gated] = field(default_factory=dict, repr=False)

    @property
    def is_linear(self) -> bool:
        """Whether one set of weights holds for all clips (T1, T2)."""
        return self.weight is not None

    @property
    def is_exact(self) -> bool:
        """Whether contributions of channels are exact and additive (T1 to T4)."""
        return self.tier != "T0"

    @property
    def notice(self) -> str:
        """What a user of this head should know; empty where all is exact."""
        return _NOTICES.get(self.tier, "")

    def logits(self, maps: Map) -> Logits:
        """Returns what the model's own head says of raw maps."""
        return self.function(maps)

    def lift(self, maps: Map) -> Map:
        """Returns the map on which the head is linear: the map itself, or for T2 its LayerNorm lift.

        With `v` the mean over cells, `mu` and `s` mean and standard deviation of v over channels,
        `Z~[k, f, t] = gamma_k (Z[k, f, t] - mu) / s + beta_k`, so that the mean over cells of Z~ is LayerNorm(v).
        """
        if self.norm is None:
            return maps
        pooled = maps.mean((2, 3))
        mu = pooled.mean(1)[:, None, None, None]
        scale = (pooled.var(1, unbiased=False) + self.norm.eps).rsqrt()[:, None, None, None]
        lifted = (maps - mu) * scale
        if self.norm.weight is not None:
            lifted = lifted * self.norm.weight.detach().to(maps)[:, None, None]
        if self.norm.bias is not None:
            lifted = lifted + self.norm.bias.detach().to(maps)[:, None, None]
        return lifted

    def linear(self, lifted: Map) -> Logits:
        """Returns bias plus weighted cells of a lifted map: the logits, if the head is of tier T1 or T2."""
        assert self.weight is not None and self.bias is not None
        weight, bias = self.weight.to(lifted), self.bias.to(lifted)
        if weight.ndim == 2:
            return lifted.mean((2, 3)) @ weight.T + bias
        return torch.einsum("cdft,bdft->bc", weight, lifted) + bias

    @own_precision()
    def held(self, maps: Map, function: HeadFunction | None = None) -> gates.Held:
        """Returns the head with the gates of raw maps held: affine, clip by clip (T1, T3, T4).

        Costs two runs of what lies behind the map; its operations are recorded once for a shape of maps, in one run
        of the head, which for a head that was not given is a run of the whole module. Keeps gates and attention
        weights of all layers behind the map.

        Parameters
        ----------
        function
            The head of these very clips, where it needs more of them than their map; it is recorded each time.
        """
        if function is not None:
            return gates.Held(gates.Gated(record(function, maps)), maps)
        key = (*maps.shape, maps.dtype, maps.device)
        if key not in self._recorded:
            if len(self._recorded) >= RECORDED:
                self._recorded.clear()
            self._recorded[key] = gates.Gated(record(self.function, maps))
        return gates.Held(self._recorded[key], maps)

    def linearize(
        self, maps: Map, index: int, function: HeadFunction | None = None
    ) -> tuple[Map, Float[Tensor, " batch"]]:
        """Returns `J` and `b_eff` with `logit = b_eff + sum J * Z` for each clip of a batch, in every tier but T0.

        For T1 and T2 they are the head's weights and bias, and Z is the lifted map (`lift`, for T1 the map itself);
        for T3 and T4 the gates of each clip are held, and `b_eff` is what the head then says of a map of zeros.

        Parameters
        ----------
        maps
            Raw maps `[batch, channel, freq, frame]`.
        index
            The logit.
        function
            See `held`.

        Raises
        ------
        ModelError
            For T0.
        """
        if self.weight is not None and self.bias is not None:
            weight = self.cell_weight(index, *maps.shape[2:]).to(maps)
            return weight.expand_as(maps), self.bias[index].to(maps).expand(len(maps))
        if not self.is_exact:
            raise ModelError("A head of tier T0 has no exact weights in its map; remove channels instead (ablation).")
        return self.held(maps, function).linearize(index)

    def cell_weight(self, index: int, n_freq: int, n_frames: int) -> Float[Tensor, "channel freq frame"]:
        """Returns the weight of each cell of the lifted map in logit `index`: `logit = b + sum w Z~`."""
        assert self.weight is not None
        row = self.weight[index]
        if row.ndim == 3:
            return row
        return (row / (n_freq * n_frames))[:, None, None].expand(-1, n_freq, n_frames)


def probe_head(function: HeadFunction, shape: tuple[int, int, int], module: nn.Module, *, like: Tensor) -> Head:
    """Returns the head's tier and weights, found on random maps `[channel, freq, frame]` of `shape`.

    A head is affine if the midpoint of two random maps gives the midpoint of their logits, for small maps and large
    ones, and the Jacobian is the same at both. Then its weights are read: where each row of the Jacobian is constant
    over cells, one weight per channel, exactly those of the model's own linear layer if one matches; else one weight
    per cell. A head that is not affine is tried as mean, LayerNorm, Linear with the module's own layers.

    Parameters
    ----------
    module
        Where linear and LayerNorm layers are looked for.
    like
        Gives device and dtype.
    """
    maps = _random_maps(shape, like)
    if _is_affine(function, maps):
        head = _affine_head(function, maps, module)
        if head is not None and head.weight is not None and not bool((head.weight != 0).any()):
            raise ModelError(
                "The logits do not depend on the map layer: they are read from something beside it, such as class "
                "tokens; choose an earlier layer."
            )
        if head is not None:
            return head
    with torch.no_grad():
        logits = [(scale * maps, function(scale * maps)) for scale in SCALES]
        for norm, linear in _norm_pairs(module, shape[0], logits[0][1].shape[1]):
            lifted = Head("T2", function, linear.weight.detach(), _bias(linear), norm)
            if all(_close(lifted.linear(lifted.lift(scaled)), own) for scaled, own in logits):
                return lifted
    return Head(_held_tier(function, maps), function)


def _held_tier(function: HeadFunction, maps: Map) -> str:
    """Returns T3 or T4 if the head is affine with its gates held, at maps of every scale; else T0.

    Where all is held that the logits depend on, so that the offset would be all, the tier is T0 too. One map at a
    time: a deep head with attention takes much memory.
    """
    one, other = maps[:1], maps[1:2]
    try:
        gated = gates.Gated(record(function, one))
        if gates.Held(gated, one).is_flat:
            return "T0"
        for scale in SCALES:
            if not gates.holds(function, gates.Held(gated, scale * one), scale * other, _close):
                return "T0"
    except (*MISFITS, EarmarkError):
        return "T0"
    return "T4" if gated.smooth else "T3"


def _random_maps(shape: tuple[int, int, int], like: Tensor) -> Map:
    """Returns four maps of noise around a level for each channel.

    Noise, so that a rectifier or a maximum over cells shows at once; levels, so that one behind the pooling does.
    """
    generator = torch.Generator().manual_seed(20)
    level = torch.randn(4, shape[0], 1, 1, generator=generator)
    return (level + torch.randn(4, *shape, generator=generator)).to(like)


def _is_affine(function: HeadFunction, maps: Map) -> bool:
    with torch.no_grad():
        for scale in SCALES:
            logits, middle = function(scale * maps), function(scale * (maps[:2] + maps[2:]) / 2)
            if not _close(middle, (logits[:2] + logits[2:]) / 2):
                return False
    rows = range(min(logits.shape[1], 4))
    return all(_close(j[0].expand_as(j), j) for j in (_jacobian(function, maps, c) for c in rows))


def _jacobian(function: HeadFunction, maps: Map, index: int) -> Map:
    """Returns d logit_index / d map for each map of the batch."""
    with torch.enable_grad():
        inputs = maps.detach().requires_grad_(True)
        logits = function(inputs)
        if not logits.requires_grad:
            raise ModelError("The logits do not depend on the map layer; choose a layer that they pass through.")
        (gradient,) = torch.autograd.grad(logits[:, index].sum(), inputs)
    return gradient


def _affine_head(function: HeadFunction, maps: Map, module: nn.Module) -> Head | None:
    with torch.no_grad():
        bias = function(torch.zeros_like(maps[:1]))[0]
        logits = function(maps)
    first = _jacobian(function, maps[:1], 0)[0]
    if not _close(first.mean((1, 2), keepdim=True).expand_as(first), first):
        rows = [_jacobian(function, maps[:1], c)[0] for c in range(len(bias))]
        head = Head("T1", function, torch.stack(rows), bias)
        return head if _close(head.linear(maps), logits) else None
    for linear in _linears(module, maps.shape[1], len(bias)):
        head = Head("T1", function, linear.weight.detach().flatten(1), _bias(linear))
        if _close(head.linear(maps), logits):
            return head if _holds_longer(head, maps) else None
    rows = [_jacobian(function, maps[:1], c)[0].sum((1, 2)) for c in range(len(bias))]
    head = Head("T1", function, torch.stack(rows), bias)
    return head if _close(head.linear(maps), logits) and _holds_longer(head, maps) else None


def _holds_longer(head: Head, maps: Map) -> bool:
    """Says whether the same weights hold for maps with one more frame, or the head takes no such maps.

    A head that sums over cells is linear, but with other weights for each length.
    """
    longer = torch.cat([maps, maps[..., :1]], 3)
    try:
        with torch.no_grad():
            return _close(head.linear(longer), head.function(longer))
    except (RuntimeError, ModelError):
        return True


def _linears(module: nn.Module, n_channels: int, n_labels: int) -> Iterator[nn.Linear | nn.Conv2d | nn.Conv1d]:
    for layer in reversed(list(module.modules())):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv1d):
            weight = layer.weight
            if tuple(weight.shape[:2]) == (n_labels, n_channels) and weight[0].numel() == n_channels:
                yield layer


def _norm_pairs(module: nn.Module, n_channels: int, n_labels: int) -> Iterator[tuple[nn.LayerNorm, nn.Linear]]:
    norms = [m for m in module.modules() if isinstance(m, nn.LayerNorm) and m.normalized_shape == (n_channels,)]
    for linear in _linears(module, n_channels, n_labels):
        if isinstance(linear, nn.Linear):
            for norm in reversed(norms):
                yield norm, linear


def _bias(layer: nn.Linear | nn.Conv2d | nn.Conv1d) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)).detach() if layer.bias is None else layer.bias.detach()


def _close(a: Tensor, b: Tensor) -> bool:
    return float((a - b).detach().abs().max()) <= TOLERANCE * max(1e-3, float(b.detach().abs().max()))
