"""Does what a mask keeps decide as the whole clip did, and does what it leaves out no longer?

Conventions: `Passes` holds logits, never probabilities, so that no softmax can be applied twice by accident. One row is
one clip and one explained label; a multi-label clip has a row for each label above the threshold (`decided_rows`). Each
function returns one number per row whose plain mean is the table's number; average_* are in percent. `p` is the
probability of the explained label (softmax, or sigmoid for multi-label), `z` its logit.

Changes of the probability of at most 1e-6 count as none: a mask of ones, re-synthesized in float32, neither raises nor
lowers anything. Degenerate rows have stated values and a flag (`flags_of`): `average_gain` is 0 where `p > 1 - 1e-6`;
`average_drop` is NaN where `p < 1e-6`; a multi-label row that was decided by its top label alone asks `input_fidelity`
for the top label. Logits that are NaN give NaN. For every row average_gain <= average_increase, average_drop <= 100 -
average_increase, and faithfulness <= p.

Sources: Paissan et al., "Listenable Maps for Audio Classifiers" (2024), section 4; Chattopadhyay et al. (2018) for
average drop and increase; Zhang et al. (2024) for average gain.
"""

from dataclasses import dataclass
from enum import IntFlag

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..types import Logits, Task, probabilities

PerClip = Float[Tensor, " batch"]
Targets = Int[Tensor, " batch"]

TINY = 1e-6  # of a probability: certain, impossible, and what rounding in float32 changes


class PassFlag(IntFlag):
    """What is unusual about a row; `PassFlag(int(flags[i])).name` spells it."""

    CERTAIN = 1  # p > 1 - 1e-6: no gain is possible
    IMPOSSIBLE = 2  # p < 1e-6: no drop is defined
    UNDECIDED = 4  # multi-label: the explained label is below the threshold on the whole clip
    NOT_FINITE = 8  # some logit is NaN or infinite


@dataclass(frozen=True, eq=False)
class Passes:
    """What the classifier says of whole clips, of what their masks keep, and of what these leave out.

    Parameters
    ----------
    whole, inside, outside
        Logits `[batch, label]` of the clip, of mask-in, of mask-out; a metric asks only for what it needs.
    target
        `[batch]`, the explained label's position.
    task, threshold
        As the classifier's.
    """

    whole: Logits
    target: Targets
    inside: Logits | None = None
    outside: Logits | None = None
    task: Task = "multiclass"
    threshold: float = 0.5


def average_increase(passes: Passes) -> PerClip:
    """Returns 100 where the mask raises the probability, `p_in > p`, else 0 (AI; higher is better)."""
    change = _change(passes)
    return _or_nan(100 * (change > 0).double(), change)


def average_drop(passes: Passes) -> PerClip:
    """Returns the relative loss of probability in percent, `100 max(0, p - p_in) / p` (AD; lower is better).

    NaN where `p < 1e-6`.
    """
    p = _prob(passes, passes.whole)
    return torch.where(p < TINY, torch.nan, 100 * (0 - _change(passes)).clamp_min(0) / p)


def average_drop_legacy(passes: Passes) -> PerClip:
    """Returns `average_drop` on a softmax of the softmax, as published code of L-MAC and its successors computes it.

    It cannot exceed 100 (1 - 1/e) = 63.2 and exists only to be compared with printed values.

    Raises
    ------
    InputError
        For a multi-label classifier, where no softmax is printed anywhere.
    """
    if passes.task != "multiclass":
        raise InputError("average_drop_legacy needs a multiclass classifier, got a multilabel one; use average_drop.")
    whole, inside = (_need(z).double().softmax(1).softmax(1) for z in (passes.whole, passes.inside))
    p, p_in = (_pick(probs, passes.target) for probs in (whole, inside))
    return 100 * (p - p_in).clamp_min(0) / p


def average_gain(passes: Passes) -> PerClip:
    """Returns the share of the missing probability that the mask adds, `100 max(0, p_in - p) / (1 - p)` (AG; higher).

    0 where `p > 1 - 1e-6`.
    """
    p, change = _prob(passes, passes.whole), _change(passes)
    certain = p > 1 - TINY
    gain = 100 * change.clamp_min(0) / torch.where(certain, 1, 1 - p)
    return _or_nan(torch.where(certain, 0, gain), change)


