"""Likeness of maps: stated values for maps that say nothing, and the published structural similarity by hand."""

import math

import torch

from earmark.checks.similarity import MEASURES, published_ssim, similarity


def noise(n=2, seed=0, shape=(9, 11)):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) - 0.3


def test_a_map_is_unchanged_up_to_a_factor():
    maps = noise()
    told = similarity(maps, 5 * maps)
    assert told.unchanged.all() and not told.constant.any()
    for name in MEASURES:
        torch.testing.assert_close(told.values[name], torch.ones(2, dtype=torch.float64), check_dtype=False)
    assert not similarity(maps, maps + 0.01 * noise(seed=1)).unchanged.any()


def test_maps_that_say_nothing_have_stated_values():
    ones, zeros, maps = torch.ones(2, 9, 11), torch.zeros(2, 9, 11), noise()
    for still in (ones, zeros):
        alike = similarity(ones, still)
        assert all(bool((value == 1).all()) for value in alike.values.values())
        assert alike.unchanged.all() and alike.constant.all()
        for told in (similarity(maps, still), similarity(still, maps)):
            assert all(bool((value == 0).all()) for value in told.values.values())
            assert not told.unchanged.any()
    assert not similarity(ones, maps).constant.any()


def test_signs_count_unless_sizes_are_compared():
    maps = noise()
    told = similarity(maps, -maps)
    torch.testing.assert_close(told.values["rank_correlation"], torch.full((2,), -1.0, dtype=torch.float64))
    torch.testing.assert_close(told.values["rank_correlation_absolute"], torch.ones(2, dtype=torch.float64))


def test_maps_below_the_window_have_no_structural_similarity():
    told = similarity(noise(shape=(5, 30)), noise(seed=1, shape=(5, 30)))
    assert told.values["ssim"].isnan().all() and not told.values["rank_correlation"].isnan().any()


def test_the_published_similarity_takes_the_range_of_the_second_map():
    x, y = noise(1, 0, (7, 7)).double(), 4 * noise(1, 1, (7, 7)).double()  # one window
    a, b = x.flatten().tolist(), y.flatten().tolist()
    span, n = max(b) - min(b), 49
    mean_a, mean_b = sum(a) / n, sum(b) / n
    var_a, var_b = (sum((v - m) ** 2 for v in z) / (n - 1) for z, m in ((a, mean_a), (b, mean_b)))
    covariance = sum((v - mean_a) * (w - mean_b) for v, w in zip(a, b, strict=True)) / (n - 1)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    known = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    known /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert math.isclose(float(published_ssim(x, y)[0]), known, rel_tol=1e-9)
    assert float(similarity(x.float(), y.float(), parity=True).values["ssim"][0]) != float(
        similarity(x.float(), y.float()).values["ssim"][0]
    )


def test_a_map_that_is_not_there_is_like_nothing():
    maps = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    torn = maps.clone()
    torn[1, 2, 3] = torch.nan
    for pair in ((maps, torn), (torn, maps)):
        told = similarity(*pair).to_dict()
        assert all([math.isnan(value) for value in values] == [False, True, False] for values in told.values())
        assert told["unchanged"][0] == told["ssim"][2] == 1
