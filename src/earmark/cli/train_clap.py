"""`earmark train clap`."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..classifiers.clap.config import ClapSize
from ..training.config import AugmentConfig, LoopConfig
from .options import command, save_params, say, with_config
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..classifiers.clap.prompts import Prompts
    from ..types import Clip
    from .datasets import DataOptions, Split

PARTS = ("training", "selection", "test")


@command
@with_config("loop", LoopConfig)
@with_config("size", ClapSize)
@with_config("augmentation", AugmentConfig)
def clap(
    *,
    data: Annotated[list[str], typer.Option(help="Folder of labeled clips; several with commas, or again --data.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    prompts: Annotated[
        Path | None, typer.Option(help='JSON: {"label": {"train": [...], "held_out": [...]}}; default: built-in.')
    ] = None,
    folds: Annotated[str | None, typer.Option(help="Folds to learn from, such as 1,2,3.")] = None,
    select_folds: Annotated[str | None, typer.Option(help="Folds that choose the epoch.")] = None,
    test_folds: Annotated[str | None, typer.Option(help="Folds that are only reported.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what must stay together.")] = None,
    without: Annotated[str, typer.Option(help="Labels whose clips are left out, with commas.")] = "",
    loop: LoopConfig,
    size: ClapSize,
    augmentation: AugmentConfig,
) -> dict[str, Any]:
    """Train a small CLAP on labeled clips and words for their labels, and test it with words that were held out."""
    from ..classifiers.clap.card import write_clap_card
    from ..classifiers.clap.prompts import prompts_of
    from ..classifiers.clap.train import fit_clap, labels_of
    from ..store.filling import filling, only_one
    from .datasets import DataOptions, Split, data_name

    names = _names(data)
    chosen = {"folds": folds, "select_folds": select_folds, "test_folds": test_folds}
    columns: dict[str, Any] = {"label_column": label_column, "group_column": group_column}
    sets = {data_name(name): _split(DataOptions(name, seed=loop.seed, **columns), chosen, without) for name in names}
    whole = Split(*([clip for own in sets.values() for clip in vars(own)[part]] for part in PARTS))
    labels = labels_of(whole.training, whole.selection, whole.test)
    words = prompts_of(labels, prompts)
    say(f"{len(whole.training)} clips of {len(labels)} labels to learn from, {len(whole.test)} to test")
    numbers = {**vars(loop), **vars(size), **vars(augmentation)}
    with only_one(out):
        with filling(out, "config.json", ("README.md",)) as part:
            with progress("training") as report:
                more: dict[str, Any] = {"prompts": words, "resume_dir": out / ".resume", "progress": report}
                summary = fit_clap(whole.training, whole.selection, part, size, loop, augmentation=augmentation, **more)
            if whole.test:
                summary["test"] = _tested(part, {name: own.test for name, own in sets.items()}, words, size)
            write_clap_card(
                part, summary, {**_about(out, sets, chosen, words), "numbers": numbers, "size": asdict(size)}
            )
            save_params(
                part,
                "train clap",
                {"data": names, "prompts": prompts, **chosen, **columns, "without": without, **numbers},
            )
        shutil.rmtree(out / ".resume", ignore_errors=True)
    for clip_id, why in summary["skipped"].items():
        say(f"skipped {clip_id}: {why}")
    say(f"model in {out}: {summary['score']:.4f} on clips that chose the epoch")
    return {"folder": str(out), **summary}


def _names(data: list[str]) -> list[str]:
    """Returns the data sets that are named, each once; a name may be a list with commas."""
    parts = [part.strip() for text in data for part in ([text] if Path(text).exists() else text.split(","))]
    return list(dict.fromkeys(filter(None, parts)))


def _split(options: "DataOptions", chosen: dict[str, str | None], without: str) -> "Split":
    """Returns the parts of one data set, without clips whose label is left out."""
    from .datasets import Split, training_clips

    left_out = {label.strip() for label in without.split(",")}
    parts = vars(training_clips(options, **chosen)).values()
    return Split(*(tuple(clip for clip in part if not left_out & set(clip.labels)) for part in parts))


def _tested(
    folder: Path, sets: "dict[str, Sequence[Clip]]", words: "dict[str, Prompts]", size: ClapSize
) -> dict[str, Any]:
    """Returns what each data set scores, and, of several, all together."""
    from ..classifiers.clap.scores import score_clap
    from ..classifiers.load import load_classifier
    from ..classifiers.zero_shot import ZeroShot

    classifier = ZeroShot.of(load_classifier(folder, prompts=[own.name for own in words.values()]))
    if len(sets) > 1:
        sets = {**sets, "all": [clip for clips in sets.values() for clip in clips]}
    with progress("testing"):
        return {name: score_clap(classifier, clips, words, size, folder / ".decoded") for name, clips in sets.items()}


def _about(
    out: Path, sets: "dict[str, Split]", chosen: dict[str, str | None], words: "dict[str, Prompts]"
) -> dict[str, Any]:
    """Returns what the card says beside numbers."""
    folds, select = chosen["folds"], chosen["select_folds"]
    return {
        "name": out.resolve().name,
        "data": " and ".join(sets),
        "folds": f"folds {folds}" if folds else "all but those held out",
        "select": f"fold {select}" if select else "a fifth of the groups",
        "where": f"fold {chosen['test_folds']}",
        "prompts": {label: asdict(own) for label, own in words.items()},
        "n_texts": sum(len(set(own.texts)) for own in words.values()),
    }
