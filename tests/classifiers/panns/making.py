"""Small networks of PANNs with the names of published checkpoints, and the buffers of a front end beside them."""

import librosa
import torch
from torch import nn

from earmark.classifiers.panns import Panns, PannsConfig

FIRST = "conv_block1.conv1.weight"


def network(architecture="cnn10", seed=0, **changes):
    """A random network whose batch norms know their inputs, so that signals neither fade nor grow on the way."""
    settings = {"width": 2, "n_labels": 5, "n_mels": 64, **changes}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Panns(PannsConfig(architecture, **settings))
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
        for part in norms:
            part.momentum = 1.0
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    with torch.no_grad():
        module.train()(features(8, settings["n_mels"]))
    for part in norms:
        part.momentum = 0.1
    return module.eval()


def features(n_clips=2, n_mels=64, seed=1, dtype=torch.float32):
    """Decibels `[clip, 1, frame, mel]` of clips that differ in what is where."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.nn.functional.interpolate(torch.randn(n_clips, 1, 5, 4, generator=generator), (70, n_mels))
    return (10 * (shapes + torch.randn(shapes.shape, generator=generator)) - 30).to(dtype)


def front_end_buffers(n_fft=1024, sample_rate=32000, n_mels=64, low_hz=50, high_hz=14000):
    """What torchlibrosa keeps: the windowed Fourier matrix, and librosa's mel filters, bin by band."""
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None] * torch.arange(n_fft, dtype=torch.float64)
    waves = torch.exp(-2j * torch.pi * bins / n_fft) * torch.hann_window(n_fft, dtype=torch.float64)
    filters = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=low_hz, fmax=high_hz)
    return {
        "spectrogram_extractor.stft.conv_real.weight": waves.real.float()[:, None].contiguous(),
        "spectrogram_extractor.stft.conv_imag.weight": waves.imag.float()[:, None].contiguous(),
        "logmel_extractor.melW": torch.from_numpy(filters.T.copy()),
    }


def published(module, **numbers):
    """A state dict in the order of the published ones: front end first."""
    numbers = {"n_mels": module.config.n_mels, **numbers}
    return {**front_end_buffers(**numbers), **module.state_dict()}
