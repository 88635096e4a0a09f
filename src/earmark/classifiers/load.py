"""`load_classifier`: an embedded model by name, a trained folder, or a function in a Python file."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import ModelError
from .base import Classifier
from .fit import load_small

WEIGHTS = Path(__file__).parent / "weights"


def embedded_names() -> list[str]:
    """Returns the names of the classifiers that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def classifier_folder(name_or_path: str | Path) -> Path | None:
    """Returns the folder that a path or, if there is none, the name of an embedded model means, or `None`."""
    for folder in (Path(name_or_path), WEIGHTS / str(name_or_path)):
        if (folder / "config.json").is_file():
            return folder
    return None


def load_classifier(name_or_path: str | Path, *, device: str = "cpu", **options: Any) -> Classifier:
    """Loads a classifier.

    Parameters
    ----------
    name_or_path
        An embedded model (`scenes-cnn`, `esc10-cnn`), a folder that `earmark train classifier` wrote, or
        `file.py:function`, a function without arguments that returns a `Classifier`.
    device
        Where the model runs.
    options
        `threshold` replaces the decision threshold of a multi-label model.

    Raises
    ------
    ModelError
        If nothing is found, or what is found is no classifier.
    """
    text = str(name_or_path)
    path, _, function = text.rpartition(":")
    if path.endswith(".py"):
        return _from_python(Path(path), function)
    folder = classifier_folder(name_or_path)
    if folder is None:
        raise ModelError(
            f"{text!r} is neither an embedded classifier ({', '.join(embedded_names())}) nor a folder with a "
            "config.json, nor file.py:function; check the name."
        )
    return _from_folder(folder, device, **options)


def _from_folder(folder: Path, device: str, threshold: float | None = None) -> Classifier:
    try:
        module, front_end, config = load_small(folder)
        labels, task, own_threshold = tuple(config["labels"]), config["task"], float(config["threshold"])
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder} does not hold a classifier that this version reads ({error}); train or copy it again."
        ) from error
    module.to(device)
    front_end.to(device)
    return Classifier(
        module,
        front_end,
        labels,
        map_layer=module.map_layer,
        head=module.head,
        task=task,
        threshold=own_threshold if threshold is None else threshold,
        name=config.get("name", folder.name),
        card={**config.get("card", {}), "training": config.get("training", {})},
    )


def _from_python(path: Path, function: str) -> Classifier:
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name a Python file, as in model.py:build.")
    spec = importlib.util.spec_from_file_location(f"earmark_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    build = getattr(module, function, None)
    classifier = build() if callable(build) else None
    if not isinstance(classifier, Classifier):
        got = "nothing callable" if build is None else type(classifier).__name__
        raise ModelError(f"{path.name}:{function} gave {got}, a function that returns earmark.wrap(...) was expected.")
    return classifier
