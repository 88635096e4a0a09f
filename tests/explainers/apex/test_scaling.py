"""Standardized channels: their units play no part in what is learned, and the basis takes them in exactly."""

import pytest
import torch
from tests.explainers.apex import encoders

from earmark.explainers.apex import disentangle, scaling
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.fit import fit_apex
from earmark.types import seeded

CONFIG = ApexConfig(view="square", n_stages=2, learning_rate=1e-2, batch_size=32, bank_size=2)


def training_clips(units):
    maps = [torch.randn(9, 5, generator=seeded(7, i), dtype=torch.double) * units for i in range(20)]
    pooled = torch.stack([one.mean(0) for one in maps])
    return disentangle.TrainingClips(pooled, torch.full((20,), 9), lambda positions: [(maps[p],) for p in positions])


def test_the_scale_makes_channels_equally_large_and_keeps_the_volume():
    units = torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0]).double()
    clips = training_clips(units)
    scale = scaling.scale_of(clips)
    cells = torch.cat([table for (table,) in scaling.scaled(clips, scale).load(range(20))])
    rms = cells.square().mean(0).sqrt()
    torch.testing.assert_close(rms, rms[:1].expand(5), rtol=1e-12, atol=0)
    assert float(scale.log().sum()) == pytest.approx(0, abs=1e-12)
    assert torch.equal(scaling.scaled(clips, scale).pooled, clips.pooled * scale)


def test_a_silent_channel_is_not_raised_without_end():
    units = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).double()
    scale = scaling.scale_of(training_clips(units))
    assert bool(torch.isfinite(scale).all()) and float(scale.max() / scale.min()) <= 1.5 / scaling.SMALLEST


def test_the_basis_does_not_depend_on_the_units_of_channels():
    """Z' = D Z gives U' = c U D^-1: the same channels; and both have an exact inverse."""
    units = torch.tensor([1.0, 300.0, 0.02, 7.0, 1.0]).double()
    found = []
    for one in (torch.ones(5).double(), units):
        clips = training_clips(one)
        scale = scaling.scale_of(clips)
        state = disentangle.train_basis(scaling.scaled(clips, scale), CONFIG)
        U, U_inv = scaling.folded(disentangle.final_basis(state.A, CONFIG.form), scale)
        torch.testing.assert_close(U @ U_inv, torch.eye(5).double(), rtol=0, atol=1e-10)
        found.append(U * one)
    ratio = found[1] / found[0]
    torch.testing.assert_close(ratio, ratio[0, 0].expand(5, 5), rtol=1e-7, atol=0)


def test_one_large_dimension_no_longer_decides_purity_and_copies():
    """Channel 0 is 1000 in every cell of every clip: every vector is pure in it, and every clip a copy of any other."""
    classifier, clips = encoders.encoder(offset=1000.0).at_block(1), encoders.clips(24)
    changes = {"view": "square", "n_stages": 1, "epochs_per_stage": 1, "bank_size": 3}
    plain, standard = (fit_apex(classifier, clips, standardize=on, **changes).diagnostics for on in (False, True))
    assert plain["channels_short_of_positive"] == 6 and standard["channels_short_of_positive"] == 0
    assert plain["purity_identity"] == standard["purity_identity"] < 0.25  # one channel of six, and signs
    assert standard["purity_standardized"] > plain["purity_identity"]
    assert standard["scale_range"] > 100 and standard["cond"] > 100
    assert "purity_standardized" not in plain


def test_settings_of_earlier_fits_are_told_as_they_were():
    assert "standardize" not in ApexConfig().to_dict()
    assert "standardize" not in ApexConfig(standardize=False).to_dict()
    assert ApexConfig.from_dict(ApexConfig(standardize=True).to_dict()).standardize is True
    assert ApexConfig.from_dict(ApexConfig().to_dict()) == ApexConfig()
