"""`load_explainer`: by registry name, from a folder, what is embedded for a classifier, or another package's."""

import json
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from ..classifiers.base import Classifier
from ..classifiers.load import WEIGHTS, is_there, split_options
from ..errors import ModelError
from . import EXPLAINERS, FITTED
from .base import Explainer
from .plugins import plugin_class, plugins, ready_plugin


def load_explainer(name_or_path: str | Path, *, classifier: Classifier, **options: Any) -> Explainer:
    """Loads an explainer for a classifier.

    Parameters
    ----------
    name_or_path
        A folder that `earmark fit` wrote, or a registry name: of a method that needs no fitting, or of the one that is
        embedded for this classifier, or that an installed package adds; where a folder has that name too, the folder is
        taken. Options may follow it, for the command line: `codec-latent?codec=folder&share=0.1`.
    classifier
        What will be explained; a fitted explainer refuses any other than its own. An APEX that was fitted at another
        layer of it takes its map from there.
    options
        How explanations are told; for APEX see `ApexOptions`, for methods that need no fitting their settings in
        `explainers/config.py` and `explainers/perturbation_config.py`.

    Raises
    ------
    ModelError
        If there is no such explainer, or its method does not fit the classifier.
    InputError
        If an option is unknown or outside its range.
    MismatchError
        If it was fitted to another classifier.
    """
    if not isinstance(classifier, Classifier):
        raise ModelError(
            f"A classifier was expected, got {type(classifier).__name__}; load one with load_classifier(...) first."
        )
    name_or_path, told = split_options(str(name_or_path))
    whole = {name: int(value) for name, value in told.items() if isinstance(value, float) and value.is_integer()}
    options = {**told, **whole, **options}
    folder = explainer_folder(name_or_path, classifier)
    if folder is None and is_ready(name_or_path):
        return _class(str(name_or_path)).ready(classifier, **options)
    others = plugins() if folder is None else {}
    if folder is None and str(name_or_path) in others:
        return ready_plugin(others[str(name_or_path)], classifier, options)
    if folder is None:
        known = (*EXPLAINERS, *others)
        near = get_close_matches(str(name_or_path), known, n=1, cutoff=0.5)
        raise ModelError(
            f"{str(name_or_path)[:200]!r} is no explainer of {classifier.name}: expected a folder that `earmark fit` "
            f"wrote, or one of {', '.join(known)} ({', '.join(FITTED)} where it is embedded); "
            f"{f'did you mean {near[0]!r}?' if near else 'fit one with `earmark fit apex`.'}"
        )
    kind = kind_of(folder)
    if kind == "apex":
        from .apex.files import at_its_layer

        classifier = at_its_layer(folder, classifier)
    return _class(kind).load(folder, classifier, **options)


def is_ready(name: str | Path) -> bool:
    """Says whether a name is that of a method that needs no fitting."""
    return str(name) in EXPLAINERS and str(name) not in FITTED


def _class(method: str) -> Any:
    """Returns the class of a registry name."""
    if method not in EXPLAINERS:
        return plugin_class(plugins()[method])
    module, _, attribute = EXPLAINERS[method].partition(":")
    return getattr(import_module(module), attribute)


def kind_of(folder: Path) -> str:
    """Returns the registry name of what a folder holds."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{folder} holds no readable explainer ({type(error).__name__}: {error}); fit it again."
        ) from error
    if not isinstance(kind, str) or (kind not in FITTED and kind not in plugins()):
        raise ModelError(f"{folder} holds a {kind!r}, which is no fitted explainer; known are {', '.join(FITTED)}.")
    return kind


def explainer_folder(name_or_path: str | Path, classifier: Classifier) -> Path | None:
    """Returns the folder that a path means, or else what is embedded for this classifier under a registry name."""
    given = Path(name_or_path)
    return given if is_there(given / "config.json") else embedded_folder(str(name_or_path), classifier)


def embedded_folder(method: str, classifier: Classifier) -> Path | None:
    """Returns the folder of the explainer of a method that comes with an embedded classifier."""
    folder = WEIGHTS / classifier.name / method
    return folder if method in EXPLAINERS and is_there(folder / "config.json") else None
