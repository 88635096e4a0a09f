"""Separated sounds: masks that sum to one, the filters of the papers, and parts that can be heard."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from earmark.audio.waveform import Waveform
from earmark.errors import ModelError
from earmark.explainers.perturbation_config import AudioLimeConfig
from earmark.explainers.separation import harmonic_percussive, running_median, separated
from earmark.explainers.surrogates import AudioLime
from earmark.testing.toys import band_classifier
from earmark.types import seeded


@pytest.fixture(scope="module")
def bands():
    return band_classifier()


def tone_and_clicks():
    """A steady tone at 1 kHz, and four clicks."""
    time = torch.arange(8000) / 8000
    tone, clicks = 0.2 * torch.sin(2 * math.pi * 1000 * time), torch.zeros(8000)
    clicks[1000::2000] = 1
    return tone, clicks


@pytest.mark.parametrize("separation", ["hpss", "nmf", "hpss-nmf"])
def test_masks_sum_to_one_also_in_silence(bands, separation):
    tone, clicks = tone_and_clicks()
    magnitude = bands.stft((tone + clicks)[None].double())[0].abs()
    config = AudioLimeConfig(separation=separation, n_components=3, nmf_steps=20)
    masks = separated(magnitude, config)
    assert len(masks) == {"hpss": 2, "nmf": 3, "hpss-nmf": 4}[separation]
    torch.testing.assert_close(masks.sum(0), torch.ones_like(magnitude), rtol=0, atol=1e-12)
    assert float(masks.min()) >= 0 and torch.equal(masks, separated(magnitude, config))
    silence = separated(torch.zeros_like(magnitude), config)
    torch.testing.assert_close(silence.sum(0), torch.ones_like(magnitude), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [3, 15, 16, 40])  # shorter than half the filter, and longer
def test_the_running_median_is_that_of_scipy(n):
    values = torch.rand(5, n, generator=seeded(0))
    expected = median_filter(values.numpy(), size=(1, 31), mode="reflect")
    np.testing.assert_array_equal(running_median(values).numpy(), expected)


def test_a_tone_is_harmonic_and_a_click_percussive(bands):
    tone, clicks = tone_and_clicks()
    stft = bands.stft((tone + clicks)[None].double())
    harmonic, percussive = bands.stft.inverse(stft * harmonic_percussive(stft[0].abs()), 8000).float()
    for found, own in ((harmonic, tone), (percussive, clicks)):
        # 10 dB; the clicks' own bins at 1 kHz stay with the tone
        assert float((found - own).square().sum()) < 0.1 * float(own.square().sum())


def test_the_sounds_of_all_parts_sum_to_the_clip_and_the_tone_is_what_counts(bands):
    tone, clicks = tone_and_clicks()
    clip = Waveform(tone + clicks, 8000)
    explainer = AudioLime(bands, separation="hpss", segments_per_s=2, n_samples=64)
    fitted, sounds = explainer.parts(clip, 2)  # 1000 to 1500 Hz
    assert len(sounds) == len(fitted.values) == 4 and fitted.error == 0  # all 16 rows were run
    torch.testing.assert_close(sum(sound.samples for sound in sounds), clip.samples, rtol=0, atol=1e-6)
    assert float(fitted.values[:2].min()) > 5 * float(fitted.values[2:].abs().max())  # harmonic x 2 spans come first
    assert explainer.explain(clip, 2).provenance.forward_passes == 16 + 2


def test_without_scikit_learn_the_sentence_names_the_extra(bands, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(ModelError, match=r"earmark\[separation\]"):
        AudioLime(bands).explain(Waveform(torch.ones(8000) * 0.1, 8000))
