import math

import numpy as np
import pytest
import torch
from tests.reference import apex as twin

from earmark.errors import MismatchError
from earmark.explainers.apex import disentangle, views
from earmark.explainers.apex.config import ApexConfig

VIEWS = ("square", "time", "frequency", "time-frequency")
FORMS = ("general", "orthogonal")


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_norm(A, norm):
    return A * (norm / torch.linalg.matrix_norm(A, 2))


def clips_of(maps, view):
    tables = [views.tables_of(m, view) for m in maps]
    n_cells = torch.full((len(maps),), maps.shape[2] * maps.shape[3])
    return disentangle.TrainingClips(maps.mean((2, 3)), n_cells, lambda positions: [tables[i] for i in positions])


def test_exponential_of_zero_is_the_identity():
    assert torch.equal(disentangle.exponential(torch.zeros(3, 3)), torch.eye(3))


def test_exponential_of_a_skew_matrix_is_a_rotation():
    for angle in (0.3, 7.0):
        A = torch.tensor([[0, -angle], [angle, 0]], dtype=torch.float64)
        c, s = math.cos(angle), math.sin(angle)
        rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        torch.testing.assert_close(disentangle.exponential(A), rotation, rtol=0, atol=1e-13)


def test_exponential_of_a_nilpotent_matrix_is_exact():
    A = torch.tensor([[0, 1.0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    assert torch.equal(disentangle.exponential(A), torch.tensor([[1, 1, 0.5], [0, 1, 1], [0, 0, 1]]).double())
    assert torch.equal(disentangle.exponential(1e3 * A)[0], torch.tensor([1, 1e3, 5e5]).double())


@pytest.mark.parametrize("norm", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_exponential_equals_matrix_exp(norm, dtype, tolerance):
    A = of_norm(randn(24, 24), norm)
    exact = torch.matrix_exp(A)
    error = (disentangle.exponential(A.to(dtype)).double() - exact).norm() / exact.norm()
    assert float(error) < tolerance


def test_gradient_of_the_exponential_against_finite_differences():
    for norm in (0.2, 4.0):
        A = of_norm(randn(5, 5, seed=1), norm).requires_grad_()
        assert torch.autograd.gradcheck(disentangle.exponential, (A,), atol=1e-6)


@pytest.mark.parametrize("norm", [1.0, 6.0])
def test_final_basis_and_its_inverse(norm):
    A = of_norm(randn(40, 40, seed=2), norm).float()
    for form in FORMS:
        U, U_inv = disentangle.final_basis(A, form)
        assert U.dtype == torch.float64
        torch.testing.assert_close(U @ U_inv, torch.eye(40).double(), rtol=0, atol=1e-10)
        W, pooled = randn(7, 40, seed=3), randn(5, 40, seed=4)
        torch.testing.assert_close((W @ U_inv) @ (U @ pooled.T), W @ pooled.T, rtol=0, atol=1e-10)
    assert torch.equal(U.T, U_inv)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", VIEWS)
def test_training_equals_the_plain_loop(view, form):
    maps = randn(9, 6, 3, 4, seed=5)
    config = ApexConfig(view=view, form=form, n_stages=2, batch_size=8, learning_rate=1e-2, weight_decay=1e-3, seed=3)
    steps = []
    state = disentangle.train_basis(
        clips_of(maps, view), config, progress=lambda done, total, values: steps.append((done, total, values["purity"]))
    )
    A, losses = twin.train(maps, view, form, (100, 5), epochs=2, batch_size=8, lr=1e-2, weight_decay=1e-3, seed=3)
    assert [done for done, _, _ in steps] == list(range(1, len(losses) + 1))
    assert steps[0][1] == len(losses)
    np.testing.assert_allclose([-p for _, _, p in steps], losses, rtol=0, atol=1e-10)
    torch.testing.assert_close(state.A.detach(), A, rtol=0, atol=1e-10)
    assert float(A.abs().max()) > 0.05


def test_clips_of_different_lengths_train_as_each_alone():
    maps = [randn(4, 2, n, seed=n) for n in (3, 5, 8, 5)]
    U, pairs = randn(4, 4, seed=9), torch.tensor([[0, 1], [2, 3], [1, 0], [3, 3], [2, 0]])
    for view in VIEWS:
        tables = {i: views.tables_of(m, view) for i, m in enumerate(maps)}
        found = disentangle.gather(pairs, tables, U) @ U.T
        for p, (clip, channel) in zip(found, pairs.tolist(), strict=True):
            expected = views.find_full(maps[clip][None], U, torch.tensor([channel]), view).vectors[0, 0]
            torch.testing.assert_close(p, expected, rtol=0, atol=1e-12)


def test_selection_equals_a_full_pass_and_breaks_ties_by_position():
    maps = randn(30, 5, 2, 3, seed=6)
    maps[20] = maps[4]
    maps[:, 3] = 0
    U = torch.eye(5, dtype=torch.float64)
    pairs = disentangle.select_pairs(clips_of(maps, "time"), U, 7, ApexConfig(view="time"))
    scores = twin.activation(twin.transform(U, maps)).round(decimals=10)
    for k in range(5):
        assert pairs[pairs[:, 1] == k, 0].tolist() == twin.strongest(scores[:, k], 7)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_killed_fit_goes_on_to_the_same_result(tmp_path, stop):
    clips = clips_of(randn(12, 5, 2, 4, seed=7), "square")
    config = ApexConfig(view="square", n_stages=3, batch_size=16)
    whole = disentangle.train_basis(clips, config)

    class KilledError(Exception):
        pass

    def checkpoint(state):
        disentangle.save_state(state, tmp_path / "state.safetensors", {"clips": "a"})
        if state.stage == stop:
            raise KilledError

    with pytest.raises(KilledError):
        disentangle.train_basis(clips, config, on_stage=checkpoint)
    state = disentangle.load_state(tmp_path / "state.safetensors", config, {"clips": "a"})
    assert state is not None and state.stage == stop
    resumed = disentangle.train_basis(clips, config, state=state)
    assert torch.equal(resumed.A, whole.A)
    assert resumed.losses == whole.losses and resumed.n_steps == whole.n_steps
    with pytest.raises(MismatchError, match="other clips"):
        disentangle.load_state(tmp_path / "state.safetensors", config, {"clips": "b"})


def test_training_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    disentangle.train_basis(clips_of(randn(6, 3, 2, 2), "time"), ApexConfig(view="time", n_stages=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_diagnostics_name_dead_and_duplicate_channels():
    generator = torch.Generator().manual_seed(8)
    maps = torch.zeros(40, 5, 2, 3, dtype=torch.float64)
    maps[:, :3] = torch.rand(40, 3, 2, 3, generator=generator, dtype=torch.float64)
    maps[:, 3] = 2 * maps[:, 1]
    maps[:, 4] = -torch.rand(40, 2, 3, generator=generator, dtype=torch.float64)
    config = ApexConfig(view="square", n_stages=1, epochs_per_stage=1)
    clips = clips_of(maps, "square")
    state = disentangle.new_state(5, config, torch.float64)
    found = disentangle.diagnose(clips, clips_of(maps[:7], "square"), state, config)
    assert found["dead_channels"] == [4]
    assert found["duplicate_channels"] == [[1, 3]]
    assert found["cond"] == pytest.approx(1) and found["norm_A"] == 0
    assert found["purity"] == found["purity_identity"]
    best = [twin.strongest(maps[:7].sum((2, 3))[:, k], 5) for k in range(5)]
    plain = [twin.purity(twin.vector(maps[i], k, "square"), k) for k in range(5) for i in best[k]]
    assert found["purity_held_out"] == pytest.approx(float(torch.stack(plain).mean()), abs=1e-12)


def test_planted_sources_are_found():
    D = 128
    mixing = twin.random_orthogonal(D, seed=0)
    maps = twin.planted_sources(mixing, 3000, seed=1).float()
    train, held = clips_of(maps[:2000], "square"), clips_of(maps[2000:], "square")
    config = ApexConfig(view="square", form="orthogonal", learning_rate=1e-2)
    A = disentangle.train_basis(train, config).A.detach()
    U, _ = disentangle.final_basis(A, "orthogonal")
    assert disentangle.mean_purity(held, U.float(), config).mean() >= 0.75
    assert disentangle.mean_purity(held, torch.eye(D), config).mean() < 0.5
    winners = (U @ torch.from_numpy(mixing)).argmax(1).unique()  # signed, as benchmarks/planted.py counts
    assert D - len(winners) <= 5
