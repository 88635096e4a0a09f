"""The scan against sorting every score in float64."""

import numpy as np
import pytest
import torch

from earmark.prototypes import scan as scan_module
from earmark.prototypes.scan import _first_alike, dots, error_factors, scan
from earmark.types import seeded

D = 7


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(scan_module, "BATCH_CLIPS", 64)


def every_score(vectors, U, n_cells=None):
    """Returns all scores [clip, channel] as sums of products in float64, one by one."""
    rows = U.double().numpy()
    table = np.array([[(p.astype(np.float64) * u).sum() for u in rows] for p in vectors.numpy()])
    return table if n_cells is None else table * n_cells.double().numpy()[:, None]


def sorted_all(table, n, sign):
    """Returns scores and positions [place, channel] by plain sorting, equal scores by position."""
    columns = [sorted((-sign * score, i) for i, score in enumerate(column))[:n] for column in table.T.tolist()]
    return np.array([[-sign * s for s, _ in c] for c in columns]).T, np.array([[i for _, i in c] for c in columns]).T


def blocks_of(vectors, size, order=None):
    order = torch.arange(len(vectors)) if order is None else order
    return [(ids, vectors[ids]) for ids in order.split(size)]


def check(vectors, U, n, n_cells=None, size=64, order=None):
    tops = scan(blocks_of(vectors, size, order), U, n, n_cells)
    table = every_score(vectors, U, n_cells)
    for top, sign in zip(tops, (1, -1), strict=True):
        scores, ids = sorted_all(table, n, sign)
        np.testing.assert_array_equal(top.ids.numpy(), ids)
        np.testing.assert_array_equal(top.scores.numpy(), scores)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def uniform(*shape, seed=1):
    return torch.rand(*shape, generator=seeded(seed))


def huge_and_small(n):
    """Clips and channels whose sizes lie up to 40 powers of ten apart: products overflow in float32."""
    return normal(n, D) * 10.0 ** (20 * (2 * uniform(n, 1) - 1)) * 10.0 ** torch.linspace(-17, 17, D)


