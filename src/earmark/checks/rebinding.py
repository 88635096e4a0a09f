"""The same explainer around another classifier, or with another seed: private, and only for checks.

A copy shares what was learned (a basis, a decoder, a bank, which is not matched by fingerprint here) and forgets what
it had computed for its own classifier. A method that keeps more than the template does says itself how it is done, by
a private method `_on(classifier)`.
"""

import copy
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from ..classifiers.base import Classifier
from ..explainers import FITTED
from ..explainers.base import Explainer

#: What methods remember of clips that they have seen, and what they begin with.
FRESH: dict[str, Any] = {"_last": None, "_means": {}}


def on_classifier(explainer: Explainer, classifier: Classifier) -> Explainer:
    """Returns the explainer around another classifier of the same architecture, such as one with re-drawn weights."""
    own = getattr(explainer, "_on", None)
    if own is not None:
        return own(classifier)
    return _copied(explainer, classifier=classifier, explainer=lambda inner: on_classifier(inner, classifier))


def with_seed(explainer: Explainer, seed: int) -> Explainer:
    """Returns the explainer with another seed of what it draws when it explains; itself, anew, where it draws nothing.

    The seed of a fit is not changed: that would be another explainer.
    """
    if not draws(explainer):
        return _copied(explainer)
    changed = {"config": replace(explainer.config, seed=seed)} if _has_seed(explainer) else {}  # type: ignore[attr-defined]
    return _copied(explainer, explainer=lambda inner: with_seed(inner, seed), **changed)


def draws(explainer: Explainer) -> bool:
    """Says whether a method draws at random when it explains."""
    declared = getattr(explainer, "random", None)
    if declared is not None:
        return bool(declared)
    return explainer.method not in FITTED and explainer._seed() is not None


def _has_seed(explainer: Explainer) -> bool:
    config = getattr(explainer, "config", None)
    return is_dataclass(config) and "seed" in [field.name for field in fields(config)]


def _copied(explainer: Explainer, /, **changes: Any) -> Explainer:
    """Returns a shallow copy without what was computed; an explainer inside is copied by its own change."""
    other = copy.copy(explainer)
    for name, value in vars(explainer).items():
        if isinstance(getattr(type(explainer), name, None), cached_property):
            vars(other).pop(name)
        elif name in FRESH:
            setattr(other, name, copy.copy(FRESH[name]))
        elif isinstance(value, Explainer) and "explainer" in changes:
            setattr(other, name, changes["explainer"](value))
        elif name in ("classifier", "config") and name in changes:
            setattr(other, name, changes[name])
    return other
