"""A toy zero-shot classifier with known explanations: `band 1` means the sound in a band of frequencies."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..classifiers.zero_shot import Embeddings, Towers, ZeroShot, zero_shot
from ..errors import ModelError
from .toys import MagnitudeSpectrogram, _Bands


class BandTowers(Towers):
    """A dimension for each band: sounds are the mean magnitude there, texts the bands that they name; in float64.

    Each band has a channel of its own in the map. Both are linear: nothing is brought to norm 1, so that what a mask
    takes from one band is not made up for by others.

    Parameters
    ----------
    n_bands
        Bands of equal width in Hz.
    n_bins
        Bins of the spectrogram; the last one belongs to no band.
    gain
        By which magnitudes are multiplied.
    """

    map_layer = "bands"

    def __init__(self, n_bands: int, n_bins: int, gain: float = 1.0) -> None:
        super().__init__()
        self.n_bands = n_bands
        self.pool = nn.AvgPool2d(((n_bins - 1) // n_bands, 8))
        self.bands = _Bands("FT")
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def audio(self, features: Float[Tensor, "batch freq frame"]) -> Embeddings:
        """Returns the mean magnitude of each band."""
        return self.gain * self.bands(self.pool(features[:, None])).sum(2).mean(2)

    def text(self, texts: Sequence[str]) -> Embeddings:
        """Returns the directions of the bands whose numbers occur in texts, of norm 1."""
        found = torch.zeros(len(texts), self.n_bands, dtype=torch.float64)
        for row, text in zip(found, texts, strict=True):
            numbers = [int(number) for number in re.findall(r"\d+", text)]
            if not numbers or max(numbers) >= self.n_bands:
                raise ModelError(f"The prompt {text!r} names no band; write 'band 0' to 'band {self.n_bands - 1}'.")
            row[numbers] = len(numbers) ** -0.5
        return found

    def scale(self) -> Tensor:
        """Returns one."""
        return torch.ones((), dtype=torch.float64)


def band_prompts(prompts: Sequence[str] = ("band 0", "band 1"), *, n_bands: int = 4, gain: float = 1.0) -> ZeroShot:
    """Returns a zero-shot classifier at 8 kHz that hears bands, windows of 256 and hops of 64 samples."""
    front_end = MagnitudeSpectrogram()
    towers = BandTowers(n_bands, front_end.stft.n_freq, gain)
    return zero_shot(towers, front_end, prompts, map_layer=towers.map_layer, name="band-prompts", probe_s=0.512)
