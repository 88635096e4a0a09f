"""Small pictures: what lies where stays there."""

import torch

from earmark.audio.stft import Stft
from earmark.checks.pictures import COLUMNS, ROWS, loudness, small
from earmark.classifiers.base import Grid

GRID = Grid(8000, 8000, Stft(256, 64))


def test_a_quarter_of_the_time_is_a_quarter_of_the_columns():
    values = torch.zeros(2, *GRID.shape)
    values[0, :, : GRID.shape[1] // 4] = 4.0
    values[1] = -1
    told = small(values, GRID)
    assert told.shape == (2, ROWS, COLUMNS) and told.dtype == torch.uint8
    assert bool((told[0, :, : COLUMNS // 4 - 1] == 255).all()) and bool((told[0, :, COLUMNS // 4 + 1 :] == 0).all())
    assert bool((told[1] == 0).all())


def test_a_tone_is_loud_in_its_row():
    seconds = torch.arange(8000) / 8000
    told = loudness(torch.sin(2 * torch.pi * 1000 * seconds)[None], GRID)
    mel = 2595 * torch.log10(torch.tensor([1000.0, 4000.0]) / 700 + 1)  # HTK
    row = int(told[0, :, COLUMNS // 2].int().argmax())
    assert abs(row - ROWS * float(mel[0] / mel[1])) <= 1 and told.max() == 255
