"""How far a front end is from the feature extractor that it stands for, measured on sounds."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import ModelError
from ...types import Samples
from .base import FrontEnd
from .processors import extractor_of

Plane = Float[Tensor, "row column"]
TIME_FIRST = ("ASTFeatureExtractor", "ClapFeatureExtractor", "SeamlessM4TFeatureExtractor")


@dataclass(frozen=True)
class Parity:
    """What was measured, in units of the features.

    Parameters
    ----------
    max_abs, mean_abs
        Largest and mean distance between the two, over all clips.
    scale
        Standard deviation of the original's features, or a thousandth of the largest where they hardly vary.
    tolerance
        Largest distance allowed, in units of `scale`.
    ok
        Whether the largest distance is within the tolerance, and the mean within a twentieth of it: few may be so far.
    """

    max_abs: float
    mean_abs: float
    scale: float
    tolerance: float
    ok: bool


def parity(
    front_end: FrontEnd,
    processor: Any,
    clips: Samples | Iterable[Tensor],
    tolerance: float = 5e-2,
) -> Parity:
    """Compares a front end with the original extractor, clip by clip.

    Parameters
    ----------
    processor
        A Hugging Face feature extractor, or any function from samples `[sample]` (numpy, float32) to features
        `[row, column]`.
    clips
        Waveforms `[sample]` at the front end's rate; they may differ in length. Where the original draws parts of
        longer clips at random, the beginning of these is compared.
    tolerance
        Of the largest distance, in standard deviations of the original's features. Both compute in their own order and
        precision; where bands are nearly empty, a logarithm spreads roundings, so that it is not 1e-6.

    Raises
    ------
    ModelError
        If the two give features of different shape.
    """
    pairs = [_pair(front_end, processor, clip) for clip in clips]
    if not pairs:
        raise ModelError("No clips were given to compare front ends on; pass some.")
    distance = torch.cat([(ours - theirs).abs().flatten() for ours, theirs in pairs])
    values = torch.cat([theirs.flatten() for _, theirs in pairs])
    scale = max(float(values.std()), 1e-3 * float(values.abs().max()))
    max_abs, mean_abs = float(distance.max()), float(distance.mean())
    ok = max_abs <= tolerance * scale and mean_abs <= tolerance * scale / 20
    return Parity(max_abs, mean_abs, scale, tolerance, ok)


def _pair(front_end: FrontEnd, processor: Any, clip: Float[Tensor, " sample"]) -> tuple[Plane, Plane]:
    extractor = extractor_of(processor)
    if type(extractor).__name__ == "ClapFeatureExtractor":
        clip = clip[: front_end.max_samples]
    with torch.no_grad():
        ours = front_end(clip[None])[0].double().cpu()
    theirs = original(extractor, clip, front_end.sample_rate)
    if ours.shape != theirs.shape:
        raise ModelError(
            f"The front end gives {tuple(ours.shape)} features and {type(extractor).__name__} {tuple(theirs.shape)}; "
            "change the front end's numbers, or pass the extractor that it stands for."
        )
    return ours, theirs


def original(extractor: Any, clip: Float[Tensor, " sample"], sample_rate: int) -> Plane:
    """Returns what an extractor makes of a clip, as `[row, column]` in float64."""
    samples = clip.detach().cpu().float().numpy()
    if not hasattr(extractor, "model_input_names"):
        return torch.as_tensor(np.asarray(extractor(samples))).double()
    with _untouched_randomness():
        batch = extractor(samples, sampling_rate=sample_rate, return_tensors="np")
    plane = torch.as_tensor(np.asarray(batch[extractor.model_input_names[0]])).double()
    plane = plane.reshape(-1, *plane.shape[-2:])[0] if plane.ndim > 2 else plane.reshape(1, -1)
    return plane.T if type(extractor).__name__ in TIME_FIRST else plane


@contextmanager
def _untouched_randomness() -> Iterator[None]:
    """Leaves numpy's global random state as it was: CLAP's extractor draws from it."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
