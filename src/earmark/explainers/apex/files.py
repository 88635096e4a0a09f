"""An APEX on disk: `config.json`, `model.safetensors` (U and its inverse, float64), two banks, a card."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...classifiers.base import Classifier
from ...classifiers.layouts import MapAxes, TokenGrid
from ...errors import EarmarkError, InputError, MismatchError, ModelError
from ...prototypes.bank import load_bank, save_bank
from .config import ApexConfig

if TYPE_CHECKING:
    from .explainer import Apex

SCHEMA = 1
COSTS = ("seconds", "n_backbone_passes")  # diagnostics that differ between two runs of one fit, and are not kept

_CARD = """# APEX for {classifier}

Prototype explanations: a basis of {channels} channels, learned for purity in the {view} view; no output changes.

| | |
|---|---|
| classifier | {classifier} (`{fingerprint}`) |
| map layer | {map_layer} |
| form, schedule | {form}, {schedule} |
| data | {data}; folds {folds}; recordings told apart by {group_column} |
| clips | {n_clips} to learn from, {n_held_out} held out |
| purity, training clips | {purity} (model's own basis {purity_identity}) |
| purity, held-out clips | {purity_held_out} (model's own basis {purity_held_out_identity}) |
| cond(U) | {cond} |
| largest change of a logit when folded (float32) | {folded} |
| dead and duplicate channels | {dead}, {duplicate} |
"""


def save_apex(apex: "Apex", folder: Path) -> Path:
    """Writes the folder; files are written under temporary names, `config.json` last."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a folder is to be written there; choose another place.")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".model.part"
    save_file({"U": apex.U.contiguous(), "U_inv": apex.U_inv.contiguous()}, temporary)
    temporary.replace(folder / "model.safetensors")
    save_bank(apex.bank, folder / "bank")
    shutil.rmtree(folder / "bank-identity", ignore_errors=True)
    (folder / "pictures.safetensors").unlink(missing_ok=True)
    if apex.identity_bank is not None:
        save_bank(apex.identity_bank, folder / "bank-identity")
    if apex.pictures:
        temporary = folder / ".pictures.part"
        save_file({key: picture.contiguous() for key, picture in apex.pictures.items()}, temporary)
        temporary.replace(folder / "pictures.safetensors")
    (folder / "README.md").write_text(_card(apex))
    about = {
        "kind": "apex",
        "schema": SCHEMA,
        "fingerprint": apex.classifier.fingerprint,
        "classifier": apex.classifier.name,
        "map_layer": apex.classifier.map_layer,
        "map_axes": _plain_axes(apex.classifier.map_axes),
        "config": apex.config.to_dict(),
        "diagnostics": {name: value for name, value in apex.diagnostics.items() if name not in COSTS},
    }
    temporary = folder / ".config.part"
    temporary.write_text(json.dumps(about, indent=2) + "\n")
    temporary.replace(folder / "config.json")
    return folder


def at_its_layer(folder: Path, classifier: Classifier) -> Classifier:
    """Returns the classifier with its map where the APEX in a folder was fitted.

    It is returned as it is where that is the layer already, or where the APEX was fitted to another classifier, which
    loading then refuses. The module is shared.
    """
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        layer, axes, fingerprint = about["map_layer"], _axes(about["map_axes"]), about["fingerprint"]
        if (layer, axes) == (classifier.map_layer, classifier.map_axes):
            return classifier
        sibling = classifier.with_map(layer, axes)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, ModelError):
        return classifier
    return sibling if sibling.fingerprint == fingerprint else classifier


def load_apex(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Returns the arguments of `Apex`.

    Raises
    ------
    MismatchError
        If it was fitted to another classifier, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    try:
        return _parts(folder, classifier)
    except EarmarkError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelError(f"{folder} holds a damaged APEX ({what}); fit it again.") from error


def _parts(folder: Path, classifier: Classifier) -> dict[str, Any]:
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if about.get("schema", 0) > SCHEMA:
        raise MismatchError(f"{folder} was written by a newer earmark (schema {about['schema']}); update earmark.")
    if about["fingerprint"] != classifier.fingerprint:
        raise MismatchError(
            f"{folder} was fitted to {about['classifier']} with fingerprint {about['fingerprint'][:12]}, and this "
            f"{classifier.name} has {classifier.fingerprint[:12]}; fit APEX to this classifier."
        )
    tensors = load_file(folder / "model.safetensors")
    U, U_inv = tensors["U"], tensors["U_inv"]
    if U.ndim != 2 or not torch.allclose(U @ U_inv, torch.eye(len(U)).to(U), atol=1e-6):
        raise ValueError("U_inv is not the inverse of U")
    identity, pictures = folder / "bank-identity", folder / "pictures.safetensors"
    return {
        "U": U,
        "U_inv": U_inv,
        "config": ApexConfig.from_dict(about["config"]),
        "bank": load_bank(folder / "bank"),
        "identity_bank": load_bank(identity) if identity.is_dir() else None,
        "diagnostics": dict(about["diagnostics"]),
        "pictures": load_file(pictures) if pictures.is_file() else {},
    }


def _plain_axes(axes: MapAxes) -> str | dict[str, Any]:
    return asdict(axes) if isinstance(axes, TokenGrid) else axes


def _axes(plain: Any) -> MapAxes:
    """Returns the order of axes that was written; what is none is refused where it is used."""
    return TokenGrid(**plain) if isinstance(plain, dict) else plain


def _card(apex: "Apex") -> str:
    values = {key: _short(value) for key, value in apex.diagnostics.items() if value is not None}
    return _CARD.format_map(
        _Blank(
            classifier=apex.classifier.name,
            fingerprint=apex.classifier.fingerprint[:12],
            map_layer=apex.classifier.map_layer,
            channels=len(apex.U),
            **{**apex.config.to_dict(), **values},
        )
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Blank(dict[str, Any]):
    """Shows a value that was not measured as a dash."""

    def __missing__(self, key: str) -> str:
        return "-"
