import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tests.store import examples

from earmark.audio.stft import Stft
from earmark.audio.waveform import Waveform
from earmark.classifiers.base import Grid
from earmark.render import raster
from earmark.render.raster import Axes, decibels, grid_heat, levels, map_heat, overlap, png


def tone(hz, start_s, end_s, duration_s=2.0, rate=32000):
    seconds = torch.arange(round(duration_s * rate)) / rate
    inside = (seconds >= start_s) & (seconds < end_s)
    return Waveform((torch.sin(2 * math.pi * hz * seconds) * inside)[None], rate)


@pytest.mark.parametrize("hz", [100.0, 1000.0, 9000.0])
def test_a_tone_lies_in_its_row_and_its_columns(hz):
    clip = tone(hz, 0.5, 1.25)
    axes = Axes.of(clip)
    db = decibels(clip, axes, 200, 128)
    assert db.shape == (128, 200)
    edges = axes.hz_edges(128)
    row = int(db[:, 80].argmax())
    assert edges[row] - 16 <= hz <= edges[row + 1] + 16  # half a bin
    loud = (db[row] > -20).nonzero().flatten()
    assert loud.min() / 100 == pytest.approx(0.5, abs=0.02)
    assert (loud.max() + 1) / 100 == pytest.approx(1.25, abs=0.02)
    assert float(db.max()) == 0 and float(db.min()) == -raster.RANGE_DB


def test_long_columns_miss_no_short_click():
    samples = torch.zeros(1, 600_000)
    samples[0, 123_456] = 1.0
    clip = Waveform(samples, 8000)  # 75 s on 50 columns: a column is 1.5 s, a window 32 ms
    db = decibels(clip, Axes.of(clip), 50, 32)
    assert int(db.max(0).values.argmax()) == 123_456 * 50 // 600_000


@pytest.mark.parametrize("n_samples", [1, 7, 300])
def test_silence_and_tiny_clips_have_pictures(n_samples):
    clip = Waveform(torch.zeros(2, n_samples), 48000)
    assert torch.equal(decibels(clip, Axes.of(clip), 40, 16), torch.full((16, 40), -80.0))


def test_overlap_shares_sum_to_one_and_know_their_cells():
    shares = overlap(torch.tensor([0.0, 0.5, 3.0]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert torch.allclose(shares, torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.4, 0.4]]))


def test_axes_are_even_in_mels_and_their_ticks_are_round():
    axes = Axes(5.0, 16000.0)
    assert axes.y(0) == 0 and axes.y(16000) == 1 and axes.y(99999) == 1
    assert axes.y(700) == pytest.approx(math.log10(2) / math.log10(1 + 16000 / 700))  # HTK: log10(1 + f / 700)
    assert axes.second_ticks() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert axes.hz_ticks()[0] == 0 and axes.hz_ticks()[-1] == 16000
    assert Axes(0.013, 4000.0).second_ticks()[1] == 0.002
    assert len(Axes(3600.0, 4000.0).second_ticks()) <= 11


def test_heat_of_a_grid_lies_where_its_bins_are():
    grid = Grid(16000, 32000, Stft(512, 160))
    values = torch.zeros(grid.shape)
    values[64, 100] = 1.0  # 2000 Hz, 1 s
    heat = grid_heat(values, grid)(Axes(2.0, 8000.0), 400, 64)
    row, column = divmod(int(heat.argmax()), 400)
    edges = Axes(2.0, 8000.0).hz_edges(64)
    assert edges[row] - 16 <= 2000 <= edges[row + 1] + 16
    assert abs((column + 0.5) * 0.005 - 1.0) <= 0.005
    assert float(grid_heat(torch.ones(grid.shape), grid)(Axes(2.0, 8000.0), 50, 20).min()) == pytest.approx(1.0)


def test_heat_of_a_map_is_strongest_at_its_cells_center():
    own = examples.geometry(2.0)
    values = torch.zeros(own.freq.n_cells, own.frame.n_cells)
    values[3, 10] = 1.0
    axes = Axes(2.0, 8000.0)
    heat = map_heat(values, own)(axes, 400, 256)
    row, column = divmod(int(heat.argmax()), 400)
    box = own.box(3, 10)
    assert (column + 0.5) * 0.005 == pytest.approx((box.start_s + box.end_s) / 2, abs=0.006)
    assert box.low_hz < axes.hz_edges(256)[row] < box.high_hz
    assert float(heat.max()) == pytest.approx(1.0, abs=0.1)


def test_a_png_shows_each_level_in_its_color_from_the_bottom_up():
    palette = raster.color_palette("magma")
    steps = torch.tensor([[0, 5, 127], [64, 64, 1]], dtype=torch.uint8)
    image = np.asarray(Image.open(io.BytesIO(png(steps, palette))).convert("RGBA"))
    assert image.shape == (2, 3, 4)
    for row, column in ((0, 0), (0, 2), (1, 1)):
        assert tuple(image[1 - row, column]) == palette[int(steps[row, column])]


def test_signed_colors_are_clear_in_the_middle():
    palette = raster.signed_palette("#ff0000", "#0000ff")
    middle = levels(torch.tensor([[-1.0, 0.0, 1.0]]), -1, 1)[0].tolist()
    assert palette[middle[0]][2] == 255 and palette[middle[2]][0] == 255
    assert palette[middle[0]][3] == palette[middle[2]][3] == 217
    assert palette[middle[1]][3] <= 2
    assert len(palette) == raster.N_LEVELS


def test_a_small_picture_lies_at_its_own_frequencies():
    own = examples.geometry(0.5)
    picture = torch.zeros(64, 40, dtype=torch.uint8)
    picture[20] = 255
    axes = Axes(0.5, 8000.0)
    db = raster.picture_decibels(picture, own.row_edges_hz, axes, 128)
    assert db.shape == (128, 40)
    low, high = own.row_edges_hz[20:22]
    bright = (db[:, 7] > -1).nonzero().flatten()
    edges = axes.hz_edges(128)
    assert len(bright) and low <= edges[bright[0]] + 1 and edges[bright[-1] + 1] - 1 <= high
    assert float(db[0, 0]) == -raster.RANGE_DB
