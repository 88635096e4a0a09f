"""Loads a classifier of the library transformers from a folder that `save_pretrained` wrote, or from the hub.

Weights are read from safetensors; no remote code runs unless it is asked for.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import EarmarkError, InputError, ModelError
from ..base import Classifier
from ..front_ends import FrontEnd, front_end_of, named
from ..layouts import FeatureAxes, MapAxes
from ..surgery import plain_floats, same_chance
from ..wrap import wrap
from .module import LogitsOf
from .names import labels_of, task_of
from .places import Place, find_place

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")
_HEADS = ("ForSequenceClassification", "ForAudioClassification", "ForImageClassification")


def is_hugging_face(folder: Path) -> bool:
    """Says whether a folder holds a model of transformers."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "model_type" in config


def load_hugging_face(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    labels: Sequence[str] | str | Path | None = None,
    task: str | None = None,
    threshold: float = 0.5,
    front_end: FrontEnd | str | None = None,
    map_layer: str | None = None,
    map_axes: MapAxes | None = None,
    feature_axes: FeatureAxes | None = None,
    trust_remote_code: bool = False,
    probe_s: float | None = None,
) -> Classifier:
    """Loads an audio classifier, or an image classifier that is fed with spectrograms, of transformers.

    Parameters
    ----------
    name_or_folder
        A local folder, or a name on the hub, `owner/model`.
    revision
        Commit, tag or branch on the hub; pin it, and the same weights are loaded tomorrow.
    labels
        Names in place of the configuration's: a list, or a text file with one in each line.
    task
        `multiclass` or `multilabel`, where the configuration does not say it.
    threshold
        Probability from which a label of a multi-label classifier counts as present.
    front_end
        In place of the one that its preprocessor describes: a `FrontEnd`, or a name such as `birdset`.
    map_layer, map_axes, feature_axes
        Where its map lies, for models that are not known; `map_layer` as in `model.named_modules()`.
    trust_remote_code
        Whether code that comes with the model may run.
    probe_s
        Seconds of noise with which it is probed.

    Raises
    ------
    ModelError
        If it is not there, has no classification head, or its preprocessor is not covered.
    InputError
        If transformers is not installed.
    """
    name = str(name_or_folder)
    with quiet(), plain_floats(), same_chance([]):  # networks are drawn at random before their weights are read
        model = _read_model(name, revision, trust_remote_code)
        extractor = None if front_end is not None else _extractor(name, revision, model)
        front_end = _front_end(front_end, extractor)
    n_rows = len(front_end.row_edges_hz()) - 1
    place = _place(model, n_rows, map_layer, map_axes, feature_axes)
    config: Any = model.config
    shown = Path(name).name or name
    classifier = wrap(
        LogitsOf(model, getattr(config, "num_channels", 1) if place.feature_axes.startswith("C") else 1),
        front_end,
        labels_of(config, labels, shown),
        map_layer=f"model.{place.layer}",
        task=task_of(config, task, shown),
        threshold=threshold,
        map_axes=place.axes,
        feature_axes=place.feature_axes,
        blocks=tuple(f"model.{block}" for block in place.blocks),
        name=shown,
        card=_card(name, revision, config),
        probe_s=5.0 if probe_s is None else probe_s,
    )
    classifier.extractor = extractor
    return classifier


