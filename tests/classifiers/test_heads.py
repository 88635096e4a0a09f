import pytest
import torch
from tests.classifiers import networks
from tests.reference import heads as twin
from torch import nn

from earmark.classifiers.heads import probe_head
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError

LINEAR = ["gap_linear", "gap_batch_norm_stack", "conv_mean", "PerCell", "flatten_linear"]
BENT = {
    **dict.fromkeys(["relu_mlp", "biased_mlp", "max_pool", "relu_first"], "T3"),
    **dict.fromkeys(["gelu_mlp", "SoftLimit"], "T4"),
}


def classifier(name, dtype=torch.float32, seed=0):
    return networks.wrapped(getattr(networks, name), seed, dtype)


def maps(dtype=torch.float32, batch=5):
    generator = torch.Generator().manual_seed(4)
    return 3 * torch.randn(batch, networks.CHANNELS, 4, 8, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LINEAR)
def test_linear_heads_are_t1(name, seed):
    head = classifier(name, torch.float64, seed).head
    assert (head.tier, head.is_linear, head.notice) == ("T1", True, "")
    Z = maps(torch.float64)
    assert torch.equal(head.lift(Z), Z)
    torch.testing.assert_close(head.linear(Z), head.logits(Z), rtol=0, atol=1e-12)  # float64 rounding of 200 terms


@pytest.mark.parametrize("name", LINEAR)
def test_weighted_cells_and_bias_sum_to_the_logit(name):
    head = classifier(name, torch.float64).head
    Z = maps(torch.float64)
    for index in range(networks.LABELS):
        weight = head.cell_weight(index, 4, 8)
        assert weight.shape == Z.shape[1:]
        total = (weight * Z).sum((1, 2, 3)) + head.bias[index]
        torch.testing.assert_close(total, head.logits(Z)[:, index], rtol=0, atol=1e-12)  # the same


def test_the_weights_of_average_and_linear_are_the_layers_own():
    for name in ("gap_linear", "conv_mean", "PerCell"):
        c = classifier(name)
        layer = next(m for m in c.module.head.modules() if isinstance(m, nn.Linear | nn.Conv2d))
        assert torch.equal(c.head.weight, layer.weight.flatten(1))
        assert torch.equal(c.head.bias, layer.bias)


def test_a_linear_layer_without_bias():
    head = networks.wrapped(lambda: nn.Sequential(networks.Mean(), nn.Linear(6, 3, bias=False))).head
    assert head.tier == "T1"
    assert head.bias.tolist() == [0, 0, 0]


def test_average_and_linear_equals_the_definition():
    c = classifier("gap_linear", torch.float64)
    Z, linear = maps(torch.float64, batch=2), c.module.head[2]
    for i in range(2):
        expected = twin.linear(twin.pooled(Z[i].tolist()), linear.weight.tolist(), linear.bias.tolist())
        assert c.logits(Z[i : i + 1], at="map")[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_a_stack_of_batch_norm_and_linear_layers_is_multiplied_out():
    c = classifier("gap_batch_norm_stack", torch.float64)
    _, norm, first, second = c.module.head
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = second.weight @ first.weight * scale
    bias = second.weight @ (first.weight @ (norm.bias - norm.running_mean * scale) + first.bias) + second.bias
    torch.testing.assert_close(c.head.weight, weight.detach())
    torch.testing.assert_close(c.head.bias, bias.detach())


def test_flatten_and_linear_has_a_weight_for_each_cell():
    c = classifier("flatten_linear")
    torch.testing.assert_close(c.head.weight, c.module.head[1].weight.detach().reshape(3, networks.CHANNELS, 4, 8))


def test_a_layer_norm_behind_the_pooling_is_t2():
    c = classifier("gap_layer_norm", torch.float64)
    head, norm = c.head, c.module.head[1]
    assert (head.tier, head.is_linear, head.norm is norm) == ("T2", True, True)
    assert torch.equal(head.weight, c.module.head[2].weight)
    Z = maps(torch.float64)
    lifted = head.lift(Z)
    torch.testing.assert_close(lifted.mean((2, 3)), norm(Z.mean((2, 3))), rtol=0, atol=1e-12)  # float64
    torch.testing.assert_close(head.linear(lifted), head.logits(Z), rtol=0, atol=1e-12)  # float64 rounding
    gamma, beta = norm.weight.tolist(), norm.bias.tolist()
    expected = torch.tensor([twin.lift(z.tolist(), gamma, beta, norm.eps) for z in Z], dtype=torch.float64)
    torch.testing.assert_close(lifted, expected, rtol=0, atol=1e-12)  # the same
    assert twin.layer_norm(twin.pooled(Z[0].tolist()), gamma, beta, norm.eps) == pytest.approx(
        lifted[0].mean((1, 2)).tolist(), abs=1e-12
    )


def test_a_layer_norm_without_scale_and_shift_is_t2():
    norm = nn.LayerNorm(networks.CHANNELS, elementwise_affine=False)
    c = networks.wrapped(lambda: nn.Sequential(networks.Mean(), norm, nn.Linear(networks.CHANNELS, 3)))
    assert c.head.tier == "T2"
    torch.testing.assert_close(c.head.lift(maps()).mean((2, 3)), norm(maps().mean((2, 3))))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BENT)
def test_heads_that_are_not_linear_are_affine_with_their_gates_held(name, seed):
    head = classifier(name, seed=seed).head
    assert (head.tier, head.weight, head.bias) == (BENT[name], None, None)
    assert (head.is_linear, head.is_exact) == (False, True)
    assert "in each clip" in head.notice
    assert head.logits(maps()).shape == (5, networks.LABELS)


@pytest.mark.parametrize("name", [*LINEAR, *BENT, "gap_layer_norm"])
def test_a_head_by_replacement_is_the_head_itself(name):
    c = classifier(name)
    Z = maps()
    with torch.no_grad():
        own = c.module.eval().head(Z)
    # float32: the same layers on the same numbers, but other numbers of clips may take other kernels
    torch.testing.assert_close(c.logits(Z, at="map"), own, rtol=1e-5, atol=1e-6)


def test_a_given_head_gives_the_same_tier_and_weights():
    module = networks.seeded(lambda: networks.Net(networks.gap_linear()))
    options = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5}
    front_end = networks.small_front_end()
    replaced = wrap(module, front_end, ["a", "b", "c"], **options)
    given = wrap(module, front_end, ["a", "b", "c"], head=module.head, **options)
    assert torch.equal(given.logits(maps(), at="map"), module.eval().head(maps()))
    assert replaced.head.tier == given.head.tier == "T1"
    assert torch.equal(replaced.head.weight, given.head.weight)


def test_gradients_reach_the_map():
    for name in ("gap_linear", "relu_mlp"):
        Z = maps().requires_grad_(True)
        classifier(name).logits(Z, at="map")[:, 1].sum().backward()
        assert (Z.grad != 0).any((1, 2, 3)).all()


def test_a_head_that_ignores_the_map_is_refused():
    with pytest.raises(ModelError, match="do not depend on the map layer"):
        probe_head(lambda Z: torch.ones(len(Z), 2), (3, 2, 2), nn.Identity(), like=torch.zeros(()))


def test_the_norm_of_other_channels_is_not_taken_for_the_heads():
    """A LayerNorm of the right width that the head does not use must not make it T2."""

    class Decoy(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.mlp = nn.LayerNorm(networks.CHANNELS), networks.relu_mlp()
            self.linear = nn.Linear(networks.CHANNELS, networks.LABELS)

        def forward(self, Z):
            return self.mlp(Z)

    assert networks.wrapped(Decoy).head.tier == "T3"
