from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.reference import metrics as twin

from earmark.errors import InputError
from earmark.masks import MapFlag, cleaned, count_of, descending, mask_of, n_distinct, ranking_of, smoothed

SHARES = (0, 1, 2, 3, 5, 7, 10, 15, 20, 29, 30, 40, 50, 57, 58, 99, 100)


def maps(batch=3, freq=9, frame=11, seed=0, dtype=torch.float32):
    values = torch.randn(batch, freq, frame, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by", ["signed", "absolute"])
def test_area_masks_hold_exactly_the_first_bins(dtype, by):
    values = (3 * maps(dtype=dtype)).round() / 3  # many ties, negative zeros among them
    for per_cent in SHARES:
        gain = mask_of(values, "area", per_cent / 100, by=by).gain
        for found, one in zip(gain, values, strict=True):
            assert np.array_equal(found.numpy(), twin.area_mask(one.numpy(), per_cent, by))
            assert found.sum() == per_cent * one.numel() // 100


@pytest.mark.parametrize("seed", range(40))
def test_area_masks_equal_the_plain_twin(seed):
    random = np.random.default_rng(seed)
    values = random.choice([-4.0, -1e-8, 0.0, 1e-8, 0.5, 3.0], (4, 5)).astype(np.float32)
    per_cent = int(random.integers(101))
    gain = mask_of(torch.from_numpy(values)[None], "area", per_cent / 100).gain[0]
    assert np.array_equal(gain.numpy(), twin.area_mask(values, per_cent))


def test_the_count_is_the_floor_of_the_share_as_written():
    for n_bins in (7, 99, 100, 128625, 221103):
        for per_cent in range(101):
            assert count_of(per_cent / 100, n_bins) == per_cent * n_bins // 100
    assert int(0.29 * 100) == 28  # what floats say


def test_packed_sorting_is_stable_and_knows_zero_infinity_and_tiny_numbers():
    tiny = torch.finfo(torch.float32).tiny
    row = torch.tensor([0.0, -0.0, tiny, -tiny, 3e38, -3e38, 1.0, 1.0, -1.0, -1.0, 0.0])
    assert descending(row[None])[0].tolist() == row.argsort(descending=True, stable=True).tolist()
    many = maps(2, 50, 40).flatten(1).mul(20).round()
    assert torch.equal(descending(many), descending(many.double()))


def test_energy_masks_take_as_few_bins_as_hold_the_share():
    values, power = maps(), maps(seed=1).square()
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        gain = mask_of(values, "energy", share, power=power).gain
        for found, one, energy in zip(gain, values, power, strict=True):
            assert np.array_equal(found.numpy(), twin.energy_mask(one.numpy(), energy.numpy(), share))
            assert (found * energy).sum() >= (share - 1e-6) * energy.sum()  # float32 sums
    assert mask_of(values, "energy", 0.5, power=0 * power).gain.sum() == 0  # a silent clip holds nothing


def test_equal_power_makes_energy_an_area():
    values = maps(1, 10, 10)
    by_area = mask_of(values, "area", 0.3).gain
    assert torch.equal(mask_of(values, "energy", 0.3, power=torch.ones_like(values)).gain, by_area)


def test_soft_masks_are_the_map_over_its_maximum():
    values = torch.tensor([[[4.0, -2.0], [1.0, 0.0]], [[-1.0, -2.0], [-3.0, -1.0]]])
    masks = mask_of(values)
    assert masks.gain.tolist() == [[[1.0, 0.0], [0.25, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert masks.flags.tolist() == [MapFlag.NEGATIVE | MapFlag.ABOVE_ONE, MapFlag.NEGATIVE]
    native = mask_of(torch.tensor([[[0.4, -0.2]], [[2.0, 0.5]]]), "native")
    assert torch.equal(native.gain, torch.tensor([[[0.4, 0.0]], [[1.0, 0.25]]]))
    assert native.flags.tolist() == [MapFlag.NEGATIVE, MapFlag.ABOVE_ONE]


def test_maps_that_cannot_be_ranked_have_a_stated_mask_and_a_flag():
    values = maps(5)
    values[1, 2, 3], values[2, 0, 0] = torch.nan, torch.inf
    values[3], values[4] = 0.0, 0.7
    expected = [0, MapFlag.NOT_FINITE, MapFlag.NOT_FINITE, MapFlag.ZERO, MapFlag.CONSTANT]
    kept = [~(MapFlag.NEGATIVE | MapFlag.ABOVE_ONE) & flag for flag in mask_of(values).flags.tolist()]
    assert kept == expected
    for how in ("soft", "area", "energy"):
        masks = mask_of(values, how, 0.2, power=torch.ones_like(values))
        assert masks.gain.isfinite().all()
        assert masks.gain[1:4].sum() == 0
        assert masks.gain[0].sum() > 0
    random = mask_of(values, "area", 0.2).gain[4]
    assert random.sum() == 99 // 5
    assert random[0].sum() < 11  # not simply the lowest rows
    assert torch.equal(random, mask_of(values[4:], "area", 0.2).gain[0])
    assert not torch.equal(random, mask_of(values, "area", 0.2, seed=1).gain[4])
    assert (mask_of(values, "soft").gain[4] == 1).all()
    assert cleaned(values)[0][1:3].abs().sum() == 0


def test_nothing_leaks_between_batch_mates():
    values = maps(4)
    values[2] *= 1e6
    for how in ("soft", "area", "energy"):
        power = values.square()
        together = mask_of(values, how, 0.1, power=power).gain
        for i in range(4):
            alone = mask_of(values[i : i + 1], how, 0.1, power=power[i : i + 1]).gain[0]
            assert torch.equal(together[i], alone)


def test_masks_of_rising_area_are_nested():
    ranking = ranking_of(maps())
    masks = [ranking.mask(per_cent / 100) for per_cent in SHARES]
    assert all((smaller <= larger).all() for smaller, larger in pairwise(masks))
    assert masks[-1].min() == 1


def test_soft_edges_are_one_bin_and_one_frame_wide():
    mask = torch.zeros(1, 7, 9)
    mask[0, 2:5, 3:7] = 1
    soft = smoothed(mask)
    assert soft[0, 3, 4] == 1
    assert soft[0, 0].max() == 0
    assert soft[0, 1, 5] == 0.25
    assert soft[0, 1, 2] == 1 / 16
    assert torch.equal(smoothed(torch.ones(1, 4, 4)), torch.ones(1, 4, 4))


def test_shares_and_power_of_no_use_are_refused():
    for share in (None, -0.1, 1.1):
        with pytest.raises(InputError, match="needs a share from 0 to 1"):
            mask_of(maps(), "area", share)
    with pytest.raises(InputError, match=r"needs the power of shape \(3, 9, 11\), got None"):
        mask_of(maps(), "energy", 0.5)


def test_distinct_values_are_counted_for_each_map():
    values = maps(2)
    values[1] = values[1].sign()
    assert n_distinct(values).tolist() == [99, 2]
