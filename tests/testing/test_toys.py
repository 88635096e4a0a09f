import numpy as np
import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.testing.toys import BandEnergies, PowerSpectrogram, band_classifier


def tone(hz, n_samples=8000):
    return Waveform(np.sin(2 * np.pi * hz * np.arange(n_samples) / 8000), 8000)


@pytest.mark.parametrize("band", range(8))
def test_a_label_is_the_energy_in_its_band(band):
    """A sine reads 1.5 in all, the noise bandwidth of a Hann window in bins, over the 16 bins of its band."""
    c = band_classifier()
    logits = c.predict(tone(500 * band + 250)).logits
    assert float(logits[band]) == pytest.approx(1.5 / 16, rel=1e-2)  # clicks at the clip's ends spread the rest
    others = torch.cat([logits[:band], logits[band + 1 :]])
    assert others.abs().max() < 1e-3


def test_the_map_is_zero_but_in_its_own_row():
    c = band_classifier()
    samples = c.prepare(Waveform(np.random.default_rng(0).uniform(-1, 1, 8000), 8000))
    maps, power = c.at(samples, "map"), c.at(samples, "features")
    expected = power[0, :128, :120].unflatten(0, (8, 16)).unflatten(2, (15, 8)).mean((1, 3))
    assert maps.shape == (1, 8, 8, 15)
    for k in range(8):
        torch.testing.assert_close(maps[0, k, k], expected[k])
        assert maps[0, k].count_nonzero() == maps[0, k, k].count_nonzero() == 15


def test_weights_and_bias_are_as_given():
    weight = torch.tensor([[1.0, 0, 0, -2.0], [0, 3.0, 0, 0]], dtype=torch.float64)
    bias = torch.tensor([0.5, -0.25], dtype=torch.float64)
    state = torch.get_rng_state()
    c = band_classifier(n_bands=4, weight=weight, bias=bias, task="multilabel")
    assert torch.equal(torch.get_rng_state(), state)
    assert (c.task, c.labels, c.head.tier) == ("multilabel", ("band 0", "band 1"), "T1")
    assert torch.equal(c.head.weight, weight)
    assert torch.equal(c.head.bias, bias)
    x = c.prepare(tone(3500))
    energies = c.at(x, "map").sum((2, 3))[0] / 15
    torch.testing.assert_close(c.logits(x)[0], bias + weight @ energies / 4)
    assert isinstance(c.module, BandEnergies)


def test_bands_and_cells_lie_where_they_should():
    c = band_classifier(n_bands=4, cell_frames=5, front_end=PowerSpectrogram(16000, 512, 128))
    g = c.geometry(16000)
    # 64 bins of 31.25 Hz a band, the first from 0 Hz; 5 frames of 8 ms a cell, the first from half a frame early
    assert g.hz_edges == pytest.approx((0, 1984.375, 3984.375, 5984.375, 7984.375))
    assert g.time_edges_s[:3] == pytest.approx((0, 0.036, 0.076))


def test_a_full_scale_sine_reads_one():
    front_end = PowerSpectrogram()
    power = front_end(tone(1000).samples)[0]
    assert float(power[32, 60]) == pytest.approx(1.0, rel=1e-5)  # float32
    assert front_end.row_edges_hz().tolist()[:3] == [0.0, 15.625, 46.875]
    assert float(front_end.row_edges_hz()[-1]) == 4000.0
