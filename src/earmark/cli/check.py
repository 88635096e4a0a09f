"""`earmark check`: does an explainer depend on what the model has learned, and keep its other promises?"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..checks import USUAL
from ..errors import InputError
from .options import command, page_is_of, refuse_other, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..checks.config import CheckConfig
    from ..checks.results import Progress
    from ..checks.run import CheckReport
    from ..types import Clip

PAGE, SUMMARY = "index.html", "summary.md"


def _words(result: dict[str, Any]) -> str:
    """Returns a line for each check, and where the page is."""
    signs = {True: "passes    ", False: "FAILS     ", None: "not judged"}
    lines = [f"{signs[one['passed']]} {one['name']}: {one['sentence']}" for one in result["results"]]
    return "\n".join([*lines, f"page: {result['page']}"])


@partial(command, show=_words)
def check(
    explainer: Annotated[str, typer.Argument(help="A method's name, or the folder of a fitted explainer.")],
    *,
    data: Annotated[str, typer.Option(help="Folder of clips, scenes:N, or NAME:PATH of a published set.")],
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    folds: Annotated[str | None, typer.Option(help="Folds to check on; default: all.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what intervals resample together.")] = None,
    checks: Annotated[
        str,
        typer.Option(
            help="determinism, completeness, randomization, stability, decoder; decoder-refits, labels and roar train "
            "models: slow."
        ),
    ] = ",".join(USUAL),
    training_folds: Annotated[
        str | None,
        typer.Option(help="What the classifier learned from, for decoder-refits; default: as its card says."),
    ] = None,
    limit: Annotated[int, typer.Option(help="So many clips at most are explained, evenly spaced.")] = 100,
    seeds: Annotated[str, typer.Option(help="One draw of new weights, and one seed of the explainer, each.")] = "0,1,2",
    parity: Annotated[bool, typer.Option(help="Randomize as published: head and normalization are kept.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, as name=value; may be repeated.")
    ] = None,
    check_settings: Annotated[
        list[str] | None, typer.Option("--set-check", help="A setting of the checks, such as n_shown=2.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Clips explained together.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("checked"),
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
) -> dict[str, Any]:
    """Check an explainer: randomized weights, determinism, completeness, stability; verdicts in words, and a page.

    A run that was killed goes on where it was; one that is finished is told again.
    """
    options = {name: value for name, value in locals().items() if name != "out"}
    from ..checks.run import checked_names
    from ..classifiers.load import load_classifier
    from ..store.filling import only_one
    from .explain import parsed_settings

    refuse_other(out, "check")
    names = checked_names([name.strip() for name in checks.split(",") if name.strip()])
    config = config_of(limit, seeds, parity, batch, parsed_settings(check_settings or []))
    model = load_classifier(classifier, device=device)
    if model.head.notice:
        say(model.head.notice)
    clips, told = _clips(data, folds, label_column, group_column)
    training = _clips(data, training_folds, label_column, group_column)[0] if training_folds else ()
    with only_one(out):
        report = _checked(
            (model, explainer, clips, names, config),
            {"options": parsed_settings(settings or []), "told": told, "training": training},
            out,
        )
        _write(report, out, told, options)
    for warning in report.about.get("warnings", ()):
        say(warning)
    return {"folder": str(out), "page": str(out / PAGE), "passed": report.passed, **report.to_dict()}


def config_of(limit: int, seeds: str, parity: bool, batch: int, changes: dict[str, Any]) -> "CheckConfig":
    """Returns the settings of the checks; names with a dot are settings of one kind, as in `retraining.epochs`.

    Raises
    ------
    InputError
        If one is unknown, or outside its range.
    """
    from dataclasses import replace

    from ..checks.config import CheckConfig

    try:
        numbers = tuple(int(part) for part in seeds.split(",") if part.strip())
    except ValueError as error:
        raise InputError(f"--seeds takes whole numbers separated by commas, got {seeds!r}.") from error
    config = CheckConfig(n_clips=limit, seeds=numbers, parity=parity, batch=batch)
    for name, value in changes.items():
        outer, dot, inner = name.partition(".")
        if dot:
            config = replace(config, **{_known(config, outer): _changed(getattr(config, outer), inner, value)})
        else:
            config = _changed(config, outer, value)
    return config


def _changed(config: Any, name: str, value: Any) -> Any:
    from dataclasses import replace

    default = getattr(config, _known(config, name))
    if isinstance(default, tuple):
        value = tuple(value) if isinstance(value, list) else (value,)
    if not _is_kind(value, default):
        shown = list(default) if isinstance(default, tuple) else default
        raise InputError(f"The setting {name} is {shown!r} by default, and {value!r} is of another kind.")
    return replace(config, **{name: value})


def _is_kind(value: Any, default: Any) -> bool:
    """Says whether a value can stand for a default; where that is `None`, any can."""
    if isinstance(default, tuple):
        first = float(default[0]) if type(default[0]) is int else default[0]
        return all(_is_kind(one, first) for one in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool | None) and isinstance(value, bool)
    return default is None or isinstance(value, int | float if isinstance(default, float) else type(default))


def _known(config: Any, name: str) -> str:
    from dataclasses import fields

    known = [field.name for field in fields(config)] if hasattr(config, "__dataclass_fields__") else []
    if name not in known:
        raise InputError(f"The checks have no setting {name!r}; there are {', '.join(known) or 'none'}.")
    return name


def _clips(
    data: str, folds: str | None, label_column: str, group_column: str | None
) -> "tuple[Sequence[Clip], dict[str, Any]]":
    """Returns the clips, and what the card says of them."""
    from .datasets import DataOptions, clips_of, data_name, say_groups

    clips = clips_of(DataOptions(data, label_column, group_column), folds)
    say_groups(data, clips, group_column)
    told = {"data": data_name(data), "folds": folds, "group_column": group_column}
    return clips, {name: value for name, value in told.items() if value is not None}


def _checked(what: tuple[Any, ...], options: dict[str, Any], out: Path) -> "CheckReport":
    from .. import disk
    from ..checks.run import check as run

    if out.is_dir():
        disk.sweep(out)

    def bars(name: str) -> "AbstractContextManager[Progress]":
        return progress(f"checking {name}")

    return run(*what, **options, folder=out, bars=bars)


def _write(report: "CheckReport", out: Path, told: dict[str, Any], options: dict[str, Any]) -> None:
    """Writes page, summary and `run.json`, unless they are those of this report."""
    from ..checks.summary import summary_of
    from ..classifiers.card import write_whole
    from ..render.check_page import check_page

    if page_is_of(out / PAGE, report.mark) and (out / SUMMARY).is_file():
        return
    save_params(out, "check", {**options, "out": str(out)})
    write_whole(out / SUMMARY, summary_of(report))
    write_whole(out / PAGE, check_page(report, title=told["data"]))
