"""Sparse NMF: against its slow twin, against scikit-learn, and what every factorization promises."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.reference import l2i as twin

from earmark.explainers.l2i import nmf
from earmark.types import seeded

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64, sums of at most a dozen terms


def factors(n_freq=6, n_columns=9, n_components=3, seed=1):
    g = seeded(seed)
    S = torch.rand(n_freq, n_columns, generator=g, dtype=torch.float64) * 3
    W = nmf.normalized(torch.rand(n_freq, n_components, generator=g, dtype=torch.float64))
    return S, W, torch.rand(n_components, n_columns, generator=g, dtype=torch.float64)


def mixed(n_freq=30, n_columns=300, rank=6, seed=0):
    """Non-negative, close to low rank."""
    g = seeded(seed)
    W, H = torch.rand(n_freq, rank, generator=g), torch.rand(rank, n_columns, generator=g)
    return (W**3) @ (H**2) + 0.02 * torch.rand(n_freq, n_columns, generator=g)


@pytest.mark.parametrize("mu", [0.0, 0.8])
def test_updates_are_those_of_the_slow_twin(mu):
    S, W, H = factors()
    arrays = [x.numpy() for x in (S, W, H)]
    np.testing.assert_allclose(nmf.objective(S, W, H, mu), twin.objective(*arrays, mu), **EXACT)
    np.testing.assert_allclose(nmf.updated_codes(S, W, H, mu), twin.updated_codes(*arrays, mu), **EXACT)
    np.testing.assert_allclose(nmf.updated_dictionary(S, W, H), twin.updated_dictionary(*arrays), **EXACT)


@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_no_step_raises_the_objective_and_spectra_keep_their_length(mu):
    S, W, H = factors(n_freq=12, n_columns=40, n_components=4)
    values = [nmf.objective(S, W, H, mu)]
    for _ in range(50):
        H = nmf.updated_codes(S, W, H, mu)
        values.append(nmf.objective(S, W, H, mu))
        W = nmf.updated_dictionary(S, W, H)
        values.append(nmf.objective(S, W, H, mu))
        torch.testing.assert_close(W.norm(dim=0), torch.ones(4, dtype=torch.float64), **EXACT)
        assert (W >= 0).all() and (H >= 0).all()
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))
    assert values[-1] < 0.5 * values[0]


def test_objective_is_not_above_that_of_scikit_learn_after_as_many_steps():
    from sklearn.decomposition import NMF

    S = mixed()
    for seed in range(2):
        ours = nmf.objective(S, *nmf.factorize(S, 6, 0.0, 100, seeded(seed)), 0.0)
        model = NMF(6, init="random", solver="mu", max_iter=100, tol=0.0, random_state=seed)
        codes = model.fit_transform(S.T.numpy())
        assert ours <= 0.5 * np.square(S.T.numpy() - codes @ model.components_).sum()


def test_codes_of_a_fixed_dictionary_are_those_of_scikit_learn():
    """With W given the problem is convex, so that there is one minimum, found here by coordinate descent."""
    from sklearn.decomposition import non_negative_factorization

    S, W, _ = factors(n_freq=12, n_columns=5, n_components=4)
    mu = 0.4
    codes = nmf.codes_of(S[None], W, mu, 5000)[0]
    theirs, _, _ = non_negative_factorization(
        S.T.numpy(),
        H=W.T.numpy().copy(),
        n_components=4,
        update_H=False,
        solver="cd",
        alpha_W=mu / 12,  # scikit-learn multiplies by the number of features
        l1_ratio=1.0,
        tol=1e-12,
        max_iter=5000,
    )
    np.testing.assert_allclose(codes.numpy(), theirs.T, atol=1e-3)  # multiplicative updates reach 0 slowly


def test_same_seed_same_dictionary_and_another_one_differs():
    S = mixed()
    first, again, other = (nmf.factorize(S, 5, 0.1, 20, seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sparsity_makes_activations_sparse():
    S = mixed()
    total = [float(nmf.factorize(S, 6, mu, 200, seeded(0))[1].sum()) for mu in (0.0, 0.5)]
    assert total[1] < total[0]


def test_learning_ends_where_it_no_longer_helps():
    steps = []
    nmf.factorize(mixed(10, 50, 2), 2, 0.0, 10_000, seeded(0), lambda step, value: steps.append((step, value)))
    assert steps[-1][0] < 5000
    assert all(after[1] <= before[1] * (1 + 1e-5) for before, after in pairwise(steps))  # float32
