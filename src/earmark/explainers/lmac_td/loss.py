"""The losses of LMAC-TD as pure functions; every term is a mean over clips.

Source: Mancini, Paissan, Ravanelli and Subakan, "LMAC-TD: Producing Time Domain Explanations for Audio Classifiers"
(2024), with the signs and weights of the public code. There, nothing bounded the term of what is left out, and the l1
term was on the spectrogram of the evidence; here that is `spec`, and `l1` is on the mask.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ...audio.stft import Stft
from ...types import Logits, Samples, Task
from ..lmac.loss import bounded, decision_loss
from .config import OutLoss, SumLoss

Code = Float[Tensor, "batch filter frame"]
PerClip = Float[Tensor, " batch"]

SILENT = 1e-8  # added to energies, so that silent clips have finite losses


@dataclass(frozen=True)
class Weights:
    """How the terms of the loss add up."""

    inside: float = 4.0
    outside: float = 1.0
    l1: float = 4.0
    kept: float = 0.0


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a classifier says of both parts of clips, and what it is asked.

    Parameters
    ----------
    inside, outside
        Logits `[batch, label]` of what is kept and of what is left out.
    target
        The label that each clip is explained for.
    task
        `multiclass` or `multilabel`.
    counts
        1 for clips that count, 0 for those of which no label is decided: nothing in them is evidence.
    """

    inside: Logits
    outside: Logits
    target: Int[Tensor, " batch"]
    task: Task
    counts: PerClip


def decision_terms(decisions: Decisions, mask: Code, code: Code, weights: Weights, form: OutLoss) -> dict[str, Tensor]:
    """Returns the weighted terms.

    `inside` CE(f(x_in), c), `outside` the loss of what is left out (`outside_loss`), `l1` the mean of the mask m, and
    `kept` the share of the code's l1 norm that m lets through (ours).
    """
    d = decisions
    inside = decision_loss(d.inside, d.target, d.task) * d.counts
    outside = outside_loss(d.outside, d.target, d.task, form) * d.counts
    return {
        "inside": weights.inside * inside.mean(),
        "outside": weights.outside * outside.mean(),
        "l1": weights.l1 * mask.mean(),
        "kept": weights.kept * kept_share(mask, code).mean(),
    }


def outside_loss(logits: Logits, target: Int[Tensor, " batch"], task: Task, form: OutLoss) -> PerClip:
    """Returns what is lost by a complement that still has its clip's label, per clip.

    `published`: minus the cross-entropy, bounded at -log K; its slope vanishes where the label is certain, as it is for
    most complements at first. `absent`: `-log(1 - p_c)`, whose slope is largest there (ours). Both are flat once `p_c`
    is at most that of a uniform guess.
    """
    n_labels = 2 if task == "multilabel" else logits.shape[1]
    if form == "published":
        return -bounded(decision_loss(logits, target, task), n_labels)
    own = logits.gather(1, target[:, None])[:, 0]
    others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(1) if task == "multiclass" else 0 * own
    return functional.softplus(own - others).clamp_min(-math.log1p(-1 / n_labels))


def kept_share(mask: Code, code: Code) -> PerClip:
    """Returns `<m, w> / sum w` in [0, 1]: the l1 norm of a masked code, at any level of the clip.

    The mean of the mask hardly counts the few loud filters and frames, which are most of what is heard.
    """
    return (mask * code).sum((1, 2)) / (code.sum((1, 2)) + SILENT)


def loudness(kept: Samples, stft: Stft) -> PerClip:
    """Returns the mean over bins of `log(1 + |STFT(x_in)|)`, which rewards quiet evidence."""
    return stft(kept).abs().log1p().mean((1, 2))


def apart(together: Samples, samples: Samples, form: SumLoss) -> PerClip:
    """Returns how far two parts are from adding up to their clip.

    `ratio`: the energy of the difference over that of the clip. `si-snr`: the negative scale-invariant SNR in dB, as
    published, which does not see a common gain.
    """
    if form == "ratio":
        return (together - samples).square().sum(1) / (samples.square().sum(1) + SILENT)
    return -si_snr_db(together, samples)


def si_snr_db(estimate: Samples, source: Samples) -> PerClip:
    """Returns the scale-invariant signal-to-noise ratio in dB, of clips without their means (Le Roux et al., 2019)."""
    estimate, source = (x - x.mean(1, keepdim=True) for x in (estimate, source))
    scale = ((estimate * source).sum(1, keepdim=True) + SILENT) / (source.square().sum(1, keepdim=True) + SILENT)
    target = scale * source
    return 10 * torch.log10((target.square().sum(1) + SILENT) / ((estimate - target).square().sum(1) + SILENT))
