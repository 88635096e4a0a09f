"""The same explainer around another classifier, or with another seed: private, and only for checks.

A copy shares what was learned (a basis, a decoder, a bank, which is not matched by fingerprint here) and forgets what
it had computed for its own classifier. A method that keeps more than the template does says itself how it is done, by
a private method `_on(classifier)`.
"""

from dataclasses import fields, is_dataclass, replace

from ..explainers import FITTED
from ..explainers.base import Explainer
from ..explainers.rebinding import copied
from ..explainers.rebinding import on_classifier as on_classifier


def with_seed(explainer: Explainer, seed: int) -> Explainer:
    """Returns the explainer with another seed of what it draws when it explains; itself, anew, where it draws nothing.

    The seed of a fit is not changed: that would be another explainer.
    """
    if not draws(explainer):
        return copied(explainer)
    changed = {"config": replace(explainer.config, seed=seed)} if _has_seed(explainer) else {}  # type: ignore[attr-defined]
    return copied(explainer, explainer=lambda inner: with_seed(inner, seed), **changed)


def draws(explainer: Explainer) -> bool:
    """Says whether a method draws at random when it explains."""
    declared = getattr(explainer, "random", None)
    if declared is not None:
        return bool(declared)
    return explainer.method not in FITTED and explainer._seed() is not None


def _has_seed(explainer: Explainer) -> bool:
    config = getattr(explainer, "config", None)
    return is_dataclass(config) and "seed" in [field.name for field in fields(config)]
