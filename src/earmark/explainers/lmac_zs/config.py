"""The numbers of LMAC-ZS; no torch here."""

from dataclasses import dataclass
from typing import ClassVar

from ...errors import InputError
from ..fitted_config import FitConfig
from ..lmac.config import CHOICES, MaskStage, Scale, TrainingStage, refuse_apart


@dataclass(frozen=True)
class LmacZsConfig(FitConfig):
    """How an LMAC-ZS is built and trained; every term of its loss is a mean."""

    conditioned: ClassVar[bool] = True  # its decoder is told a text

    epochs: int = 12  # passes over the training clips
    learning_rate: float = 2e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.0  # decoupled (AdamW)
    width: int = 0  # channels of the decoder; 0: as many as the limits on its size allow
    detail: bool = True  # whether the clip's own level takes part, bin by bin
    mask_stage: MaskStage = "stft"  # where the mask lives: stft, which can be heard, or features
    mask_scale: Scale = "linear"  # linear: the mask is a gain; log1p: as published, only with reentry stft
    reentry: TrainingStage = "waveform"  # where the masked clip enters the model in training
    n_prompts: int = 4  # prompts for each clip and step: the nearest one, and others drawn; 0: all
    lambda_match: float = 1.0  # weight of the similarities that masked clips should keep
    lambda_l1: float = 1.0  # weight of the mean of the mask
    lambda_diversity: float = 0.1  # weight of masks being as unlike as their prompts
    lambda_out: float = 0.0  # weight of what is left out being no nearer to the prompt than silence; published: none
    lambda_apart: float = 0.0  # weight of keeping, of two clips at once, each for its own prompt; published: none
    most_alike: float = 0.95  # largest mean overlap of masks of two prompts after training; 1: any
    blind: bool = False  # a control: the decoder reads zeros in place of maps, and knows the sound and the text alone

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mask_stage", "mask_scale", "reentry"):
            if getattr(self, name) not in CHOICES[name]:
                allowed = ", ".join(CHOICES[name])
                raise InputError(f"{name} is one of {allowed}, got {getattr(self, name)!r}; choose one.")
        for name in ("lambda_match", "lambda_l1", "lambda_diversity", "lambda_out", "width"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is 0 or more, got {getattr(self, name)}; change it.")
        if self.n_prompts < 0 or self.n_prompts == 1:
            raise InputError(
                f"n_prompts is 0 (all) or at least 2, got {self.n_prompts}; one has nothing to differ from."
            )
        if not 0 < self.most_alike <= 1:
            raise InputError(f"most_alike lies in 0 ... 1, got {self.most_alike}; change it.")
        if self.mask_scale == "log1p" and (self.reentry != "stft" or self.mask_stage != "stft"):
            raise InputError("mask_scale log1p needs reentry stft and mask_stage stft; change one of them.")
        refuse_apart(self.lambda_apart, self)

    @property
    def apart_alone(self) -> bool:
        """Whether it learns from mixtures of two clips and from nothing else, which costs two passes for each clip."""
        others = self.lambda_match, self.lambda_l1, self.lambda_diversity, self.lambda_out
        return bool(self.lambda_apart) and not any(others)
