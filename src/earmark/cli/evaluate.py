"""`earmark evaluate`: explainers over clips, scored under one protocol, with intervals and a page."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, InputError
from ..evaluation.config import EvaluateConfig
from .datasets import DataOptions, listed_clips, say_unknown_labels
from .options import command, page_is_of, refuse_other, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..data.recipes import Recipe
    from ..evaluation.scores import Scores
    from ..types import Clip

PAGE = "index.html"
CLEAN = "clean"  # the clips as they are


def _words(result: dict[str, Any]) -> str:
    """Returns the headline table, what beats the controls, and where the page is."""
    import io

    from rich.console import Console
    from rich.table import Table

    tables = result.get("tables") or [(f"explainers of {result['classifier']}", result["headline"])]
    written = io.StringIO()
    console = Console(file=written, width=None if _is_wide() else 200, markup=False, highlight=False)
    for title, (head, *rows) in tables:
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
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
    mixture: Annotated[str, typer.Option(help="What is mixed in: clean, ood, white:6, ...; several by ;")] = "clean",
    areas: Annotated[str, typer.Option(help="Areas of equal masks, in percent of all bins.")] = "1,2,5,10,15,20,30,50",
    reentry: Annotated[str, typer.Option(help="Where masked clips re-enter: waveform, stft, features.")] = "waveform",
    fill: Annotated[
        str, typer.Option(help="Where a mask keeps nothing: silence, mean, band_mean, noise, attenuation.")
    ] = "silence",
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
    from ..data.mixtures import mix
    from ..store.filling import only_one

    refuse_other(out, "evaluate")
    config = EvaluateConfig(
        areas=_areas(areas),
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
    clips = listed_clips(DataOptions(data, label_column, group_column), folds, limit)
    say_unknown_labels(clips, model.labels)
    recipes = _mixtures(mixture)
    _say_heard(model, recipes)
    sets = {name: clips if recipe is None else mix(clips, recipe) for name, recipe in recipes.items()}
    told = _told(data, folds, group_column, limit)
    with only_one(out):
        refuse_mixed(out, len(sets))
        if len(sets) == 1:
            (mixed,) = sets.values()
            scores, summary = _scored(model, mixed, names, config, out, {**told, "mixture": mixture})
            _save_params(out, options)
            return _result(scores, summary, out)
        found = _each(model, sets, names, config, out, told)
        _save_params(out, options)
    return found


def _scored(
    model: "Classifier",
    clips: "Sequence[Clip]",
    names: list[str],
    config: EvaluateConfig,
    out: Path,
    told: dict[str, Any],
) -> "tuple[Scores, dict[str, Any]]":
    """Scores into a folder, and writes its page unless it is that of these scores."""
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
    if not page_is_of(out / PAGE, key):
        with progress("drawing") as report:
            examples = examples_of(scores, model, clips, names, progress=report)
            page = evaluation_page(summary, examples, key=key, title=told["data"])
        write_whole(out / PAGE, page)
    for warning in summary["warnings"]:
        say(warning)
    return scores, summary


def _each(
    model: "Classifier",
    sets: "dict[str, Sequence[Clip]]",
    names: list[str],
    config: EvaluateConfig,
    out: Path,
    told: dict[str, Any],
) -> dict[str, Any]:
    """Scores each mixture into a folder of its own, and writes tables of all beside each other."""
    from ..evaluation.together import side_by_side, together, together_markdown
    from ..render.mixtures_page import mixtures_page

    folders, rows, summaries = {name: folder_name(name) for name in sets}, 0, {}
    for name, clips in sets.items():
        say(f"mixture {name}:")
        scores, summaries[name] = _scored(model, clips, names, config, out / folders[name], {**told, "mixture": name})
        rows += len(scores)
    found = together(summaries)
    _write_new(out / "summary.json", json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write_new(out / "summary.md", together_markdown(found, folders))
    _write_new(out / PAGE, mixtures_page(found, folders))
    return {
        "folder": str(out),
        "page": str(out / PAGE),
        "classifier": found["classifier"],
        "rows": rows,
        "mixtures": {name: str(out / folder) for name, folder in folders.items()},
        "tables": side_by_side(found),
        "verdicts": [f"{name}: {line}" for name, about in found["mixtures"].items() for line in about["verdicts"]],
        "summary": found,
    }


def folder_name(mixture: str) -> str:
    """Returns the folder of a mixture: its name with letters, digits, points and dashes alone.

    Examples
    --------
    >>> folder_name("ood:12.04,l2,padded")
    'ood-12.04-l2-padded'
    """
    return re.sub(r"[^\w.]+", "-", mixture)


def refuse_mixed(out: Path, n: int) -> None:
    """Refuses a folder that holds the scores of one mixture, where `n` would lie beside them, and the other way."""
    has_one = (out / "scores.parquet").exists()
    has_several = not has_one and (out / "summary.json").exists() and any(out.glob("*/scores.parquet"))
    if n > 1 and has_one:
        raise InputError(f"{out} holds the scores of one mixture; name another folder for several with --out.")
    if n == 1 and has_several:
        raise InputError(f"{out} holds the scores of several mixtures; name another folder for one with --out.")


def _save_params(out: Path, options: dict[str, Any]) -> None:
    """Writes `run.json`, unless it is there as it would be."""
    values = json.loads(json.dumps({**options, "out": str(out)}, default=str))
    try:
        there = json.loads((out / "run.json").read_text(encoding="utf-8"))["options"] == values
    except (OSError, ValueError, KeyError, TypeError):
        there = False
    if not there:
        save_params(out, "evaluate", values)


def _write_new(path: Path, text: str) -> None:
    """Writes a file, unless it is there as it would be."""
    from ..classifiers.card import write_whole

    try:
        there = path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        there = False
    if not there:
        write_whole(path, text)


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


# -- what is asked for ----------------------------------------------------------------------------------------------


def _mixtures(text: str) -> "dict[str, Recipe | None]":
    """Returns the recipes of mixtures that are separated by semicolons, by name; each level is one of its own."""
    from ..data.recipes import parse_mixture

    found: list[tuple[str, Recipe | None]] = []
    for part in (part.strip() for part in text.split(";") if part.strip()):
        found += [(CLEAN, None)] if part == CLEAN else [(recipe.name, recipe) for recipe in parse_mixture(part)]
    if twice := sorted({name for name, _ in found if [other for other, _ in found].count(name) > 1}):
        raise DataError(f"Mixtures are told apart by kind and level, and {twice[0]} is there twice; name each once.")
    return dict(found)


def _say_heard(model: "Classifier", recipes: "dict[str, Recipe | None]") -> None:
    """Warns of mixtures of noise that the classifier may have heard in its training."""
    from ..data.backgrounds import may_have_been_heard

    heard = (model.card.get("training", {}).get("background") or {}).get("name")
    for name, recipe in recipes.items():
        if heard and recipe and recipe.source and may_have_been_heard(recipe.source, heard):
            say(
                f"The mixture {name} may hold recordings that {model.name} heard in its training ({heard}); name "
                "folds that it did not hear, as in id:0:PATH#3."
            )


def _told(data: str, folds: str | None, group_column: str | None, limit: int | None) -> dict[str, Any]:
    from .datasets import data_name

    told = {"data": data_name(data), "folds": folds, "group_column": group_column, "limit": limit}
    return {name: value for name, value in told.items() if value is not None}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _areas(text: str) -> tuple[float, ...]:
    """Returns shares of all bins, rising, from percentages."""
    found = sorted(set(_numbers(text, float, "--areas")))
    if not all(0 < area <= 100 for area in found):
        raise InputError(f"--areas takes percentages above 0, at most 100, got {text!r}; name for instance 10,50.")
    return tuple(area / 100 for area in found)


def _numbers(text: str, kind: Any, option: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in _parts(text))
    except ValueError as error:
        raise InputError(f"{option} takes numbers separated by commas, got {text!r}.") from error
