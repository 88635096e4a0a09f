"""The numbers of a PANNs front end, read from the buffers that its checkpoint carries.

A checkpoint holds the Fourier matrix of its STFT and its mel filters, from which the length of the window, the number
of bands and their lowest and highest frequency follow exactly. It does not hold sampling rate and hop; the published
networks have one pair of these for each window.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.mel import filter_bank, hz_to_mel, mel_to_hz
from ...errors import ModelError

#: Window in samples: sampling rate in Hz and highest band in Hz of the published networks.
PUBLISHED = {1024: (32000, 14000.0), 512: (16000, 8000.0), 256: (8000, 4000.0)}

LOW_HZ = 50.0

#: Filters are float32; a sampling rate or mel scale that is wrong shows at a tenth of the highest weight and more.
TOLERANCE = 1e-3

FOURIER, MELS = "spectrogram_extractor.stft.conv_real.weight", "logmel_extractor.melW"


@dataclass(frozen=True)
class FrontEndNumbers:
    """What a PANNs front end is made from.

    Parameters
    ----------
    sample_rate
        In Hz.
    n_fft, hop_length
        In samples.
    n_mels
        Bands, of Slaney's scale and normalization.
    low_hz, high_hz
        Ends of the filter bank.
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    low_hz: float
    high_hz: float


def read_numbers(
    buffers: Mapping[str, Tensor], n_mels: int, sample_rate: int | None = None, hop_length: int | None = None
) -> FrontEndNumbers:
    """Returns the numbers of the front end whose buffers a checkpoint holds.

    Parameters
    ----------
    buffers
        The front end's part of a state dict; where it is empty, the published numbers are returned.
    n_mels
        Inputs of the network.
    sample_rate
        In Hz; `None`: the published one for this window.
    hop_length
        In samples; `None`: 5/16 of the window, as in all published networks.

    Raises
    ------
    ModelError
        If the sampling rate is not known, or the filters are not those of a PANNs front end at this rate.
    """
    n_fft = _window(buffers, sample_rate)
    hop = hop_length or round(n_fft * 5 / 16)
    if sample_rate is None:
        if n_fft not in PUBLISHED:
            raise ModelError(
                f"This PANNs checkpoint has a window of {n_fft} samples, which no published network has, and does not "
                "hold its sampling rate; pass sample_rate= (Hz), and hop_length= if it is not 5/16 of the window."
            )
        sample_rate = PUBLISHED[n_fft][0]
    elif hop_length is None and sample_rate != PUBLISHED.get(n_fft, (0, 0))[0]:
        warnings.warn(
            f"A PANNs checkpoint does not hold its hop; for a window of {n_fft} samples at {sample_rate} Hz, {hop} "
            "samples are assumed; pass hop_length= if the network was trained with another.",
            stacklevel=3,
        )
    low_hz, high_hz = LOW_HZ, PUBLISHED.get(n_fft, (0, sample_rate / 2))[1]
    if MELS in buffers:
        low_hz, high_hz = _ends_hz(buffers[MELS].double().T, sample_rate, n_mels)
    return FrontEndNumbers(sample_rate, n_fft, hop, n_mels, low_hz, high_hz)


def _window(buffers: Mapping[str, Tensor], sample_rate: int | None) -> int:
    if FOURIER in buffers:
        return buffers[FOURIER].shape[-1]
    if MELS in buffers:
        return 2 * (len(buffers[MELS]) - 1)
    rates = {rate: n_fft for n_fft, (rate, _) in PUBLISHED.items()}
    return rates.get(sample_rate or 32000, 1024)


def _ends_hz(filters: Float[Tensor, "mel freq"], sample_rate: int, n_mels: int) -> tuple[float, float]:
    """Returns the lowest and highest frequency of mel filters, checked by making the filters again.

    The last filter rises from point n - 1 to n and falls to n + 1, which are equally spaced in mels; both ends are
    where a line through two of its weights is zero.
    """
    n_fft = 2 * (filters.shape[1] - 1)
    last, hz = filters[-1], torch.arange(filters.shape[1]).double() * (sample_rate / n_fft)
    inside, top = last.nonzero().flatten(), int(last.argmax())
    sides = (inside[inside < top][:2], inside[inside > top][-2:])
    ends = (float("nan"), float("nan"))
    if all(len(side) == 2 for side in sides):
        rises, falls = (_zero(hz[side], last[side]) for side in sides)
        mels = hz_to_mel(torch.stack([rises, falls]), "slaney")
        low = mel_to_hz(mels[1] - (n_mels + 1) / 2 * (mels[1] - mels[0]), "slaney")
        ends = _tidy(float(low)), _tidy(float(falls))
    if not _same_filters(filters, sample_rate, n_mels, ends):
        raise ModelError(
            f"The mel filters of this checkpoint are not those of a PANNs front end at {sample_rate} Hz (Slaney's mel "
            "scale, of area one); pass the sample_rate= of its training, or read the network alone with "
            "earmark.classifiers.panns.read_network and wrap it with a front end of your own."
        )
    return ends


def _zero(hz: Tensor, weights: Tensor) -> Tensor:
    """Returns where the line through two points is zero."""
    return hz[0] - weights[0] * (hz[1] - hz[0]) / (weights[1] - weights[0])


def _tidy(hz: float) -> float:
    """Returns a whole number of hertz where rounding in float32 can be why it is none."""
    return float(round(hz)) if abs(hz - round(hz)) < 0.25 else hz


def _same_filters(filters: Tensor, sample_rate: int, n_mels: int, ends: tuple[float, float]) -> bool:
    low_hz, high_hz = ends
    if len(filters) != n_mels or not 0 <= low_hz < high_hz <= sample_rate / 2:
        return False
    n_fft = 2 * (filters.shape[1] - 1)
    again = filter_bank(
        sample_rate, n_fft, n_mels, low_hz=low_hz, high_hz=high_hz, scale="slaney", area_norm=True
    ).double()
    return float((again - filters).abs().max()) <= TOLERANCE * float(again.max())
