"""Relevances, what is chosen, gains: against the slow twin, and identities."""

import numpy as np
import pytest
import torch
from tests.reference import l2i as twin

from earmark.explainers.l2i import relevance as parts
from earmark.types import seeded

EXACT = {"rtol": 1e-12, "atol": 1e-14}  # float64, sums of a few terms


def model(n_freq=5, n_components=4, n_frames=6, seed=0):
    g = seeded(seed)
    W = torch.rand(n_freq, n_components, generator=g, dtype=torch.float64)
    H = torch.rand(n_components, n_frames, generator=g, dtype=torch.float64)
    z = torch.rand(n_components, generator=g, dtype=torch.float64)
    w = torch.randn(n_components, generator=g, dtype=torch.float64)
    return W, H, z, w


@pytest.mark.parametrize("over", ["max", "max-abs"])
@pytest.mark.parametrize("seed", range(4))
def test_relevance_is_that_of_the_slow_twin(over, seed):
    _, _, z, w = model(seed=seed)
    for weight in (w, w.abs(), -w.abs()):
        expected = twin.relevance(z.numpy(), weight.numpy(), over)
        np.testing.assert_allclose(parts.relevance_of(z, weight, over), expected, **EXACT)


def test_relevance_of_a_worked_example():
    z, w = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, -3.0, 1.0])
    assert parts.relevance_of(z, w).tolist() == [0.5, -1.5, 1.0]
    torch.testing.assert_close(parts.relevance_of(z, w, "max-abs"), torch.tensor([1 / 3, -1, 2 / 3]))


def test_nothing_is_chosen_where_nothing_speaks_for_the_label():
    z = torch.tensor([1.0, 2.0])
    for weight in (torch.tensor([-1.0, -2.0]), torch.zeros(2)):
        for over in ("max", "max-abs"):
            assert len(parts.chosen(parts.relevance_of(z, weight, over), 0.0)) == 0


def test_chosen_are_above_the_threshold_the_most_relevant_first():
    relevance = torch.tensor([0.2, 1.0, -3.0, 0.5, 0.2])
    assert parts.chosen(relevance, 0.0).tolist() == [1, 3, 0, 4]
    assert parts.chosen(relevance, 0.2).tolist() == [1, 3]
    assert parts.chosen(relevance, 0.0, top=3).tolist() == [1, 3, 0]


def test_gain_is_that_of_the_slow_twin():
    W, H, _, _ = model()
    for kept in ([], [2], [0, 3]):
        expected = twin.gain(W.numpy(), H.numpy(), kept)
        np.testing.assert_allclose(parts.share_of(W, H, torch.tensor(kept, dtype=torch.long)), expected, **EXACT)


def test_gains_of_components_add_up_and_all_of_them_are_the_whole():
    W, H, _, _ = model()
    each = torch.stack([parts.share_of(W, H, torch.tensor([k])) for k in range(4)])
    torch.testing.assert_close(each[[0, 3]].sum(0), parts.share_of(W, H, torch.tensor([0, 3])), **EXACT)
    torch.testing.assert_close(each.sum(0), torch.ones(5, 6, dtype=torch.float64), **EXACT)


def test_bins_without_a_model_have_no_share():
    W, H = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 0.0]])
    assert parts.share_of(W, H, torch.tensor([0])).tolist() == [[1, 0], [0, 0]]
    assert parts.weighted_share(W, H, torch.tensor([1.0])).tolist() == [[1, 0], [0, 0]]


def test_ranking_is_the_mean_relevance_of_what_a_bin_consists_of():
    W, H, z, w = model()
    relevance = parts.relevance_of(z, w)
    each = [float(relevance[k]) * twin.gain(W.numpy(), H.numpy(), [k]) for k in range(4)]
    np.testing.assert_allclose(parts.weighted_share(W, H, relevance), sum(each), **EXACT)


def test_log1p_shares_as_gains():
    log1p = torch.tensor([[0.0, 1e-9, 0.5, 8.0]], dtype=torch.float64)
    for share in (0.0, 0.3, 1.0):
        gain = parts.as_linear_gain(torch.full_like(log1p, share), log1p)
        assert ((gain >= 0) & (gain <= 1)).all()
        torch.testing.assert_close((gain * log1p.expm1()).log1p(), share * log1p, **EXACT)
    assert gain.tolist() == [[1, 1, 1, 1]]
    assert float(parts.as_linear_gain(torch.tensor([[0.5]]), torch.zeros(1, 1))) == 0.5
