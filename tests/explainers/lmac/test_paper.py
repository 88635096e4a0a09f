"""The decoder in the paper's size: the shapes of lmac.md, section 4, without its 950 MB of weights."""

import pytest
import torch
from torch import nn

from earmark.classifiers.taps import Tap
from earmark.errors import ModelError
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.paper import PaperDecoder
from earmark.training.loop import seeded_globals

CNN14 = [Tap("block6", 2048, 2, 13), Tap("block5", 1024, 2, 13), Tap("block4", 512, 5, 26), Tap("block3", 256, 10, 53)]
SHAPES = {  # weights of the public recipe: in, out, time, frequency
    "convt1": (2048, 2048, 3, 3),
    "convt2": (1024, 2048, 3, 3),
    "convt3": (2048, 2048, 7, 4),
    "convt4": (512, 2048, 5, 4),
    "convt5": (2048, 1024, 3, 5),
    "convt6": (256, 1024, 3, 3),
    "convt7": (1024, 512, 4, 3),
    "convt8": (512, 256, 3, 4),
    "convt9": (256, 1, 1, 5),
}


def test_weights_have_the_published_shapes_and_number():
    with torch.device("meta"):
        decoder = PaperDecoder(CNN14)
    shapes = {
        name: tuple(layer.weight.shape)
        for name, layer in decoder.named_modules()
        if isinstance(layer, nn.Module) and name
    }
    assert shapes == SHAPES
    assert sum(p.numel() for p in decoder.parameters()) == pytest.approx(236.7e6, rel=1e-3)


def test_branches_meet_and_no_frame_is_lost():
    with torch.device("meta"):
        decoder = PaperDecoder(CNN14)
        maps = [torch.zeros(1, tap.n_channels, tap.n_freq, tap.n_frames) for tap in CNN14]
        assert decoder.convt9(torch.zeros(1, 256, 425, 128)).shape == (1, 1, 425, 513)
        assert decoder(maps, torch.zeros(513), torch.zeros(1, 5, 513, 431)).shape == (1, 513, 431)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_other_lengths_are_served(scale):
    taps = [Tap("a", 8, 2, 3), Tap("b", 6, 2, 3), Tap("c", 4, 4, 6), Tap("d", 2, 8, 12)]
    with seeded_globals(0):
        decoder = PaperDecoder(taps)
    maps = [torch.ones(2, tap.n_channels, tap.n_freq, tap.n_frames * scale) for tap in taps]
    assert decoder(maps, torch.zeros(65), torch.zeros(2, 5, 65, 50)).shape == (2, 65, 50)


def test_another_number_of_taps_is_refused():
    with pytest.raises(ModelError, match="reads four taps, and there are 3"):
        PaperDecoder(CNN14[:3])


def test_the_preset_has_the_published_numbers():
    config = LmacConfig.of_preset("paper")
    assert (config.lambda_in, config.lambda_out, config.lambda_l1) == (4, 0.2, 6.4)
    assert (config.learning_rate, config.weight_decay, config.epochs, config.batch_size) == (2e-4, 2e-6, 200, 16)
    assert (config.objective, config.mask_scale, config.optimizer, config.schedule) == (
        "soft",
        "log1p",
        "adam",
        "plateau",
    )
    changed = LmacConfig(preset="paper", epochs=3).with_preset()
    assert changed == LmacConfig.of_preset("paper", epochs=3)
