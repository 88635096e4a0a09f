import pytest
import torch
from torch import nn

from earmark.classifiers import surgery
from earmark.errors import ModelError


def module():
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5), nn.ReLU(inplace=True)))


def test_at_rest_restores_each_part_also_after_an_error():
    a, b = module().train(), module().eval()
    a[1][0].eval()
    a[0].bias.requires_grad_(False)
    modes = [part.training for part in (*a.modules(), *b.modules())]
    state = torch.get_rng_state()
    for fails in (False, True):
        try:
            with surgery.at_rest(a, b):
                assert not any(part.training for part in (*a.modules(), *b.modules()))
                assert not any(p.requires_grad for p in (*a.parameters(), *b.parameters()))
                torch.randn(3)
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert [part.training for part in (*a.modules(), *b.modules())] == modes
        assert [p.requires_grad for p in a.parameters()] == [True, False]
        assert torch.equal(torch.get_rng_state(), state)


def test_at_rest_may_be_nested():
    a = module().train()
    with surgery.at_rest(a):
        with surgery.at_rest(a):
            pass
        assert not a.training
        assert not a[0].weight.requires_grad
    assert a.training
    assert a[0].weight.requires_grad


def test_outputs_are_recorded_before_they_are_overwritten():
    a = module().eval()
    x = torch.tensor([[1.0, -1.0]])
    with surgery.record(a[0]) as outputs:
        a(x)
        a(2 * x)
    expected = [x @ a[0].weight.T + a[0].bias, 2 * x @ a[0].weight.T + a[0].bias]
    for output, value in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, value)
    assert not a[0]._forward_hooks


def test_an_output_is_replaced_for_a_moment():
    a = module().eval()
    x, value = torch.ones(1, 2), torch.tensor([[3.0, -4.0]])
    own = a(x)
    with surgery.replace(a[0], value.clone()):
        assert a(x).tolist() == [[3.0, 0.0]]
    assert torch.equal(a(x), own)
    with pytest.raises(KeyError), surgery.replace(a[0], value):
        raise KeyError
    assert not a[0]._forward_hooks


def test_layers_are_found_by_name():
    a = module()
    assert surgery.find_layer(a, "1.0") is a[1][0]
    with pytest.raises(ModelError, match=r"'1\.7' is no layer of Sequential; did you mean '1\.[01]', '1\.[01]'"):
        surgery.find_layer(a, "1.7")
    with pytest.raises(
        ModelError, match=r"'backbone' is no layer of Sequential; did you mean '0', '1', '1\.0', '1\.1'\?"
    ):
        surgery.find_layer(a, "backbone")


class Beside(nn.Module):
    """Layers before the map, one of which runs twice, one beside it, and work in place."""

    def __init__(self):
        super().__init__()
        self.early, self.twice = nn.Linear(3, 3), nn.Linear(3, 3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))])
        self.beside, self.last = Pair(), nn.Linear(3, 2)

    def forward(self, x):
        x = self.twice(self.twice(self.early(x)).relu_())
        kept, (one, other) = x, self.beside(x)
        for block in self.blocks:
            x = block(x)
            x += one
        return self.last(self.twice(x) + other * kept.mul_(2))


class Pair(nn.Module):
    """Returns a tuple."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x), None if x is None else 2 * x


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.1", "blocks.1.0", "early", "last"])
def test_a_pass_that_skips_what_came_before_the_layer_says_the_same(layer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        a, x = Beside().double().eval(), torch.randn(4, 3, dtype=torch.float64)
    value, past = torch.ones(4, 2 if layer == "last" else 3, dtype=torch.float64), surgery.Past(a, layer)
    before = {part: dict(vars(part)) for part in a.modules()}
    ran = []
    handle = a.early.register_forward_hook(lambda part, _in, _out: ran.append("forward" not in vars(part)))
    with torch.no_grad():
        with surgery.replace(past.layer, value):
            expected = a(x)
        with past.recording():
            own = a(x)
        assert past.known
        for _ in range(2):  # what is kept was not worked on
            with past.skipped(), surgery.replace(past.layer, value):
                assert torch.equal(a(x), expected)
        assert torch.equal(a(x), own)
    handle.remove()
    assert ran == [True, True, False, False, True]  # skipped twice
    assert {part: dict(vars(part)) for part in a.modules()} == before


def test_what_a_pass_skips_is_restored_after_an_error_and_own_forwards_are_kept():
    a, x = Beside().eval(), torch.ones(1, 3)
    own = a.early.forward
    a.early.forward = lambda x: own(x) + 1  # as libraries do that place models on devices
    mine, past = a.early.forward, surgery.Past(a, "blocks.0")
    with torch.no_grad(), past.recording():
        a(x)
    with pytest.raises(KeyError), past.skipped():
        raise KeyError
    assert vars(a.early)["forward"] is mine
    assert all("forward" not in vars(part) for part in a.modules() if part is not a.early)


def test_parts_that_return_what_cannot_be_kept_are_run_again():
    class Odd(nn.Module):
        def forward(self, x):
            return [{"x": x, "what": object()}]

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd, self.layer = Odd(), nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(self.odd(x)[0]["x"])

    a = Whole().eval()
    past = surgery.Past(a, "layer")
    with torch.no_grad(), past.recording():
        a(torch.ones(1, 2))
    assert past.known and set(past.calls) == {a.layer}
    with past.recording():
        a(torch.ones(1, 2))  # traced: nothing is kept
    assert not past.known
