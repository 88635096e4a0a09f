from itertools import permutations, product

import pytest
import torch

from earmark.explainers.apex.assignment import best_pairs
from earmark.types import seeded


def brute(gains):
    """The largest sum of gains over all pairings."""
    gains = gains if gains.shape[0] <= gains.shape[1] else gains.T
    return max(
        sum(float(gains[i, j]) for i, j in enumerate(p)) for p in permutations(range(gains.shape[1]), len(gains))
    )


def kinds(gains):
    """As it is; with ties; negative; of huge range; all the same."""
    return gains, (3 * gains).round(), -gains, gains * 10.0 ** (12 * gains), 0 * gains


@pytest.mark.parametrize(("n_rows", "n_columns"), list(product(range(1, 6), repeat=2)))
def test_the_pairing_is_as_good_as_the_best_of_all(n_rows, n_columns):
    for draw in range(3):
        for gains in kinds(
            torch.rand(n_rows, n_columns, generator=seeded(n_rows, n_columns, draw), dtype=torch.double)
        ):
            rows, columns = best_pairs(gains)
            assert len(rows) == min(n_rows, n_columns) == len(set(columns.tolist()))
            assert rows.tolist() == sorted(set(rows.tolist()))
            assert float(gains[rows, columns].sum()) == pytest.approx(brute(gains), rel=1e-12, abs=1e-12)


def test_a_hidden_permutation_of_many_is_found():
    order = torch.randperm(300, generator=seeded(1))
    gains = torch.rand(300, 300, generator=seeded(2))
    gains[torch.arange(300), order] = 1.5
    assert torch.equal(best_pairs(gains)[1], order)


def test_a_gain_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite"):
        best_pairs(torch.tensor([[1.0, float("nan")]]))
