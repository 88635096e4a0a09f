"""The numbers of L2I, and how its explanations are told; no torch here."""

from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ..fitted_config import FitConfig

Preset = Literal["compact", "original", "speechbrain"]
Activations = Literal["gated", "decoded"]
Pooling = Literal["attention", "mean"]
Scale = Literal["linear", "log1p"]

CHOICES: dict[str, tuple[str, ...]] = {
    "preset": ("compact", "original", "speechbrain"),
    "activations": ("gated", "decoded"),
    "pooling": ("attention", "mean"),
    "relevance": ("max", "max-abs"),
}


@dataclass(frozen=True)
class L2iConfig(FitConfig):
    """How an L2I is built and trained; every term of the loss is a true mean, so the batch size does not matter."""

    epochs: int = 20  # passes over the training clips
    batch_size: int = 8  # clips per step
    learning_rate: float = 5e-3  # peak; cosine to zero after the warm-up
    weight_decay: float = 0.0  # decoupled (AdamW)
    preset: Preset = "compact"  # where the numbers come from: compact, original or speechbrain
    n_components: int = 64  # spectra in the dictionary, K
    sparsity: float = 0.8  # weight of the L1 norm of activations while the dictionary is learned, mu
    nmf_steps: int = 100  # multiplicative updates of the dictionary, at most
    nmf_columns: int = 8192  # frames of the training clips that it is learned from
    activations: Activations = "gated"  # gated: the clip's own activations times a gate; decoded: as published
    width: int = 16  # channels of the decoder of activations
    pooling: Pooling = "attention"  # how activations are pooled over frames
    attention: int = 64  # units of the attention, L
    relevance: Literal["max", "max-abs"] = "max"  # what relevances are divided by
    lambda_mse: float = 5.0  # weight of the mean squared error of log1p magnitudes
    lambda_fidelity: float = 0.5  # weight of the cross-entropy to the classifier's output
    lambda_fidelity_late: float = 1.0  # the same, in the last epochs
    late: float = 20 / 35  # share of the epochs after which it holds
    lambda_l1: float = 0.4  # weight of the mean activation
    blind: bool = False  # a control: psi reads zeros in place of maps, and knows the sound alone

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}; choose one.")
        for name in ("n_components", "nmf_steps", "nmf_columns", "width", "attention"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, got {getattr(self, name)}; change it.")
        for name in ("sparsity", "lambda_mse", "lambda_fidelity", "lambda_fidelity_late", "lambda_l1"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is 0 or more, got {getattr(self, name)}; change it.")

    @classmethod
    def of_preset(cls, preset: Preset, **changes: Any) -> "L2iConfig":
        """Returns the settings of a preset; see `PRESETS`."""
        if preset not in PRESETS:
            raise InputError(f"preset is one of {', '.join(PRESETS)}, got {preset!r}; choose one.")
        return cls(**{**PRESETS[preset], "preset": preset, **changes})

    def fidelity_at(self, epoch: int) -> float:
        """Returns the weight of the fidelity in an epoch, counted from 0."""
        return self.lambda_fidelity if epoch < self.late * self.epochs else self.lambda_fidelity_late


#: What both published recipes have in common: 100 components, activations from taps alone, clips as they are.
PUBLISHED: dict[str, Any] = {
    "n_components": 100,
    "activations": "decoded",
    "shift": 0.0,
    "gain_db": 0.0,
    "noise_share": 0.0,
    "mix_share": 0.0,
    "warmup": 0.0,
    "optimizer": "adam",
    "schedule": "constant",
}

#: What presets change. `original`: the authors' code for ESC-50. `speechbrain`: the recipe that L-MAC's tables compare
#: with; its first linear layer over frames, which fits one length alone, is a mean here. Their L1 terms are true means.
PRESETS: dict[str, dict[str, Any]] = {
    "compact": {},
    "original": {**PUBLISHED, "epochs": 35, "batch_size": 32, "learning_rate": 2e-4, "attention": 256},
    "speechbrain": {
        **PUBLISHED,
        "epochs": 200,
        "batch_size": 2,
        "learning_rate": 1e-4,
        "pooling": "mean",
        "relevance": "max-abs",
        "lambda_mse": 10.0,
        "lambda_fidelity": 1.0,
        "lambda_fidelity_late": 1.0,
        "lambda_l1": 0.8,
    },
}


@dataclass(frozen=True)
class L2iOptions:
    """How one explanation is told; none of it changes what was learned.

    Parameters
    ----------
    threshold
        Components whose relevance is above it are kept; in [0, 1), 0.2 to 0.8 in the literature. The most relevant one
        has relevance 1.
    top
        At most so many components, the most relevant first; 0 is all.
    mask_scale
        `linear`: a component's share multiplies the magnitude. `log1p`: as published, it multiplies the log1p
        magnitude; what comes of that is told as a gain all the same.
    """

    threshold: float = 0.2
    top: int = 0
    mask_scale: Scale = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold lies in 0 ... 1 without 1, got {self.threshold}; 0.2 to 0.8 are usual.")
        if self.top < 0:
            raise InputError(f"top is 0, for all components, or more, got {self.top}; change it.")
        if self.mask_scale not in ("linear", "log1p"):
            raise InputError(f"mask_scale is linear or log1p, got {self.mask_scale!r}; choose one.")
