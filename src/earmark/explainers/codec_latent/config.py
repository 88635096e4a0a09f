"""The numbers of codec-latent explanations; no torch here."""

from dataclasses import dataclass
from typing import Literal

from ..config import Settings, require

Attribution = Literal["integrated-gradients", "gradient-shap", "input-x-gradient", "deeplift"]
Baseline = Literal["zero", "silence", "noise", "mean"]
Replacement = Literal["noise", "silence", "mean", "add-noise"]
Ranking = Literal["signed", "absolute"]
Granularity = Literal["entry", "frame", "channel"]
Keep = Literal["keep_top", "drop_top"]


@dataclass(frozen=True)
class CodecLatentConfig(Settings):
    """How latents are attributed, edited and heard (arXiv 2410.07530); what replaces entries is a sound first."""

    codec: str = "lapped"  # folder of an EncodecModel; lapped: windowed cosines, exact, nothing learned: the control
    bandwidth: float = 0.0  # of an EnCodec, in kbit/s; 0: its lowest
    continuous: bool = False  # explain latents before they are quantized, in place of sums of codebook entries
    attribution: Attribution = "integrated-gradients"  # or gradient-shap, input-x-gradient, deeplift
    n_steps: int = 64  # Gauss-Legendre nodes, or random points of gradient SHAP
    baseline: Baseline = "zero"  # where the way begins: zero, or the latent of silence, of noise, or the mean frame
    ranking: Ranking = "signed"  # by value, or by its size
    granularity: Granularity = "entry"  # what is kept or replaced at once; a group counts as the sum of its entries
    share: float = 0.2  # of the entries, frames or channels, that counts as the top
    keep: Keep = "keep_top"  # hear the top alone, or drop_top: the clip without it
    replacement: Replacement = "noise"  # what stands in for the rest; add-noise: the clip with noise added
    noise_db: float = -30.0  # level of pink noise that replaces, re the clip
    added_db: float = 0.0  # level of pink noise that is added, re the clip
    requantize: bool = False  # quantize edited latents before they are decoded

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_steps >= 1, "n_steps", "at least 1", self.n_steps)
        require(0 <= self.share <= 1, "share", "a share from 0 to 1", self.share)
        require(self.bandwidth >= 0, "bandwidth", "0 or more", self.bandwidth)
