"""Numbers of the training loop and of augmentation; no torch here."""

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import InputError

Precision = Literal["no", "bf16", "fp16"]
Optimizer = Literal["adamw", "adam"]
Schedule = Literal["cosine", "constant", "plateau"]
CHOICES = {"optimizer": get_args(Optimizer), "schedule": get_args(Schedule), "precision": get_args(Precision)}


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train."""

    epochs: int = 50  # passes over the training clips
    batch_size: int = 16  # clips per step
    learning_rate: float = 2e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.02  # decoupled (AdamW), or part of the gradient (Adam)
    warmup: float = 0.1  # share of all steps
    seed: int = 0  # initialization, order, augmentation and dropout
    optimizer: Optimizer = "adamw"  # adamw or adam
    schedule: Schedule = "cosine"  # after the warm-up: cosine, constant, or plateau (halved where no score is better)
    plateau_after: int = 100  # epochs before a plateau counts
    patience: int = 0  # stop after so many epochs without a better score; 0 is never
    accumulation: int = 1  # parts of a step that follow each other, for less memory
    precision: Precision = "no"  # bf16 or fp16 where there is a GPU; "no" is float32 throughout
    checkpoint_s: float = 60.0  # least time between checkpoints within an epoch, in s; 0 is after each step

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulation", 1), ("patience", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is at least {least}, got {getattr(self, name)}.")
        if not self.checkpoint_s >= 0:
            raise InputError(f"checkpoint_s is a time in seconds, 0 or more, got {self.checkpoint_s}.")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} is one of {', '.join(known)}; got {getattr(self, name)!r}.")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training clips; set a value to 0 to leave it out."""

    shift: float = 1.0  # largest circular time shift, share of the clip
    gain_db: float = 6.0  # largest change of level, either way
    noise_snr_db: tuple[float, float] = (10.0, 40.0)  # background noise, white to brown
    noise_share: float = 0.3  # share of clips that get background noise
    mixup: float = 0.3  # alpha of Beta(alpha, alpha); features and labels are mixed
    mixup_share: float = 0.7  # share of batches that are mixed
    mel_mask: int = 8  # widest SpecAugment band, in mel rows
    frame_mask: int = 32  # widest SpecAugment stripe, in frames
    n_masks: int = 2  # bands and stripes per clip


@dataclass(frozen=True)
class LatentAugmentConfig:
    """What is done to latents of training clips; set a value to 0 to leave it out."""

    shift: float = 0.2  # largest circular shift in time, either way, share of the frames
    mixup: float = 0.3  # alpha of Beta(alpha, alpha); latents and labels are mixed
    mixup_share: float = 0.5  # share of batches that are mixed
    channel_mask: int = 16  # widest group of channels that is set to the mean
    frame_mask: int = 10  # widest stripe of frames that is
    n_masks: int = 2  # groups and stripes per clip


@dataclass(frozen=True)
class BackgroundConfig:
    """Recordings that are mixed into training clips and into those that choose the epoch; none by default."""

    background: str | None = None  # recordings to mix into training clips: FOLDER or FOLDER#FOLDS
    background_snr_db: float = 0.0  # energy of a clip over that of the recording in it, in dB
    background_share: float = 1.0  # share of clips that get a piece of a recording
