"""The same explainer around another classifier: of other prompts, or, for checks, of other weights.

A copy shares what was learned (a basis, a decoder, a bank, which is not matched by fingerprint here) and forgets what
it had computed for its own classifier. A method that keeps more than the template does says itself how it is done, by
a private method `_on(classifier)`.
"""

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..classifiers.base import Classifier

if TYPE_CHECKING:
    from .base import Explainer

#: What methods remember of clips that they have seen, and what they begin with.
FRESH: dict[str, Any] = {"_last": None, "_means": {}}


def on_classifier(explainer: "Explainer", classifier: Classifier) -> "Explainer":
    """Returns the explainer around another classifier of the same architecture, such as one with re-drawn weights."""
    own = getattr(explainer, "_on", None)
    if own is not None:
        return own(classifier)
    return copied(explainer, classifier=classifier, explainer=lambda inner: on_classifier(inner, classifier))


def copied(explainer: "Explainer", /, **changes: Any) -> "Explainer":
    """Returns a shallow copy without what was computed; an explainer inside is copied by its own change."""
    other = copy.copy(explainer)
    for name, value in vars(explainer).items():
        if isinstance(getattr(type(explainer), name, None), cached_property):
            vars(other).pop(name)
        elif name in FRESH:
            setattr(other, name, copy.copy(FRESH[name]))
        elif _is_explainer(value) and "explainer" in changes:
            setattr(other, name, changes["explainer"](value))
        elif name in ("classifier", "config") and name in changes:
            setattr(other, name, changes[name])
    return other


def _is_explainer(value: object) -> bool:
    from .base import Explainer

    return isinstance(value, Explainer)
