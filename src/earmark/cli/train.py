"""`earmark train`: small models of one's own."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..training.config import AugmentConfig, LoopConfig
from .options import command, save_params, say, with_config
from .progress import progress

if TYPE_CHECKING:
    from .datasets import Split

app = typer.Typer(no_args_is_help=True, help="Train a small model.")


@app.command("classifier")
@command
@with_config("loop", LoopConfig)
@with_config("augmentation", AugmentConfig)
def classifier(
    *,
    data: Annotated[
        str, typer.Option(help="Folder with metadata.csv or one per label, scenes:N, or esc50:PATH and the like.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    folds: Annotated[str | None, typer.Option(help="Folds to learn from, such as 1,2,3.")] = None,
    select_folds: Annotated[str | None, typer.Option(help="Folds that choose the epoch.")] = None,
    test_folds: Annotated[str | None, typer.Option(help="Folds that are only reported.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label; several are separated by ';'.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what must stay together.")] = None,
    multilabel: Annotated[bool, typer.Option(help="Clips may have several labels.")] = False,
    clip_s: Annotated[float, typer.Option(help="Seconds that each clip is cut or padded to.")] = 5.0,
    name: Annotated[str | None, typer.Option(help="Name on the model card; default: the folder's.")] = None,
    loop: LoopConfig,
    augmentation: AugmentConfig,
) -> dict[str, Any]:
    """Train a compact CNN on labeled clips, choose its epoch on held-out clips, test it on others."""
    from ..classifiers.card import write_card
    from ..store.filling import filling, only_one
    from .datasets import DataOptions, say_groups, training_clips

    source = DataOptions(data, label_column, group_column, loop.seed)
    split = training_clips(source, folds, select_folds, test_folds)
    task: Literal["multilabel", "multiclass"] = "multilabel" if multilabel else "multiclass"
    say(f"{len(split.training)} clips to learn from, {len(split.selection)} to choose, {len(split.test)} to test")
    say_groups(data, [*split.training, *split.selection, *split.test], group_column)
    options = {
        "data": data,
        "folds": folds,
        "select_folds": select_folds,
        "test_folds": test_folds,
        "label_column": label_column,
        "group_column": group_column,
        "multilabel": multilabel,
        "clip_s": clip_s,
        "name": name,
        **vars(loop),
        **vars(augmentation),
    }
    with only_one(out):
        with filling(out, "config.json", ("README.md",)) as part:
            training = {"task": task, "clip_s": clip_s, "loop": loop, "augmentation": augmentation}
            summary = _train(split, part, out / ".resume", training)
            write_card(part, summary, {**options, "name": name or out.resolve().name})
            save_params(part, "train classifier", options)
        shutil.rmtree(out / ".resume", ignore_errors=True)
    say(f"model in {out}")
    return {"folder": str(out), **summary}


def _train(split: "Split", folder: Path, resume: Path, training: dict[str, Any]) -> dict[str, Any]:
    """Trains and tests a model, going on from what a killed training left, and returns what came of it."""
    from ..classifiers.fit import fit_classifier, score_classifier

    with progress("training") as report:
        summary = fit_classifier(
            split.training, split.selection, folder, **training, progress=report, resume_dir=resume
        )
    _say_skipped(summary["skipped"])
    if split.test:
        with progress("testing"):
            summary["test"] = score_classifier(folder, split.test, training["clip_s"])
        _say_skipped(summary["test"].pop("skipped", {}), summary["skipped"])
        say(f"test: {summary['test']}")
    return summary


def _say_skipped(skipped: dict[str, str], so_far: dict[str, str] | None = None) -> None:
    """Names the clips that could not be read, and adds them to those of earlier parts."""
    if so_far is not None:
        so_far |= skipped
    for clip_id, why in skipped.items():
        say(f"skipped {clip_id}: {why}")
    if skipped:
        say(f"{len(skipped)} clips were skipped, for they cannot be read")
