"""Waveform: samples with a rate. It is frozen, and it never resamples by itself."""

from pathlib import Path

import numpy as np
import soxr
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AudioError


class Waveform:
    """A sound; frozen.

    Parameters
    ----------
    samples
        `[channel, sample]`, floats, full scale 1; a 1-D array is one channel. They are copied to float32 on the CPU.
    sample_rate
        Samples per second (Hz).

    Raises
    ------
    AudioError
        If there is no sample, no channel, or a sample is not finite, or samples are integers.

    Examples
    --------
    >>> Waveform(np.zeros(16000), 16000).duration_s
    1.0
    """

    __slots__ = ("_sample_rate", "_samples")

    def __init__(self, samples: Tensor | np.ndarray, sample_rate: int) -> None:
        values = samples if isinstance(samples, Tensor) else torch.tensor(samples)
        if not values.is_floating_point():
            raise AudioError(
                f"Samples are floats with full scale 1, got {values.dtype}; divide 16-bit integers by 32768 first."
            )
        values = torch.clone(values.detach().to("cpu", torch.float32), memory_format=torch.contiguous_format)
        values = values[None] if values.ndim == 1 else values
        if values.ndim != 2 or 0 in values.shape:
            raise AudioError(
                f"A waveform needs samples of shape [channel, sample] with at least one of each, "
                f"got shape {tuple(values.shape)}; use a recording that is not empty."
            )
        if not bool(torch.isfinite(values).all()):
            raise AudioError("The sound holds NaN or infinite samples; export it again with finite samples.")
        if int(sample_rate) < 1:
            raise AudioError(f"A sample rate is a positive number of Hz, got {sample_rate}.")
        self._samples, self._sample_rate = values, int(sample_rate)

    @property
    def samples(self) -> Float[Tensor, "channel sample"]:
        """The samples, `[channel, sample]`, float32."""
        return self._samples

    @property
    def sample_rate(self) -> int:
        """Samples per second (Hz)."""
        return self._sample_rate

    def __getitem__(self, key: slice) -> "Waveform":
        """Cuts samples: `waveform[a:b]` is samples a to b - 1 of every channel."""
        if not isinstance(key, slice):
            raise TypeError(f"A waveform is cut by a slice of samples, got {key!r}; write waveform[a:b].")
        if key.step not in (None, 1):
            raise AudioError(f"A waveform is cut without a step, got {key.step}; call resample for another rate.")
        return Waveform(self.samples[:, key], self.sample_rate)

    def __repr__(self) -> str:
        return (
            f"Waveform({self.duration_s:.3f} s, {self.n_channels} channel{'s' * (self.n_channels != 1)}, "
            f"{self.sample_rate} Hz)"
        )

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.samples.shape[1]

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[0]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    def mono(self) -> "Waveform":
        """Returns the mean of the channels as one channel."""
        return self if self.n_channels == 1 else Waveform(self.samples.mean(0, keepdim=True), self.sample_rate)

    def resample(self, sample_rate: int) -> "Waveform":
        """Returns the sound at another rate (soxr, very high quality), each channel on its own."""
        if sample_rate == self.sample_rate:
            return self
        out = soxr.resample(self.samples.T.numpy(), self.sample_rate, sample_rate, quality="VHQ")
        if len(out) == 0:
            raise AudioError(
                f"A sound of {self.n_samples} samples at {self.sample_rate} Hz is too short to become "
                f"{sample_rate} Hz; use a longer one."
            )
        return Waveform(np.ascontiguousarray(out.T), sample_rate)

    def fit(self, n_samples: int) -> "Waveform":
        """Returns the sound cut, or zero-padded at its end, to exactly `n_samples`."""
        if n_samples < 1:
            raise AudioError(f"A sound is fitted to at least one sample, got {n_samples}.")
        if n_samples <= self.n_samples:
            return self[:n_samples]
        return Waveform(torch.nn.functional.pad(self.samples, (0, n_samples - self.n_samples)), self.sample_rate)

    def scale(self, gain: float) -> "Waveform":
        """Returns the sound times a linear gain."""
        return Waveform(self.samples * gain, self.sample_rate)

    @property
    def peak(self) -> float:
        """The largest absolute sample."""
        return float(self.samples.abs().max())

    @property
    def rms_db(self) -> float:
        """Root mean square level in dB relative to full scale (-inf for silence)."""
        power = float(self.samples.double().square().mean())
        return 10 * float(np.log10(power)) if power > 0 else float("-inf")

    def save(self, path: "str | Path", *, bit_depth: int = 24) -> Path:
        """Writes WAV or FLAC, by the name's ending; see `earmark.audio.files.write`."""
        from .files import write

        return write(path, self, bit_depth=bit_depth)
