"""`load_classifier`: an embedded model by name, a trained folder, or a function in a Python file.

No file is unpickled. `file.py:function` runs the user's own code, and only where the user wrote that.
"""

import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import EarmarkError, ModelError
from .base import Classifier
from .fit import load_small
from .saved import check_saved
from .surgery import plain_floats
from .wrap import check_threshold

WEIGHTS = Path(__file__).parent / "weights"

#: Endings of files that are unpickled to be read, which can run any code, or that hold no weights for a known network.
FOREIGN = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".onnx", ".safetensors")


def embedded_names() -> list[str]:
    """Returns the names of the classifiers that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def classifier_folder(name_or_path: str | Path) -> Path | None:
    """Returns the folder that a path or, if there is none, the name of an embedded model means, or `None`."""
    for folder in (Path(name_or_path), WEIGHTS / str(name_or_path)):
        if is_there(folder / "config.json"):
            return folder
    return None


def is_there(path: Path) -> bool:
    """Says whether a file exists; a name that no file system takes has none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def load_classifier(name_or_path: str | Path, *, device: str = "cpu", **options: Any) -> Classifier:
    """Loads a classifier.

    Parameters
    ----------
    name_or_path
        An embedded model (`scenes-cnn`, `esc10-cnn`, `words-cnn`), a folder that `earmark train classifier` wrote, or
        `file.py:function`, a function without arguments that returns a `Classifier`. That file is run: name only
        files whose code you trust.
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
    unknown = sorted(set(options) - {"threshold"})
    if unknown:
        raise ModelError(f"load_classifier has no option {', '.join(unknown)}; its options are device and threshold.")
    if path.endswith(".py"):
        return _moved(_from_python(Path(path), function), device, **options)
    folder = classifier_folder(name_or_path)
    if folder is None:
        raise ModelError(_not_found(text))
    return _moved(_from_folder(folder), device, **options)


def _not_found(text: str) -> str:
    """Returns what to say where there is no classifier."""
    ending = Path(text).suffix.lower()
    if ending == ".py":
        return f"{text!r} names no function; write which one returns the classifier, as in {text}:build."
    if ending in FOREIGN:
        return (
            f"{text!r} is a file of weights ({ending}), which earmark does not open: it does not know the network, and "
            "files that are unpickled can run any code; build the network in a Python file, read its weights there "
            "(torch.load with weights_only=True, or safetensors), return earmark.wrap(...), and name file.py:function."
        )
    near = get_close_matches(text, embedded_names(), n=2, cutoff=0.4)
    return (
        f"{text[:200]!r} is neither an embedded classifier ({', '.join(embedded_names())}) nor a folder with a "
        f"config.json, nor file.py:function; {f'did you mean {near[0]!r}?' if near else 'check the name.'}"
    )


def _moved(classifier: Classifier, device: str, threshold: float | None = None) -> Classifier:
    """Returns the classifier on a device, with another threshold if one is given."""
    if threshold is not None:
        check_threshold(threshold)
        classifier.threshold = threshold
    if torch.device("cpu") == classifier.device and device == "cpu":
        return classifier
    try:
        classifier.module.to(device)
        classifier.front_end.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{classifier.name} cannot run on {device!r} ({error}); choose cpu, or a GPU as cuda:0."
        ) from error
    return classifier


def _from_folder(folder: Path) -> Classifier:
    try:
        check_saved(folder)
        with plain_floats():
            module, front_end, config = load_small(folder)
        if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
            raise ValueError("its weights hold NaN or infinity")
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder} does not hold a classifier that this version reads ({type(error).__name__}: {error}); "
            "train or copy it again."
        ) from error
    return Classifier(
        module,
        front_end,
        tuple(config["labels"]),
        map_layer=module.map_layer,
        head=module.head,
        task=config["task"],
        threshold=float(config["threshold"]),
        name=config.get("name", folder.name),
        card={**config.get("card", {}), "training": config.get("training", {})},
    )


def _from_python(path: Path, function: str) -> Classifier:
    if not is_there(path):
        raise ModelError(f"{path} does not exist; name a Python file, as in model.py:build.")
    try:
        build = getattr(_run_file(path), function, None)
        classifier = build() if callable(build) else None
    except EarmarkError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path.name}:{function} failed while it was run ({type(error).__name__}: {error}); mend the file."
        ) from error
    if not isinstance(classifier, Classifier):
        got = "nothing callable" if not callable(build) else type(classifier).__name__
        raise ModelError(f"{path.name}:{function} gave {got}, a function that returns earmark.wrap(...) was expected.")
    return classifier


def _run_file(path: Path) -> ModuleType:
    """Runs the user's Python file as a module, and forgets it again if it fails."""
    spec = importlib.util.spec_from_file_location(f"earmark_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    earlier = sys.modules.get(spec.name)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        if earlier is not None:
            sys.modules[spec.name] = earlier
        raise
    return module
