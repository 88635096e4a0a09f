"""Mask networks: shapes for any length, counts of parameters, each clip on its own, chunks that join again."""

import pytest
import torch

from earmark.explainers.lmac_td.config import LmacTdConfig
from earmark.explainers.lmac_td.mask_nets import Dilated, DualPath, chunked, joined, mask_net_of, positions
from earmark.types import seeded

TINY = LmacTdConfig(
    mask_net="dual-path", channels=8, blocks=2, chunk=6, intra=2, inter=1, heads=2, feed_forward=12, width=2
)


def counted(module):
    return sum(p.numel() for p in module.parameters())


def u_of(n_clips, n_filters, n_frames):
    return torch.randn(n_clips, n_filters, n_frames, generator=seeded(2))


@pytest.mark.parametrize("n_frames", [1, 2, 5, 6, 7, 31])
@pytest.mark.parametrize("net", [Dilated(10, 5, 8, 3), DualPath(10, 5, TINY)], ids=["dilated", "dual-path"])
def test_any_number_of_frames_gives_as_many(net, n_frames):
    assert net(u_of(2, 10, n_frames)).shape == (2, 5, n_frames)


@pytest.mark.parametrize("net", [Dilated(10, 5, 8, 3), DualPath(10, 5, TINY)], ids=["dilated", "dual-path"])
def test_a_clip_does_not_depend_on_its_batch(net):
    u = u_of(3, 10, 17)
    apart = (net(u)[1:2] - net(u[1:2])).detach().abs().max()
    assert float(apart) < 1e-5  # float32, sums in another order


def test_parameters_of_dilated_blocks():
    n_in, n_out, c, blocks = 512, 256, 64, 6
    block = 2 * c + (3 * c * c + c) + (c * c + c)
    expected = 2 * n_in + (n_in * c + c) + blocks * block + (c * n_out + n_out)
    assert counted(Dilated(n_in, n_out, c, blocks)) == expected


def layer(d, f):
    attention = 4 * d * d + 4 * d
    return attention + (d * f + f) + (f * d + d) + 2 * 2 * d


def test_parameters_of_a_dual_path():
    d, f, n_in, n_out = 8, 12, 10, 5
    intra, inter = (n * layer(d, f) + 2 * d + 2 * d for n in (2, 1))
    expected = 2 * n_in + n_in * d + 2 * (intra + inter) + (2 * d * d + 2 * d) + (d * n_out + n_out)
    assert counted(DualPath(n_in, n_out, TINY)) == expected


def test_the_paper_preset_builds_its_dual_path_without_weights():
    config = LmacTdConfig.of_preset("paper")
    with torch.device("meta"):
        net = mask_net_of(config, 256, 256)
    path = [n * layer(256, 256) + 4 * 256 for n in (8, 2)]
    assert counted(net) == 2 * 256 + 256 * 256 + 2 * sum(path) + (2 * 256 * 256 + 2 * 256) + (256 * 256 + 256)


@pytest.mark.parametrize("n_frames", [1, 3, 4, 9, 10])
def test_chunks_hold_each_frame_twice(n_frames):
    x = u_of(2, 3, n_frames)
    chunks = chunked(x, 4)
    assert chunks.shape[3] == 4
    assert torch.equal(joined(chunks, n_frames), 2 * x)


def test_positions_are_sines_and_cosines():
    found = positions(5, 4)
    assert found.shape == (5, 4)
    assert torch.allclose(found[3], torch.tensor([3.0, 3.0, 0.03, 0.03]).where(torch.zeros(4) > 0, found[3]))
    assert torch.allclose(found[:, 0], torch.arange(5.0).sin()) and torch.allclose(
        found[:, 3], (torch.arange(5.0) / 100).cos()
    )
