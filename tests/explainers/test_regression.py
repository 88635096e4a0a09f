"""Linear models of set functions: known values, slow twins, and Captum's on the same samples."""

import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from captum.attr import KernelShap as CaptumShap
from captum.attr import Lime as CaptumLime
from tests.reference import perturbation as twin

from earmark.explainers import regression
from earmark.types import seeded


def set_function(n_parts, seed=0):
    """Returns a random score for each of the 2^M sets, and a function of rows of zeros and ones."""
    table = torch.randn(2**n_parts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    powers = 2 ** torch.arange(n_parts)
    return table, lambda z: table[(z.long() * powers).sum(-1)]


def smooth_function(n_parts, seed=0):
    """Returns a score with a linear part and products of neighbors, as networks have."""
    weight = torch.randn(n_parts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda z: z.double() @ weight + (z[:, 1:] * z[:, :-1]).double().sum(1)


def test_all_coalitions_give_the_shapley_values_of_a_random_set_function():
    table, score = set_function(8)
    z = regression.all_rows(8)
    inner = z[1:-1]
    whole, empty = float(table[-1]), float(table[0])
    fitted = regression.shapley(inner, score(inner), regression.kernel_weights(inner), empty, whole)
    expected = twin.shapley_values(lambda S: float(table[sum(2**i for i in S)]), 8)
    np.testing.assert_allclose(fitted.values.numpy(), expected, rtol=0, atol=1e-10)
    assert float(fitted.values.sum()) == pytest.approx(whole - empty, abs=1e-12)


@pytest.mark.parametrize("n", [6, 100, 2000])  # fewer rows than parts, few, many
def test_sampled_shapley_values_sum_to_the_score(n):
    table, score = set_function(12)
    z = regression.paired_rows(12, n, seeded(1))
    fitted = regression.shapley(z, score(z), torch.ones(n), float(table[0]), float(table[-1]))
    assert float(fitted.values.sum()) == pytest.approx(float(table[-1] - table[0]), abs=1e-12)


def test_a_linear_function_has_its_weights_as_values():
    weight = torch.randn(15, generator=seeded(3), dtype=torch.float64)
    z = regression.paired_rows(15, 60, seeded(0))
    y = z.double() @ weight + 2
    fitted = regression.shapley(z, y, torch.ones(60), 2.0, 2 + float(weight.sum()))
    torch.testing.assert_close(fitted.values, weight, rtol=0, atol=1e-10)
    ridge = regression.ridge(z, y, regression.lime_weights(z, 0.25), 0.0)
    torch.testing.assert_close(ridge.values, weight, rtol=0, atol=1e-8)  # weights differ by e^16: normal equations
    assert ridge.offset == pytest.approx(2, abs=1e-8) and ridge.r2 == pytest.approx(1) == fitted.r2


def test_weights_are_those_of_the_papers():
    z = regression.all_rows(6)
    expected = [twin.lime_weight(row, 0.25) for row in z.tolist()]
    np.testing.assert_allclose(regression.lime_weights(z, 0.25).numpy(), expected, rtol=1e-12)
    expected = [twin.kernel_weight(row) for row in z[1:-1].tolist()]
    np.testing.assert_allclose(regression.kernel_weights(z[1:-1]).numpy(), expected, rtol=1e-12)


def test_ridge_is_the_minimum_of_its_loss():
    z, y = regression.coin_rows(9, 70, seeded(0)), torch.randn(70, generator=seeded(1), dtype=torch.float64)
    weights = regression.lime_weights(z, 0.25)
    fitted = regression.ridge(z, y, weights, 1.0)
    expected = twin.ridge(z.numpy().astype(float), y.numpy(), weights.numpy(), 1.0)
    np.testing.assert_allclose([fitted.offset, *fitted.values], expected, rtol=0, atol=1e-10)
    rest = y.double() - fitted.offset - z.double() @ fitted.values
    mean = (weights * y).sum() / weights.sum()
    r2 = 1 - float((weights * rest**2).sum() / (weights * (y - mean) ** 2).sum())
    assert fitted.r2 == pytest.approx(r2, abs=1e-10)


def rows_as_generator(z):
    """Returns what Captum calls for its samples: our rows, one after the other."""

    def generate(_inputs, **_kwargs):
        yield from z.long()[:, None]

    return generate


def test_lime_equals_captums_on_the_same_samples():
    score, z = smooth_function(10), regression.coin_rows(10, 200, seeded(0))
    captum = CaptumLime(
        lambda x: score(x).float(),
        interpretable_model=SkLearnRidge(alpha=1.0),
        similarity_func=lambda _inputs, _masked, row, **_: regression.lime_weights(row.float(), 0.25),
        perturb_func=rows_as_generator(z),
    )
    expected = captum.attribute(torch.ones(1, 10), n_samples=200)[0]
    fitted = regression.ridge(z, score(z), regression.lime_weights(z, 0.25), 1.0)
    torch.testing.assert_close(fitted.values.float(), expected, rtol=0, atol=1e-4)  # Captum fits in float32


def test_kernel_shap_equals_captums_on_the_same_samples():
    score, z = smooth_function(10), regression.paired_rows(10, 200, seeded(0))
    ends = torch.stack([torch.ones(10), torch.zeros(10)])
    captum = CaptumShap(lambda x: score(x).float())
    captum.perturb_func = rows_as_generator(torch.cat([ends, z]))
    captum.interpretable_model = SkLearnLinearRegression()
    expected = captum.attribute(torch.ones(1, 10), n_samples=202)[0]
    empty, whole = (float(v) for v in score(ends.flip(0)))
    fitted = regression.shapley(z, score(z), torch.ones(200), empty, whole)
    # Captum fulfills the constraints by a weight of 1e6, in float32.
    torch.testing.assert_close(fitted.values.float(), expected, rtol=0, atol=2e-3)


def test_paired_rows_come_with_their_opposites_and_in_proportion_to_the_kernel():
    z = regression.paired_rows(7, 20000, seeded(0))
    assert torch.equal(z[::2] + z[1::2], torch.ones(10000, 7))
    sizes = np.bincount(z.sum(1).long().numpy(), minlength=8)[1:7] / 20000
    expected = np.array([1 / (k * (7 - k)) for k in range(1, 7)])
    np.testing.assert_allclose(sizes, expected / expected.sum(), atol=0.015)  # 4 standard deviations of 10,000 draws
    np.testing.assert_allclose(z[::2].mean(0).numpy(), np.full(7, 0.5), atol=0.02)  # the same


def test_the_reported_error_is_the_spread_over_seeds():
    score, true = smooth_function(14), []
    ends = torch.stack([torch.zeros(14), torch.ones(14)])
    empty, whole = (float(v) for v in score(ends))
    fits = []
    for seed in range(40):
        z = regression.paired_rows(14, 200, seeded(seed))
        y = score(z) + torch.randn(200, generator=seeded(seed, 1))  # something for the model to miss

        def fit(chosen, z=z, y=y):
            return regression.shapley(z[chosen], y[chosen], torch.ones(len(y[chosen])), empty, whole)

        fits.append(regression.with_error(fit, 200))
        true.append(fits[-1].values)
    spread = float(torch.stack(true).var(0).mean().sqrt())
    reported = float(torch.tensor([fitted.error for fitted in fits]).square().mean().sqrt())
    assert 0.8 < reported / spread < 1.25  # 40 seeds x 13 free values: a standard deviation of 3 % each


def test_a_score_that_does_not_vary_has_values_of_zero():
    z, y = regression.coin_rows(5, 20, seeded(0)), torch.full((20,), 3.0)
    fitted = regression.ridge(z, y, regression.lime_weights(z, 0.25), 1.0)
    assert torch.equal(fitted.values, torch.zeros(5).double()) and fitted.offset == 3 and fitted.r2 == 1
    assert torch.equal(regression.shapley(z, y, torch.ones(20), 3.0, 3.0).values, torch.zeros(5).double())


def test_one_part_has_all_of_the_score():
    fitted = regression.shapley(torch.zeros(0, 1), torch.zeros(0), torch.zeros(0), 1.0, 4.0)
    assert fitted.values.tolist() == [3.0]
