"""`earmark bank`: what a classifier listens to, class by class, as tables and as a page."""

import csv
import io
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .explain import bank_folders
from .options import command, say
from .progress import progress

if TYPE_CHECKING:
    from ..explainers.apex.explainer import Apex
    from ..prototypes.overview import Overview

FILES = ("bank-overview.json", "index.html", "channels.csv")  # the first one marks the folder
SCHEMA = 1


def show_bank(result: dict[str, Any]) -> str:
    """Returns the overview as tables for people."""
    from rich.console import Console

    width = max(shutil.get_terminal_size((110, 24)).columns, 60)
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=sys.stdout.isatty(), highlight=False)
    for one in result["classes"]:
        console.print(_table(one))
    for line in _lines(result):
        console.print(plain(line), markup=False)
    return buffer.getvalue().rstrip()


@partial(command, show=show_bank)
def bank(
    source: Annotated[str, typer.Argument(metavar="DIR", help="An explainer's folder, or an embedded classifier.")],
    *,
    label: Annotated[str | None, typer.Option(help="Only this class.")] = None,
    top: Annotated[int, typer.Option(help="Channels per class.", min=1)] = 8,
    basis: Annotated[str | None, typer.Option(help="apex, or identity for the model's own channels.")] = None,
    classifier: Annotated[
        str | None, typer.Option(help="The explainer's classifier, where it is not an embedded one.")
    ] = None,
    bank_audio: Annotated[
        list[Path] | None, typer.Option(help="Where prototypes' sounds are looked for, by content hash.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page; default: NAME-bank.")] = None,
) -> dict[str, Any]:
    """Tell and draw what a classifier listens to: per class its channels, their shares and their prototypes."""
    from ..explainers.apex.overview import apex_overview
    from ..store.folders import check_free
    from ..types import label_index

    apex, name = open_apex(source, classifier, basis, bank_folders(bank_audio))
    labels = None if label is None else (apex.classifier.labels[label_index(label, apex.classifier.labels)],)
    out = out or Path(f"{name}-bank")
    check_free(out, FILES)
    told = apex_overview(apex, labels=labels, top=top)
    about = {
        "schema": SCHEMA,
        "classifier": apex.classifier.name,
        "explainer": name,
        "basis": apex.options.basis,
        **told.to_dict(),
    }
    write_bank(told, apex, about, out)
    say(f"open {out / 'index.html'}")
    return {**about, "folder": str(out), "page": str(out / "index.html")}


def open_apex(
    source: str, classifier: str | None, basis: str | None, bank_audio: tuple[str, ...] = ()
) -> "tuple[Apex, str]":
    """Returns the APEX that a folder, its bank's folder or an embedded classifier means, and what it is called.

    Raises
    ------
    InputError
        If it is neither, or its classifier is not known.
    """
    from ..classifiers.load import classifier_folder, load_classifier
    from ..explainers.apex.explainer import Apex

    folder, name = _apex_folder(source)
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = classifier or (source if _is_classifier(Path(source)) else about["classifier"])
    if classifier is None and classifier_folder(model) is None:
        raise InputError(
            f"{source} was fitted to {model}, which is neither an embedded classifier nor a folder here; "
            "name it with --classifier."
        )
    given = "identity" if Path(source).name == "bank-identity" else "apex"
    loaded = Apex.load(folder, load_classifier(model), basis=basis or given, bank_audio=bank_audio)
    return loaded, name


def _apex_folder(source: str) -> tuple[Path, str]:
    """Returns the explainer's folder and a name for it."""
    from ..classifiers.load import classifier_folder, embedded_names

    given = Path(source)
    inside = classifier_folder(source)
    places = [given, given.resolve().parent] + ([] if inside is None else [inside / "apex"])
    for place in places:
        if _is_apex(place) and (place != given.resolve().parent or (given / "bank.json").is_file()):
            return place, given.name if inside and place == inside / "apex" else place.resolve().name
    raise InputError(
        f"{source} holds no prototype bank: expected an APEX that `earmark fit apex` wrote, its bank, or an embedded "
        f"classifier ({', '.join(embedded_names())})."
    )


def _kind(folder: Path) -> str | None:
    """Returns the kind that a folder's config.json names."""
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(about.get("kind"))
    except (OSError, ValueError, AttributeError):
        return None


def _is_apex(folder: Path) -> bool:
    return _kind(folder) == "apex"


