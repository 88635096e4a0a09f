import numpy as np
import pytest
import scipy.stats
import torch
from tests.reference import metrics as twin

from earmark.errors import InputError
from earmark.metrics.ranks import average_ranks
from earmark.metrics.stability import (
    confidence_change,
    iou_of_top,
    moved_frames,
    rank_correlation,
    same_decision,
    ssim,
)


def maps(n=3, freq=20, frame=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, freq, frame, generator=generator, dtype=torch.float64)
    return first, first + 0.5 * torch.randn(n, freq, frame, generator=generator, dtype=torch.float64)


def test_ssim_equals_the_definition():
    first, second = maps()
    for found, x, y in zip(ssim(first, second).tolist(), first.numpy(), second.numpy(), strict=True):
        assert found == pytest.approx(twin.ssim(x, y), abs=1e-9)


def test_ssim_looks_only_at_windows_that_lie_inside():
    first, second = maps()
    where = torch.zeros(20, 30).bool()
    where[2:18, 5:25] = True
    cut = ssim(first[:, 2:18, 5:25], second[:, 2:18, 5:25])
    torch.testing.assert_close(ssim(first, second, where), cut, rtol=0, atol=1e-9)


def test_spearman_equals_scipy_with_ties():
    first, second = maps()
    first, second = first.round(), (2 * second).round()
    for found, x, y in zip(rank_correlation(first, second).tolist(), first, second, strict=True):
        assert found == pytest.approx(scipy.stats.spearmanr(x.flatten(), y.flatten()).statistic, abs=1e-9)
    absolute = rank_correlation(first, -first, absolute=True)
    assert absolute.tolist() == pytest.approx([1, 1, 1])
    assert np.array_equal(average_ranks(first[0].flatten()), scipy.stats.rankdata(first[0].flatten()))


def test_a_map_is_like_itself():
    first, _ = maps()
    for metric in (ssim, rank_correlation, iou_of_top):
        assert metric(first, first).tolist() == pytest.approx([1, 1, 1])
    assert rank_correlation(first, -first).tolist() == pytest.approx([-1, -1, -1])


def test_the_top_tenth_of_noise_overlaps_by_chance():
    first = torch.rand(50, 40, 50, generator=torch.Generator().manual_seed(0))
    second = torch.rand(50, 40, 50, generator=torch.Generator().manual_seed(1))
    found = iou_of_top(first, second)
    assert abs(float(found.mean()) - 1 / 19) < 4 * float(found.std()) / 50**0.5  # four standard errors


def test_a_constant_map_has_no_rank_correlation():
    first, second = maps()
    first[1] = 0.5
    assert rank_correlation(first, second).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("lag", [-7, 0, 3])
def test_a_map_that_moves_with_the_sound_moves_as_far(lag):
    first = maps(frame=60)[0].clamp_min(1.5) - 1.5
    assert moved_frames(first, first.roll(lag, 2)).tolist() == [lag] * 3


def wide(n=12, freq=4, frame=61, seed=0):
    """Maps that are nowhere zero and change slowly, so that a sum of products is largest where most frames overlap."""
    steps = torch.randn(n, freq, frame + 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 20 + steps.cumsum(2)


@pytest.mark.parametrize(("frame", "most"), [(61, None), (60, None), (61, 9), (7, 50), (1, None)])
def test_moves_are_those_of_correlations_written_out(frame, most):
    before = wide(frame=frame)
    after = before[:, :, 6 : frame + 6] + wide(frame=frame, seed=1)[:, :, :frame]
    found = moved_frames(before[:, :, :frame], after, most)
    expected = [twin.moved_frames(x, y, most) for x, y in zip(before[:, :, :frame].numpy(), after.numpy(), strict=True)]
    assert found.tolist() == expected
    assert frame < 60 or len(set(expected)) > 1


@pytest.mark.parametrize("lag", [-9, -2, 0, 5, 12])
def test_a_wide_map_moves_as_far_as_its_sound(lag):
    long = wide(frame=100)
    before, after = long[:, :, 20:80], long[:, :, 20 - lag : 80 - lag]
    assert moved_frames(before, after).tolist() == [lag] * 12


def test_moves_do_not_depend_on_how_large_values_are():
    first = wide()[:, :, :60]
    second = first.roll(3, 2)
    assert moved_frames(1e-14 * first, second).tolist() == moved_frames(first, second).tolist() == [3] * 12
    assert moved_frames(first, 1e-14 * second).tolist() == [3] * 12
    assert moved_frames(first, torch.ones_like(first)).tolist() == moved_frames(0 * first, second).tolist() == [0] * 12


def test_decisions_and_confidence():
    before, after = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert same_decision(before, after, "multiclass").tolist() == [1, 0]
    sets = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    assert same_decision(sets, torch.tensor([[2.0, 0.1], [1.0, 1.0]]), "multilabel").tolist() == [1, 0]
    change = confidence_change(before, after, torch.tensor([0, 1]), "multiclass")
    p, q = before.double().softmax(1), after.double().softmax(1)
    assert change.tolist() == pytest.approx([float(q[0, 0] - p[0, 0]), float(q[1, 1] - p[1, 1])])


def test_maps_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="needs maps of at least 7 x 7"):
        ssim(torch.ones(1, 1, 30), torch.ones(1, 1, 30))
