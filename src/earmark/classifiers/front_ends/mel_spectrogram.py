"""Mel front ends as others train with: one formula and many numbers (`presets` names those of known models)."""

from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio import mel
from ...audio.stft import Stft
from ...errors import InputError, ModelError
from ...types import ComplexStft, Samples
from ..config import MelConfig
from . import filters
from .base import FrontEnd
from .frames import Longer, filled, framed, mirrored, spectrum

LOGARITHMS = {"db": lambda x: 10 * torch.log10(x), "ln": torch.log, "log10": torch.log10}


class Mel(FrontEnd):
    """Mel spectrogram: `(max(log(max(F |X|^p, floor) + offset), peak - dynamic_range) - mean) / std`.

    The peak is that of each clip, never of a batch. With `padding="zeros"`, a whole window and any length of clip the
    features start from the STFT of stage `stft`; else entry there goes through its inverse.

    Parameters
    ----------
    config
        The numbers; keyword `changes` replace single ones.

    Raises
    ------
    InputError
        If the numbers do not fit together.
    """

    kind = "mel"

    def __init__(self, config: MelConfig | None = None, **changes: Any) -> None:
        super().__init__()
        self.config = config = replace(config or self._defaults(), **changes)
        _check(config)
        self.sample_rate, self.max_samples = config.sample_rate, config.length
        self.stft = Stft(config.n_fft, config.hop_length)
        self.window_length = config.window_length or config.n_fft
        self.native_stft = (
            config.padding == "zeros"
            and self.window_length == config.n_fft
            and config.length is None
            and not config.drop_last
        )
        self.register_buffer("filters", filters.of_config(config), persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_length), persistent=False)
        self.filters: Tensor
        self.window: Tensor

    @staticmethod
    def _defaults() -> MelConfig:
        return MelConfig()

    def forward(self, samples: Samples) -> Float[Tensor, "batch mel _"]:
        """Returns mel features `[batch, mel, frame]`.

        Raises
        ------
        AudioError
            If a clip is too short for one frame.
        ModelError
            If a clip is longer than can be reproduced.
        """
        if self.native_stft:
            return self.from_stft(self.stft(samples), samples.shape[-1])
        frames = framed(self._padded(self._fitted(samples)), self.window_length, self.config.hop_length)
        if self.config.drop_last:
            frames = frames[:, :-1]
        return self._compressed(spectrum(frames, self.window, self.config.n_fft, self.config.power))

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Float[Tensor, "batch mel _"]:
        """Returns features of an STFT, where they start from it, else through its inverse."""
        if not self.native_stft:
            return super().from_stft(stft, n_samples)
        stft = stft[..., : self.n_columns(n_samples)]
        return self._compressed(stft.abs() if self.config.power == 1 else stft.real.square() + stft.imag.square())

    def n_columns(self, n_samples: int) -> int:
        """Returns how many columns the features of a clip have."""
        n_samples = self.config.length or n_samples
        margin = 0 if self.config.padding == "none" else self.window_length // 2
        return 1 + (n_samples + 2 * margin - self.window_length) // self.config.hop_length - self.config.drop_last

    def columns_inside(self, n_samples: int) -> int:
        """Returns how many columns are centered in the clip; those after it come from what `fill` puts there."""
        if self.config.length is None:
            return self.n_columns(n_samples)
        start = self.window_length // 2 if self.config.padding == "none" else 0
        return min(self.n_columns(n_samples), 1 + max(n_samples - start, 0) // self.config.hop_length)

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Borders between mel bands, at midpoints in mels between filter centers."""
        return mel.band_edges_hz(self.config.n_mels, self.config.low_hz, filters.top_hz(self.config), self.config.scale)

    def column_s(self) -> tuple[float, float]:
        """Frame n is centered at n hops, half a window later without padding."""
        start = self.window_length / 2 if self.config.padding == "none" else 0.0
        return start / self.sample_rate, self.config.hop_length / self.sample_rate

    def bin_weights(self) -> Float[Tensor, "mel freq"]:
        """Returns the filters."""
        return self.filters

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and configuration."""
        return {"kind": self.kind, **asdict(self.config)}

    def _fitted(self, samples: Samples) -> Longer:
        length, n_samples = self.config.length, samples.shape[-1]
        if length is None or n_samples == length:
            return samples
        if n_samples < length:
            return filled(samples, length, self.config.fill)
        if self.config.longer == "cut":
            return samples[:, :length]
        if n_samples // self.config.hop_length == length // self.config.hop_length:
            return samples  # as many frames: nothing is cut, nothing fused
        raise ModelError(
            f"A clip of {n_samples / self.sample_rate:g} s is longer than the {length / self.sample_rate:g} s of this "
            "front end, whose original then takes random parts; use shorter clips, or set longer='cut'."
        )

    def _padded(self, samples: Samples) -> Longer:
        margin = self.window_length // 2
        if self.config.padding == "none":
            return samples
        if self.config.padding == "zeros":
            return torch.nn.functional.pad(samples, (margin, margin))
        return mirrored(samples, margin)

    def _compressed(self, spectrogram: Float[Tensor, "batch freq frame"]) -> Float[Tensor, "batch mel frame"]:
        config = self.config
        bands = self.filters.to(spectrogram) @ spectrogram
        if config.floor > 0:
            bands = bands.clamp_min(config.floor)
        values = LOGARITHMS[config.logarithm](bands + config.offset)
        if config.dynamic_range is not None:
            values = torch.maximum(values, values.amax((1, 2), keepdim=True) - config.dynamic_range)
        return (values - config.mean) / config.std


def _check(config: MelConfig) -> None:
    """Refuses numbers that only fail later, or never."""
    choices = {
        "padding": ("reflect", "zeros", "none"),
        "power": (1, 2),
        "triangles": ("hz", "mel"),
        "scale": ("htk", "slaney"),
        "logarithm": tuple(LOGARITHMS),
        "fill": ("zeros", "repeat", "repeat-whole"),
        "longer": ("cut", "refuse"),
    }
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise InputError(
                f"{name} is {getattr(config, name)!r}, one of {', '.join(map(str, allowed))} was expected."
            )
    if config.floor <= 0 and config.offset <= 0:
        raise InputError("floor and offset are both 0: the logarithm of silence is infinite; set one of them above 0.")
    if not 1 <= (config.window_length or config.n_fft) <= config.n_fft:
        raise InputError(f"window_length must lie in 1 ... n_fft = {config.n_fft}, got {config.window_length}.")
    if config.std == 0:
        raise InputError("std is 0, and it divides the features; set another number.")
