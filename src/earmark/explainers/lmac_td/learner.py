"""The steps of the masker's training: its loss on a batch, and how held-out clips judge an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...classifiers.base import Classifier
from ...errors import TrainingError
from ...masking import masked_logits
from ...metrics.faithfulness import Passes, average_drop, input_fidelity
from ...types import Samples
from .. import fitted
from ..lmac.loss import thresholds
from .config import LmacTdConfig
from .evidence import derived_gain
from .loss import Decisions, Weights, apart, decision_terms, kept_share, loudness
from .separator import Look, Separator

Targets = Int[Tensor, " batch"]

JUDGED = 64  # held-out clips at most that judge an epoch, evenly chosen
JUDGED_BY = (
    "fidelity",
    "average_drop",
    "fidelity_at_area",
    "average_drop_at_area",
    "fidelity_out",
    "kept_share",
    "mask_mean",
)
AREA = 0.1  # share of the bins that is kept where an epoch is judged at one area
COLLAPSED = (0.005, 0.95)  # a mean mask outside of these says nothing


@dataclass
class Learner:
    """The steps of the masker's training."""

    separator: Separator
    data: fitted.Material

    @property
    def classifier(self) -> Classifier:
        """What is explained."""
        return self.separator.classifier

    @property
    def config(self) -> LmacTdConfig:
        """How it is trained."""
        return self.separator.config

    def calibrate(self) -> None:
        """Scales the taps by some training clips."""
        rows = self.data.training.samples[: self.config.batch_size]
        self.separator.masker.calibrate(self.separator.look(samples_of(rows, self.classifier)).maps)

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean loss over clips, and its weighted terms."""
        c, classifier, separator = self.config, self.classifier, self.separator
        drawn = fitted.Drawn.of(batch, classifier)
        look = separator.look(drawn.samples)
        target = fitted.asked_label(look.logits, drawn.choice, classifier)
        code, mask = separator.masks(look, self._asked(target))
        parts = separator.parts(drawn.samples, code, mask)
        inside = classifier.logits(parts.inside)
        outside = classifier.logits(parts.outside) if c.lambda_out else look.logits
        weights = Weights(c.lambda_in, c.lambda_out, c.lambda_l1, c.lambda_kept)
        decisions = Decisions(inside, outside, target, classifier.task, self._counts(look, target))
        terms = decision_terms(decisions, mask, code, weights, c.out_loss)
        if c.lambda_spec:
            terms["spec"] = c.lambda_spec * loudness(parts.inside, classifier.stft).mean()
        if c.lambda_sum:
            terms["sum"] = c.lambda_sum * apart(parts.inside + parts.outside, drawn.samples, c.sum_loss).mean()
        terms = {name: term.to(mask) for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum(), terms

    def validate(self) -> dict[str, float]:
        """Returns what the evidence of held-out clips keeps of their decisions.

        `score` is fidelity in percent minus average drop, both as means of `x_in` itself and of the tenth of the bins
        of which most was kept; minus half the fidelity of what is left out and half the share kept, in percent. So
        masks that keep everything, or everything in part, are not the best.
        """
        rows = [self._judged(part) for part in judged(self.data, self.classifier, self.config)]
        values = {name: float(np.nanmean([v for row in rows for v in row[name]])) for name in rows[0]}
        low, high = COLLAPSED
        if not low <= values["mask_mean"] <= high:
            raise TrainingError(
                f"The mean of the masks is {values['mask_mean']:.3g}: they say nothing. Change lambda_l1 (larger for "
                "masks near 1, smaller for masks near 0) or the learning rate."
            )
        fidelity = (values["fidelity"] + values["fidelity_at_area"]) / 2
        drop = (values["average_drop"] + values["average_drop_at_area"]) / 2
        score = 100 * fidelity - drop - 50 * values["fidelity_out"] - 50 * values["kept_share"]
        return {"score": score, **values}

    def _counts(self, look: Look, target: Targets) -> Tensor:
        """Returns 0 for clips of a multi-label classifier in which no label is decided, else 1."""
        if self.classifier.task == "multiclass":
            return torch.ones_like(look.logits[:, 0])
        probs = look.logits.sigmoid().gather(1, target[:, None])[:, 0]
        return (probs >= self.classifier.threshold).to(look.logits)

    def _asked(self, target: Targets) -> Tensor:
        return fitted.one_hot(target, len(self.classifier.labels), self.separator.masker.bias)

    @torch.no_grad()
    def _judged(self, samples: Samples) -> dict[str, list[float]]:
        classifier, look = self.classifier, self.separator.look(samples)
        target = fitted.asked_label(look.logits, torch.zeros(len(samples)), classifier)
        code, mask = self.separator.masks(look, self._asked(target))
        parts = self.separator.parts(samples, code, mask)
        inside = Passes(
            look.logits, target, classifier.logits(parts.inside), None, classifier.task, classifier.threshold
        )
        left = replace(inside, inside=classifier.logits(parts.outside))
        at_area = replace(inside, inside=masked_logits(classifier, samples, loudest(parts.inside, samples, classifier)))
        return {
            "fidelity": input_fidelity(inside).tolist(),
            "average_drop": average_drop(inside).tolist(),
            "fidelity_at_area": input_fidelity(at_area).tolist(),
            "average_drop_at_area": average_drop(at_area).tolist(),
            "fidelity_out": input_fidelity(left).tolist(),
            "kept_share": kept_share(mask, code).tolist(),
            "mask_mean": mask.mean((1, 2)).tolist(),
        }


def loudest(kept: Samples, samples: Samples, classifier: Classifier) -> Tensor:
    """Returns 1 for the tenth of the bins of which most was kept, else 0."""
    gain = derived_gain(kept, samples, classifier.stft)
    at = thresholds(gain, torch.full((len(gain),), AREA, device=gain.device))
    return (gain >= at[:, None, None]).to(samples)


def judged(data: fitted.Material, classifier: Classifier, config: LmacTdConfig) -> list[Samples]:
    """Returns the held-out clips that judge an epoch, in batches, as long as those of training: their middle parts."""
    rows = data.held_out.samples[:: max(1, -(-len(data.held_out.samples) // JUDGED))]
    n_samples = min(round(config.crop_s * classifier.sample_rate) or rows.shape[1], rows.shape[1])
    start = (rows.shape[1] - n_samples) // 2
    size = config.batch_size
    parts = [rows[first : first + size, start : start + n_samples] for first in range(0, len(rows), size)]
    return [samples_of(part, classifier) for part in parts]


def samples_of(rows: np.ndarray, classifier: Classifier) -> Samples:
    """Returns rows of a memory map as samples, where the classifier is and in its precision."""
    return torch.from_numpy(np.array(rows)).to(device=classifier.device, dtype=classifier.dtype)
