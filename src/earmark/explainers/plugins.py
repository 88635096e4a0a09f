"""Explainers of other packages: the entry points of the group `earmark.explainers`, name = "module:Class".

Names of earmark's own come first. Nothing of another package is imported before its explainer is asked for.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import EarmarkError, ModelError
from . import EXPLAINERS
from .base import Explainer

GROUP = "earmark.explainers"


def plugins() -> dict[str, EntryPoint]:
    """Returns the explainers of installed packages by name; of two packages with one name, the first by name counts."""
    found = sorted(entry_points(group=GROUP), key=lambda point: (point.name, package_of(point)))
    return {point.name: point for point in reversed(found) if point.name not in EXPLAINERS}


def package_of(point: EntryPoint) -> str:
    """Returns the name of the package that an entry point comes from."""
    return "an unknown package" if point.dist is None else point.dist.name


def plugin_class(point: EntryPoint) -> type[Explainer[Any]]:
    """Returns the class that an entry point names.

    Raises
    ------
    ModelError
        If it cannot be imported, or is no explainer.
    """
    try:
        found = point.load()
    except Exception as error:
        raise ModelError(
            f"The explainer {point.name!r} of the package {package_of(point)} cannot be loaded "
            f"({type(error).__name__}: {error}); update that package, or remove it."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Explainer)):
        raise ModelError(
            f"The explainer {point.name!r} of the package {package_of(point)} is {point.value}, and a subclass of "
            "earmark.explainers.base.Explainer was expected; update that package, or remove it."
        )
    return found


def ready_plugin(point: EntryPoint, classifier: Any, options: dict[str, Any]) -> Explainer[Any]:
    """Returns another package's explainer for a classifier.

    Raises
    ------
    ModelError
        If it cannot be made; errors of earmark's own kinds are passed on.
    """
    kind = plugin_class(point)
    try:
        return kind.ready(classifier, **options)
    except EarmarkError:
        raise
    except Exception as error:
        raise ModelError(
            f"The explainer {point.name!r} of the package {package_of(point)} cannot be made "
            f"({type(error).__name__}: {error}); check its options, or ask its authors."
        ) from error