CASES = {
    "normal": lambda n: normal(n, D),
    "ties": lambda n: normal(n, D).mul(1.5).round(),
    "constant": lambda n: torch.ones(n, D),
    "zeros": lambda n: torch.zeros(n, D),
    "rectified": lambda n: (normal(n, D) - 1.5).clamp_min(0),
    "negative": lambda n: -normal(n, D).abs() - 1,
    "signed zeros": lambda n: torch.where(normal(n, D) > 0, 0.0, -0.0),
    "copies": lambda n: normal(12, D)[torch.arange(n) % 12],
    "silence": lambda n: torch.where(uniform(n, 1) < 0.7, -2.0, normal(n, D)),
    "denormals": lambda n: normal(n, D) * 1e-42,
    "small": lambda n: normal(n, D) * 1e-30,
    "huge and small": huge_and_small,
    "offset": lambda n: 1e6 + normal(n, D),
    "one giant": lambda n: normal(n, D) * torch.where(torch.arange(n) == n // 2, 1e12, 1.0)[:, None],
    "rising": lambda n: normal(n, D) + torch.arange(n)[:, None],
    "falling": lambda n: normal(n, D) - torch.arange(n)[:, None],
    "float64": lambda n: normal(n, D).double() + 1e-9 * normal(n, D, seed=2).double(),
}
BASES = {
    "identity": lambda: torch.eye(D, dtype=torch.float64),
    "dense": lambda: torch.matrix_exp(normal(D, D, seed=3).double()),
    "whole numbers": lambda: normal(D, D, seed=4).mul(2).round().double(),
    "cancelling": lambda: (torch.eye(D) - 1 / D).double(),
    "with zeros": lambda: torch.diag(torch.tensor([1.0, 0, 2, -1, 1e-30, 1e30, 3])).double(),
}


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("case", CASES)
def test_the_outcome_is_that_of_sorting_all_scores(case, basis):
    vectors, cells = CASES[case](300), torch.randint(1, 200, (300,), generator=seeded(5))
    check(vectors, BASES[basis](), 9)
    check(vectors, BASES[basis](), 9, cells, size=33)


@pytest.mark.parametrize("basis", ["identity", "dense"])
@pytest.mark.parametrize(("n_clips", "n", "size"), [(5, 9, 2), (9, 9, 64), (1, 1, 1), (600, 40, 7), (1000, 3, 1000)])
@pytest.mark.parametrize("case", ["normal", "ties"])
def test_parts_of_any_size_and_fewer_clips_than_places(case, basis, n_clips, n, size):
    check(CASES[case](n_clips), BASES[basis](), n, size=size)


@pytest.mark.parametrize("basis", ["identity", "dense"])
@pytest.mark.parametrize("case", ["normal", "ties", "copies", "silence"])
def test_the_order_of_the_stream_plays_no_part(case, basis):
    order = torch.randperm(700, generator=seeded(6))
    for of_stream in (order, torch.arange(700).flip(0)):
        check(CASES[case](700), BASES[basis](), 11, size=50, order=of_stream)


def test_where_products_are_exact_the_outcome_is_that_of_a_product_in_float64():
    vectors, U = CASES["ties"](500), BASES["whole numbers"]()
    strongest, weakest = scan(blocks_of(vectors, 100), U, 20)
    table = vectors.double() @ U.T
    for top, descending in ((strongest, True), (weakest, False)):
        expected = table.sort(dim=0, descending=descending, stable=True)
        assert torch.equal(top.scores, expected.values[:20]) and torch.equal(top.ids, expected.indices[:20])


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_few_scores_are_computed_twice(precision, monkeypatch):
    asked = []
    monkeypatch.setattr(scan_module, "dots", lambda a, b: asked.append(len(a)) or dots(a, b))
    vectors, U = normal(20_000, 64), torch.matrix_exp(normal(64, 64, seed=3).double() / 8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        scan(blocks_of(vectors, 512), U, 5)
    finally:
        torch.set_float32_matmul_precision(before)
    # In a stream in random order k (1 + ln(n/k)) enter a table of k: 2 * 64 * 5 * 9.3 = 5,950 of 2.6 million; half as
    # many again for thresholds that lag behind, and for the first batch.
    assert sum(asked) < 9_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("basis", ["identity", "dense"])
def test_a_score_that_is_not_finite_is_refused(basis, value):
    vectors = normal(40, D)
    vectors[17, 2] = value
    with pytest.raises(ValueError, match="finite"):
        scan(blocks_of(vectors, 16), BASES[basis](), 3)


@pytest.mark.parametrize("width", [1, 3, 7, 64, 1023, 1024])
def test_a_score_does_not_depend_on_what_is_scored_with_it(width):
    a, b = normal(65, width).numpy(), normal(65, width, seed=1).double().numpy()
    alone = np.concatenate([dots(a[i : i + 1], b[i : i + 1].copy()) for i in range(65)])
    np.testing.assert_array_equal(dots(a, b.copy()), alone)
    np.testing.assert_array_equal(dots(a[5:22], b[5:22].copy()), alone[5:22])


@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e-25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_errors_are_bounded(dtype, scale):
    a, b = normal(200, 300) * scale, normal(300, 300, seed=1).double()
    rows, channels = error_factors(a.double().norm(dim=1).numpy(), b.norm(dim=1).numpy(), dtype)
    error = np.abs((b.to(dtype) @ a.to(dtype).T).double().numpy().T - dots_of_all(a, b))
    assert (error <= rows[:, None] * channels).all()


def dots_of_all(a, b):
    return np.stack([dots(np.broadcast_to(row, b.shape), b.numpy().copy()) for row in a.numpy()])


def test_equal_vectors_are_found():
    vectors = np.array([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    assert _first_alike(vectors, np.array([3, 0, 2, 2, 1])).tolist() == [1, 0, 0, 0, 1]
