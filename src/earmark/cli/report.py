"""`earmark report`: one index page over many explanations."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EarmarkError, InputError
from .bank import FILES as BANK_FILES
from .bank import open_apex
from .options import command, say
from .progress import progress

if TYPE_CHECKING:
    from ..render.summary import Summary

PAGE = "report.html"

Failed = list[tuple[str, str]]


def _words(result: dict[str, Any]) -> str:
    """Returns the result in a few lines for people."""
    lines = [f"{name}: {value}" for name, value in result["facts"].items()]
    return "\n".join([*lines, f"page: {result['page']}"])


@partial(command, show=_words)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where explanations lie, at any depth.")],
    *,
    labels: Annotated[
        Path | None, typer.Option(help="Table with what the clips are: file_name and a column of labels.")
    ] = None,
    label_column: Annotated[str, typer.Option(help="Its column with the label.")] = "label",
    explainer: Annotated[
        list[str] | None, typer.Option(help="Explainers whose banks are told of, besides those found in DIR.")
    ] = None,
    classifier: Annotated[str | None, typer.Option(help="Of these, where it is not an embedded one.")] = None,
) -> dict[str, Any]:
    """Make one page over many explanations: sortable, searchable, with how far methods and labels agree."""
    from ..classifiers.card import write_whole
    from ..render.report_page import facts, report_page
    from ..store.summaries import read_truth, refuse_empty, with_agreement

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that `earmark explain` wrote into.")
    if (folder / "evaluation.json").is_file():
        raise InputError(f"{folder} holds scores, not explanations; their page is {folder / 'index.html'}.")
    truth = None if labels is None else read_truth(labels, label_column)
    rows, failed = _rows(folder, truth)
    refuse_empty(folder, rows, failed)
    rows = with_agreement(rows, folder)
    pictures = _pictures(folder, rows)
    banks = _banks(folder, explainer or [], classifier, failed)
    for name, reason in failed:
        say(f"earmark: {name}: {reason}")
    page = report_page(rows, pictures, title=folder.resolve().name, banks=banks, failed=failed)
    write_whole(folder / PAGE, page)
    say(f"open {folder / PAGE}")
    return {
        "folder": str(folder),
        "page": str(folder / PAGE),
        "facts": dict(facts(rows)),
        "rows": [row.to_dict() for row in rows],
        "banks": [{name: bank[name] for name in ("classifier", "explainer", "basis", "address")} for bank in banks],
        "failed": [{"folder": name, "error": reason} for name, reason in failed],
    }


def _rows(folder: Path, truth: dict[str, tuple[str, ...]] | None) -> "tuple[list[Summary], Failed]":
    """Returns what can be read, and what cannot with the reasons."""
    from ..render.summary import Summary
    from ..store.summaries import summaries

    rows: list[Summary] = []
    failed: Failed = []
    for found in summaries(folder, truth):
        if isinstance(found, Summary):
            rows.append(found)
        else:
            failed.append(found)
    return rows, failed


def _pictures(folder: Path, rows: "list[Summary]") -> dict[str, str]:
    """Returns small pictures by folder, until the room for them is used up."""
    from ..render.report_page import MOST_ROWS, ROOM, picture_of

    pictures: dict[str, str] = {}
    size = 0
    shown = rows[:MOST_ROWS]
    with progress("drawing") as report:
        for done, row in enumerate(shown, start=1):
            picture = picture_of(folder / row.folder, row, len(shown))
            size += len(picture)
            if size > ROOM:
                break
            pictures[row.folder] = picture
            report(done, len(shown))
    return pictures


# -- banks ----------------------------------------------------------------------------------------------------------


def _banks(folder: Path, explainers: list[str], classifier: str | None, failed: Failed) -> list[dict[str, Any]]:
    """Returns the overviews found in a folder, and those of explainers that lie there or were named."""
    banks = []
    for path in sorted(folder.rglob(BANK_FILES[0])):
        try:
            banks.append(_read_overview(path, folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            failed.append((path.relative_to(folder).as_posix(), f"it is no overview of a bank ({error})"))
    known = {bank["basis_sha256"] for bank in banks}
    for source, wanted in [*((name, True) for name in explainers), *((name, False) for name in _explainers(folder))]:
        try:
            told = _overview(source, classifier)
        except EarmarkError as error:
            if wanted:
                raise
            failed.append((source, str(error)))
            continue
        if told["basis_sha256"] not in known:
            known.add(told["basis_sha256"])
            banks.append(told)
    return banks


def _read_overview(path: Path, folder: Path) -> dict[str, Any]:
    """Returns an overview that `earmark bank` wrote, with the address of its page."""
    from ..render.report_page import address_of, bank_summary

    about = json.loads(path.read_text(encoding="utf-8"))
    bank_summary(about)
    about["basis_sha256"]  # so that what lacks it is named
    has_page = (path.parent / "index.html").is_file()
    return {**about, "address": address_of(path.parent.relative_to(folder).as_posix()) if has_page else ""}


def _explainers(folder: Path) -> list[str]:
    """Returns the folders of explainers with a bank in a folder."""
    return [str(path.parent.parent) for path in sorted(folder.rglob("bank/bank.json"))]


def _overview(source: str, classifier: str | None) -> dict[str, Any]:
    """Returns what the bank of an explainer says of each class."""
    from ..explainers.apex.overview import apex_overview
    from ..render.report_page import MOST_CHANNELS

    apex, name = open_apex(source, classifier, None)
    told = apex_overview(apex, top=MOST_CHANNELS).to_dict()
    return {"classifier": apex.classifier.name, "explainer": name, "basis": apex.options.basis, "address": "", **told}