def faithfulness_prob(passes: Passes) -> PerClip:
    """Returns `p - p_out`, what the probability loses without the explanation, in [-1, 1] (FF; higher is better)."""
    return _prob(passes, passes.whole) - _prob(passes, passes.outside)


def faithfulness_logit(passes: Passes) -> PerClip:
    """Returns `z - z_out`, what the logit loses without the explanation: the wording of the L-MAC paper (higher)."""
    whole, outside = _need(passes.whole), _need(passes.outside)
    return (_pick(whole, passes.target) - _pick(outside, passes.target)).double()


def input_fidelity(passes: Passes) -> PerClip:
    """Returns 1 where the mask keeps the decision, else 0 (Fid-In; higher is better).

    The decision is the top label; for multi-label, that the label lies above the threshold.
    """
    return _kept(passes, _need(passes.inside))


def output_fidelity(passes: Passes) -> PerClip:
    """Returns 1 where the rest of the clip still has the decision, else 0 (Fid-Out; lower is better)."""
    return _kept(passes, _need(passes.outside))


def flags_of(passes: Passes) -> Int[Tensor, " batch"]:
    """Returns sums of `PassFlag`, one per row."""
    p = _prob(passes, passes.whole)
    given = [logits for logits in (passes.whole, passes.inside, passes.outside) if logits is not None]
    finite = torch.stack([logits.isfinite().all(1) for logits in given]).all(0)
    found = {
        PassFlag.CERTAIN: p > 1 - TINY,
        PassFlag.IMPOSSIBLE: p < TINY,
        PassFlag.UNDECIDED: _undecided(passes),
        PassFlag.NOT_FINITE: ~finite,
    }
    return torch.stack([int(flag) * where.long() for flag, where in found.items()]).sum(0)


def decided_rows(
    logits: Logits, task: Task, threshold: float = 0.5
) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"], Bool[Tensor, " row"]]:
    """Returns the rows of a table: clip, explained label, and whether no label was above the threshold.

    Multiclass clips have one row, their top label; multi-label clips one per label above the threshold, or the top
    label if there is none, which is what the third tensor marks.
    """
    top = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).bool()
    above = top if task == "multiclass" else probabilities(logits, task) >= threshold
    nothing = ~above.any(1)
    clip, label = torch.where(nothing[:, None], top, above).nonzero(as_tuple=True)
    return clip, label, nothing[clip]


def _kept(passes: Passes, logits: Logits) -> PerClip:
    same = logits.argmax(1) == passes.target
    if passes.task == "multilabel":
        above = _prob(passes, logits) >= passes.threshold
        same = torch.where(_undecided(passes), same, above)
    return _or_nan(same.double(), _pick(logits, passes.target).double() + logits.double().sum(1))


def _change(passes: Passes) -> PerClip:
    """Returns `p_in - p`, without what rounding changes."""
    change = _prob(passes, passes.inside) - _prob(passes, passes.whole)
    return torch.where(change.abs() <= TINY, 0, change)


def _undecided(passes: Passes) -> Bool[Tensor, " batch"]:
    if passes.task == "multiclass":
        return torch.zeros_like(passes.target, dtype=torch.bool)
    return _prob(passes, passes.whole) < passes.threshold


def _prob(passes: Passes, logits: Logits | None) -> PerClip:
    return _pick(probabilities(_need(logits).double(), passes.task), passes.target)


def _pick(values: Float[Tensor, "batch label"], target: Targets) -> PerClip:
    return values.gather(1, target[:, None].long())[:, 0]


def _need(logits: Logits | None) -> Logits:
    if logits is None:
        raise InputError("This metric needs a pass that was not made; give Passes inside= or outside=.")
    return logits


def _or_nan(values: PerClip, source: PerClip) -> PerClip:
    return torch.where(source.isnan(), torch.nan, values)
