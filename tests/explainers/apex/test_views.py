import pytest
import torch
from tests.reference import apex as twin

from earmark.errors import ModelError
from earmark.explainers.apex import views

VIEWS = ("square", "time", "frequency", "time-frequency")
WORKED = torch.tensor([[[1.0, 5, 0], [2, 0, 3]], [[0, 1, 4], [1, 1, 2]]], dtype=torch.float64)[None]


def random_maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def from_tables(maps, U, channels, view):
    found = [views.find_in_tables(views.tables_of(m, view), U, channels, view, maps.shape[3]) for m in maps]
    parts = {name: torch.stack([getattr(f, name) for f in found]) for name in ("freq", "frame", "vectors", "purity")}
    return views.Found(**parts)


@pytest.mark.parametrize("find", [views.find_full, views.find, from_tables])
@pytest.mark.parametrize(
    ("view", "channel", "cell", "p", "purity"),
    [
        ("square", 0, (0, 1), (5, 1), 0.980581),
        ("time", 0, (-1, 1), (2.5, 1), 0.928477),
        ("frequency", 0, (0, -1), (2, 5 / 3), 0.768221),
        ("time-frequency", 0, (0, 1), (2.25, 4 / 3), 0.860292),
        ("square", 1, (0, 2), (0, 4), 1.0),
        ("time", 1, (-1, 2), (1.5, 3), 0.894427),
        ("frequency", 1, (0, -1), (2, 5 / 3), 0.640184),
        ("time-frequency", 1, (0, 2), (1.75, 7 / 3), 0.8),
    ],
)
def test_worked_example(find, view, channel, cell, p, purity):
    found = find(WORKED, torch.eye(2, dtype=torch.float64), torch.tensor([channel]), view)
    assert (found.freq.item(), found.frame.item()) == cell
    torch.testing.assert_close(found.vectors[0, 0], torch.tensor(p, dtype=torch.float64), rtol=0, atol=1e-12)
    assert found.purity.item() == pytest.approx(purity, abs=5e-7)


def test_activation_of_the_worked_example():
    pooled = WORKED.mean((2, 3))
    eye = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(views.activation(eye, pooled, torch.tensor([6]))[0], pooled.new_tensor([11.0, 9.0]))
    U = torch.tensor([[1.0, 1], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(views.activation(U, pooled, torch.tensor([6]))[0], pooled.new_tensor([20.0, 9.0]))
    torch.testing.assert_close(views.activation(U, pooled)[0], pooled.new_tensor([20 / 6, 1.5]))
    assert views.transform(U, WORKED).sum((2, 3))[0].tolist() == [20.0, 9.0]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("find", [views.find, from_tables])
def test_the_fast_forms_equal_the_full_one_and_the_plain_loop(find, view):
    maps, U = random_maps(3, 5, 4, 6), random_maps(5, 5, seed=1).requires_grad_()
    channels, weights = torch.tensor([4, 0, 2]), random_maps(3, 3, seed=2)
    full, fast = views.find_full(maps, U, channels, view), find(maps, U, channels, view)
    torch.testing.assert_close(fast.purity, full.purity, rtol=0, atol=1e-12)
    torch.testing.assert_close(fast.vectors, full.vectors, rtol=0, atol=1e-12)
    assert torch.equal(fast.freq, full.freq) and torch.equal(fast.frame, full.frame)
    gradients = [torch.autograd.grad((f.purity * weights).sum(), U)[0] for f in (full, fast)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-12)
    Zhat = twin.transform(U, maps)
    plain = [[twin.purity(twin.vector(Z, k, view), k) for k in channels.tolist()] for Z in Zhat]
    torch.testing.assert_close(full.purity, torch.stack([torch.stack(row) for row in plain]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("find", [views.find_full, views.find, from_tables])
@pytest.mark.parametrize("view", VIEWS)
def test_of_equal_cells_the_lowest_wins(find, view):
    found = find(torch.ones(2, 3, 4, 5), torch.eye(3), torch.tensor([1]), view)
    expected = {"square": (0, 0), "time": (-1, 0), "frequency": (0, -1), "time-frequency": (0, 0)}[view]
    assert set(zip(found.freq.flatten().tolist(), found.frame.flatten().tolist(), strict=True)) == {expected}
    torch.testing.assert_close(found.purity, torch.full((2, 1), 3**-0.5))


def test_a_shift_by_one_frame_shifts_the_column_by_one():
    maps = torch.zeros(1, 2, 3, 7)
    maps[0, 1, 2, 4] = 1.0
    for view, found in ((v, views.find(maps.roll(1, 3), torch.eye(2), torch.tensor([1]), v)) for v in VIEWS):
        assert found.frame.item() == (views.WHOLE if view == "frequency" else 5)
        assert found.freq.item() == (views.WHOLE if view == "time" else 2)


def test_on_one_row_square_and_time_coincide_and_the_others_are_refused():
    maps, U, channels = random_maps(2, 4, 1, 9), random_maps(4, 4, seed=1), torch.arange(4)
    square, time = (views.find(maps, U, channels, view) for view in ("square", "time"))
    assert torch.equal(square.frame, time.frame)
    torch.testing.assert_close(square.purity, time.purity)
    for view in ("frequency", "time-frequency"):
        for find in (views.find_full, views.find, from_tables):
            with pytest.raises(ModelError, match="frequency axis"):
                find(maps, U, channels, view)


def test_permuted_channels_permute_everything():
    maps, order = random_maps(2, 5, 3, 4), torch.tensor([3, 1, 4, 0, 2])
    U = random_maps(5, 5, seed=3)
    for view in VIEWS:
        plain = views.find(maps, U, order, view)
        permuted = views.find(maps[:, order], U[order][:, order], torch.arange(5), view)
        assert torch.equal(plain.frame, permuted.frame) and torch.equal(plain.freq, permuted.freq)
        torch.testing.assert_close(permuted.purity, plain.purity, rtol=0, atol=1e-12)


def test_a_vector_of_zeros_has_purity_zero_and_a_finite_gradient():
    U = torch.eye(3, requires_grad=True)
    value = views.purity(torch.zeros(1, 3) @ U.T, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value.sum(), U)
    assert value.item() == 0 and bool(torch.isfinite(gradient).all())
