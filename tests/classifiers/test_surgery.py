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
