"""A small network that has learned three bands, and clips that it decides rightly."""

from functools import lru_cache

import torch
from tests.evaluation.material import sound, tone
from torch import nn

from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.testing.toy_networks import ToyNet
from earmark.types import Clip

BANDS = (0, 3, 6)
N_SAMPLES = 1024


def tones(n, seed):
    return torch.stack([tone(BANDS[i % 3], N_SAMPLES, seed + i) for i in range(n)]).float()


@lru_cache(maxsize=1)
def trained():
    """Two convolutions and a linear head that tell three bands apart."""
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=16, mean_db=-20.0)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(1)
        module = ToyNet()
        features, labels = front_end(tones(48, 0))[:, None], torch.arange(48) % 3
        optimizer = torch.optim.Adam(module.parameters(), 1e-2)
        for _ in range(60):
            loss = nn.functional.cross_entropy(module(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.1
    names = [f"band {band}" for band in BANDS]
    return wrap(
        module, front_end, names, map_layer="map", map_axes="FT", feature_axes="CFT", name="bands", probe_s=0.128
    )


def clips(n=9, **options):
    made = enumerate(tones(n, 1000))
    return [Clip(f"clip-{i:02}", sound(x), (f"band {BANDS[i % 3]}",), f"group-{i}", **options) for i, x in made]
