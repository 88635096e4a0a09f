"""`earmark fit`: train an explainer on a frozen classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..explainers.apex.config import ApexConfig
from .options import command, save_params, say, with_config
from .progress import progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..types import Clip

app = typer.Typer(no_args_is_help=True, help="Fit an explainer to a classifier, which is not changed.")


@app.command("apex")
@command
@with_config("config", ApexConfig)
def apex(
    *,
    data: Annotated[str, typer.Option(help="Folder of clips, scenes:N, or NAME:PATH of a published set.")],
    out: Annotated[Path, typer.Option(help="Folder for the explainer.")],
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    folds: Annotated[str | None, typer.Option(help="Folds to learn from; default: the classifier's own.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what must stay together.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached features; default: inside --out.")] = None,
    cache_gb: Annotated[float, typer.Option(help="Most disk space for cached maps, in GB.")] = 4.0,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
    config: ApexConfig,
) -> dict[str, Any]:
    """Learn a basis of pure channels and collect their prototypes."""
    from ..classifiers.load import load_classifier
    from ..store.filling import only_one
    from .datasets import DataOptions, clips_of, data_name, groups_of, say_groups

    model = load_classifier(classifier, device=device)
    if model.head.notice:
        say(model.head.notice)
    folds = own_folds(model.card, data, folds)
    clips = clips_of(DataOptions(data, label_column, group_column, config.seed), folds)
    say(f"{len(clips)} clips, a share of {config.held_out:g} held out by group")
    say_groups(data, clips, group_column)
    about = {"data": data_name(data), "folds": folds, "group_column": groups_of(data, clips, group_column)}
    options = {
        "data": data,
        "classifier": classifier,
        "folds": folds,
        "label_column": label_column,
        "group_column": group_column,
        "cache": cache,
        "cache_gb": cache_gb,
        "device": device,
        **config.to_dict(),
    }
    with only_one(out):
        diagnostics = _fit(model, clips, config, out, cache or out / ".cache", cache_gb, about, options)
    say(f"explainer in {out}")
    return {"folder": str(out), "diagnostics": diagnostics}


def _fit(
    model: "Classifier",
    clips: "Sequence[Clip]",
    config: ApexConfig,
    out: Path,
    cache: Path,
    cache_gb: float,
    about: dict[str, Any],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Fits into a folder, going on from what a killed fit left there, and returns the diagnostics."""
    from ..explainers.apex.fit import fit_apex
    from ..store.filling import filling

    resume = out / ".resume"
    with progress("fitting") as report:
        explainer = fit_apex(
            model, clips, config, cache_dir=cache, cache_gb=cache_gb, resume_dir=resume, progress=report
        )
    explainer.diagnostics |= about
    with filling(out, "config.json", ("bank", "bank-identity", "pictures.safetensors")) as part:
        explainer.save(part)
        save_params(part, "fit apex", options)
    clear_working_files(out)
    return explainer.diagnostics


def own_folds(card: dict[str, Any], data: str, folds: str | None) -> str | None:
    """Returns the folds to fit on: those given, else those that the classifier learned from, if it is its own data."""
    from ..data.folders import parse_folds
    from .datasets import SCENES, data_name

    own = card.get("folds")
    if not own or data.startswith(SCENES):
        return folds
    if data_name(data) != card.get("data"):
        say(
            f"warning: the classifier learned from folds {own} of {card.get('data')!r}, and {data} is not known as "
            "that by its name, so folds could not be matched; if it is, name these with --folds"
        )
        return folds
    if folds is None:
        say(f"fitting on the classifier's own training folds {own}")
        return str(own)
    if set(parse_folds(folds)) - set(parse_folds(str(own))):
        say(f"warning: folds {folds} go beyond the classifier's training folds {own}; scores on them are not held out")
    return folds


def clear_working_files(out: Path) -> None:
    """Removes the feature cache and checkpoints of a finished fit inside its own folder.

    Checkpoints go last, so that a kill in between costs nothing.
    """
    import shutil

    for name in (".cache", ".resume"):
        shutil.rmtree(out / name, ignore_errors=True)