def _read_model(
    name: str, revision: str | None, trust_remote_code: bool, auto_class: Callable[..., Any] | None = None
) -> nn.Module:
    """Returns the model with its classification head, in eval mode; says why where there is none."""
    transformers = import_transformers()
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **options)
        auto = (auto_class or _auto_class)(transformers, config, name)
        model, told = auto.from_pretrained(
            name, config=config, output_loading_info=True, use_safetensors=_safe_only(name), **options
        )
    except EarmarkError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(_why(name, error)) from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise ModelError(
            f"{name} lacks weights that its network needs ({', '.join(missing[:3])}{', ...' * (len(missing) > 3)}): "
            "without them it would decide by chance; name a model that was fine-tuned for classification."
        )
    module: nn.Module = model.eval()
    if any(not bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise ModelError(f"The weights of {name} hold NaN or infinity; copy or train it again.")
    return module


def _safe_only(name: str) -> bool | None:
    """Returns whether weights have to be safetensors: on the hub always, since other files can run any code."""
    return None if Path(name).is_dir() else True


def _auto_class(transformers: Any, config: Any, name: str) -> Any:
    """Returns the class that loads a configuration's classifier."""
    kinds = list(config.architectures or [])
    if config.model_type == "clap":
        raise ModelError(f"{name} is a CLAP model, whose labels are prompts; pass prompts=['dog', 'rain', ...].")
    if kinds and not any(kind.endswith(_HEADS) or "WithTeacher" in kind for kind in kinds):
        raise ModelError(
            f"{name} is a {kinds[0]}, which has no classification head, so that it decides nothing that could be "
            "explained; name a model that was fine-tuned for classification."
        )
    auto = transformers.models.auto.modeling_auto
    if config.model_type in auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES:
        return transformers.AutoModelForAudioClassification
    if config.model_type in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return transformers.AutoModelForImageClassification
    if getattr(config, "auto_map", None):
        return transformers.AutoModelForAudioClassification
    raise ModelError(
        f"transformers has no audio or image classifier of kind {config.model_type!r}; wrap it with earmark.wrap."
    )


def _why(name: str, error: Exception) -> str:
    """Returns one sentence for what failed while a model was read."""
    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return f"{name} needs a package that is not installed: {text}"
    if "trust_remote_code" in text:
        return (
            f"{name} brings its own code, which is not run unless you ask for it; read that code, then pass "
            "trust_remote_code=True."
        )
    if isinstance(error, OSError) and not Path(name).is_dir():
        return (
            f"{name!r} was not found: there is no such folder, and it is not in the local cache of the hub, which "
            f"could not be reached or has no such model ({text[:160]}); check the name, or download it where there "
            "is a network and name the folder."
        )
    return f"{name} does not hold a model that transformers can read ({type(error).__name__}: {text[:300]})."


def _extractor(name: str, revision: str | None, model: nn.Module) -> Any:
    """Returns the model's own feature extractor."""
    if getattr(model, "main_input_name", "") == "pixel_values":
        raise ModelError(
            f"{name} takes pictures, and nothing in it says which spectrogram they are; pass front_end=, such as "
            "'birdset', 'audioprotopnet', or a LogMel with the numbers of its training."
        )
    transformers = import_transformers()
    try:
        return transformers.AutoFeatureExtractor.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{name} has no preprocessor that could be read (preprocessor_config.json), so its features are not known; "
            "copy that file beside the weights, or pass front_end=."
        ) from error


def _front_end(given: FrontEnd | str | None, extractor: Any) -> FrontEnd:
    """Returns the front end that is given or named, or the twin of the model's own feature extractor."""
    if isinstance(given, str):
        return named(given)
    return front_end_of(extractor) if given is None else given


def _place(
    model: nn.Module,
    n_rows: int,
    layer: str | None,
    axes: MapAxes | None,
    feature_axes: FeatureAxes | None,
) -> Place:
    """Returns where the map lies, as it is known or as the user says."""
    if layer is not None and axes is not None and feature_axes is not None:
        return Place(layer.removeprefix("model."), axes, feature_axes)
    known = find_place(model, n_rows)
    return Place(
        known.layer if layer is None else layer.removeprefix("model."),
        known.axes if axes is None else axes,
        known.feature_axes if feature_axes is None else feature_axes,
        known.blocks if axes is None else (),
    )


def _card(name: str, revision: str | None, config: Any) -> dict[str, Any]:
    """Returns where a model came from, for provenance."""
    commit = getattr(config, "_commit_hash", None)
    if not Path(name).is_dir() and revision is None and commit:
        warnings.warn(
            f"{name} was loaded at its newest commit, {commit}; pass revision={commit[:12]!r} to load the same again.",
            UserWarning,
            stacklevel=3,
        )
    return {
        "source": "transformers",
        "model": Path(name).name if Path(name).is_dir() else name,
        "architecture": (config.architectures or [config.model_type])[0],
        "revision": commit or revision,
    }


def import_transformers() -> Any:
    """Returns the library, or says how to install it.

    Raises
    ------
    InputError
        If it is not there.
    """
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "Models of Hugging Face need the package transformers; install it with pip install 'earmark[huggingface]'."
        ) from error
    return transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from printing bars and notes while it loads, and restores what it was set to."""
    transformers = import_transformers()
    told = transformers.utils.logging
    verbosity, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(verbosity)
        if bars:
            told.enable_progress_bar()
