"""Parts of a clip that can be switched off: components (bands, or separated sounds) x spans of frames.

The gains of all parts sum to one in every bin, so their sounds sum to the clip.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..audio.mel import mel_points_hz
from ..audio.stft import Stft
from ..classifiers.base import Grid

LOWEST_HZ = 50.0  # the lowest border between bands of octaves

Values = Float[Tensor, "row part"]
Gains = Float[Tensor, "row freq frame"]


@dataclass(frozen=True, eq=False)
class Parts:
    """Components x spans; part `c * n_spans + s` is component c in span s.

    Parameters
    ----------
    components
        `[component, freq, frame]`, or `[component, freq, 1]` where they are the same in all frames; gains in [0, 1]
        that sum to 1 in each bin.
    span_of
        `[frame]`: the span that each frame belongs to, rising from 0.
    """

    components: Float[Tensor, "component freq _"]
    span_of: Int[Tensor, " frame"]

    @property
    def n_spans(self) -> int:
        """Number of spans."""
        return int(self.span_of[-1]) + 1

    @property
    def n_parts(self) -> int:
        """Number of parts (M)."""
        return len(self.components) * self.n_spans

    def like(self, other: Tensor) -> "Parts":
        """Returns the parts in the precision, and on the device, of a tensor."""
        return Parts(self.components.to(other), self.span_of.to(other.device))

    def spread(self, values: Values) -> Gains:
        """Returns `[row, freq, frame]`: each bin gets its part's value, or the mean of values weighted by gains.

        For values in {0, 1} that is the gain with which the parts that are on are heard.
        """
        per_frame = values.unflatten(1, (len(self.components), -1))[:, :, self.span_of]
        if self.components.shape[-1] == 1:
            return torch.einsum("nct,cf->nft", per_frame, self.components[..., 0])
        return torch.einsum("nct,cft->nft", per_frame, self.components)

    def frames(self, span: int) -> slice:
        """Returns the frames of a span."""
        inside = (self.span_of == span).nonzero().flatten()
        return slice(int(inside[0]), int(inside[-1]) + 1)


def segment_parts(grid: Grid, kind: str, span_s: float, octave: float, max_parts: int) -> Parts:
    """Returns bands of `octave` octaves x spans of `span_s` seconds, merged to at most `max_parts` parts.

    Parameters
    ----------
    kind
        `grid`, or `time` or `frequency` for parts along one axis.
    """
    bands = octave_bands(grid.hz, octave) if kind != "time" else torch.zeros(grid.shape[0], dtype=torch.long)
    n_spans = max(1, round(grid.duration_s / span_s)) if kind != "frequency" else 1
    n_spans = min(n_spans, grid.shape[1])
    n_bands = int(bands[-1]) + 1
    kept_bands, kept_spans = merged_counts(n_bands, n_spans, max_parts)
    return Parts(one_hot(bands * kept_bands // n_bands), even_index(grid.shape[1], kept_spans))


def mel_parts(grid: Grid, n_bands: int, n_spans: int) -> Parts:
    """Returns bands of equal width in mels x spans of equal length."""
    return Parts(one_hot(mel_bands(grid.hz, n_bands)), even_index(grid.shape[1], min(n_spans, grid.shape[1])))


def octave_bands(hz: Float[Tensor, " freq"], octave: float) -> Int[Tensor, " freq"]:
    """Returns the band of each bin: borders lie `octave` octaves apart, counted down from the highest bin to 50 Hz.

    Bands that hold no bin are left out; the lowest reaches down to 0 Hz.
    """
    n_borders = max(0, math.ceil(math.log2(float(hz[-1]) / LOWEST_HZ) / octave) - 1)
    borders = float(hz[-1]) * 2.0 ** (-octave * torch.arange(n_borders, 0, -1, dtype=torch.float64))
    return _without_gaps(torch.bucketize(hz.double(), borders, right=True))


def mel_bands(hz: Float[Tensor, " freq"], n_bands: int) -> Int[Tensor, " freq"]:
    """Returns the band of each bin: `n_bands` of equal width in mels from 0 Hz on; those without a bin are left out."""
    borders = mel_points_hz(n_bands + 1, 0.0, float(hz[-1]))[1:-1]
    return _without_gaps(torch.bucketize(hz.double(), borders, right=True))


def even_index(n: int, n_groups: int) -> Int[Tensor, " n"]:
    """Returns the group of each of `n` neighbors, put into groups of sizes as equal as can be."""
    return torch.arange(n) * n_groups // n


def one_hot(index: Int[Tensor, " freq"]) -> Float[Tensor, "component freq 1"]:
    """Returns `[component, freq, 1]`: 1 where a bin belongs to the component."""
    return (index == torch.arange(int(index.max()) + 1)[:, None]).float()[..., None]


def merged_counts(n_bands: int, n_spans: int, most: int) -> tuple[int, int]:
    """Returns how many bands and spans remain so that their product is at most `most`.

    Of all pairs that fit, the one with the most parts, unless it merges one axis much more than the other: the pair
    with the largest `parts^2 / imbalance`, imbalance >= 1 being the ratio of how many neighbors are merged.
    """

    def worth(pair: tuple[int, int]) -> float:
        merged = (n_bands / pair[0]) / (n_spans / pair[1])
        return (pair[0] * pair[1]) ** 2 / max(merged, 1 / merged)

    pairs = [(bands, min(n_spans, most // bands)) for bands in range(1, min(n_bands, most) + 1)]
    return max(pairs, key=worth)


def local_inverse(
    stft: Stft, values: Tensor, frames: slice, n_samples: int
) -> tuple[int, Float[Tensor, "batch sample"]]:
    """Returns where the sound of some frames begins, and the sound, all other frames being zero.

    Equal to the inverse of the whole STFT, cut to where it is not zero by construction: the frames of a window's
    length before and after are there, so that each sample is divided by the same sum of windows.

    Parameters
    ----------
    values
        `[batch, freq, frame]` for the frames of `frames`.
    n_samples
        Length of the whole clip.
    """
    reach, total = -(-stft.n_fft // stft.hop_length), stft.n_frames(n_samples)
    first, end = max(frames.start - reach, 0), min(frames.stop + reach, total)
    padded = torch.nn.functional.pad(values, (frames.start - first, end - frames.stop))
    start = first * stft.hop_length
    length = n_samples - start if end == total else (end - first - 1) * stft.hop_length
    return start, stft.inverse(padded, length)


def _without_gaps(index: Int[Tensor, " freq"]) -> Int[Tensor, " freq"]:
    return index.unique(return_inverse=True)[1]
