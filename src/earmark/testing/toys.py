"""Toy classifiers with known explanations: a label is the energy in a band of frequencies, and nothing else."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..audio.stft import Stft
from ..classifiers.base import Classifier
from ..classifiers.front_ends import FrontEnd
from ..classifiers.layouts import FeatureAxes, MapAxes
from ..classifiers.wrap import wrap
from ..types import ComplexStft, Samples, Task


class PowerSpectrogram(FrontEnd):
    """The squared magnitude of each STFT bin; a sine of amplitude 1 at the center of a bin reads 1.

    Parameters
    ----------
    sample_rate
        In Hz.
    n_fft, hop_length
        In samples.
    """

    native_stft = True

    def __init__(self, sample_rate: int = 8000, n_fft: int = 256, hop_length: int = 64) -> None:
        super().__init__()
        self.sample_rate, self.stft = sample_rate, Stft(n_fft, hop_length)

    def forward(self, samples: Samples) -> Float[Tensor, "batch freq frame"]:
        """Returns power `[batch, freq, frame]`."""
        return self.from_stft(self.stft(samples), samples.shape[-1])

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Float[Tensor, "batch freq _"]:
        """Returns the power of an STFT, without a last frame that reaches beyond the clip."""
        power = stft.real.square() + stft.imag.square()
        return power[..., : 1 + n_samples // self.stft.hop_length] * (16 / self.stft.n_fft**2)

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Midpoints between bins, from 0 Hz to the Nyquist frequency."""
        bins = torch.arange(self.stft.n_freq + 1, dtype=torch.float64) - 0.5
        return bins.clamp(0, self.stft.n_freq - 1) * (self.sample_rate / self.stft.n_fft)

    def column_s(self) -> tuple[float, float]:
        """Frame n is centered at `n * hop_length / sample_rate` seconds."""
        return 0.0, self.stft.hop_length / self.sample_rate

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and sizes."""
        sizes = {"n_fft": self.stft.n_fft, "hop_length": self.stft.hop_length}
        return {"kind": "toy-power", "sample_rate": self.sample_rate, **sizes}


class _Bands(nn.Module):
    """Gives each band a channel of its own: `[batch, 1, band, frame]` to the map, zero but at `[:, k, k, :]`."""

    def __init__(self, axes: MapAxes) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, energy: Float[Tensor, "batch 1 band frame"]) -> Tensor:
        own = torch.eye(energy.shape[2], dtype=energy.dtype, device=energy.device)[:, :, None]
        maps = energy * own
        if self.axes == "T":
            return maps.mean(2)
        return maps.transpose(2, 3) if self.axes == "TF" else maps


class BandEnergies(nn.Module):
    """Mean power in bands and time cells, averaged over all cells, and a linear layer, in float64.

    Parameters
    ----------
    weight
        `[label, band]`.
    bias
        `[label]`.
    band_rows, cell_frames
        Rows of a band, frames of a time cell; rows and frames that fill none are left out.
    map_axes, feature_axes
        As in `wrap`.
    """

    map_layer = "bands"

    def __init__(
        self,
        weight: Float[Tensor, "label band"],
        bias: Float[Tensor, " label"],
        *,
        band_rows: int,
        cell_frames: int,
        map_axes: MapAxes = "FT",
        feature_axes: FeatureAxes = "FT",
    ) -> None:
        super().__init__()
        self.feature_axes = feature_axes
        self.pool = nn.AvgPool2d((band_rows, cell_frames))
        self.bands = _Bands(map_axes)
        with torch.random.fork_rng(devices=[]):
            self.linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)

    def forward(self, features: Tensor) -> Float[Tensor, "batch label"]:
        """Returns logits of power in the order `feature_axes`."""
        power = features if self.feature_axes.startswith("C") else features[:, None]
        power = power.transpose(2, 3) if self.feature_axes.endswith("TF") else power
        return self.linear(self.bands(self.pool(power)).flatten(2).mean(2))


def band_classifier(
    *,
    n_bands: int = 8,
    cell_frames: int = 8,
    weight: Float[Tensor, "label band"] | None = None,
    bias: Float[Tensor, " label"] | None = None,
    map_axes: MapAxes = "FT",
    feature_axes: FeatureAxes = "FT",
    task: Task = "multiclass",
    front_end: PowerSpectrogram | None = None,
) -> Classifier:
    r"""Returns a float64 classifier (tier T1) that hears nothing but the energy in bands.

    Channel k of its map is zero but in row k, where cell t is `E[k, t]`, the mean power of band k in time cell t. With
    `E[k]` its mean over cells, :math:`logit_c = b_c + \sum_k W_{ck} E_k / n_{bands}`: a sound in band k alone is
    evidence for the labels with positive weight there, in that band and while it lasts.

    Parameters
    ----------
    n_bands
        Bands of equal width in Hz; the bin at the Nyquist frequency belongs to none.
    cell_frames
        Frames of a time cell.
    weight, bias
        `[label, band]` and `[label]`; the identity times `n_bands`, and zero, if not given: `logit_k = E[k]`.
    map_axes, feature_axes, task
        As in `wrap`; the logits are the same in every order.
    front_end
        8 kHz, windows of 256 and hops of 64 samples, if not given: bands of 500 Hz, cells of 64 ms.
    """
    front_end = front_end or PowerSpectrogram()
    weight = n_bands * torch.eye(n_bands, dtype=torch.float64) if weight is None else weight
    bias = torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias
    module = BandEnergies(
        weight,
        bias,
        band_rows=(front_end.stft.n_freq - 1) // n_bands,
        cell_frames=cell_frames,
        map_axes=map_axes,
        feature_axes=feature_axes,
    )
    return wrap(
        module,
        front_end,
        [f"band {k}" for k in range(len(weight))],
        map_layer=module.map_layer,
        task=task,
        map_axes=map_axes,
        feature_axes=feature_axes,
        name="band-energies",
        probe_s=1.0,
    )


class MagnitudeSpectrogram(PowerSpectrogram):
    """The magnitude of each STFT bin, as `classifier.stft` has it."""

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Float[Tensor, "batch freq _"]:
        """Returns the magnitude of an STFT, without a last frame that reaches beyond the clip."""
        return stft.abs()[..., : 1 + n_samples // self.stft.hop_length]

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and sizes."""
        return {**super().to_dict(), "kind": "toy-magnitude"}


