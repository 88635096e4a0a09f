import math

import pytest
import torch

from earmark.errors import InputError
from earmark.metrics.intervals import bootstrap, holm, paired_difference


def normal(n, seed=0, scale=1.0, mean=0.0):
    generator = torch.Generator().manual_seed(seed)
    return mean + scale * torch.randn(n, generator=generator, dtype=torch.float64)


def test_the_interval_of_independent_clips_is_that_of_the_normal_law():
    values = normal(400, mean=3.0)
    found = bootstrap(values)
    half = 1.96 * float(values.std()) / 20
    assert found.mean == pytest.approx(float(values.mean()))
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)  # 2,000 resamples know a quantile to 5 %
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)
    assert (found.n, found.n_missing, found.n_clusters, found.n_runs) == (400, 0, 400, 1)


def test_copies_of_a_clip_bring_no_certainty():
    """Ten copies of each of 40 clips, told as clusters, have the interval of the 40."""
    values = normal(40)
    copied = bootstrap(values.repeat(10), [i % 40 for i in range(400)])
    alone = bootstrap(values)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
    naive = bootstrap(values.repeat(10))
    assert naive.high - naive.low < 0.4 * (alone.high - alone.low)  # sqrt(10) too narrow


def test_a_small_case_equals_all_resamples():
    """Two clusters: means of (a, a), (a, b), (b, a), (b, b) by hand, weighted by their clips."""
    found = bootstrap(torch.tensor([0.0, 0.0, 3.0]), ["a", "a", "b"], n_resamples=4000)
    assert (found.mean, found.low, found.high) == (1.0, 0.0, 3.0)
    middle = bootstrap(torch.tensor([0.0, 0.0, 3.0]), ["a", "a", "b"], n_resamples=4000, level=0.4)
    assert (middle.low, middle.high) == (1.0, 1.0)  # half of the resamples hold both


def test_runs_that_disagree_widen_the_interval():
    clips = normal(50)
    clusters, runs = list(range(50)) * 3, [seed for seed in range(3) for _ in range(50)]
    agreeing = bootstrap(clips.repeat(3), clusters, runs)
    assert (agreeing.low, agreeing.high) == pytest.approx((bootstrap(clips).low, bootstrap(clips).high), abs=0.05)
    shifted = torch.cat([clips + 2 * run for run in range(3)])
    found = bootstrap(shifted, clusters, runs)
    assert found.n_runs == 3
    assert found.high - found.low > 3 * (agreeing.high - agreeing.low)


def test_folds_hold_different_clips():
    values, folds = normal(60), [i // 20 for i in range(60)]
    found = bootstrap(values, list(range(60)), folds)
    assert found.low < found.mean < found.high
    assert math.isfinite(found.low + found.high)


def test_values_that_are_missing_are_counted():
    values = normal(30)
    values[3] = values[7] = torch.nan
    found = bootstrap(values)
    assert (found.n, found.n_missing, found.n_clusters) == (28, 2, 28)
    assert found.mean == pytest.approx(float(values.nanmean()))
    empty = bootstrap(torch.full((3,), torch.nan))
    assert (empty.n, empty.n_missing) == (0, 3)
    assert math.isnan(empty.mean) and math.isnan(empty.low) and math.isnan(empty.p)


def test_pairs_see_what_two_intervals_hide():
    clips = normal(80, scale=5.0)
    first, second = clips + 0.3 + 0.1 * normal(80, 1), clips
    alone, paired = bootstrap(first), paired_difference(first, second)
    assert alone.low < 0 < alone.high
    assert paired.low > 0.25
    assert paired.p == pytest.approx(2 / 2001)
    second[4] = torch.nan
    assert paired_difference(first, second).n_missing == 1
    with pytest.raises(InputError, match="needs the same clips, got 80 and 79"):
        paired_difference(first, second[1:])


def test_p_values_of_nothing_are_uniform():
    p = torch.tensor([bootstrap(normal(60, seed), n_resamples=400).p for seed in range(100)])
    assert 0.01 <= float((p < 0.1).double().mean()) <= 0.22  # ten expected of a hundred, four standard errors


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_the_seed_decides_and_nothing_else_does():
    values = normal(50)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)
    with pytest.raises(InputError, match="50 values need as many clusters and runs, got 3"):
        bootstrap(values, [1, 2, 3])
