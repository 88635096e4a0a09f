"""The numbers of LMAC-TD; no torch here."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ..fitted_config import FitConfig

Preset = Literal["compact", "paper"]
Basis = Literal["fourier", "learned", "random"]
MaskNet = Literal["dilated", "dual-path"]
SumLoss = Literal["ratio", "si-snr"]
OutLoss = Literal["absent", "published"]

CHOICES: dict[str, tuple[str, ...]] = {
    "preset": ("compact", "paper"),
    "basis": ("fourier", "learned", "random"),
    "mask_net": ("dilated", "dual-path"),
    "sum_loss": ("ratio", "si-snr"),
    "out_loss": ("absent", "published"),
}


@dataclass(frozen=True)
class LmacTdConfig(FitConfig):
    """How an LMAC-TD is built and trained; weights belong to true means over clips."""

    epochs: int = 30  # passes over the training clips
    batch_size: int = 4  # clips per step
    learning_rate: float = 4e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.0  # decoupled (AdamW)
    crop_s: float = 2.0  # seconds of a training clip in one step, from a random place; 0: all of it
    preset: Preset = "compact"  # compact or paper
    alpha: float = 0.75  # share of the classifier's maps in the mask's input; 0: audio alone, 1: maps alone
    conditioned: bool = True  # whether the mask is told which label is asked for
    width: int = 16  # channels of the trunk that reads the maps
    basis: Basis = "fourier"  # fourier: windowed cosines, exact; learned: from clips; random: the decoder learns alone
    window_s: float = 0.016  # length of a filter in seconds; filters follow each other by half of it
    filters: int = 0  # of a learned or random basis; 0: twice the samples of a window
    autoencoder_epochs: int = 20  # passes in which encoder and decoder of such a basis are trained, before they freeze
    autoencoder_rate: float = 2e-3  # learning rate of these
    mask_net: MaskNet = "dilated"  # dilated convolutions, or the dual-path transformers of a SepFormer
    channels: int = 64  # inside the mask network
    blocks: int = 6  # dilated blocks, dilations 1, 2, 4, ...; or pairs of transformers
    compressed: bool = True  # whether the mask network sees log1p of the encoder's output
    chunk: int = 250  # dual path: frames of a chunk; chunks overlap by half
    intra: int = 8  # dual path: transformer layers within chunks
    inter: int = 2  # dual path: transformer layers across chunks
    heads: int = 8  # dual path: heads of a transformer layer
    feed_forward: int = 256  # dual path: width of its feed-forward part
    projection: bool = True  # what is left out is the clip minus what is kept; if not, it is decoded from 1 - m
    lambda_in: float = 4.0  # weight of the cross-entropy of what is kept
    lambda_out: float = 1.0  # weight of the loss of what is left out
    out_loss: OutLoss = "absent"  # absent: -log(1 - p) of what is left out; published: minus its cross-entropy
    lambda_l1: float = 4.0  # weight of the mean of the mask m
    lambda_kept: float = 4.0  # weight of the share of the code's l1 norm that is kept; not published
    lambda_spec: float = 0.0  # weight of the mean of log(1 + |STFT|) of what is kept, as published
    lambda_sum: float = 0.0  # weight of how far both parts are from adding up to the clip; needs projection off
    sum_loss: SumLoss = "ratio"  # ratio: energy of the difference over the clip's; si-snr: as published
    blind: bool = False  # a control: the mask is drawn with zeros in place of maps, from the sound alone

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}; choose one.")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha lies in 0 ... 1, got {self.alpha}; change it.")
        if self.window_s <= 0 or self.filters < 0:
            raise InputError(f"window_s is above 0 and filters 0 or more, got {self.window_s} and {self.filters}.")
        for name in (
            "width",
            "channels",
            "blocks",
            "autoencoder_epochs",
            "chunk",
            "intra",
            "inter",
            "heads",
            "feed_forward",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, got {getattr(self, name)}; change it.")
        if self.lambda_sum and self.projection:
            raise InputError("With projection both parts add up to the clip, so lambda_sum needs projection=False.")
        if self.basis == "fourier" and self.filters:
            raise InputError("The fourier basis has as many filters as a window has samples; set filters=0.")
        if self.mask_net == "dual-path" and (self.channels % (2 * self.heads) or self.chunk % 2):
            raise InputError("A dual path needs an even chunk, and channels that are a multiple of twice its heads.")

    @classmethod
    def of_preset(cls, preset: Preset, **changes: Any) -> "LmacTdConfig":
        """Returns the settings of a preset; `paper` has the published sizes, loss and schedule."""
        return cls(**{**PRESETS[preset], "preset": preset, **changes})


#: `paper`: the first public repository, with alpha as in the best row of the table; the autoencoder is pre-trained.
PRESETS: dict[str, dict[str, Any]] = {
    "compact": {},
    "paper": {
        "epochs": 200,
        "batch_size": 2,
        "learning_rate": 2e-4,
        "weight_decay": 2e-6,
        "optimizer": "adam",
        "schedule": "constant",
        "warmup": 0.0,
        "crop_s": 0.0,
        "shift": 0.0,
        "gain_db": 0.0,
        "noise_share": 0.0,
        "mix_share": 0.0,
        "conditioned": False,
        "basis": "learned",
        "window_s": 0.001,
        "filters": 256,
        "mask_net": "dual-path",
        "channels": 256,
        "blocks": 2,
        "compressed": False,
        "projection": False,
        "lambda_out": 0.2,
        "out_loss": "published",
        "lambda_l1": 0.0,
        "lambda_kept": 0.0,
        "lambda_spec": 0.4,
    },
}