class LinearNet(nn.Module):
    """A weight for each bin and frame: `logit_c = sum W[c, f, t] |X[f, t]|`, in float64, for clips of one length.

    Parameters
    ----------
    weight
        `[label, freq, frame]`.
    """

    map_layer = "map"

    def __init__(self, weight: Float[Tensor, "label freq frame"]) -> None:
        super().__init__()
        self.map = nn.Unflatten(1, (1, -1))
        self.weight = nn.Parameter(weight.double())

    def forward(self, features: Float[Tensor, "batch freq frame"]) -> Float[Tensor, "batch label"]:
        """Returns logits."""
        return (self.map(features)[:, 0].flatten(1)[:, None] * self.weight.flatten(1)).sum(2)


def linear_classifier(n_labels: int = 2, n_columns: int = 16, seed: int = 0) -> Classifier:
    """Returns a float64 classifier whose logits are linear in magnitudes, with random weights of both signs.

    It takes clips of `32 (n_columns - 1)` samples at 8 kHz alone.
    """
    front_end = MagnitudeSpectrogram(8000, 64, 32)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_labels, front_end.stft.n_freq, n_columns, generator=generator, dtype=torch.float64)
    labels = [f"sum {k}" for k in range(n_labels)]
    module, seconds = LinearNet(weight), 32 * (n_columns - 1) / 8000
    return wrap(module, front_end, labels, map_layer=module.map_layer, name="linear", probe_s=seconds)


class PlantedNet(nn.Module):
    """Hears the power in one band and one span of time, and a thousandth of what sounds elsewhere; in float64.

    A thousandth, so that each cell of the map has a place that can be probed. The map has two channels: how loud a
    cell is, and how much quieter than a threshold. The first label is the one minus the other, the second the reverse.

    Parameters
    ----------
    rows, columns
        The bins and frames that are heard, multiples of 8 and 4.
    """

    map_layer = "map"

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.pool = nn.AvgPool2d((8, 4))
        with torch.random.fork_rng(devices=[]):
            self.scale = nn.Conv2d(1, 2, 1, dtype=torch.float64)
        self.map = nn.ReLU()
        with torch.no_grad():
            self.scale.weight.copy_(torch.tensor([4000.0, -4000.0])[:, None, None, None])
            self.scale.bias.copy_(torch.tensor([0.0, 0.5]))  # type: ignore[union-attr]

    def forward(self, power: Float[Tensor, "batch freq frame"]) -> Float[Tensor, "batch 2"]:
        """Returns logits of power."""
        heard = torch.full_like(power[0], 1e-3)
        heard[self.rows, self.columns] = 1
        loud, quiet = self.map(self.scale(self.pool((power * heard)[:, None]))).mean((2, 3)).unbind(1)
        return torch.stack([loud - quiet, quiet - loud], 1)


def planted_classifier(rows: slice = slice(32, 64), columns: slice = slice(32, 64)) -> Classifier:
    """Returns a classifier that hears one band and span, by default 1 to 2 kHz and .25 to .5 s, at 8 kHz."""
    module = PlantedNet(rows, columns)
    labels = ("loud there", "quiet there")
    return wrap(module, PowerSpectrogram(), labels, map_layer=module.map_layer, name="planted", probe_s=1.024)
