"""`load_explainer`: by registry name, from a folder, or what is embedded for a classifier."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from ..classifiers.base import Classifier
from ..classifiers.load import WEIGHTS
from ..errors import ModelError
from . import EXPLAINERS
from .base import Explainer


def load_explainer(name_or_path: str | Path, *, classifier: Classifier, **options: Any) -> Explainer:
    """Loads an explainer for a classifier.

    Parameters
    ----------
    name_or_path
        A folder that `earmark fit` wrote, or a registry name, which means the one that is embedded for this
        classifier; where both exist, the folder is taken.
    classifier
        What will be explained; a fitted explainer refuses any other than its own.
    options
        How explanations are told; for APEX see `ApexOptions`.

    Raises
    ------
    ModelError
        If there is no such explainer.
    MismatchError
        If it was fitted to another classifier.
    """
    folder = explainer_folder(name_or_path, classifier)
    if folder is None:
        raise ModelError(
            f"{str(name_or_path)!r} is no explainer of {classifier.name}: expected a folder that `earmark fit` wrote, "
            f"or one of {', '.join(EXPLAINERS)} where it is embedded; fit one with `earmark fit apex`."
        )
    try:
        kind = json.loads((folder / "config.json").read_text())["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no readable explainer ({error}); fit it again.") from error
    if kind not in EXPLAINERS:
        raise ModelError(f"{folder} holds a {kind!r}, which is no explainer; known are {', '.join(EXPLAINERS)}.")
    module, _, attribute = EXPLAINERS[kind].partition(":")
    return getattr(import_module(module), attribute).load(folder, classifier, **options)


def explainer_folder(name_or_path: str | Path, classifier: Classifier) -> Path | None:
    """Returns the folder that a path means, or else what is embedded for this classifier under a registry name."""
    given = Path(name_or_path)
    return given if (given / "config.json").is_file() else embedded_folder(str(name_or_path), classifier)


def embedded_folder(method: str, classifier: Classifier) -> Path | None:
    """Returns the folder of the explainer of a method that comes with an embedded classifier."""
    folder = WEIGHTS / classifier.name / method
    return folder if method in EXPLAINERS and (folder / "config.json").is_file() else None
