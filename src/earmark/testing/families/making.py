"""How a random network of a family becomes a classifier: its numbers, its front end, its batch norms."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...classifiers.front_ends import FrontEnd, LogMel
from ...classifiers.layouts import arranged
from ...classifiers.surgery import plain_floats
from ...classifiers.wrap import wrap

N_LABELS = 4
N_MELS = 32

SAMPLE_RATE = 16000  # Hz
PROBE_S = 1.0


def log_mel(**changes: Any) -> LogMel:
    """Returns the front end of most families: 32 bands and 65 frames a second at 16 kHz."""
    settings = {"n_fft": 512, "hop_length": 250, "mean_db": -10.0, "std_db": 20.0, **changes}
    return LogMel(sample_rate=SAMPLE_RATE, n_mels=N_MELS, **settings)


def random_module(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Returns a module whose numbers depend on the seed alone; the global generators are left as they were."""
    with plain_floats(), torch.random.fork_rng(devices=[]):
        module = build()
        generator = torch.Generator().manual_seed(seed)
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                _fill(parameter, part, name, generator)
    return module.eval()


def _fill(parameter: nn.Parameter, part: nn.Module, name: str, generator: torch.Generator) -> None:
    """Fills a parameter: gains near one, biases near zero, matrices so that signals neither fade nor grow."""
    noise = torch.randn(parameter.shape, generator=generator)
    with torch.no_grad():
        if parameter.ndim > 1:
            parameter.copy_(noise * math.sqrt(1.5 / parameter[0].numel()))
        elif "weight" in name and not isinstance(part, nn.Conv1d | nn.Conv2d | nn.Linear):
            parameter.copy_(1 + 0.2 * noise)
        else:
            parameter.copy_(0.2 * noise)


def classifier_of(
    module: nn.Module, name: str, *, map_layer: str, front_end: FrontEnd | None = None, **options: Any
) -> Classifier:
    """Returns the classifier around a module; its batch norms first learn what they meet.

    Parameters
    ----------
    options
        Of `wrap`.
    """
    front_end = front_end or log_mel()
    settings: dict[str, Any] = {"feature_axes": "CFT", "probe_s": PROBE_S, **options}
    with plain_floats():
        features = front_end(_sounds())
        _settle(module, arranged(features, settings["feature_axes"]))
    labels = [f"label {k}" for k in range(N_LABELS)]
    return wrap(module, front_end, labels, map_layer=map_layer, name=name, **settings)


def _sounds() -> Tensor:
    """Returns eight clips: noises and tones that rise and fall, and in two of them clicks."""
    generator = torch.Generator().manual_seed(7)
    n_samples = round(PROBE_S * SAMPLE_RATE)
    seconds = torch.arange(n_samples) / SAMPLE_RATE
    loudness = torch.rand(8, 1, 9, generator=generator)
    envelope = nn.functional.interpolate(loudness, n_samples, mode="linear")[:, 0]
    tones = torch.sin(2 * torch.pi * 200 * 1.7 ** torch.arange(8)[:, None] * seconds)
    sounds = envelope * (0.1 * torch.randn(8, n_samples, generator=generator) + 0.1 * tones)
    sounds[:2, :: SAMPLE_RATE // 4] += 0.9
    sounds[0] *= 0.01
    return sounds


def _settle(module: nn.Module, features: Tensor) -> None:
    """Gives each batch norm the statistics of what it meets, as training would."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    kept = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 1.0
        part.train()
    with torch.no_grad():
        module(features)
    for part, momentum in zip(norms, kept, strict=True):
        part.momentum = momentum
        part.eval()
