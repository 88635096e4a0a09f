"""A few clips to see and hear, with and without the region: those on which it costs most, and least."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.waveform import Waveform
from ...classifiers.base import Classifier, Grid
from ...masking import mask_out
from ...types import Clip
from ..loading import Counted, prepared
from .config import REGION
from .places import Ground, Place
from .table import Ablation

SHOWN = ("time-frequency", "time", "frequency", "square")  # views, the first that was scored is shown


@dataclass(frozen=True, eq=False)
class Example:
    """One clip and label: the clip, without APEX's region, and without a random one.

    Parameters
    ----------
    clip, target, view
        What is shown.
    probs
        Of the label in the three.
    sounds
        The three as the classifier hears them.
    gains
        What the region and the random one take, `[freq, frame]`.
    grid
        On which these lie.
    """

    clip: str
    target: str
    view: str
    probs: tuple[float, float, float]
    sounds: tuple[Waveform, Waveform, Waveform]
    gains: tuple[Float[Tensor, "freq frame"], Float[Tensor, "freq frame"]]
    grid: Grid


def examples_of(
    found: Ablation, classifier: Classifier, clips: Sequence[Clip], *, most: int = 2, view: str | None = None
) -> Iterator[Example]:
    """Yields the clips that lose most without the region, and those that lose least.

    Parameters
    ----------
    clips
        Those that were scored.
    most
        Of each kind.
    view
        By default the first of `SHOWN` that was scored.
    """
    config = found.about["config"]
    view = view or next(name for name in SHOWN if name in config["views"])
    rows = [row for row in found.table.to_pylist() if row["view"] == view and not row["kept"]]
    rows = [row for row in rows if row["fill"] == config["fills"][0] and row["failed"] is None]
    regions = sorted((r for r in rows if r["condition"] == REGION), key=lambda r: (-r["logit_lost"], r["clip"]))
    randoms = {(r["clip"], r["target"]): r for r in reversed(rows) if r["condition"] == "random"}
    n = len(regions)
    by_id = {clip.id: clip for clip in clips}
    for row in [*regions[:most], *regions[max(most, n - most) :]]:
        samples = prepared(classifier, by_id[row["clip"]], Counted()) if row["clip"] in by_id else None
        other = randoms.get((row["clip"], row["target"]))
        if samples is not None and other is not None:
            yield _example(classifier, samples, row, other)


def _example(classifier: Classifier, samples: Tensor, row: dict[str, Any], other: dict[str, Any]) -> Example:
    grid = classifier.grid(samples.shape[1])
    gains = Ground(classifier.geometry(samples.shape[1]), grid).gains([_place(row), _place(other)])
    with torch.no_grad():
        without = mask_out(samples.expand(2, -1), gains.to(samples.device), classifier.stft)
    sounds = [Waveform(one[None].float().cpu(), classifier.sample_rate) for one in (samples[0], *without)]
    return Example(
        clip=row["clip"],
        target=row["target"],
        view=row["view"],
        probs=(row["whole_prob"], row["prob"], other["prob"]),
        sounds=(sounds[0], sounds[1], sounds[2]),
        gains=(gains[0], gains[1]),
        grid=grid,
    )


def _place(row: dict[str, Any]) -> Place:
    return Place(row["freq"], row["frame"], row["height"], row["width"], cross=row["view"] == "time-frequency")
