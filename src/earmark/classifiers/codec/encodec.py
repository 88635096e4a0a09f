"""EnCodec (Défossez et al., 2022) of transformers as a codec."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ...types import Samples
from .base import Codec, Latents, Levels, straight_through

LEVEL_FLOOR = 1e-8  # added to the level of a chunk, as transformers does


class Encodec(Codec):
    """An `EncodecModel`: its encoder, residual vector quantizer and decoder, entered one by one.

    Latents are the sums of the codebook entries in use, as the decoder gets them. Codecs that work in chunks have the
    frames of all chunks, one after the other; chunks are cross-faded where they overlap.

    Parameters
    ----------
    model
        The model; it is frozen and put in eval mode.
    name
        What it is called.
    bandwidth
        In kbit/s, one of `model.config.target_bandwidths`; None is the lowest.
    """

    def __init__(self, model: nn.Module, name: str, bandwidth: float | None = None) -> None:
        super().__init__()
        config: Any = model.config
        self.model, self.name = model.eval().requires_grad_(False), name
        self.bandwidth = _checked(bandwidth, config.target_bandwidths, name)
        self.sample_rate, self.hop_length = int(config.sampling_rate), int(config.hop_length)
        self.n_channels, self.audio_channels = int(config.hidden_size), int(config.audio_channels)
        self.chunk_length, self.chunk_stride = config.chunk_length, config.chunk_stride or config.chunk_length
        quantizer: Any = model.quantizer
        self.n_codebooks = quantizer.get_num_quantizers_for_bandwidth(self.bandwidth)
        if self.audio_channels == 2:
            self.notes = (f"{name} is stereo: it gets the same sound in both channels, and their mean is heard.",)

    @property
    def quantizes(self) -> bool:
        """Always."""
        return True

    @property
    def normalizes(self) -> bool:
        """As its configuration says."""
        config: Any = self.model.config
        return bool(config.normalize)

    def to_dict(self) -> dict[str, Any]:
        """Returns kind, rates and bandwidth."""
        return {
            "kind": "encodec",
            "sample_rate": self.sample_rate,
            "hop_length": self.hop_length,
            "n_channels": self.n_channels,
            "audio_channels": self.audio_channels,
            "bandwidth": self.bandwidth,
            "chunk": [self.chunk_length, self.chunk_stride],
            "normalizes": self.normalizes,
        }

    def n_frames(self, n_samples: int) -> int:
        """Returns the frames of all chunks."""
        return sum(self._frames(n_samples))

    def levels(self, samples: Samples) -> Levels | None:
        """Returns the root mean square of each chunk, where the codec normalizes."""
        if not self.normalizes:
            return None
        chunks = [samples[:, start:stop].to(self.dtype) for start, stop in self._chunks(samples.shape[-1])]
        return torch.stack([chunk.square().mean(1).sqrt() + LEVEL_FLOOR for chunk in chunks], 1)

    def codes(self, latents: Latents) -> Tensor:
        """Returns the codes `[codebook, batch, frame]` of latents."""
        quantizer: Any = self.model.quantizer
        with torch.no_grad():
            found: Tensor = quantizer.encode(latents, self.bandwidth)
        return found

    def _encode(self, samples: Samples) -> Latents:
        n_samples, levels = samples.shape[-1], self.levels(samples)
        encoder: Any = self.model.encoder
        parts = []
        for i, (start, stop) in enumerate(self._chunks(n_samples)):
            chunk = samples[:, start:stop] if levels is None else samples[:, start:stop] / levels[:, i : i + 1]
            parts.append(encoder(chunk[:, None].expand(-1, self.audio_channels, -1)))
        return torch.cat(parts, 2)

    def _quantize(self, latents: Latents) -> Latents:
        quantizer: Any = self.model.quantizer
        return straight_through(latents, quantizer.decode(self.codes(latents)))

    def _decode(self, latents: Latents, n_samples: int, levels: Levels | None) -> Samples:
        bounds, decoder = self._chunks(n_samples), self.model.decoder
        assert callable(decoder)
        parts = latents.split(self._frames(n_samples), 2)
        sounds = [decoder(part).mean(1) for part in parts]
        if levels is not None:
            sounds = [sound * levels[:, i : i + 1] for i, sound in enumerate(sounds)]
        return _cross_faded(sounds, [start for start, _ in bounds])[:, :n_samples]

    def _frames(self, n_samples: int) -> list[int]:
        return [-(-(stop - start) // self.hop_length) for start, stop in self._chunks(n_samples)]

    def _chunks(self, n_samples: int) -> list[tuple[int, int]]:
        """Returns first and last sample of each chunk; one chunk where the codec takes any length."""
        if self.chunk_length is None:
            return [(0, n_samples)]
        starts = range(0, n_samples, self.chunk_stride)
        return [(start, min(start + self.chunk_length, n_samples)) for start in starts]


def _cross_faded(parts: list[Tensor], starts: list[int]) -> Float[Tensor, "batch _"]:
    """Returns chunks as one sound, weighted by triangles where several lie over each other."""
    if len(parts) == 1:
        return parts[0]
    longest = parts[0].shape[1]
    total = max(start + part.shape[1] for start, part in zip(starts, parts, strict=True))
    position = torch.linspace(0, 1, longest + 2, device=parts[0].device, dtype=parts[0].dtype)[1:-1]
    triangle = 0.5 - (position - 0.5).abs()
    padded = [_placed(part * triangle[: part.shape[1]], s, total) for s, part in zip(starts, parts, strict=True)]
    weights = [_placed(triangle[None, : part.shape[1]], s, total) for s, part in zip(starts, parts, strict=True)]
    return torch.stack(padded).sum(0) / torch.stack(weights).sum(0)


def _placed(part: Samples, start: int, total: int) -> Float[Tensor, "batch _"]:
    return functional.pad(part, (start, total - start - part.shape[1]))


def _checked(bandwidth: float | None, known: Any, name: str) -> float:
    """Returns a bandwidth that the codec has."""
    if not bandwidth:
        return float(min(known))
    if float(bandwidth) not in [float(value) for value in known]:
        shown = ", ".join(f"{value:g}" for value in known)
        raise InputError(f"{name} has bandwidths of {shown} kbit/s, got {bandwidth:g}; choose one of these.")
    return float(bandwidth)
