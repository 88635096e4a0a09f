"""What a saved classifier's folder has to hold, checked before anything of the size that it claims is made."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import safe_open

from ..audio.mel import MelScale
from ..errors import MismatchError
from ..types import Task
from .small import SmallCnn, SmallCnnConfig
from .wrap import check_threshold, checked_labels

SCHEMA = 1

#: Smallest and largest sizes that a configuration may claim; larger ones would take memory for nothing.
SIZES = {
    "sample_rate": (1, 1_000_000),  # Hz
    "n_fft": (2, 1 << 18),
    "hop_length": (1, 1 << 17),
    "n_mels": (1, 4096),
    "n_labels": (1, 1_000_000),
}
MOST_BLOCKS, WIDEST = 64, 1 << 16


def check_saved(folder: Path) -> None:
    """Refuses a folder whose `config.json` is not a classifier's, or whose weights are of other shapes.

    Raises
    ------
    KeyError, TypeError, ValueError, OSError, SafetensorError
        If something is missing, of another kind or out of range.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise TypeError(f"config.json holds a {type(config).__name__}, an object was expected")
    if config.get("kind", "small-cnn") != "small-cnn":
        raise ValueError(f"it is of kind {config['kind']!r}, small-cnn was expected")
    if _whole(config, "schema", 1, 1 << 31, default=1) > SCHEMA:
        raise MismatchError(f"it was written by a newer earmark, schema {config['schema']}; update earmark")
    architecture, front_end = _object(config, "architecture"), _object(config, "front_end")
    _check_texts(config)
    _check_front_end(front_end)
    if len(config["labels"]) != architecture["n_labels"]:
        raise ValueError(f"{len(config['labels'])} labels and {architecture['n_labels']} outputs")
    if front_end["n_mels"] != architecture["n_mels"]:
        raise ValueError(
            f"{front_end['n_mels']} mel bands in the front end and {architecture['n_mels']} in the network"
        )
    _check_weights(folder / "model.safetensors", _network(architecture))


def _check_texts(config: Mapping[str, Any]) -> None:
    labels = config["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise TypeError("labels are not a list of names")
    checked_labels(labels)
    if config["task"] not in get_args(Task):
        raise ValueError(f"task is {config['task']!r}, one of {', '.join(get_args(Task))} was expected")
    check_threshold(config["threshold"])
    if not isinstance(config.get("name", ""), str):
        raise TypeError("name is not a text")
    for key in ("card", "training"):
        _object({key: config.get(key, {})}, key)


def _check_front_end(values: Mapping[str, Any]) -> None:
    for key in ("sample_rate", "n_fft", "hop_length", "n_mels"):
        _whole(values, key, *SIZES[key])
    for key in ("low_hz", "high_hz", "floor", "top_db", "mean_db", "std_db"):
        value = values.get(key)
        if value is None and key in ("high_hz", "top_db"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{key} is {value!r}, a finite number was expected")
    if values["floor"] <= 0 or values["std_db"] == 0:
        raise ValueError(f"floor is {values['floor']} and std_db {values['std_db']}, both were expected above 0")
    if values.get("scale") not in get_args(MelScale) or not isinstance(values.get("area_norm"), bool):
        raise ValueError(f"scale is {values.get('scale')!r} and area_norm {values.get('area_norm')!r}")


def _network(architecture: Mapping[str, Any]) -> SmallCnn:
    """Returns the network without memory for its weights."""
    channels = architecture["channels"]
    if not isinstance(channels, list) or not 1 <= len(channels) <= MOST_BLOCKS:
        raise ValueError(f"channels are not a list of 1 to {MOST_BLOCKS} widths")
    for i in range(len(channels)):
        _whole(dict(enumerate(channels)), i, 1, WIDEST)
    sizes = {key: _whole(architecture, key, *SIZES[key]) for key in ("n_mels", "n_labels")}
    dropout = architecture["dropout"]
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout is {dropout!r}, a probability was expected")
    with torch.device("meta"):
        return SmallCnn(SmallCnnConfig(**sizes, channels=tuple(channels), dropout=dropout))


def _check_weights(path: Path, network: SmallCnn) -> None:
    expected = {key: [value.is_floating_point(), *value.shape] for key, value in network.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        found = {key: ["F" in part.get_dtype(), *part.get_shape()] for key, part in slices.items()}
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise ValueError(
            f"{len(wrong)} tensors are not those of the network, such as {key}: {_told(found.get(key))} found, "
            f"{_told(expected.get(key))} expected"
        )


def _told(about: list[int] | None) -> str:
    """Returns kind and shape of a tensor in words."""
    return "none was" if about is None else f"{'floats' if about[0] else 'integers'} of shape {about[1:]} were"


def _object(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(values[key], dict):
        raise TypeError(f"{key} is a {type(values[key]).__name__}, an object was expected")
    return values[key]


def _whole(values: Mapping[Any, Any], key: Any, low: int, high: int, default: int | None = None) -> int:
    value = values[key] if default is None else values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key} is {value!r}, a whole number from {low} to {high} was expected")
    return value