def _is_classifier(folder: Path) -> bool:
    return _kind(folder) not in (None, "apex")


def write_bank(told: "Overview", apex: "Apex", about: dict[str, Any], out: Path) -> None:
    """Writes the page, the numbers and the table of channels, whole or not at all."""
    from ..render.bank_clips import Material
    from ..render.bank_page import bank_page
    from ..store.folders import replacing

    material = Material(
        name=about["explainer"],
        classifier=apex.classifier.name,
        basis=apex.options.basis,
        row_edges_hz=tuple(apex.classifier.front_end.row_edges_hz().tolist()),
        find=apex.find_sound,
        pictures=apex.pictures,
    )
    with progress("drawing") as report:
        page = bank_page(told, material, report)
    with replacing(out, FILES[:1], FILES) as part:
        (part / "index.html").write_text(page, encoding="utf-8", newline="\n")
        (part / "channels.csv").write_text(channels_csv(told), encoding="utf-8", newline="")
        text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
        (part / FILES[0]).write_text(f"{text}\n", encoding="utf-8", newline="\n")


def channels_csv(told: "Overview") -> str:
    """Returns one row for each channel: what is known of it, and its share of the logit of each class."""
    from ..prototypes.overview import duplicates_of
    from ..store.tables import harmless

    bank = told.bank
    buffer = io.StringIO()
    table = csv.writer(buffer)
    shares = () if told.shares is None else told.labels
    names = ("channel", "purity", "class_purity", "labels", "dead", "duplicates")
    table.writerow([*names, *(harmless(f"share of {label}") for label in shares)])
    for k in range(bank.n_channels):
        labels = ", ".join(f"{label} {count}" for label, count in bank.class_histograms[k].items())
        duplicates = " ".join(map(str, duplicates_of(bank, k)))
        known = [k, bank.purity[k], bank.class_purity[k], harmless(labels), int(k in bank.dead), duplicates]
        table.writerow([*known, *([] if told.shares is None else told.shares[:, k].tolist())])
    return buffer.getvalue()


# -- on the terminal ------------------------------------------------------------------------------------------------


def _table(one: dict[str, Any]) -> Any:
    """Returns a class as a table."""
    from rich.table import Table
    from rich.text import Text

    title = f"{one['label']} ({one['n_clips']} training clips"
    title += ")" if one["logit"] is None else f", mean logit {one['logit']:+.2f}; {one['covered']:.0%} shown)"
    table = Table(title=Text(plain(title), style="bold"), title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("channel", justify="right")
    table.add_column("share of the logit", no_wrap=True)
    for name in ("purity", "class purity"):
        table.add_column(name, justify="right")
    table.add_column("labels of its prototypes", ratio=1)
    largest = max((row["share"] or 0.0 for row in one["channels"]), default=0.0)
    for row in one["channels"]:
        cells = (row["channel"], _bar(row["share"], largest), f"{row['purity']:.2f}", f"{row['class_purity']:.0%}")
        table.add_row(*map(str, cells), Text(plain(_labels(row))))
    return table


def _bar(share: float | None, largest: float, width: int = 14) -> str:
    if share is None:
        return "unknown"
    return f"{share:6.1%} {'█' * max(round(width * share / max(largest, 1e-9)), 1)}"


def _labels(row: dict[str, Any]) -> str:
    """Returns the histogram of a channel's prototypes in words, and what to beware of."""
    marks = ["dead"] if row["dead"] else []
    marks += [f"duplicate of {', '.join(map(str, row['duplicates']))}"] if row["duplicates"] else []
    marks += ["below zero"] if row["sign"] == "negative" else []
    told = ", ".join(f"{label} {count}" for label, count in row["histogram"].items())
    return told + (f" [{'; '.join(marks)}]" if marks else "")


def _lines(result: dict[str, Any]) -> list[str]:
    """Returns what is said below the tables."""
    pairs = ", ".join(f"{first} and {second}" for first, second in result["duplicates"])
    shared = ", ".join(f"{channel} ({', '.join(labels)})" for channel, labels in result["shared"].items())
    return [
        "",
        *([result["note"]] if result["note"] else []),
        f"channels that serve several classes: {shared or 'none'}",
        f"duplicates: {pairs or 'none'}",
        f"dead channels: {', '.join(map(str, result['dead'])) or 'none'}",
        f"page: {result['page']}",
    ]


def plain(text: str) -> str:
    """Returns text without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)
