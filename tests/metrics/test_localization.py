import math

import pytest
import sklearn.metrics
import torch
from tests.reference import metrics as twin

from earmark.audio.stft import Stft
from earmark.classifiers.base import Grid
from earmark.metrics.localization import (
    average_precision,
    chance,
    energy_inside,
    excluded,
    intersection_over_union,
    iou_at_half,
    iou_at_match,
    mass_inside,
    pointing,
    roc_auc,
    time_marginal,
    tolerance_of,
)

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


def random_case(n=6, freq=9, frame=12, seed=0, step=3):
    generator = torch.Generator().manual_seed(seed)
    values = (step * torch.randn(n, freq, frame, generator=generator)).round() / step  # with ties
    truth = torch.rand(n, freq, frame, generator=generator) < 0.2
    return values, truth


def test_ranked_numbers_equal_the_plain_twins():
    values, truth = random_case()
    pairs = [(roc_auc, twin.auc), (average_precision, twin.average_precision), (iou_at_match, twin.iou_at_match)]
    for metric, slow in pairs:
        for found, one, inside in zip(metric(values, truth).tolist(), values.numpy(), truth.numpy(), strict=True):
            assert found == pytest.approx(slow(one, inside), abs=1e-6)  # float32 results


def test_ranked_numbers_equal_scikit_learn():
    values, truth = random_case(step=1e6)  # no ties: there average precision is defined in two ways
    for found, one, inside in zip(roc_auc(values, truth), values, truth, strict=True):
        assert found.item() == pytest.approx(sklearn.metrics.roc_auc_score(inside.flatten(), one.flatten()), abs=1e-6)
    for found, one, inside in zip(average_precision(values, truth), values, truth, strict=True):
        expected = sklearn.metrics.average_precision_score(inside.flatten(), one.flatten())
        assert found.item() == pytest.approx(expected, abs=1e-6)
    tied, truth = random_case(step=1)  # ties half, as there
    for found, one, inside in zip(roc_auc(tied, truth), tied, truth, strict=True):
        assert found.item() == pytest.approx(sklearn.metrics.roc_auc_score(inside.flatten(), one.flatten()), abs=1e-6)


def test_the_truth_itself_scores_the_most_and_its_opposite_the_least():
    _, truth = random_case()
    values = truth.float()
    for metric in (roc_auc, average_precision, iou_at_match, iou_at_half, pointing, mass_inside):
        assert metric(values, truth).tolist() == [1] * 6
    for metric in (roc_auc, iou_at_match, pointing, mass_inside):
        assert metric(1 - values, truth).tolist() == [0] * 6


def test_half_of_the_maximum_by_hand():
    values = torch.tensor([[[4.0, 2.0, 1.9], [0.0, -9.0, 2.1]]])
    assert iou_at_half(values, TRUTH).item() == pytest.approx(2 / 3)
    assert iou_at_half(-values.abs(), TRUTH).item() == 0


def test_energy_inside_against_the_clips_own():
    power = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 0.0, 2.0]]])
    gain = torch.tensor([[[1.0, 0.5, 0.0], [0.5, 1.0, 0.0]]])
    assert energy_inside(gain, TRUTH, power).item() == pytest.approx((1 + 2 / 4) / (1 + 2 / 4 + 4 / 4))
    assert energy_inside(torch.ones_like(gain), TRUTH, power).item() == pytest.approx(3 / 12)
    assert energy_inside(0 * gain, TRUTH, power).item() == 0


def test_noise_scores_the_chance_level():
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(400, 20, 20, generator=generator)
    truth = torch.zeros(400, 20, 20).bool()
    truth[:, 5:12, 3:13] = True
    levels = chance(truth, (1, 2))
    wide = torch.zeros(20, 20).bool()
    wide[4:13, 1:15] = True
    assert levels["pointing"][0].item() == pytest.approx(wide.float().mean().item())
    found = {
        "iou_match": iou_at_match(values, truth),
        "pointing": pointing(values, truth, (1, 2)),
        "mass_inside": mass_inside(values, truth),
        "localization_auc": roc_auc(values, truth),
        "localization_precision": average_precision(values, truth),
    }
    for name, numbers in found.items():
        error = 4 * float(numbers.std()) / 20  # four standard errors
        bias = 0.01 if name in ("iou_match", "localization_precision") else 0  # of a ratio over 70 of 400 bins
        assert abs(float(numbers.mean()) - float(levels[name][0])) < error + bias, name


def test_clips_without_anything_to_find_are_excluded_and_counted():
    values, truth = random_case(3)
    truth[0], truth[1] = False, True
    assert excluded(truth).tolist() == [True, True, False]
    for metric in (roc_auc, average_precision, iou_at_match, iou_at_half, pointing, mass_inside):
        assert metric(values, truth).isnan().tolist() == [True, True, False]
    assert chance(truth)["pointing"].isnan().tolist() == [True, True, False]


def test_where_only_times_are_known_marginals_are_compared():
    values = torch.zeros(1, 4, 6)
    values[0, 2, 3], values[0, :, 1] = 3.0, 1.0
    values[0, 0, 3] = -5.0  # evidence against counts nothing
    marginal = time_marginal(values)
    assert marginal.tolist() == [[[0.0, 4.0, 0.0, 3.0, 0.0, 0.0]]]
    spans = torch.tensor([[[False, True, False, True, False, False]]])
    assert roc_auc(marginal, spans).item() == 1
    assert mass_inside(marginal, spans).item() == 1


def test_the_tolerance_is_one_bin_and_twenty_milliseconds():
    assert tolerance_of(Grid(32000, 32000, Stft(2048, 640))) == (1, 1)
    assert tolerance_of(Grid(16000, 16000, Stft(512, 80))) == (1, 4)
    assert tolerance_of(Grid(16000, 16000, Stft(1024, 512))) == (1, 0)
