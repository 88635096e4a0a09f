import base64
import io
import math

import numpy as np
import pytest
import soundfile
import torch
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.players import PLANS, PageSound, browser_note, encode_sounds, excerpt, heard_in
from earmark.types import Region


def decoded(uri):
    return soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])), always_2d=True)


def test_small_sounds_are_kept_without_loss():
    clip = examples.noise(0.2)
    uris, plan = encode_sounds({"a": PageSound(clip, "clip")}, 10**6)
    samples, rate = decoded(uris["a"])
    assert plan is PLANS[0] and rate == clip.sample_rate
    assert uris["a"].startswith("data:audio/flac;base64,")
    assert np.abs(samples.T - clip.samples.numpy()).max() <= 2**-15


@pytest.mark.parametrize("budget", [700_000, 250_000, 120_000, 60_000, 5_000, 10])
def test_budgets_are_kept_and_losses_are_said(budget):
    sounds = {
        "clip": PageSound(examples.noise(3.0, 48000), "clip"),
        "region": PageSound(examples.noise(0.5, 48000), "region"),
        "whole": PageSound(examples.noise(3.0, 48000, seed=2), "prototype"),
    }
    uris, plan = encode_sounds(sounds, budget)
    assert sum(map(len, uris.values())) <= budget
    assert plan is not PLANS[0]
    for name, uri in uris.items():
        samples, rate = decoded(uri)
        assert rate <= plan.highest_rate
        assert len(samples) / rate == pytest.approx(sounds[name].waveform.duration_s, abs=0.01)
    if any(uri.startswith("data:audio/ogg") for uri in uris.values()):
        assert "lossy" in plan.sentence


def test_plans_get_smaller_in_order():
    sounds = {"clip": PageSound(examples.noise(10.0, 48000), "clip")}
    chosen = [PLANS.index(encode_sounds(sounds, budget)[1]) for budget in (10**7, 10**6, 300_000, 10)]
    assert chosen == sorted(chosen)
    assert chosen[0] == 0 and chosen[-1] == len(PLANS) - 1


def test_browsers_get_what_they_play():
    bat = Waveform(0.1 * torch.ones(5, 38400), 384000)
    uris, _ = encode_sounds({"bat": PageSound(bat, "clip")}, 10**7)
    samples, rate = decoded(uris["bat"])
    assert (rate, samples.shape[1]) == (48000, 1)
    assert "24 kHz" in browser_note(bat) and "5 channels" in browser_note(bat)
    assert browser_note(examples.noise()) == ""


def test_an_excerpt_holds_its_region_and_is_made_louder():
    seconds = torch.arange(16000) / 8000
    quiet = Waveform((0.01 * torch.sin(2 * math.pi * 440 * seconds))[None], 8000)
    part = excerpt(quiet, [Region(0.8, 1.2, 0, 4000)])
    assert part.start_s == pytest.approx(0.65, abs=0.001)
    assert part.start_s + part.waveform.duration_s == pytest.approx(1.35, abs=0.001)
    assert part.boost_db == pytest.approx(30.0)
    assert part.waveform.peak == pytest.approx(0.01 * 10**1.5, rel=0.01)
    loud = excerpt(quiet.scale(40), [Region(0.8, 1.2, 0, 4000)])
    assert loud.boost_db == pytest.approx(20 * math.log10(0.5 / 0.4), abs=0.01)


def test_excerpts_of_silence_and_at_the_end_exist():
    silent = Waveform(torch.zeros(1, 8000), 8000)
    assert excerpt(silent, [Region(0.2, 0.4, 0, 4000)]).boost_db == 0
    assert excerpt(silent, [Region(5.0, 6.0, 0, 4000)]).waveform.n_samples >= 1
    assert excerpt(silent, []).waveform.n_samples == 8000


def test_a_region_lets_its_band_through():
    explanation = examples.explanation("mask")
    seconds = torch.arange(11025) / 22050
    low, high = (0.3 * torch.sin(2 * math.pi * hz * seconds)[None] for hz in (700, 4000))
    heard = heard_in([Region(0, 0.5, 400, 1000)], Waveform(low + high, 22050), explanation.grid)
    assert float((heard.samples - low)[:, 2000:-2000].abs().max()) < 0.01
