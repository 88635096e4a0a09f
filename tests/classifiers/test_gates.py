"""Gates held: exact contributions of heads that are piecewise linear or have smooth gates, however they are spelled."""

import math

import pytest
import torch
from tests.classifiers import networks
from tests.reference import heads as twin
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import _get_current_dispatch_mode

from earmark.classifiers import gates
from earmark.classifiers.heads import Head, probe_head
from earmark.classifiers.tape import TapeError, record
from earmark.errors import ModelError

D, FREQ, FRAMES, LABELS = 6, 4, 7, 3
EXACT = {"rtol": 0, "atol": 1e-12}  # float64, sums of some hundred terms


class Of(nn.Module):
    """A head of a function of itself and the map, with layers by name."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, maps):
        return self.function(self, maps)


def fc(n_in=D, n_out=LABELS):
    return nn.Linear(n_in, n_out)


def pooled(function, **layers):
    """A head of the mean over cells."""
    return lambda: Of(lambda m, Z: m.fc(function(m, Z.mean((2, 3)))), fc=fc(), **{k: v() for k, v in layers.items()})


def on_map(function, n_in=D, **layers):
    return lambda: Of(lambda m, Z: m.fc(function(m, Z)), fc=fc(n_in), **{k: v() for k, v in layers.items()})


def tokens(Z):
    return Z.flatten(2).transpose(1, 2)


def act(layer):
    return lambda: nn.Sequential(networks.Mean(), nn.Linear(D, 8), layer(), nn.Linear(8, LABELS))


def mix():
    return nn.Linear(D, D)


def panns():
    """The head of PANNs, in the words of its authors' networks: in place, with dropout."""

    def forward(m, Z):
        x = Z.mean(2)
        x = torch.max(x, dim=2)[0] + torch.mean(x, dim=2)
        x = F.relu_(m.fc1(F.dropout(x, 0.5, m.training)))
        return m.fc(F.dropout(x, 0.5, m.training))

    return Of(forward, fc1=nn.Linear(D, 9), fc=nn.Linear(9, LABELS))


def squeeze_excite():
    def forward(m, Z):
        gate = torch.sigmoid(m.excite(F.relu(m.squeeze(F.adaptive_avg_pool2d(Z, 1)), inplace=True)))
        return m.fc((Z * gate).mean((2, 3)))

    return Of(forward, squeeze=nn.Conv2d(D, 3, 1), excite=nn.Conv2d(3, D, 1), fc=fc())


def attention_pooling():
    def forward(m, Z):
        frames = Z.mean(2).transpose(1, 2)
        return m.fc((torch.softmax(m.attend(frames), 1) * frames).sum(1))

    return Of(forward, attend=nn.Linear(D, 1), fc=fc())


def sed_attention():
    """Attention over frames for each label, clipped and normalized by hand."""

    def forward(m, Z):
        x = Z.mean(2).transpose(1, 2)
        strong, weights = m.strong(x).sigmoid(), m.attend(x).softmax(-1).clamp(1e-7, 1)
        return (strong * weights).sum(1) / weights.sum(1)

    return Of(forward, attend=fc(), strong=fc())


