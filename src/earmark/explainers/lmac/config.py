"""The numbers of L-MAC; no torch here."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ..fitted_config import FitConfig

Objective = Literal["areas", "soft", "both", "apart"]
Preset = Literal["compact", "paper", "paper-small"]
MaskStage = Literal["stft", "features"]
Scale = Literal["linear", "log1p"]
TrainingStage = Literal["stft", "waveform", "features"]

CHOICES: dict[str, tuple[str, ...]] = {
    "preset": ("compact", "paper", "paper-small"),
    "objective": ("areas", "soft", "both", "apart"),
    "mask_stage": ("stft", "features"),
    "mask_scale": ("linear", "log1p"),
    "reentry": ("stft", "waveform", "features"),
}


@dataclass(frozen=True)
class LmacConfig(FitConfig):
    """How an L-MAC is built and trained; the weights of the published loss, as true means."""

    epochs: int = 12  # passes over the training clips
    learning_rate: float = 2e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.0  # decoupled (AdamW)
    crop_s: float = 2.5  # seconds of a training clip in one step, from a random place; 0: all of it
    preset: Preset = "compact"  # the decoder: compact, paper-small or paper
    width: int = 0  # channels of a compact decoder; 0: as many as the limits on its size allow
    detail: bool = True  # whether the clip's own level takes part, bin by bin
    conditioned: bool = True  # whether the decoder is told which label is asked for
    objective: Objective = "both"  # areas: good at every area; soft: the published loss; both: their sum; apart: none
    least_area: float = 0.005  # smallest area in training, share of all bins
    most_area: float = 0.6  # largest area in training, share of all bins
    softness: float = 1.0  # width of the relaxed threshold, in units of a mask's logits
    hard: bool = True  # whether masks of an area are hard in training (straight-through), or as soft as the threshold
    area_loss: Literal["cross-entropy", "drop"] = "drop"  # of masks of an area: cross-entropy, or relative drop
    lambda_area: float = 4.0  # its weight
    mask_stage: MaskStage = "stft"  # where the mask lives: stft, which can be heard, or features
    mask_scale: Scale = "linear"  # linear: the mask is a gain; log1p: as published, only with reentry stft
    reentry: TrainingStage = "waveform"  # where the masked clip enters the classifier in training
    lambda_in: float = 4.0  # weight of the cross-entropy of what is kept
    lambda_out: float = 0.2  # weight of that of what is left out, which is to be large
    lambda_l1: float = 6.4  # weight of the mean of the mask
    lambda_tv: float = 0.0  # weight of the mean change from bin to bin
    lambda_apart: float = 0.0  # weight of keeping, of two clips at once, each for its own label; published: none
    lambda_g: float = 4.0  # weight of guidance by the clean source, in fine-tuning
    cct: float = 0.0  # a clip is guided if mask and source are at least as alike (cosine); 0: all are
    blind: bool = False  # a control: the decoder reads zeros in place of maps, and knows the sound alone
    guidance: Literal["code", "paper"] = "code"  # binary cross-entropy to loud bins, or distance to the source

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}; choose one.")
        if not 0 < self.least_area < self.most_area <= 1:
            raise InputError(f"Areas lie in 0 < least < most <= 1, got {self.least_area} and {self.most_area}.")
        if self.width < 0 or self.softness <= 0:
            raise InputError(f"width is 0 or more and softness above 0, got {self.width} and {self.softness}.")
        if self.mask_stage == "features" and self.mask_scale == "log1p":
            raise InputError("mask_scale log1p is one of the STFT; set mask_stage='stft', or mask_scale='linear'.")
        if self.mask_scale == "log1p" and self.reentry != "stft":
            raise InputError(f"mask_scale log1p needs reentry stft, got {self.reentry}; change one of them.")
        refuse_apart(self.lambda_apart, self)
        if self.objective == "apart" and not self.lambda_apart:
            raise InputError("objective apart learns from mixtures of two clips alone; set lambda_apart above 0.")

    @property
    def of_areas(self) -> bool:
        """Whether hard masks of any area are learned from."""
        return self.objective in ("areas", "both")

    @property
    def of_soft_masks(self) -> bool:
        """Whether soft masks are, as published."""
        return self.objective in ("soft", "both")

    @classmethod
    def of_preset(cls, preset: Preset, **changes: Any) -> "LmacConfig":
        """Returns the settings of a preset; `paper` and `paper-small` have the published loss and data."""
        return cls(**{**PRESETS[preset], "preset": preset, **changes})


def refuse_apart(weight: float, config: Any) -> None:
    """Refuses a weight of telling sounds apart where masks cannot do so.

    Raises
    ------
    InputError
        If it is below 0, or masks are no gains on the STFT, or the decoder is not told what is asked for.
    """
    if not weight >= 0:
        raise InputError(f"lambda_apart is 0 or more, got {weight}; change it.")
    if weight and not (config.conditioned and (config.mask_stage, config.mask_scale) == ("stft", "linear")):
        raise InputError(
            "lambda_apart needs a decoder that is told what is asked for, and masks that are gains on the STFT; set "
            "conditioned, mask_stage='stft' and mask_scale='linear', or lambda_apart=0."
        )


#: What presets change. The published l1 weight of 0.4 was summed over a batch of 16: 6.4 as a mean.
PUBLISHED: dict[str, Any] = {
    "objective": "soft",
    "mask_scale": "log1p",
    "reentry": "stft",
    "detail": False,
    "conditioned": False,
    "crop_s": 0.0,
    "shift": 0.0,
    "gain_db": 0.0,
    "noise_share": 0.0,
    "mix_share": 0.0,
}
PRESETS: dict[str, dict[str, Any]] = {
    "compact": {},
    "paper-small": dict(PUBLISHED),
    "paper": {
        **PUBLISHED,
        "epochs": 200,
        "learning_rate": 2e-4,
        "weight_decay": 2e-6,
        "warmup": 0.0,
        "optimizer": "adam",
        "schedule": "plateau",
    },
}
