import math

import pytest
import sklearn.metrics
import torch
from tests.reference import metrics as twin

from earmark.errors import InputError
from earmark.metrics.classification import (
    aurocs,
    average_precisions,
    equal_error_rate,
    macro,
    mean_equal_error_rate,
    restricted,
    top_label_hits,
)
from earmark.metrics.ranks import auc_of_ranks

SCORES = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.7, 0.3], [0.3, 0.6, 0.2], [0.1, 0.4, 0.6]])
PRESENT = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]]).bool()


def rate(real, fake):
    kinds = torch.tensor([True] * len(real) + [False] * len(fake))
    return equal_error_rate(torch.tensor([*real, *fake], dtype=torch.float64), kinds)


def test_the_printed_checks():
    assert rate([0.9, 0.8, 0.4], [0.6, 0.3, 0.1]) == pytest.approx(1 / 3)
    kinds = torch.tensor([True, True, True, False, False, False])
    assert auc_of_ranks(torch.tensor([0.9, 0.8, 0.4, 0.6, 0.3, 0.1]), kinds) == pytest.approx(8 / 9)
    precisions, areas = average_precisions(SCORES, PRESENT), aurocs(SCORES, PRESENT)
    assert precisions[:2].tolist() == pytest.approx([5 / 6, 5 / 6])
    assert areas[:2].tolist() == pytest.approx([0.75, 0.75])
    assert round(macro(precisions, "ignore"), 4) == 0.8333
    assert round(macro(precisions, "zero"), 4) == 0.5556
    assert (macro(areas, "ignore"), macro(areas, "zero")) == (0.75, 0.5)
    assert top_label_hits(SCORES, PRESENT).mean() == 0.25


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rates_equal_the_sweep(seed):
    generator = torch.Generator().manual_seed(seed)
    real = (torch.randn(31, generator=generator, dtype=torch.float64) + 1).mul(4).round().div(4).tolist()  # ties
    fake = torch.randn(17, generator=generator, dtype=torch.float64).mul(4).round().div(4).tolist()
    assert rate(real, fake) == pytest.approx(twin.equal_error_rate(real, fake), abs=1e-12)


def test_equal_error_rates_of_plain_cases():
    assert rate([2.0, 3.0], [0.0, 1.0]) == 0
    assert rate([0.0, 1.0], [2.0, 3.0]) == 1
    assert rate([1.0, 1.0], [1.0]) == pytest.approx(0.5)  # one score for all: the line from (1, 0) to (0, 1)
    with pytest.raises(InputError, match="needs both kinds, got 2 bona fide and 0 fake"):
        rate([1.0, 2.0], [])


def test_the_mean_over_sets_is_given_with_and_without_the_training_condition():
    rates = {"lj": 0.0, "a": 0.1, "b": 0.3}
    assert mean_equal_error_rate(rates, "lj") == pytest.approx((0.4 / 3, 0.2))
    assert mean_equal_error_rate(rates) == pytest.approx((0.4 / 3, 0.4 / 3))


def test_both_macro_numbers_equal_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    scores, present = torch.rand(60, 5, generator=generator), torch.rand(60, 5, generator=generator) < 0.3
    expected = sklearn.metrics.average_precision_score(present, scores, average="macro")
    assert macro(average_precisions(scores, present), "ignore") == pytest.approx(expected)
    expected = sklearn.metrics.roc_auc_score(present, scores, average="macro")
    assert macro(aurocs(scores, present), "zero") == pytest.approx(expected)


def test_labels_that_nobody_has_are_not_numbers():
    assert average_precisions(SCORES, PRESENT).isnan().tolist() == [False, False, True]
    nobody = torch.zeros(4, 3).bool()
    assert math.isnan(macro(aurocs(SCORES, nobody), "ignore"))
    assert macro(aurocs(SCORES, nobody), "zero") == 0


def test_unlabeled_clips_are_excluded_and_labels_can_be_masked():
    present = PRESENT.clone()
    present[0] = False
    assert top_label_hits(SCORES, present).isnan().tolist() == [True, False, False, False]
    only = restricted(SCORES, torch.tensor([False, True, True]))
    assert top_label_hits(only, PRESENT).tolist() == [0, 1, 0, 0]
