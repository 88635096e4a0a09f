"""Small pictures of prototypes, for where their sound is not at hand: features of a clip in 256 steps."""

from collections.abc import Iterable

import torch
from jaxtyping import UInt8
from torch import Tensor

from ..audio.files import load_clip
from ..classifiers.base import Classifier
from ..types import Clip

Picture = UInt8[Tensor, "row column"]

MAX_COLUMNS = 128


def picture_of(classifier: Classifier, clip: Clip) -> Picture:
    """Returns a clip's features `[row, column]`, the lowest value 0 and the highest 255, at most 128 columns.

    Rows are the feature rows (for their frequencies see `Geometry.row_edges_hz`); columns divide the clip evenly.
    """
    with torch.no_grad():
        features = classifier.at(load_clip(clip), "features")[:1].float().cpu()
    n_columns = min(features.shape[2], MAX_COLUMNS)
    small = torch.nn.functional.adaptive_avg_pool1d(features, n_columns)[0]
    low, high = small.amin(), small.amax()
    return ((small - low) / (high - low).clamp_min(1e-9) * 255).round().to(torch.uint8)


def pictures_of(classifier: Classifier, clips: Iterable[tuple[str, Clip]]) -> dict[str, Picture]:
    """Returns pictures by the hash of the sound, for pairs of hash and clip."""
    return {sha256: picture_of(classifier, clip) for sha256, clip in clips}
