"""Two sounds at once, each to be kept for its own label or text: what makes masks heard as what they are named (ours).

The published losses ask only that what is kept be decided as before; a mask of whatever is loud does that. A clip is
no ground truth, but a mixture of two clips is: what each of them holds of it is known.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...types import Samples
from ..fitted_config import FitConfig
from .decoder import Config, Look, Masker
from .loss import apart_loss

APART_DB = 6.0  # the second sound is at most so much softer or louder than the first


def unmixed(config: FitConfig, lambda_apart: float) -> FitConfig:
    """Returns how clips are drawn: where they are to be told apart, nothing is mixed into them before."""
    return replace(config, mix_share=0.0) if lambda_apart else config


def gains(samples: Samples, chance: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1"]:
    """Returns by how much the clip before each one in the batch is multiplied, so that it is within 6 dB of it.

    Parameters
    ----------
    samples
        `[batch, sample]`; the clip before the first one is the last.
    chance
        Numbers in [0, 1): 0 for 6 dB above the clip itself, 1 for 6 dB below.
    """
    energy = samples.square().mean(1, keepdim=True)
    db = (2 * chance.to(samples)[:, None] - 1) * APART_DB
    return (energy / energy.roll(1, 0).clamp_min(1e-12) * 10 ** (-db / 10)).sqrt()


def apart_term(
    masker: Masker[Config],
    samples: Samples,
    look: Look,
    asked: Float[Tensor, "batch _"],
    chance: Float[Tensor, " batch"],
    differ: Bool[Tensor, " batch"],
) -> Tensor:
    """Returns the mean `apart_loss` of each clip mixed with the one before it; one more forward pass of each.

    Parameters
    ----------
    masker
        The decoder around the classifier.
    samples, look
        Clips `[batch, sample]`, and what is seen of them alone.
    asked
        What the decoder is told of each clip alone: its label or text.
    chance
        How loud the other clip is, see `gains`.
    differ
        Whether the two clips of a mixture are asked for by different names; others do not count.
    """
    gain = gains(samples, chance)
    mixed = masker.look(samples + gain * samples.roll(1, 0)).repeated(2)
    first = look.whole.abs()
    second = gain[:, :, None] * first.roll(1, 0)
    both = torch.stack([asked, asked.roll(1, 0)], 1).flatten(0, 1)
    mask_logits = masker.logits(mixed, both, samples.shape[-1])
    own, other = (torch.stack(pair, 1).flatten(0, 1).to(mask_logits) for pair in ((first, second), (second, first)))
    counts = differ.to(mask_logits).repeat_interleave(2)
    return (counts * apart_loss(mask_logits, own, other)).sum() / counts.sum().clamp_min(1)
