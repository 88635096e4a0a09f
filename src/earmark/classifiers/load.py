"""`load_classifier`: an embedded model by name, a trained folder, or a function in a Python file.

No file is unpickled. `file.py:function` runs the user's own code, and only where the user wrote that.
"""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import EarmarkError, ModelError
from .base import Classifier
from .codec.saved import is_latent, load_latent
from .fit import load_small
from .hugging_face.load import HUB_NAME, is_hugging_face
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
        files whose code you trust. A folder that `save_pretrained` of transformers wrote, a name on the Hugging Face
        hub (`owner/model`), or a checkpoint of PANNs (`Cnn14.pth`). Options may follow it, for the command line:
        `folder?task=multilabel&front_end=birdset`.
    device
        Where the model runs.
    options
        `threshold` replaces the decision threshold of a multi-label model. For transformers those of
        `load_hugging_face` (`revision`, `labels`, `task`, `front_end`, `map_layer`, ...), for a CLAP model those of
        `load_clap` (`prompts`, which are its labels, and `template`), for PANNs those of `load_panns`.

    Raises
    ------
    ModelError
        If nothing is found, or what is found is no classifier.
    """
    text, told = split_options(str(name_or_path))
    options = {**told, **options}
    path, _, function = text.rpartition(":")
    if path.endswith(".py"):
        check_options(options, ("threshold",), "file.py:function")
        return _moved(_from_python(Path(path), function), device, **options)
    folder = classifier_folder(text)
    if folder is None and is_checkpoint(text):
        return _moved(_checkpoint(Path(text), options), device)
    if folder is None and HUB_NAME.match(text) and not Path(text).exists():
        return _moved(_hugging_face(text, options), device)
    if folder is None:
        raise ModelError(_not_found(text))
    if is_hugging_face(folder):
        return _moved(_hugging_face(folder, options), device)
    if is_latent(folder):
        check_options(options, ("threshold", "codec"), "a classifier of latents")
        return _moved(load_latent(folder, **options), device)
    check_options(options, ("threshold",), "a classifier of earmark")
    return _moved(_from_folder(folder), device, **options)


def split_options(text: str) -> tuple[str, dict[str, Any]]:
    """Returns a name without its options, and these: `folder?task=multilabel&threshold=0.3`.

    Raises
    ------
    ModelError
        If an option has no value.
    """
    name, mark, rest = text.partition("?")
    if not mark or Path(text).exists():
        return text, {}
    options: dict[str, Any] = {}
    for part in rest.split("&"):
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise ModelError(f"{part!r} is no option; write name=value, as in {name}?task=multilabel&threshold=0.3.")
        options[key.replace("-", "_")] = _value(value)
    return name, options


def _value(text: str) -> str | float | bool:
    """Returns what an option's text stands for."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def check_options(options: dict[str, Any], allowed: Iterable[str], what: str) -> None:
    """Refuses options that a kind of classifier does not have.

    Raises
    ------
    ModelError
        If there is one.
    """
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ModelError(
            f"{what} has no option {', '.join(unknown)}; its options are device and {', '.join(sorted(allowed))}."
        )


def is_checkpoint(text: str) -> bool:
    """Says whether a name is an existing file of weights that may be a PANNs network."""
    return Path(text).suffix.lower() in (".pth", ".pt", ".safetensors") and is_there(Path(text))


def _hugging_face(name: str | Path, options: dict[str, Any]) -> Classifier:
    from .hugging_face.clap import is_clap, load_clap
    from .hugging_face.load import load_hugging_face

    if is_clap(name, options):
        check_options(options, _names_of(load_clap), "A CLAP model")
        return load_clap(name, **options)
    check_options(options, _names_of(load_hugging_face), "A model of transformers")
    return load_hugging_face(name, **options)


def _checkpoint(path: Path, options: dict[str, Any]) -> Classifier:
    from .panns import load_panns

    check_options(options, _names_of(load_panns), "A PANNs checkpoint")
    return load_panns(path, **options)


def _names_of(function: Callable[..., Classifier]) -> list[str]:
    """Returns the names of a function's keyword parameters."""
    return list(inspect.signature(function).parameters)[1:]


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
