import math

import pytest
import torch

from earmark.audio.stft import Stft
from earmark.classifiers.base import Grid
from earmark.metrics.transforms import CHANGES, Change

RATE = 16000
STFT = Stft(512, 128)


def tone(hz=1000.0, seconds=1.0, batch=1):
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (0.3 * torch.sin(2 * math.pi * hz * t)).expand(batch, -1)


def pip(hz=1500.0, at_s=0.4, length_s=0.1):
    """A tone that sounds for a tenth of a second."""
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    envelope = (0.5 + 0.5 * torch.cos(2 * math.pi * (t - at_s) / length_s)) * ((t - at_s).abs() < length_s / 2)
    return (0.5 * envelope * torch.sin(2 * math.pi * hz * t))[None]


def grid(samples):
    return Grid(RATE, samples.shape[1], STFT)


def loudest(samples):
    """Hertz and seconds of the loudest bin, and the power as a map."""
    power = STFT(samples).abs().square()
    row, column = divmod(int(power[0].argmax()), power.shape[2])
    return row * RATE / 512, column * 128 / RATE, power


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.name} {change.amount}")
def test_a_map_of_a_changed_sound_comes_back_to_where_the_sound_was(change):
    """The power of a pip, as if it were a map: after the way there and back it peaks where it was."""
    samples = pip()
    changed = change(samples, RATE, seed=1)
    hz, seconds, _ = loudest(samples)
    moved_hz, moved_s, power = loudest(changed)
    assert moved_s == pytest.approx(change.time_factor * seconds + change.shift_s, abs=0.02)
    assert moved_hz == pytest.approx(change.pitch_ratio * hz, abs=RATE / 512 + 1)  # a bin
    back, where = change.back(power, grid(changed), grid(samples))
    row, column = divmod(int((back * where)[0].argmax()), back.shape[2])
    assert back.shape[1:] == grid(samples).shape == where.shape
    assert column * 128 / RATE == pytest.approx(seconds, abs=0.02)
    assert row * RATE / 512 == pytest.approx(hz, abs=RATE / 512 + 1)


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.05, 1.1])
def test_stretched_tones_keep_pitch_and_level(factor):
    changed = Change("time_stretch", factor)(tone(), RATE)
    assert changed.shape == (1, round(RATE * factor))
    inner = changed[0, 2000:-2000]
    spectrum = torch.fft.rfft(inner * torch.hann_window(len(inner), dtype=torch.float64)).abs()
    assert int(spectrum.argmax()) * RATE / len(inner) == pytest.approx(1000, abs=RATE / len(inner))
    assert float(inner.square().mean().sqrt()) == pytest.approx(
        0.3 / math.sqrt(2), rel=0.05
    )  # phases of bins drift apart


@pytest.mark.parametrize("semitones", [-2, -0.5, 0.5, 2])
def test_shifted_pitch_keeps_length_and_level(semitones):
    changed = Change("pitch_shift", semitones)(tone(), RATE)
    assert changed.shape == (1, RATE)
    inner = changed[0, 2000:-2000]
    spectrum = torch.fft.rfft(inner * torch.hann_window(len(inner), dtype=torch.float64)).abs()
    found = int(spectrum.argmax()) * RATE / len(inner)
    assert found == pytest.approx(1000 * 2 ** (semitones / 12), abs=RATE / len(inner))
    assert float(inner.square().mean().sqrt()) == pytest.approx(
        0.3 / math.sqrt(2), rel=0.05
    )  # phases of bins drift apart


@pytest.mark.parametrize("name", ["time_stretch", "pitch_shift"])
def test_changing_nothing_returns_the_clip(name):
    noise = 0.1 * torch.randn(2, 9001, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unchanged = Change(name, 1.0 if name == "time_stretch" else 0.0)(noise, RATE)
    torch.testing.assert_close(unchanged, noise, rtol=0, atol=1e-6)  # phases are summed in float64


def test_a_shift_by_a_hop_shifts_the_map_by_a_frame_exactly():
    samples = pip()
    change = Change("time_shift", 0.008)  # one hop
    power = STFT(change(samples, RATE)).abs().square()
    back, where = change.back(power, grid(samples), grid(samples))
    original = STFT(samples).abs().square()
    assert where[:, :-2].all()
    assert not where[:, -1].any()
    torch.testing.assert_close(back * where, original * where, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [0.25, -0.25, 3.0, -3.0])
def test_what_leaves_the_clip_is_not_compared(shift):
    samples = pip()
    changed = Change("time_shift", shift)(samples, RATE)
    assert changed.shape == samples.shape
    _, where = Change("time_shift", shift).back(torch.ones(1, *grid(samples).shape), grid(samples), grid(samples))
    seconds = grid(samples).seconds
    assert torch.equal(where[0], (seconds + shift >= -1e-6) & (seconds + shift <= 1 + 1e-6))
    if abs(shift) > 1:
        assert changed.abs().max() == 0


@pytest.mark.parametrize("name", ["white_noise", "pink_noise"])
@pytest.mark.parametrize("snr", [10, 40])
def test_noise_has_the_stated_level_and_color(name, snr):
    samples = torch.cat([tone(), 0.01 * tone(300)])
    noise = Change(name, snr)(samples, RATE, seed=3) - samples
    ratio = 10 * torch.log10(samples.square().mean(1) / noise.square().mean(1))
    assert ratio.tolist() == pytest.approx([snr, snr], abs=1e-6)
    power = torch.fft.rfft(noise[0]).abs().square()
    low, high = power[100:200].sum(), power[1000:2000].sum()
    expected = 1.0 if name == "pink_noise" else 0.1  # equal power in each octave, or at each frequency
    assert float(low / high) == pytest.approx(expected, rel=0.5)
    assert torch.equal(Change(name, snr)(samples, RATE, seed=3) - samples, noise)
    assert not torch.equal(Change(name, snr)(samples, RATE, seed=4) - samples, noise)


def test_gain_and_polarity_by_hand():
    samples = tone()
    torch.testing.assert_close(Change("gain", -6.0)(samples, RATE), samples * 10**-0.3)
    assert torch.equal(Change("polarity")(samples, RATE), -samples)


def test_no_clip_depends_on_its_batch_mates():
    clips = torch.cat([tone(), 0.1 * pip(), tone(440)])
    for change in CHANGES[::3]:
        together = change(clips, RATE)
        for i in range(3):
            torch.testing.assert_close(change(clips[i : i + 1], RATE)[0], together[i], rtol=0, atol=1e-12)
