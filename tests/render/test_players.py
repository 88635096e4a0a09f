import base64
import io

import numpy as np
import pytest
import soundfile
import torch
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.players import PLANS, PageSound, browser_note, encode_sounds, excerpt
from earmark.types import Region


def decoded(packed):
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(packed["data"])), always_2d=True)
    assert rate == packed["rate"]
    return samples, rate


def container(packed):
    return soundfile.info(io.BytesIO(base64.b64decode(packed["data"]))).format


def test_small_sounds_are_kept_without_loss():
    clip = examples.noise(0.2)
    packed, plan = encode_sounds({"a": PageSound(clip, "clip")}, 10**6)
    samples, rate = decoded(packed["a"])
    assert plan is PLANS[0] and rate == clip.sample_rate and container(packed["a"]) == "FLAC"
    assert np.abs(samples.T - clip.samples.numpy()).max() <= 2**-15


@pytest.mark.parametrize("budget", [700_000, 250_000, 120_000, 60_000, 5_000, 10])
def test_budgets_are_kept_and_losses_are_said(budget):
    sounds = {
        "clip": PageSound(examples.noise(3.0, 48000), "clip"),
        "whole": PageSound(examples.noise(3.0, 48000, seed=2), "training"),
        "part": PageSound(examples.noise(0.5, 48000), "excerpt", 1.25),
    }
    packed, plan = encode_sounds(sounds, budget)
    assert sum(len(sound["data"]) for sound in packed.values()) <= budget
    assert plan is not PLANS[0]
    assert not {"whole", "part"} <= set(packed)  # one or the other
    for name, sound in packed.items():
        samples, rate = decoded(sound)
        assert rate <= plan.highest_rate and sound["start_s"] == sounds[name].start_s
        assert len(samples) / rate == pytest.approx(sounds[name].waveform.duration_s, abs=0.01)
    if any(container(sound) == "OGG" for sound in packed.values()):
        assert "lossy" in plan.sentence


def test_plans_get_smaller_in_order():
    sounds = {"clip": PageSound(examples.noise(10.0, 48000), "clip")}
    chosen = [PLANS.index(encode_sounds(sounds, budget)[1]) for budget in (10**7, 10**6, 300_000, 10)]
    assert chosen == sorted(chosen)
    assert chosen[0] == 0 and chosen[-1] == len(PLANS) - 1


def test_browsers_get_what_they_play():
    bat = Waveform(0.1 * torch.ones(5, 38400), 384000)
    packed, _ = encode_sounds({"bat": PageSound(bat, "clip")}, 10**7)
    samples, rate = decoded(packed["bat"])
    assert (rate, samples.shape[1]) == (96000, 1)  # what is beyond hearing can be heard slowly
    assert "48 kHz" in browser_note(bat) and "5 channels" in browser_note(bat)
    assert browser_note(examples.noise()) == ""
    low = Waveform(torch.zeros(1, 400), 4000)
    assert encode_sounds({"low": PageSound(low, "clip")}, 10**6)[0]["low"]["rate"] == 8000


def test_an_excerpt_holds_its_regions_with_their_edges():
    sound = Waveform(torch.randn(1, 16000, generator=torch.Generator().manual_seed(1)), 8000)
    part = excerpt(sound, [Region(0.8, 1.2, 0, 4000)])
    assert part.start_s == pytest.approx(0.6, abs=0.001)
    assert part.start_s + part.waveform.duration_s == pytest.approx(1.4, abs=0.001)
    assert torch.equal(part.waveform.samples, sound.samples[:, 4800:11200])


def test_excerpts_at_the_end_exist():
    sound = Waveform(torch.zeros(1, 8000), 8000)
    assert excerpt(sound, [Region(5.0, 6.0, 0, 4000)]).waveform.n_samples >= 1
    assert excerpt(sound, []).waveform.n_samples == 8000
