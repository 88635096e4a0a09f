"""Scorer: the scalar that is explained, as a module that Captum can run on any number of rows."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..classifiers.relu import check_all_seen, watched
from ..types import Target
from .stages import Entry, Which


class Scorer(nn.Module):
    """Returns scores of rows at a stage; row i is judged by the target, and has the phase, of clip `which[i]`.

    The user's module is not a part of it, so that Captum hooks nothing of the user's. What it may hook are
    `stand_ins`, which do the module's activations while it runs.

    Parameters
    ----------
    entry
        The clips.
    targets
        One for each clip.
    stand_ins
        What does the activation calls, in order; `None` leaves them alone.
    """

    def __init__(self, entry: Entry, targets: Sequence[Target], stand_ins: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        self._entry, self._targets = entry, tuple(targets)
        self.stand_ins = None if stand_ins is None else nn.ModuleList(stand_ins)

    def forward(self, x: Tensor, which: Which) -> Float[Tensor, " row"]:
        """Returns the score of each row."""
        if self.stand_ins is None:
            return self._entry.scores(x, which, self._targets)
        with watched(self._entry.classifier.module, list(self.stand_ins)) as watch:
            scores = self._entry.scores(x, which, self._targets)
        check_all_seen(scores, watch)
        return scores


def rows_of(entry: Entry) -> Which:
    """Returns `which` where each row is its own clip."""
    return torch.arange(len(entry))
