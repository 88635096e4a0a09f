import numpy as np
import pytest
import torch

from earmark.prototypes.topk import Sparse, Top, best_rows
from earmark.types import seeded


def brute_force(scores, ids, n, smallest):
    sign = 1 if smallest else -1
    columns = [
        sorted(zip(scores[:, k].tolist(), ids.tolist(), strict=True), key=lambda s: (sign * s[0], s[1]))[:n]
        for k in range(scores.shape[1])
    ]
    values = torch.tensor([[s for s, _ in c] for c in columns], dtype=scores.dtype).T
    return values, torch.tensor([[i for _, i in c] for c in columns]).T


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize(("n", "batch"), [(100, 64), (100, 330), (5, 7), (400, 64), (1, 1)])
@pytest.mark.parametrize("levels", [None, 4, 1])
def test_streaming_equals_brute_force(n, batch, levels, smallest):
    generator = torch.Generator().manual_seed(n + batch)
    scores = torch.randn(341, 6, generator=generator, dtype=torch.float64)
    if levels:  # many ties
        scores = (scores * levels / 3).round().clamp(1 - levels, levels - 1)
    ids = torch.randperm(1000, generator=generator)[:341]
    top = Top.empty(n, 6, smallest=smallest, dtype=torch.float64)
    for part in torch.arange(341).split(batch):
        top = top.merge(scores[part], ids[part])
    values, expected = brute_force(scores, ids, n, smallest)
    assert torch.equal(top.scores, values)
    assert torch.equal(top.ids, expected)


def test_the_order_of_the_stream_plays_no_part():
    scores = torch.tensor([[1.0, 2], [1, 2], [0, 2], [1, 3]])
    ids = torch.arange(4)
    forward = Top.empty(2, 2).merge(scores[:2], ids[:2]).merge(scores[2:], ids[2:])
    backward = Top.empty(2, 2).merge(scores[2:], ids[2:]).merge(scores[:2], ids[:2])
    assert torch.equal(forward.ids, torch.tensor([[0, 3], [1, 0]]))
    assert torch.equal(backward.ids, forward.ids)


def test_fewer_rows_than_places():
    values, ids = best_rows(torch.tensor([[1.0], [3.0]]), torch.tensor([[7], [8]]), 5)
    assert values.flatten().tolist() == [3.0, 1.0] and ids.flatten().tolist() == [8, 7]


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        Top.empty(2, 1).merge(torch.tensor([[float("nan")]]), torch.tensor([0]))


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("n", [1, 7, 400])
def test_scores_given_one_by_one_make_the_same_table(n, levels, smallest):
    generator = seeded(n)
    scores = torch.randn(341, 6, generator=generator, dtype=torch.float64)
    if levels:  # many ties, and zeros of both signs
        scores = (scores * levels / 3).round().clamp(1 - levels, levels - 1)
    ids = torch.randperm(1000, generator=generator)[:341]
    rows, columns = np.divmod(torch.randperm(341 * 6, generator=generator).numpy(), 6)
    table = Sparse(n, 6, smallest=smallest)
    for part in np.array_split(np.arange(341 * 6), 23):
        table.add(columns[part], scores.numpy()[rows[part], columns[part]], ids.numpy()[rows[part]])
    top, (values, expected) = table.top(), brute_force(scores, ids, n, smallest)
    assert torch.equal(top.scores, values) and torch.equal(top.ids, expected)
    assert top.smallest == smallest and top.n == n


def test_what_cannot_enter_is_dropped_at_once_and_an_equal_score_enters_by_its_id():
    table = Sparse(2, 1)
    zeros = np.zeros(3, np.int64)
    table.add(zeros, np.array([5.0, 3.0, 4.0]), np.array([10, 11, 12]))
    table.flush()
    assert table.threshold.tolist() == [4.0] and table.last_id.tolist() == [12]
    table.add(zeros, np.array([3.9, 4.0, 4.0]), np.array([0, 13, 9]))
    assert table.top().ids.flatten().tolist() == [10, 9]