def transformer(activation="relu"):
    layer = nn.TransformerEncoderLayer(D, 2, 12, batch_first=True, activation=activation, norm_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def fused_attention(m, Z):
    q, k, v = m.qkv(tokens(Z)).unflatten(2, (3, 2, D // 2)).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1)


def padded(m, v):
    wide = v.new_zeros(len(v), D + 2)
    wide[:, 1:-1] = v
    return wide[:, 1:-1].relu()


T3 = {
    "panns": panns,
    "relu in place": act(lambda: nn.ReLU(inplace=True)),
    "relu as a method, first of all": on_map(lambda m, Z: Z.relu_().mean((2, 3))),
    "relu by hand": pooled(lambda m, v: v * (v > 0)),
    "relu by where": pooled(lambda m, v: torch.where(v > 0, v, 0.1 * v)),
    "leaky relu": act(lambda: nn.LeakyReLU(0.1)),
    "prelu": act(lambda: nn.PReLU(8)),
    "relu6": act(lambda: nn.ReLU6(inplace=True)),
    "hardsigmoid": act(nn.Hardsigmoid),
    "absolute value": pooled(lambda m, v: v.abs() + v.clamp(min=-0.1)),
    "threshold": act(lambda: nn.Threshold(0.1, 0.2)),
    "adaptive max pooling": networks.max_pool,
    "max pooling, twice": lambda: nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), fc()),
    "1-D max pooling": on_map(lambda m, Z: F.adaptive_max_pool1d(F.max_pool1d(Z.flatten(2), 2), 1)[..., 0]),
    "amax over several axes": on_map(lambda m, Z: Z.amax((3, 2)) + Z.amin((2, 3), keepdim=True)[..., 0, 0]),
    "max twice, by method": on_map(lambda m, Z: Z.max(2)[0].max(-1, keepdim=True).values[..., 0]),
    "order statistics": on_map(lambda m, Z: Z.flatten(2).topk(3)[0].mean(-1) + Z.mean(2).median(-1)[0]),
    "the larger of two": pooled(lambda m, v: torch.max(v, m.mix(v)), mix=mix),
    "a part of another tensor": pooled(padded),
    "a detached path": pooled(lambda m, v: v.relu() + 2 * m.mix(v).detach(), mix=mix),
    "sums over cells": on_map(lambda m, Z: Z.sum((2, 3))),
    "a smooth side path that nothing reads": pooled(lambda m, v: (v.relu(), v.sigmoid())[0]),
}
T4 = {
    "silu in place": act(lambda: nn.SiLU(inplace=True)),
    "silu by hand": pooled(lambda m, v: v * torch.sigmoid(v)),
    "gelu": act(nn.GELU),
    "gelu by hand": pooled(lambda m, v: 0.5 * v * (1 + torch.tanh(0.8 * (v + 0.0447 * v**3)))),
    "hardswish": act(lambda: nn.Hardswish(inplace=True)),
    "hardswish by hand": pooled(lambda m, v: v.clone().mul_(F.relu6(v + 3)).div_(6)),
    "tanh": act(nn.Tanh),
    "mish": act(nn.Mish),
    "elu": act(nn.ELU),
    "sigmoid": act(nn.Sigmoid),
    "gated tanh": pooled(lambda m, v: torch.tanh(v) * torch.sigmoid(m.mix(v)), mix=mix),
    "glu": pooled(lambda m, v: F.glu(torch.cat([v, m.mix(v)], 1), 1), mix=mix),
    "a soft limit": networks.SoftLimit,
    "layer norm behind a rectifier": act(lambda: nn.Sequential(nn.ReLU(), nn.LayerNorm(8))),
    "group norm": act(lambda: nn.GroupNorm(2, 8)),
    "rms norm": act(lambda: nn.RMSNorm(8)),
    "squeeze and excite": squeeze_excite,
    "attention pooling": attention_pooling,
    "sound event attention": sed_attention,
    "multi-head attention": on_map(
        lambda m, Z: m.mha(tokens(Z), tokens(Z), tokens(Z))[0].mean(1),
        mha=lambda: nn.MultiheadAttention(D, 2, batch_first=True),
    ),
    "fused attention": on_map(fused_attention, qkv=lambda: nn.Linear(D, 3 * D)),
    "transformer": on_map(lambda m, Z: m.encoder(tokens(Z)).mean(1), encoder=transformer),
    "recurrent": on_map(
        lambda m, Z: m.gru(Z.mean(2).transpose(1, 2))[0].mean(1), gru=lambda: nn.GRU(D, D, batch_first=True)
    ),
}
T0 = {
    "statistics pooling": on_map(lambda m, Z: torch.cat([Z.mean((2, 3)), Z.flatten(2).std(2)], 1), n_in=2 * D),
    "squares": pooled(lambda m, v: v**2),
    "two factors": pooled(lambda m, v: v.relu() * m.mix(v), mix=mix),
    "exp": pooled(lambda m, v: v.exp()),
    "division": pooled(lambda m, v: v / (1 + v.abs())),
    "cosine": pooled(lambda m, v: F.normalize(v)),
    "log of sums of exp": on_map(lambda m, Z: Z.flatten(2).logsumexp(2)),
    "a softmax of logits": lambda: nn.Sequential(networks.Mean(), fc(), nn.Softmax(1)),
    "numbers taken out": pooled(lambda m, v: v.relu() * (2 if v.mean().item() > 0 else 1)),
    "another library": pooled(lambda m, v: v.relu() + torch.from_numpy(v.detach().numpy() ** 2)),
}


def made(build, dtype=torch.float64, seed=0):
    return networks.seeded(build, seed).to(dtype).eval().requires_grad_(False)


def probed(module, dtype=torch.float64):
    return probe_head(module, (D, FREQ, FRAMES), module, like=torch.zeros((), dtype=dtype))


def maps(batch=2, dtype=torch.float64, seed=4):
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(batch, D, 1, 1, generator=generator, dtype=torch.float64)
    return (level + torch.randn(batch, D, FREQ, FRAMES, generator=generator, dtype=torch.float64)).to(dtype)


def layer(module):
    return module.weight.flatten(1).tolist(), module.bias.tolist()


# -- slow twins -------------------------------------------------------------------------------------------------------


def expected(name, module, one):
    """Returns J and b_eff of one map by the definition."""
    if name == "panns":
        return twin.panns(one, layer(module.fc1), layer(module.fc))
    if name == "silu":
        return twin.gated_mlp(one, layer(module[1]), layer(module[3]), twin.sigmoid)
    if name == "gelu":
        return twin.gated_mlp(one, layer(module[1]), layer(module[3]), lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)
    if name == "attention":
        return twin.attention_pooling(one, layer(module.attend), layer(module.fc))
    return twin.squeeze_excite(one, layer(module.squeeze), layer(module.excite), layer(module.fc))


TWINS = {
    "panns": (panns, "T3"),
    "silu": (act(nn.SiLU), "T4"),
    "gelu": (act(nn.GELU), "T4"),
    "squeeze and excite": (squeeze_excite, "T4"),
    "attention": (attention_pooling, "T4"),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TWINS)
def test_weights_and_offset_equal_the_definition(name, seed):
    build, tier = TWINS[name]
    module = made(build, seed=seed)
    head, Z = probed(module), maps(seed=seed)
    assert (head.tier, head.is_linear, head.is_exact) == (tier, False, True)
    for index in range(LABELS):
        J, offset = head.linearize(Z, index)
        for i in range(len(Z)):
            by_hand, b_eff = expected(name, module, Z[i].tolist())
            torch.testing.assert_close(J[i], torch.tensor(by_hand[index], dtype=torch.float64), **EXACT)
            assert float(offset[i]) == pytest.approx(b_eff[index], abs=1e-12)
            total = b_eff[index] + float((torch.tensor(by_hand[index], dtype=torch.float64) * Z[i]).sum())
            assert total == pytest.approx(float(module(Z)[i, index]), abs=1e-12)  # apex.md-style completeness


# -- every spelling ---------------------------------------------------------------------------------------------------


def check_sums(name, dtype, limit):
    module = made({**T3, **T4}[name], dtype)
    head, Z = probed(module, dtype), maps(dtype=dtype)
    assert head.tier == ("T3" if name in T3 else "T4")
    kept, own = Z.clone(), module(Z.clone())
    for index in range(LABELS):
        J, offset = head.linearize(Z, index)
        assert (J.shape, offset.shape) == (Z.shape, (2,))
        torch.testing.assert_close(offset + (J * Z).sum((1, 2, 3)), own[:, index], rtol=0, atol=limit)
    assert torch.equal(Z, kept)
    return module, J


@pytest.mark.parametrize("name", [*T3, *T4])
def test_offset_and_weighted_cells_sum_to_the_logit(name):
    module, J = check_sums(name, torch.float64, 1e-12)  # some hundred terms
    if name in T3 and name != "a detached path":  # of a piecewise linear head they are the gradient
        Z = maps().requires_grad_(True)
        (gradient,) = torch.autograd.grad(module(Z.clone())[:, LABELS - 1].sum(), Z)
        # torch's own derivative of hardsigmoid has 1 / 6 in float32
        torch.testing.assert_close(J, gradient, rtol=1e-7 if name == "hardsigmoid" else 0, atol=1e-12)


@pytest.mark.parametrize("name", ["panns", "order statistics", "gelu", "squeeze and excite", "fused attention"])
def test_sums_in_float32(name):
    check_sums(name, torch.float32, 2e-5)  # some hundred terms of order 1


@pytest.mark.parametrize("name", T0)
def test_what_cannot_be_held_stays_t0(name):
    dtype = torch.float64 if name == "another library" else torch.float32
    head = probed(made(T0[name], dtype), dtype)
    assert (head.tier, head.is_exact) == ("T0", False)
    with pytest.raises(ModelError, match="ablation"):
        head.linearize(maps(dtype=dtype), 0)


@pytest.mark.parametrize("name", ["panns", "squeeze and excite", "fused attention"])
def test_clips_do_not_depend_on_their_batch(name):
    module = made({**T3, **T4}[name])
    head, Z = probed(module), maps(3)
    J, offset = head.linearize(Z, 2)
    for i in range(3):
        alone, b_eff = head.linearize(Z[i : i + 1], 2)
        torch.testing.assert_close(alone[0], J[i], **EXACT)
        torch.testing.assert_close(b_eff[0], offset[i], **EXACT)


def test_linear_heads_give_their_weights():
    for build in (networks.gap_linear, networks.gap_layer_norm):
        head = probed(made(build))
        Z = maps()
        J, offset = head.linearize(Z, 1)
        torch.testing.assert_close(offset + (J * head.lift(Z)).sum((1, 2, 3)), head.logits(Z)[:, 1], **EXACT)


# -- single gates -----------------------------------------------------------------------------------------------------


def test_of_equal_cells_the_first_is_the_maximum():
    module = made(T3["amax over several axes"])
    Z = torch.ones(1, D, FREQ, FRAMES, dtype=torch.float64)
    J, offset = probed(module).linearize(Z, 0)
    assert ((J != 0).sum((2, 3)) == 1).all() and (J[:, :, 0, 0] != 0).all()
    torch.testing.assert_close(offset + (J * Z).sum((1, 2, 3)), module(Z)[:, 0], **EXACT)


def test_a_smooth_gate_at_zero_has_the_slope_there():
    for function, slope in ((F.silu, 0.5), (F.gelu, 0.5), (F.hardswish, 0.5), (torch.tanh, 1.0), (F.elu, 1.0)):
        Z = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        J, offset = gates.Held(gates.Gated(record(lambda Z, f=function: f(Z).flatten(1), Z)), Z).linearize(0)
        assert (float(J), float(offset)) == (slope, 0)


def test_gates_are_those_of_the_clip_also_for_other_maps():
    """A rectifier that is closed stays closed for a map that would open it."""
    Z = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)[None, :, :, None]
    held = gates.Held(gates.Gated(record(lambda Z: Z.relu().flatten(1), Z)), Z)
    assert held.logits(-3 * Z).tolist() == [[0, -6]]
    assert held.own.tolist() == [[0, 2]]


