"""What masks keep of two known sounds: known answers, stated cases, and the promises of metrics."""

import math

import pytest
import torch

from earmark.metrics.separation import (
    contaminant_kept,
    contrast_db,
    ideal_auc,
    ideal_correlation,
    ideal_ratio_mask,
    source_kept,
)


def plane(*values):
    return torch.tensor([[list(values)]], dtype=torch.float64)


SOURCE, CONTAMINANT = plane(4, 1, 0, 0), plane(0, 1, 9, 0)
GAIN = plane(1, 0.5, 0.1, 1)


def test_shares_and_contrast_by_hand():
    kept = (4 + 0.25) / 5, (0.25 + 0.09) / 10
    assert source_kept(GAIN, SOURCE, CONTAMINANT).item() == pytest.approx(kept[0])
    assert contaminant_kept(GAIN, SOURCE, CONTAMINANT).item() == pytest.approx(kept[1])
    assert contrast_db(GAIN, SOURCE, CONTAMINANT).item() == pytest.approx(10 * math.log10(kept[0] / kept[1]))


def test_the_ideal_mask_by_hand():
    ideal = ideal_ratio_mask(SOURCE, CONTAMINANT)
    assert ideal.flatten().tolist() == [1, 0.5, 0, 0]  # amplitudes 2 and 0, 1 and 1, 0 and 3, nothing
    assert ideal_auc(ideal, SOURCE, CONTAMINANT).item() == ideal_correlation(ideal, SOURCE, CONTAMINANT).item() == 1
    assert ideal_auc(-ideal, SOURCE, CONTAMINANT).item() == 0
    assert ideal_correlation(-ideal, SOURCE, CONTAMINANT).item() == pytest.approx(-1)


def test_louder_sounds_keep_their_contrast_and_swapped_ones_turn_it():
    found = contrast_db(GAIN, SOURCE, CONTAMINANT)
    assert contrast_db(GAIN / 2, 3 * SOURCE, 7 * CONTAMINANT).item() == pytest.approx(found.item())
    assert contrast_db(GAIN, CONTAMINANT, SOURCE).item() == pytest.approx(-found.item())


ONLY = (plane(1, 0, 0, 0), SOURCE, CONTAMINANT)


def test_the_source_alone_has_the_largest_contrast():
    assert contrast_db(*ONLY).item() == pytest.approx(10 * math.log10(0.8 / 1e-10))
