"""A classifier of latents on disk: `config.json`, `model.safetensors`, and where its codec lies."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...errors import EarmarkError, MismatchError, ModelError
from ...training.loop import seeded_globals
from ...types import Task
from ..base import Classifier
from ..card import write_whole
from ..surgery import plain_floats
from ..wrap import check_threshold, checked_labels
from .base import Codec
from .front_end import CodecFrontEnd
from .latent import SIZES, LatentConfig, LatentTransformer
from .load import LAPPED, load_codec

KIND, SCHEMA = "latent-transformer", 1


def is_latent(folder: Path) -> bool:
    """Says whether a folder holds a classifier of latents."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("kind") == KIND


def save_latent(
    folder: Path,
    module: LatentTransformer,
    front_end: CodecFrontEnd,
    codec: str,
    labels: tuple[str, ...],
    task: Task,
    training: dict[str, Any],
) -> None:
    """Writes weights and, last, `config.json`; `codec` is its path from the parent of the folder."""
    config = {
        "kind": KIND,
        "schema": SCHEMA,
        "architecture": {**module.config.to_dict(), "n_channels": front_end.codec.n_channels, "n_labels": len(labels)},
        "codec": {
            "folder": codec,
            "fingerprint": front_end.codec.fingerprint,
            "continuous": front_end.continuous,
            **front_end.codec.to_dict(),
        },
        "labels": list(labels),
        "task": task,
        "threshold": 0.5,
        "training": training,
    }
    weights = folder / ".model.part"
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, weights)
    weights.replace(folder / "model.safetensors")
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")


def load_latent(folder: Path, *, codec: str | Path | Codec | None = None, threshold: float | None = None) -> Classifier:
    """Loads a classifier of latents, and its codec.

    Parameters
    ----------
    codec
        Where the codec lies, if not where it did when the classifier was trained.
    threshold
        In place of its own.

    Raises
    ------
    ModelError
        If files are missing or damaged, or the codec is not there.
    MismatchError
        If the codec is another one.
    """
    try:
        with plain_floats():
            module, config = _read(folder)
        about, labels, task = config["codec"], checked_labels(config["labels"]), str(config["task"])
        rate = int(about["sample_rate"])
        bandwidth, place = float(about.get("bandwidth") or 0) or None, str(about["folder"])
        continuous, threshold = bool(about["continuous"]), config["threshold"] if threshold is None else threshold
        check_threshold(threshold)
        if task not in ("multiclass", "multilabel"):
            raise ValueError(f"task is {task!r}")
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, RecursionError, SafetensorError) as error:
        raise ModelError(
            f"{folder} does not hold a classifier of latents that this version reads ({type(error).__name__}: "
            f"{str(error)[:300]}); train or copy it again."
        ) from error
    found = _codec(folder, codec if codec is not None else place, rate, bandwidth, moved=codec is None)
    if found.fingerprint != about["fingerprint"]:
        raise MismatchError(
            f"{folder.name} decides on latents of another codec than {found.name}; name the one that it was trained on "
            "with codec=."
        )
    return Classifier(
        module,
        CodecFrontEnd(found, continuous=continuous),
        labels,
        map_layer=module.map_layer,
        map_axes="TC",
        head=module.head,
        task=task,  # type: ignore[arg-type]
        threshold=float(threshold),
        name=str(config.get("name", folder.name)),
        card={**config.get("card", {}), "training": config.get("training", {})},
    )


def _codec(folder: Path, place: str | Path | Codec, sample_rate: int, bandwidth: float | None, *, moved: bool) -> Codec:
    """Returns the codec; a path that was recorded is one from the folder in which the classifier's lies."""
    if moved and str(place) != LAPPED:
        place = folder.resolve().parent / str(place)
    try:
        return load_codec(place, sample_rate=sample_rate, bandwidth=bandwidth)
    except EarmarkError as error:
        raise ModelError(f"The codec of {folder.name} is not at hand: {error} Name its folder with codec=.") from error


def _read(folder: Path) -> tuple[LatentTransformer, dict[str, Any]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if int(config["schema"]) > SCHEMA:
        raise ValueError(f"it was written by a newer earmark, schema {config['schema']}")
    sizes = dict(config["architecture"])
    n_channels, n_labels = (_whole(sizes, name) for name in ("n_channels", "n_labels"))
    if len(config["labels"]) != n_labels:
        raise ValueError(f"{len(config['labels'])} labels and {n_labels} outputs")
    with seeded_globals(0):
        module = LatentTransformer(LatentConfig(**sizes), n_channels, n_labels)
    module.load_state_dict(load_file(folder / "model.safetensors"))
    if not all(bool(value.isfinite().all()) for value in module.state_dict().values()):
        raise ValueError("its weights hold NaN or infinity")
    return module.eval(), config


def _whole(sizes: dict[str, Any], name: str) -> int:
    """Takes a number out of the sizes."""
    value = sizes.pop(name)
    low, high = SIZES[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, a whole number from {low} to {high} was expected")
    return value
