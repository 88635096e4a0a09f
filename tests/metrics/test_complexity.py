import math

import pytest
import torch
from tests.reference import metrics as twin

from earmark.masks import mask_of
from earmark.metrics.complexity import complexity, complexity_normalized, energy_kept, mask_mean, sparseness

EXAMPLE = torch.tensor([[[1.0, 0.5], [0.25, 0.25]]])


def masks(freq=40, frame=31, dtype=torch.float32):
    """Soft masks from even to nearly empty, one with zeros and one nearly constant."""
    generator = torch.Generator().manual_seed(1)
    even = torch.rand(6, freq, frame, generator=generator, dtype=torch.float64)
    rows = [even[0], even[1] ** 8, even[2] ** 40, even[3] * (even[3] > 0.9), 0.5 + 1e-6 * even[4], 1e-6 * even[5]]
    return torch.stack(rows).to(dtype)


def test_the_worked_example_to_the_printed_digits():
    assert round(sparseness(EXAMPLE).item(), 6) == 0.3125
    assert round(complexity(EXAMPLE).item(), 6) == 1.213008
    assert round(complexity_normalized(EXAMPLE).item(), 6) == 0.875
    assert mask_mean(EXAMPLE).item() == 0.5
    assert energy_kept(EXAMPLE, torch.tensor([[[4.0, 1.0], [0.0, 1.0]]])).item() == 0.71875


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_equal_the_published_formula(dtype):
    """To 1e-6, in float32 too: the values are exact, the sums are taken in blocks or in float64."""
    some = masks(dtype=dtype)
    for fast, slow, library in (
        (sparseness, twin.sparseness, twin.sparseness_numpy),
        (complexity, twin.complexity, twin.complexity_numpy),
    ):
        for found, mask in zip(fast(some).tolist(), some.numpy(), strict=True):
            assert found == pytest.approx(slow(mask), abs=1e-6)
            assert found == pytest.approx(float(library(mask)), abs=1e-6)


def test_a_mask_of_real_size_is_as_exact():
    big = masks(513, 431)[1:3]
    for found, other in ((sparseness, twin.sparseness_numpy), (complexity, twin.complexity_numpy)):
        for value, mask in zip(found(big).tolist(), big.numpy(), strict=True):
            assert value == pytest.approx(float(other(mask)), abs=1e-6)


@pytest.mark.parametrize("area", [0.01, 0.05, 0.3, 0.5])
def test_of_a_binary_mask_both_know_the_area_alone(area):
    values = torch.randn(3, 40, 50, generator=torch.Generator().manual_seed(0))
    gain = mask_of(values, "area", area).gain
    assert sparseness(gain).tolist() == pytest.approx([1 - area] * 3, abs=1e-5)  # the offset of 1e-7 per bin
    assert complexity(gain).tolist() == pytest.approx([math.log(area * 2000)] * 3, abs=1e-6)
    assert mask_mean(gain).tolist() == pytest.approx([area] * 3)


def test_masks_of_ones_and_zeros_have_stated_values():
    ones, zeros = torch.ones(1, 8, 9), torch.zeros(1, 8, 9)
    assert sparseness(ones).item() == pytest.approx(0, abs=1e-12)
    assert sparseness(zeros).item() == 0
    assert complexity(ones).item() == pytest.approx(math.log(72), abs=1e-6)
    assert complexity_normalized(ones).item() == pytest.approx(1, abs=1e-6)
    assert complexity(zeros).isnan().all()
    assert (mask_mean(ones).item(), mask_mean(zeros).item()) == (1, 0)
    power = torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(0))
    assert (energy_kept(ones, power).item(), energy_kept(zeros, power).item()) == (1, 0)
    assert energy_kept(ones, zeros).isnan().all()


def test_scale_changes_nothing_but_the_mean():
    some = masks()[:4]
    torch.testing.assert_close(sparseness(some), sparseness(some / 4), rtol=0, atol=1e-4)  # the offset of 1e-7
    torch.testing.assert_close(complexity(some), complexity(some / 4), rtol=0, atol=1e-6)


def test_batch_equals_single_and_the_masks_are_left_as_they_were():
    some = masks()
    before = some.clone()
    for metric in (sparseness, complexity):
        together = metric(some)
        assert together.tolist() == [metric(mask[None]).item() for mask in some]
    assert torch.equal(some, before)
