"""`earmark info`: what a model, an explainer, a bank or an explanation is."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .options import command


def _words(result: dict[str, Any]) -> str:
    """Returns a result as lines for people."""
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {name}: {_short(inner)}" for name, inner in value.items())]
        else:
            lines.append(f"{key}: {_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) < 400 else text[:400] + " ..."


@partial(command, show=_words)
def info(
    name_or_path: Annotated[str, typer.Argument(help="Embedded name, a folder, or a checkpoint of PANNs.")],
) -> dict[str, Any]:
    """Say what something is: labels, training, scores, diagnostics."""
    from ..classifiers.load import classifier_folder, embedded_names, is_checkpoint, split_options
    from ..explainers import FITTED

    folder = Path(name_or_path)
    described = (("explanation.json", _explanation), ("explanations.json", _explanations), ("bank.json", _bank))
    for name, describe in described:
        if (folder / name).is_file():
            try:
                return describe(json.loads((folder / name).read_text(encoding="utf-8")))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{folder / name} is damaged ({type(error).__name__}: {error}); make it again."
                ) from error
    name, options = split_options(name_or_path)
    found = classifier_folder(name)
    if is_checkpoint(name):
        return _classifier(name_or_path, Path(name).parent)
    if found is None:
        raise InputError(
            f"{name_or_path!r} is nothing that earmark knows: expected a folder that it wrote or an embedded "
            f"classifier ({', '.join(embedded_names())})."
        )
    about = {} if options else json.loads((found / "config.json").read_text())
    if about.get("kind") == "apex":
        return _apex(about, found)
    return _decoder(about) if about.get("kind") in FITTED else _classifier(name_or_path, found)


def _classifier(name_or_path: str, folder: Path) -> dict[str, Any]:
    from ..classifiers.load import load_classifier
    from ..classifiers.small import n_parameters
    from ..explainers.plugins import package_of, plugins

    model = load_classifier(name_or_path)
    result = {
        "what": "classifier",
        "name": model.name,
        "labels": model.labels,
        "task": model.task,
        "sample_rate": model.sample_rate,
        "parameters": n_parameters(model.module),
        "head": model.head.tier,
        "fingerprint": model.fingerprint,
        "explainers": sorted(p.parent.name for p in folder.glob("*/config.json")),
        "explainers of packages": [f"{name} ({package_of(point)})" for name, point in sorted(plugins().items())],
        "card": {k: v for k, v in model.card.items() if k != "training"},
    }
    return result


def _apex(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    bank = folder / "bank" / "bank.json"
    figures = _figures(json.loads(bank.read_text(encoding="utf-8"))) if bank.is_file() else {}
    return {
        "what": "explainer (apex)",
        "classifier": about["classifier"],
        "fingerprint": about["fingerprint"],
        "view": about["config"]["view"],
        "form": about["config"]["form"],
        "bank": figures,
        "diagnostics": about["diagnostics"],
    }


def _decoder(about: dict[str, Any]) -> dict[str, Any]:
    return {
        "what": f"explainer ({about['kind']})",
        "classifier": about["classifier"],
        "fingerprint": about["fingerprint"],
        "config": about["config"],
        "diagnostics": about["diagnostics"],
    }


def _bank(about: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in about.items() if not isinstance(v, list | dict)}
    return {"what": "prototype bank", **plain, **_figures(about)}


def _figures(about: dict[str, Any]) -> dict[str, Any]:
    """Returns the key figures of a bank; `earmark bank` tells the rest."""
    purity = about["class_purity"]
    return {
        "n_clips": about["n_clips"],
        "n_prototypes": about["n_prototypes"],
        "clips_per_label": dict(zip(about.get("class_labels", ()), about.get("class_counts", ()), strict=True)),
        "mean_class_purity": round(sum(purity) / max(len(purity), 1), 4),
        "n_channels_of_one_label": sum(value == 1 for value in purity),
        "n_dead": len(about["dead"]),
        "n_duplicates": len(about["duplicates"]),
    }


def _explanation(about: dict[str, Any]) -> dict[str, Any]:
    keep = ("name", "target", "prediction", "provenance", "regions")
    return {"what": "explanation", **{k: about[k] for k in keep}}


def _explanations(about: dict[str, Any]) -> dict[str, Any]:
    return {"what": "explanations, one for each label", "folders": about["folders"]}
