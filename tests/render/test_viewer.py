import base64
import json
import zlib

import numpy as np
import pytest
import torch
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.classifiers.base import Grid
from earmark.render import viewer


def unpacked(packed):
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    return values.reshape(packed["rows"], packed["columns"])


def test_the_spectrogram_is_the_classifiers_own_stft():
    explanation = examples.explanation("mask", examples.noise(1.0, examples.RATE, 1))
    packed = viewer.spectrogram(explanation)
    power = explanation.grid.stft(explanation.waveform.samples)[0].abs().square()
    wanted = 10 * (power / power.max()).log10()
    assert (packed["hz_step"], packed["step_s"]) == (16000 / 512, 160 / 16000)
    shown = (unpacked(packed).astype(float) - 255) / 2
    assert shown.shape == tuple(power.shape)
    # a byte is half a decibel, rounded; what lies more than 127.5 dB down is at the bottom
    np.testing.assert_allclose(shown, wanted.clamp_min(-127.5), atol=0.2501)


def test_beyond_the_classifiers_band_rows_go_on_at_the_clips_own_rate():
    seconds = torch.arange(44100) / 44100
    tones = sum(0.25 * torch.sin(2 * np.pi * hz * seconds) for hz in (3000, 15000))
    explanation = examples.explanation("mask", Waveform(tones[None], 44100))
    packed = viewer.spectrogram(explanation)
    values, middle = unpacked(packed), round(0.5 / packed["step_s"])
    assert packed["rows"] * packed["hz_step"] >= 22000
    column = values[:, middle].astype(float)
    for hz in (3000, 15000):
        row = round(hz / packed["hz_step"])
        peak = row - 5 + int(column[row - 5 : row + 6].argmax())
        assert abs(peak * packed["hz_step"] - hz) <= packed["hz_step"]
        assert column[peak] > 252  # both as loud: within 1.5 dB of the maximum


def test_a_long_clip_is_taken_in_parts_beyond_the_band_without_a_seam():
    n_samples = round(1.2 * viewer.FRAMES_AT_ONCE * 160 / examples.RATE * 44100)
    tone = 0.25 * torch.sin(2 * np.pi * 15000 * torch.arange(n_samples, dtype=torch.float64) / 44100).float()
    packed = viewer.spectrogram(examples.explanation("mask", Waveform(tone[None], 44100)))
    row = unpacked(packed)[round(15000 / packed["hz_step"])]
    assert len(row) > viewer.FRAMES_AT_ONCE + 100
    assert np.ptp(row[5:-5].astype(int)) <= 1  # a steady tone; a byte is rounded


def test_a_long_clip_has_few_frames_and_loses_no_click():
    samples = torch.zeros(1, 50 * examples.RATE)
    samples[0, 31 * examples.RATE + 77] = 1.0
    explanation = examples.explanation("mask", Waveform(samples, examples.RATE))
    packed = viewer.spectrogram(explanation)
    values = unpacked(packed)
    assert values.shape[1] <= viewer.MOST_FRAMES
    assert values.max() == 255
    assert abs(int(values.max(0).argmax()) * packed["step_s"] - 31) < 0.1


@pytest.mark.parametrize("kind", examples.KINDS)
def test_heat_survives_its_packing(kind):
    explanation = examples.explanation(kind)
    packed = viewer.heat_data(explanation)
    values = unpacked(packed).astype(float)
    heat = (values - 127.5) / 127.5 if packed["signed"] else values / 255
    from earmark.render.figures import heat_of
    from earmark.render.raster import Axes

    wanted = heat_of(explanation)(Axes.of(explanation.waveform), packed["columns"], packed["rows"])
    low = -1 if packed["signed"] else 0
    np.testing.assert_allclose(heat, wanted.clamp(low, 1), atol=0.004)  # half a step of 1 / 127.5


def test_silence_has_a_spectrogram():
    explanation = examples.explanation("mask", Waveform(torch.zeros(1, 8000), examples.RATE))
    assert unpacked(viewer.spectrogram(explanation)).max() <= 255


def test_json_cannot_end_its_script():
    text = viewer.script_json({"a": "</script><!--\u2028&"})
    assert "<" not in text and "&" not in text and text.isascii()
    assert json.loads(text) == {"a": "</script><!--\u2028&"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        viewer.script_json(float("nan"))


def test_color_maps_get_lighter_evenly():
    """Uniform maps: lightness rises by steps of one size, so that equal decibels look equally far apart."""
    for name in ("magma", "viridis", "cividis", "gray"):
        steps = np.frombuffer(base64.b64decode(viewer.color_bytes(name)), np.uint8).reshape(256, 3) / 255
        linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
        change = np.diff(lightness)
        assert change.min() > -0.7  # 8-bit colors round by up to this much
        assert lightness[-1] - lightness[0] > 70
        np.testing.assert_allclose(lightness[::32], np.linspace(lightness[0], lightness[-1], 256)[::32], atol=6)


def test_the_module_is_one_script_without_requests():
    code = viewer.script()
    assert "earmark = (() =>" in code and "http" not in code.replace("https://", "http://").replace("http-equiv", "")
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML", "document.write"):
        assert word not in code


def test_grid_of_the_explanation_is_left_alone():
    explanation = examples.explanation("mask")
    before = explanation.grid
    viewer.viewer_data(explanation)
    assert explanation.grid == before and isinstance(before, Grid)
