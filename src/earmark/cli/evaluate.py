"""`earmark evaluate`: explainers over clips, scored under one protocol, with intervals and a page."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, InputError
from ..evaluation.config import EvaluateConfig
from .options import command, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..evaluation.scores import Scores
    from ..types import Clip

PAGE = "index.html"


def _words(result: dict[str, Any]) -> str:
    """Returns the headline table, what beats the controls, and where the page is."""
    import io

    from rich.console import Console
    from rich.table import Table

    head, *rows = result["headline"]
    table = Table(*head, title=f"explainers of {result['classifier']}", title_justify="left")
    for row in rows:
        table.add_row(*row)
    written = io.StringIO()
    Console(file=written, width=None if _is_wide() else 200, markup=False, highlight=False).print(table)
    return "\n".join([written.getvalue().rstrip(), *result["verdicts"], f"page: {result['page']}"])


def _is_wide() -> bool:
    import sys

    return sys.stdout.isatty()


@partial(command, show=_words)
def evaluate(
    *,
    data: Annotated[str, typer.Option(help="Folder of clips, scenes:N, or NAME:PATH of a published set.")],
    explainers: Annotated[str, typer.Option(help="Names and folders of explainers, separated by commas.")],
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    folds: Annotated[str | None, typer.Option(help="Folds to score; default: all.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what intervals resample together.")] = None,
    mixture: Annotated[str, typer.Option(help="clean, or what is mixed in: ood, white:6, id:0:/noise, ...")] = "clean",
    areas: Annotated[str, typer.Option(help="Areas of equal masks, in percent of all bins.")] = "1,2,5,10,15,20,30,50",
    reentry: Annotated[str, typer.Option(help="Where masked clips re-enter: waveform, stft, features.")] = "waveform",
    fill: Annotated[str, typer.Option(help="What stands where a mask keeps nothing.")] = "silence",
    smooth: Annotated[bool, typer.Option(help="Soften the edges of equal masks.")] = False,
    insertion: Annotated[bool, typer.Option(help="Insertion and deletion, 20 steps each.")] = True,
    seeds: Annotated[str, typer.Option(help="Seeds of methods that draw at random.")] = "0,1,2",
    batch: Annotated[int, typer.Option(help="Clips explained together, and masked clips in one pass.")] = 16,
    limit: Annotated[int | None, typer.Option(help="So many clips at most, evenly spaced.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the scores.")] = Path("scores"),
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
) -> dict[str, Any]:
    """Score explainers on clips under one protocol: tables with intervals, beside controls, and a page.

    A run that was killed goes on where it was; one that is finished is told again.
    """
    options = {name: value for name, value in locals().items() if name != "out"}
    from ..classifiers.load import load_classifier
    from ..store.filling import only_one

    config = EvaluateConfig(
        areas=tuple(dict.fromkeys(area / 100 for area in sorted(_numbers(areas, float, "--areas")))),
        reentry=tuple(_parts(reentry)),  # type: ignore[arg-type]
        insertion=insertion,
        fill=fill,
        smooth=smooth,
        seeds=_numbers(seeds, int, "--seeds"),
        batch=batch,
    )
    names = _parts(explainers)
    model = load_classifier(classifier, device=device)
    if model.head.notice:
        say(model.head.notice)
    clips = _clips(data, folds, label_column, group_column, mixture, limit)
    told = _told(data, folds, mixture, group_column, limit)
    with only_one(out):
        scores, summary = _scored(model, clips, names, config, out, told, options)
    return _result(scores, summary, out)


def _scored(
    model: "Classifier",
    clips: "Sequence[Clip]",
    names: list[str],
    config: EvaluateConfig,
    out: Path,
    told: dict[str, Any],
    options: dict[str, Any],
) -> "tuple[Scores, dict[str, Any]]":
    """Scores into a folder, and writes its page and `run.json` unless they are those of these scores."""
    from .. import disk
    from ..classifiers.card import write_whole
    from ..evaluation.examples import examples_of
    from ..evaluation.runner import evaluate as run
    from ..evaluation.summary import summarize
    from ..render.evaluation_page import evaluation_page

    if out.is_dir():
        disk.sweep(out)
    with progress("scoring") as report:
        scores = run(model, clips, names, config, folder=out, told=told, progress=report)
    summary = summarize(scores)
    key = scores.about["key"]
    if not _is_of(out / PAGE, key):
        with progress("drawing") as report:
            examples = examples_of(scores, model, clips, names, progress=report)
            page = evaluation_page(summary, examples, key=key, title=told["data"])
        save_params(out, "evaluate", {**options, "out": str(out)})
        write_whole(out / PAGE, page)
    return scores, summary


def _result(scores: "Scores", summary: dict[str, Any], out: Path) -> dict[str, Any]:
    from ..evaluation.words import headline_table, verdict_lines

    return {
        "folder": str(out),
        "page": str(out / PAGE),
        "classifier": scores.about["classifier"],
        "rows": len(scores),
        "headline": headline_table(summary),
        "verdicts": verdict_lines(summary),
        "summary": summary,
    }


def _is_of(page: Path, key: str) -> bool:
    """Says whether a page is that of the scores with a key."""
    try:
        with page.open(encoding="utf-8") as file:
            return f'content="{key}"' in file.read(4000)
    except OSError:
        return False


# -- what is asked for ----------------------------------------------------------------------------------------------


def _clips(
    data: str, folds: str | None, label_column: str, group_column: str | None, mixture: str, limit: int | None
) -> "Sequence[Clip]":
    """Returns the clips that are scored, and says what a reader should know of them."""
    from .datasets import DataOptions, clips_of, say_groups

    clips = sorted(clips_of(DataOptions(data, label_column, group_column), folds), key=lambda clip: clip.id)
    say_groups(data, clips, group_column)
    if limit is not None:
        if limit < 1:
            raise InputError(f"--limit is at least 1, got {limit}.")
        clips = [clips[i * len(clips) // limit] for i in range(limit)] if limit < len(clips) else clips
    return clips if mixture == "clean" else _mixed(clips, mixture)


def _mixed(clips: "Sequence[Clip]", mixture: str) -> "Sequence[Clip]":
    from ..data.mixtures import mix
    from ..data.recipes import parse_mixture

    recipes = parse_mixture(mixture)
    if len(recipes) != 1:
        named = ", ".join(recipe.name for recipe in recipes) or "none"
        raise DataError(f"Scores are of one mixture at a time, and {mixture!r} names {named}; run it once for each.")
    return mix(clips, recipes[0])


def _told(data: str, folds: str | None, mixture: str, group_column: str | None, limit: int | None) -> dict[str, Any]:
    from .datasets import data_name

    told = {"data": data_name(data), "folds": folds, "mixture": mixture, "group_column": group_column, "limit": limit}
    return {name: value for name, value in told.items() if value is not None}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str, kind: Any, option: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in _parts(text))
    except ValueError as error:
        raise InputError(f"{option} takes numbers separated by commas, got {text!r}.") from error