# -- what is left behind ----------------------------------------------------------------------------------------------


def test_nothing_stays_on_after_an_error():
    def broken(Z):
        Z.relu()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        record(broken, maps())
    assert _get_current_dispatch_mode() is None
    assert probed(made(panns)).tier == "T3"


def test_a_head_that_takes_numbers_out_is_refused():
    with pytest.raises(TapeError, match="takes numbers out"):
        record(lambda Z: Z.mean((2, 3)) * Z.sum().item(), maps())


def test_a_head_that_changes_its_constants_is_refused():
    scale = torch.ones(D, dtype=torch.float64)

    def drifting(Z):
        logits = Z.mean((2, 3)) * scale
        scale.add_(1)
        return logits

    with pytest.raises(TapeError, match="changes its constants"):
        record(drifting, maps())


def test_logits_that_lose_their_map_are_refused():
    with pytest.raises(TapeError, match="do not depend"):
        record(lambda Z: torch.ones(len(Z), 2), maps())


def test_parameters_and_modes_are_left_alone():
    module = networks.seeded(panns).double().train()
    c = networks.wrapped(lambda: module, dtype=torch.float64)
    Z = maps().requires_grad_(True)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        J, offset = c.head.linearize(maps(), 0)
    assert module.training and all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not J.requires_grad and not offset.requires_grad and Z.grad is None
    assert J.dtype == torch.float64
    torch.testing.assert_close(offset + (J * maps()).sum((1, 2, 3)), c.logits(maps(), at="map")[:, 0], **EXACT)


def test_a_head_is_recorded_once_for_a_shape():
    c = networks.wrapped(panns, dtype=torch.float64)
    passes = []
    c.module.register_forward_hook(lambda *_: passes.append(1))
    c.head.linearize(maps(), 0)
    n_first = len(passes)
    for index in range(LABELS):
        c.head.linearize(maps(seed=index), index)
    assert len(passes) == n_first
    c.head.linearize(maps(3), 0)
    assert len(passes) == n_first + 1


def test_a_head_may_be_given_for_a_clip():
    """Where a head depends on more than the map, what it adds is part of the offset."""
    module = made(panns)
    head, Z = probed(module), maps()
    J, offset = head.linearize(Z, 0, lambda Z: module(Z) + 5)
    same, own = head.linearize(Z, 0)
    torch.testing.assert_close(J, same, **EXACT)
    torch.testing.assert_close(offset, own + 5, **EXACT)


def test_notices_say_what_is_held():
    notices = [Head(tier, torch.relu).notice for tier in ("T0", "T1", "T2", "T3", "T4")]
    assert notices[1] == notices[2] == ""
    assert "one channel at a time" in notices[0]
    assert "rectifiers and maxima held" in notices[3] and "attention" in notices[4]
