"""A mask beside an explanation: the same clip and labels, told again by the L-MAC that is embedded for a classifier."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..classifiers.surgery import own_precision
from ..errors import ModelError
from ..evidence import Mask
from ..explanation import Explanation
from ..masking import masked_logits
from ..metrics.complexity import energy_kept, mask_mean
from ..types import probabilities
from .base import Explainer
from .load import embedded_folder, load_explainer

METHOD = "lmac"

#: Told of each label for which no mask could be drawn: the label, and what went wrong.
Failed = Callable[[str, Exception], None]


def embedded_masker(classifier: Classifier) -> Explainer | None:
    """Returns the L-MAC that is embedded for a classifier, or `None` where none is.

    Raises
    ------
    ModelError, MismatchError
        If it is damaged, or belongs to another classifier.
    """
    folder = embedded_folder(METHOD, classifier)
    return None if folder is None else load_explainer(folder, classifier=classifier)


def masks_beside(masker: Explainer, explanations: Sequence[Explanation], failed: Failed) -> list[Explanation | None]:
    """Explains the labels of explanations of one clip by masks as well, each with what `measured` adds.

    Where all labels that were heard are explained, the classifier hears the clip once for all of their masks.

    Parameters
    ----------
    failed
        Called for each label whose mask went wrong, whatever the reason was; there, `None` is returned.
    """
    together = _together(masker, explanations[0].waveform) if len(explanations) > 1 else {}
    return [_beside(masker, one, together.get(one.target.label), failed) for one in explanations]


def _together(masker: Explainer, waveform: Waveform) -> dict[str, Explanation]:
    """Returns the masks of all labels that were heard; none if one goes wrong, so that each is tried alone."""
    try:
        return {mask.target.label: mask for mask in masker.explain_all(waveform)}
    except Exception:  # whatever a mask meets
        return {}


def _beside(
    masker: Explainer, explanation: Explanation, mask: Explanation | None, failed: Failed
) -> Explanation | None:
    try:
        told = mask or masker.explain(explanation.waveform, explanation.target)
        part = explanation.provenance.start_s, explanation.provenance.end_s
        return measured(told, masker.classifier).renamed(explanation.name).of_part(*part)
    except Exception as error:  # a mask must not cost what it stands beside
        failed(explanation.target.label, error)
        return None


@own_precision()
@torch.no_grad()
def measured(explanation: Explanation, classifier: Classifier) -> Explanation:
    """Returns an explanation by a mask with how the classifier decides what is kept and what is left out.

    Both are made sound and pass the whole front end: two forward passes more, which the provenance counts. The mask's
    `measured` then holds `prob_inside` and `prob_outside` of the target, `energy_kept` and `mask_mean`.

    Raises
    ------
    ModelError
        If the evidence is no mask, or one of its values is not finite.
    """
    evidence, made = explanation.evidence, explanation.provenance
    if not isinstance(evidence, Mask) or not bool(evidence.gain.isfinite().all()):
        raise ModelError(f"{made.method} gave no mask of finite values; fit it again, and look at its held-out losses.")
    samples = classifier.prepare(explanation.waveform)
    gain = evidence.gain[None].to(samples)
    logits = masked_logits(classifier, samples.expand(2, -1), torch.cat([gain, 1 - gain]))
    probs = probabilities(logits.double(), classifier.task)[:, explanation.target.index].tolist()
    energy = energy_kept(gain, classifier.stft(samples).abs().square())
    numbers = {"prob_inside": probs[0], "prob_outside": probs[1]}
    numbers |= {"energy_kept": float(energy[0]), "mask_mean": float(mask_mean(gain)[0])}
    evidence = replace(evidence, measured={**evidence.measured, **numbers})
    return replace(explanation, evidence=evidence, provenance=replace(made, forward_passes=made.forward_passes + 2))
