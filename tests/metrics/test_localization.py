import math

import torch

from earmark.metrics.localization import intersection_over_union, mass_inside, pointing

TRUTH = torch.tensor([[[1, 1, 0], [0, 0, 0]]]).bool()
VALUES = torch.tensor([[[3.0, 1.0, 0.0], [0.0, 4.0, -8.0]]])


def test_the_largest_value_decides_and_tolerance_widens_the_truth():
    assert pointing(VALUES, TRUTH).item() == 0  # 4 lies one row below the truth
    assert pointing(VALUES, TRUTH, (1, 0)).item() == 1
    assert pointing(VALUES, TRUTH.roll(1, 2), (0, 1)).item() == 0


def test_of_equal_values_the_first_counts():
    assert pointing(torch.ones(1, 2, 3), TRUTH).item() == 1


def test_intersection_over_union_by_hand():
    found = torch.tensor([[[1, 0, 0], [1, 1, 0]]]).bool()
    assert intersection_over_union(found, TRUTH).item() == 1 / 4  # one shared cell of four in either
    assert intersection_over_union(TRUTH, TRUTH).item() == 1
    assert intersection_over_union(~TRUTH, TRUTH).item() == 0


def test_mass_inside_counts_positive_values_only():
    assert mass_inside(VALUES, TRUTH).item() == 4 / 8
    assert mass_inside(-torch.ones(1, 2, 3), TRUTH).item() == 0


def test_an_empty_truth_is_not_a_number_and_leaves_its_batch_mates_alone():
    values, truth = VALUES.repeat(2, 1, 1), torch.stack([TRUTH[0], torch.zeros(2, 3).bool()])
    for metric in (pointing, mass_inside):
        first, second = metric(values, truth).tolist()
        assert math.isnan(second) and not math.isnan(first)
    assert math.isnan(intersection_over_union(truth, truth)[1].item())


def test_chance_of_pointing_is_the_share_of_area():
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(4000, 8, 8, generator=generator)
    truth = torch.zeros(4000, 8, 8).bool()
    truth[:, :2, :4] = True
    hits = pointing(values, truth).mean().item()
    assert abs(hits - 1 / 8) < 4 * math.sqrt(1 / 8 * 7 / 8 / 4000)  # four standard errors
