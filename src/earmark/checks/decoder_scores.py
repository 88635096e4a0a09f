"""What masks keep of a decision, clip by clip: those of an explainer and of its controls, on the intact classifier.

Masks re-enter the classifier as sound. Equal areas decide between two explainers; soft masks are told beside, each with
its mean, since a mask that lets everything through loses nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ..explainers.base import Explainer
from ..masking import masked_logits
from ..masks import mask_of
from ..metrics.faithfulness import Passes, average_drop, input_fidelity
from ..types import Samples, Target
from .compared import Compared, Rows

DROP = "drop"  # the mean over all areas: the number that decides
SOFT = "soft"


def score_names(areas: Sequence[float]) -> dict[str, str]:
    """Returns what is scored, with what a reader calls it.

    Examples
    --------
    >>> list(score_names([0.1]))
    ['drop', 'drop_soft', 'fidelity_soft', 'mask_mean', 'drop_0.1', 'fidelity_0.1']
    """
    found = {DROP: "average drop, %, mean of all areas"}
    for name, text in ((SOFT, "soft mask"), *((f"{area:g}", f"{100 * area:g} % of the bins") for area in areas)):
        found |= {f"drop_{name}": f"average drop, %, {text}", f"fidelity_{name}": f"input fidelity, {text}"}
        found |= {"mask_mean": "mean of the soft mask"} if name == SOFT else {}
    return found


class Scorer:
    """Scores masks on the clips and labels of a comparison.

    Parameters
    ----------
    compared
        What gives the clips, their labels, and a memory for what is finished.
    areas
        Shares of the bins.
    """

    def __init__(self, compared: Compared, areas: Sequence[float]) -> None:
        self.compared, self.areas, self.subject = compared, tuple(areas), compared.subject

    def rows(self, part: str, make: Callable[[], Explainer]) -> Rows:
        """Returns the scores of an explainer's masks, clip by clip; NaN where no mask could be made."""
        told = self.subject.memory.json(f"{self.compared.name}/{part}-scores", lambda: self._scored(make()))
        return dict(told)

    def _scored(self, explainer: Explainer) -> Rows:
        found: Rows = {name: [] for name in score_names(self.areas)}
        for i, (_, samples) in enumerate(self.subject.batches()):
            for name, values in self._batch(explainer, samples, self.compared.targets[i]).items():
                found[name] += values
            self.compared.tick(len(samples))
        return found

    @torch.no_grad()
    def _batch(self, explainer: Explainer, samples: Samples, targets: list[Target]) -> Rows:
        grid = self.subject.classifier.grid(samples.shape[1])
        try:
            told = self.subject.evidence(explainer, samples, targets)
            gains = torch.stack([one.stft_gain(grid) for one in told]).float()
            values = torch.stack([one.ranking(grid) for one in told]).detach().float().cpu()
        except Exception as error:
            self.subject.failures[f"{type(error).__name__}: {error}"] += len(samples)
            return {name: [torch.nan] * len(samples) for name in score_names(self.areas)}
        masks = [(SOFT, gains), *((f"{area:g}", mask_of(values, "area", area).gain) for area in self.areas)]
        rows = dict(self._kept(samples, targets, masks))
        drops = torch.stack([rows[f"drop_{area:g}"] for area in self.areas])
        rows |= {DROP: drops.mean(0), "mask_mean": gains.mean((1, 2)).double()}
        finite = values.isfinite().flatten(1).all(1)
        return {name: torch.where(finite, row.cpu(), torch.nan).tolist() for name, row in rows.items()}

    def _kept(
        self, samples: Samples, targets: Sequence[Target], masks: Sequence[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields name and scores of each mask."""
        classifier = self.subject.classifier
        asked = torch.tensor([target.index for target in targets], device=samples.device)
        whole = classifier.logits(samples)
        passes = partial(Passes, whole, asked, task=classifier.task, threshold=classifier.threshold)
        for name, gain in masks:
            kept = passes(masked_logits(classifier, samples, gain.to(samples)))
            yield f"drop_{name}", average_drop(kept)
            yield f"fidelity_{name}", input_fidelity(kept)
