"""Where cells lie after layers, against the slow way: one input at a time, which cells does it move?"""

import pytest
import torch
from torch import nn

from earmark.classifiers.walk import Walk

SHAPE = (48, 64)


def walked(layers, shape=SHAPE, channel=True):
    features = torch.zeros(1, *shape)
    with Walk(shape) as walk:
        out = layers(features[:, None] if channel else features)
    return walk.lines((out.shape[-2] if channel else 1, out.shape[-1]))


def slow_center(layers, cell, axis):
    """The middle of the inputs that a cell depends on, by a gradient of ones through positive weights."""
    for part in layers.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 0.1)
    features = (torch.arange(SHAPE[0] * SHAPE[1], dtype=torch.float32).reshape(1, 1, *SHAPE) / 100).requires_grad_(True)
    out = layers(features)
    index = [out.shape[2] // 2, out.shape[3] // 2]
    index[axis] = cell
    out[0, 0, index[0], index[1]].backward()
    hit = features.grad[0, 0].abs().sum(1 - axis).nonzero().flatten()
    return float(hit[0] + hit[-1]) / 2


CHAINS = {
    "same": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 5, padding=2)),
    "valid": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 4)),
    "strided": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 1, 3, (2, 3), 1)),
    "dilated": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2, padding=1), nn.AvgPool2d(2)),
    "pooled": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d((2, 4)), nn.AvgPool2d(2)),
    "padded": lambda: nn.Sequential(nn.ZeroPad2d((3, 0, 1, 2)), nn.Conv2d(1, 1, 4, 4)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_lines_are_the_middles_of_what_cells_see(name):
    layers = CHAINS[name]()
    with torch.no_grad():
        lines = walked(layers)
    assert lines is not None
    for axis, (start, jump) in enumerate(lines):
        for cell in (3, 4):  # in the middle: nothing is cut at the border
            assert slow_center(layers, cell, axis) == pytest.approx(start + jump * cell)


def test_max_pools_and_one_axis_are_followed():
    with torch.no_grad():
        assert walked(nn.MaxPool2d(2)) == ((0.5, 2.0), (0.5, 2.0))
        assert walked(nn.MaxPool2d(3, 2, 1)) == ((0.0, 2.0), (0.0, 2.0))
        line = walked(nn.Conv1d(SHAPE[0], 5, 4, 2), channel=False)
    assert line is not None and line[1] == (1.5, 2.0)


def test_slices_are_followed():
    class Cut(nn.Module):
        def forward(self, x):
            return x[:, :, 4:, ::2]

    with torch.no_grad():
        assert walked(nn.Sequential(Cut(), nn.Conv2d(1, 1, 1))) == ((4.0, 1.0), (0.0, 2.0))


def test_nothing_is_said_where_layers_cannot_be_followed():
    class TwoWays(nn.Module):
        """Two ways to one shape that disagree by a cell."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, x):
            left = nn.functional.pad(x, (2, 0, 2, 0))
            return self.a(nn.functional.pad(x, (1, 1, 1, 1))) + self.b(left)

    with torch.no_grad():
        assert walked(nn.Sequential(nn.ConvTranspose2d(1, 1, 2, 2))) is None
        assert walked(TwoWays()) is None
        assert walked(nn.Upsample(scale_factor=2)) is None


def test_swapped_axes_are_told():
    class Turned(nn.Module):
        def forward(self, x):
            return x.transpose(2, 3)

    with torch.no_grad():
        features = torch.zeros(1, 1, *SHAPE)
        with Walk(SHAPE) as walk:
            out = nn.AvgPool2d((2, 4))(Turned()(features))
    assert out.shape[2:] == (32, 12)
    assert walk.lines((12, 32)) == ((1.5, 4.0), (0.5, 2.0))  # rows lie along the last axis
    assert walk.lines((32, 12)) is None


def test_results_are_those_without_a_walk():
    layers = CHAINS["strided"]()
    x = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with Walk(SHAPE):
            inside = layers(x)
        assert torch.equal(inside, layers(x))
