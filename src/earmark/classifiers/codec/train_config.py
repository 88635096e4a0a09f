"""The numbers of a codec of one's own; no torch here."""

from dataclasses import dataclass
from math import prod

from ...errors import InputError


@dataclass(frozen=True)
class CodecConfig:
    """A small EnCodec, and how it is trained."""

    rate: int = 16000  # Hz
    ratios: str = "2,4,4,8"  # strides of the decoder; their product is the hop: 256 samples, 62.5 frames a second
    channels: int = 64  # of the latents
    filters: int = 12  # of the first layer; each stride doubles them
    lstm_layers: int = 1  # between encoder and decoder
    codebook_size: int = 512  # entries, a power of 2
    codebooks: int = 12  # of the residual quantizer
    clip_s: float = 2.0  # seconds of a clip that are read; shorter ones are repeated
    crop_s: float = 0.5  # seconds of a clip in one step, from a random place
    gain_db: float = 6.0  # largest change of level, either way
    waveform_weight: float = 1.0  # of the logarithm of the noise-to-signal ratio
    spectral_weight: float = 0.1  # of magnitudes and logarithms at three resolutions
    commitment: float = 0.25  # weight of how far latents are from their codes
    unquantized: float = 0.1  # share of clips in a step that are decoded before they are quantized
    decay: float = 0.99  # of the running means that codebooks are

    def __post_init__(self) -> None:
        for name in ("rate", "channels", "filters", "codebooks"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is 1 or more, got {getattr(self, name)}; change it.")
        if self.codebook_size < 2 or self.codebook_size & (self.codebook_size - 1):
            raise InputError(f"codebook_size is a power of 2, got {self.codebook_size}; change it.")
        if not all(part.strip().isdecimal() and int(part) for part in self.ratios.split(",")):
            raise InputError(f"ratios are whole numbers of 1 or more, such as 8,5,4,2; got {self.ratios!r}.")
        if not 0 < self.crop_s <= self.clip_s or not 0 < self.decay < 1:
            raise InputError("crop_s is above 0 and at most clip_s, and decay lies between 0 and 1; change one.")

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides, from the decoder's first layer on."""
        return tuple(int(part) for part in self.ratios.split(","))

    @property
    def hop_length(self) -> int:
        """Samples from frame to frame."""
        return prod(self.strides)
