"""`earmark train`: small models of one's own."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from ..classifiers.config import LogMelConfig
from ..errors import InputError
from ..training.config import AugmentConfig, BackgroundConfig, LoopConfig
from .options import command, save_params, say, with_config
from .progress import progress
from .train_clap import clap
from .train_codec import codec, latent_classifier

if TYPE_CHECKING:
    from .datasets import Split

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train a small model.")
app.command("clap")(clap)
app.command("codec")(codec)
app.command("latent-classifier")(latent_classifier)


@app.command("classifier")
@command
@with_config("loop", LoopConfig)
@with_config("augmentation", AugmentConfig)
@with_config("noise", BackgroundConfig)
@with_config("front_end", LogMelConfig)
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
    channels: Annotated[str | None, typer.Option(help="Widths of the blocks, such as 16,32,64,128.")] = None,
    start: Annotated[str | None, typer.Option(help="A trained model whose weights are the first ones.")] = None,
    logs: Annotated[bool, typer.Option(help="Write curves for TensorBoard to OUT/logs, if it is installed.")] = True,
    loop: LoopConfig,
    augmentation: AugmentConfig,
    noise: BackgroundConfig,
    front_end: LogMelConfig,
) -> dict[str, Any]:
    """Train a compact CNN on labeled clips, choose its epoch on held-out clips, test it on others."""
    from ..classifiers.card import write_card
    from ..store.filling import filling, only_one
    from ..training.parallel import process_index
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
        "channels": channels,
        "start": start,
        **vars(loop),
        **vars(augmentation),
        **vars(noise),
        **vars(front_end),
        **({} if logs else {"logs": False}),
    }
    training = {
        "task": task,
        "clip_s": clip_s,
        "loop": loop,
        "augmentation": augmentation,
        "front_end": front_end,
        "channels": _widths(channels),
        "background": noise,
        "start": _start(start, data, folds),
        "log_folder": out / "logs" if logs else None,
    }
    if process_index():
        _help(split, out / ".resume", training)
    with only_one(out):
        with filling(out, "config.json", ("README.md",)) as part:
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


def _help(split: "Split", resume: Path, training: dict[str, Any]) -> NoReturn:
    """Trains along with the main process of a launched job, which writes and reports, and ends."""
    from ..classifiers.fit import fit_classifier

    with TemporaryDirectory() as folder:
        fit_classifier(split.training, split.selection, Path(folder), **training, resume_dir=resume)
    raise SystemExit(0)


def _start(name: str | None, data: str, folds: str | None) -> Path | None:
    """Returns the folder of the model to start from, and warns if it may know clips that are held out here."""
    from ..classifiers.load import classifier_folder, load_classifier
    from ..data.folders import parse_folds
    from .datasets import data_name

    if name is None:
        return None
    known = load_classifier(name).card.get("folds")
    folder = classifier_folder(name)
    if folder is None:
        raise InputError(f"Training starts from an embedded model or a trained folder, got {name!r}.")
    if known is None or folds is None or set(parse_folds(str(known))) - set(parse_folds(folds)):
        say(f"warning: {name} learned from folds {known}, so scores on {data_name(data)} may not be held out")
    return folder


def _widths(text: str | None) -> tuple[int, ...] | None:
    """Returns the widths that a list such as `16,32` names."""
    if text is None:
        return None
    widths = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in widths):
        raise InputError(f"Widths are positive integers separated by commas, such as 16,32,64,128; got {text!r}.")
    return tuple(map(int, widths))


def _say_skipped(skipped: dict[str, str], so_far: dict[str, str] | None = None) -> None:
    """Names the clips that could not be read, and adds them to those of earlier parts."""
    if so_far is not None:
        so_far |= skipped
    for clip_id, why in skipped.items():
        say(f"skipped {clip_id}: {why}")
    if skipped:
        say(f"{len(skipped)} clips were skipped, for they cannot be read")
