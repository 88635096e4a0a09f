"""Numbers of the training loop and of augmentation; no torch here."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train."""

    epochs: int = 50  # passes over the training clips
    batch_size: int = 16  # clips per step
    learning_rate: float = 2e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.02  # decoupled (AdamW)
    warmup: float = 0.1  # share of all steps
    seed: int = 0  # initialization, order, augmentation and dropout

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, got {getattr(self, name)}.")


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
class BackgroundConfig:
    """Recordings that are mixed into training clips and into those that choose the epoch; none by default."""

    background: str | None = None  # recordings to mix into training clips: FOLDER or FOLDER#FOLDS
    background_snr_db: float = 0.0  # energy of a clip over that of the recording in it, in dB
    background_share: float = 1.0  # share of clips that get a piece of a recording
