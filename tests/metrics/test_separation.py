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
    si_sdr,
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


def test_si_sdr_is_the_ratio_whatever_the_level():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(1, 4000, generator=generator, dtype=torch.float64)
    other = torch.randn(1, 4000, generator=generator, dtype=torch.float64)
    other -= (other * source).sum() / source.square().sum() * source  # nothing of the source in it
    for db in (-20.0, 0.0, 30.0):
        noise = other * (source.square().sum() / other.square().sum()).sqrt() * 10 ** (-db / 20)
        for level in (1.0, -0.01):
            assert float(si_sdr(level * (source + noise), source)) == pytest.approx(db, abs=1e-9)


def test_si_sdr_of_degenerate_sounds():
    sound = torch.ones(1, 100)
    assert float(si_sdr(sound, sound)) == 100
    assert float(si_sdr(torch.zeros(1, 100), sound)) == -100
    assert si_sdr(sound, torch.zeros(1, 100)).isnan().all()
