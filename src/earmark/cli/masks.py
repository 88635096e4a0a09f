"""The mask beside prototypes: what goes wrong with it is said, and never costs what it stands beside."""

from typing import TYPE_CHECKING

from .options import say

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..explainers.base import Explainer
    from ..explanation import Explanation


def embedded_mask(model: "Classifier", against: str | None = None) -> "Explainer | None":
    """Returns the explainer whose masks stand beside prototypes, if there is one; why it cannot be used is said."""
    from ..explainers.beside import embedded_masker

    try:
        masker = embedded_masker(model)
    except Exception as error:  # a mask must not cost what it stands beside
        say(f"earmark: there is no mask beside the prototypes: {error}")
        return None
    if masker and against is not None:
        say("There is no mask beside the prototypes: one label is drawn at a time, and not one against another.")
        return None
    return masker


def masks_of(masker: "Explainer | None", explanations: "list[Explanation]") -> "list[Explanation | None]":
    """Returns the mask beside each explanation of a clip; those that cannot be drawn are named."""
    if masker is None:
        return []
    from ..explainers.beside import masks_beside

    def failed(label: str, error: Exception) -> None:
        say(f"earmark: {explanations[0].name}: there is no mask for {label}: {error}")

    return masks_beside(masker, explanations, failed)
