"""Nothing changes by a basis at a layer: the layer is tapped, or U and its inverse stand behind it as a pair."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...audio.files import load_clip
from ...classifiers import layouts, surgery
from ...classifiers.base import Classifier
from ...errors import EarmarkError, ModelError
from ...types import Clip
from .views import Basis, transform

if TYPE_CHECKING:
    from .explainer import Apex

CHECK_CLIPS = 8

#: The largest change of a logit, as a share of the largest logit, by the precision of the model.
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-9}


@dataclass(frozen=True)
class Invariance:
    """How far logits are from the model's own.

    Parameters
    ----------
    tapped
        Whether those of a tapped pass are the model's own, bit for bit.
    pair
        The largest change of a logit with U and its inverse inserted as a pair, each product in float64.
    pair_own
        The same with products in the model's own precision: what folding into it would cost.
    scale
        The largest logit of these clips, by its absolute value.
    limit
        How large `pair` may be.
    """

    tapped: bool
    pair: float
    pair_own: float
    scale: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the basis changes nothing."""
        return self.tapped and self.pair <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Returns what diagnostics keep."""
        return {
            "tapped_exactly": self.tapped,
            "identity_pair": self.pair,
            "identity_pair_own_precision": self.pair_own,
            "identity_pair_limit": self.limit,
            "logit_scale": self.scale,
        }


@contextmanager
def identity_pair(
    classifier: Classifier, U: Basis, U_inv: Basis, *, precision: torch.dtype | None = torch.float64
) -> Iterator[None]:
    """Inserts U and its inverse behind the map layer, as two 1x1 convolutions, as long as the block lasts.

    Special tokens, which are no cells of the map, pass by. The module is restored also after an error.

    Parameters
    ----------
    precision
        Of the products; `None` is the map's own.
    """

    def hook(_module: object, _inputs: object, output: object) -> object:
        raw = surgery.main_tensor(output)
        if raw is None or not layouts.fits(raw, classifier.map_axes):
            raise ModelError(f"Layer {classifier.map_layer!r} gave no map to put a basis behind.")
        maps, special = layouts.canonical(raw, classifier.map_axes), layouts.special_of(raw, classifier.map_axes)
        there = maps.to(precision or maps.dtype)
        back = transform(U_inv.to(there), transform(U.to(there), there)).to(raw)
        return surgery.with_main_tensor(output, layouts.raw_of(back, classifier.map_axes, special))

    handle = classifier._layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def invariance(apex: "Apex", clips: Iterable[Clip], n_clips: int = CHECK_CLIPS) -> Invariance:
    """Returns how far logits are from the model's own on some of the clips; broken ones are passed over.

    Raises
    ------
    ModelError
        If no clip can be used.
    """
    every = sorted(clips, key=lambda clip: clip.id)
    samples = list(_samples(apex.classifier, every[:: max(1, len(every) // n_clips)], n_clips))
    if not samples:
        raise ModelError("Not a single clip could be read to check that the basis changes nothing; check the clips.")
    logits = [_logits(apex.classifier, one) for one in samples]
    pairs = [
        [_logits(apex.classifier, one, (apex.U, apex.U_inv), precision) for one in samples]
        for precision in (torch.float64, None)
    ]
    with torch.no_grad():
        tapped = all(torch.equal(apex.classifier.tap(x).logits, own) for x, own in zip(samples, logits, strict=True))
    scale = max(float(own.abs().max()) for own in logits)
    changes = [max(float((a - b).abs().max()) for a, b in zip(changed, logits, strict=True)) for changed in pairs]
    return Invariance(tapped, changes[0], changes[1], scale, LIMITS[apex.classifier.dtype] * scale)


def _samples(classifier: Classifier, clips: Iterable[Clip], most: int) -> Iterator[Tensor]:
    found = 0
    for clip in clips:
        if found == most:
            return
        try:
            yield classifier.prepare(load_clip(clip))
        except (EarmarkError, OSError):
            continue
        found += 1


def _logits(
    classifier: Classifier,
    samples: Tensor,
    basis: tuple[Basis, Basis] | None = None,
    precision: torch.dtype | None = None,
) -> Tensor:
    with torch.no_grad():
        if basis is None:
            return classifier.logits(samples)
        with identity_pair(classifier, *basis, precision=precision):
            return classifier.logits(samples)
