"""One self-contained page over many explanations: a table that can be sorted and searched, and leads to their pages.

The template is `report.html.j2`; everything that enters it is escaped, and links are relative. Without JavaScript it is
a plain table in the order of folders.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..audio.files import read
from ..audio.waveform import Waveform
from ..errors import EarmarkError
from ..types import Region
from . import words
from .raster import N_LEVELS, RANGE_DB, Axes, color_palette, decibels, inside, levels, png
from .summary import Summary

ROOM = 6_000_000  # characters for pictures, of the 10 MB of a page
MOST_ROWS = 5000  # in the table
MOST_CHANNELS = 3  # of each class, in the summary of a bank

_FEW = 8  # levels in one step of a picture's palette: 16 colors, so that it stays small
_SIZES = ((200, (144, 48)), (800, (104, 36)), (2000, (80, 28)), (10**9, (56, 20)))  # explanations; columns, rows


def report_page(
    rows: Sequence[Summary],
    pictures: Mapping[str, str],
    *,
    title: str = "",
    banks: Sequence[Mapping[str, Any]] = (),
    failed: Sequence[tuple[str, str]] = (),
) -> str:
    """Returns the page over explanations as HTML, below 10 MB for 2,000 of them.

    Parameters
    ----------
    rows
        At most `MOST_ROWS` of them are in the table; their folders are relative to the page's.
    pictures
        Data URIs by folder, see `picture_of`.
    title
        What they are explanations of.
    banks
        Overviews as `bank-overview.json` holds them; with `address`, a link to the page, where there is one.
    failed
        Folders that could not be read, and why.
    """
    shown = rows[:MOST_ROWS]
    return str(
        _template().render(
            title=title,
            rows=[_row(row, pictures.get(row.folder, "")) for row in shown],
            facts=facts(rows),
            columns=_columns(rows),
            hidden=len(rows) - len(shown),
            banks=[bank_summary(bank) for bank in banks],
            failed=failed,
        )
    )


def picture_of(folder: Path, row: Summary, n_rows: int) -> str:
    """Returns a small spectrogram of an explanation's sound as a data URI; empty where it cannot be read.

    Parameters
    ----------
    folder
        The explanation's, with `original.flac`.
    n_rows
        How many explanations the page is about: the more, the smaller the picture.
    """
    try:
        sound = read(folder / "original.flac")
    except (EarmarkError, OSError):
        return ""
    size = next(size for most, size in _SIZES if n_rows <= most)
    return spectrogram(sound, row.whole.high_hz, size)


def spectrogram(sound: Waveform, top_hz: float, size: tuple[int, int]) -> str:
    """Returns a spectrogram in 16 colors as a data URI; `size` is columns and rows."""
    steps = levels(decibels(sound, Axes.of(sound, top_hz), *size), -RANGE_DB, 0.0) // _FEW
    content = png(steps, color_palette("magma")[_FEW // 2 : N_LEVELS : _FEW])
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("report.html.j2").read_text(encoding="utf-8"))


def address_of(folder: str) -> str:
    """Returns the relative address of a folder's page, percent-encoded.

    Examples
    --------
    >>> address_of("a folder/javascript:x?"), address_of(".")
    ('a%20folder/javascript%3Ax%3F/index.html', 'index.html')
    """
    return "index.html" if folder == "." else f"{quote(folder, safe='/')}/index.html"


def facts(rows: Sequence[Summary]) -> list[tuple[str, str]]:
    """Returns the figures of all explanations together, each with its name."""
    agrees = [row.agrees for row in rows if row.agrees is not None]
    agreement = [row.agreement for row in rows if row.agreement is not None]
    told = [
        ("explanations", str(len(rows))),
        ("clips", str(len({row.same[:-2] for row in rows}))),
        ("target labels", str(len({row.target for row in rows}))),
        ("mean probability of the target", words.number(sum(row.prob for row in rows) / max(len(rows), 1))),
    ]
    if agrees:
        told.append(("agree with the label", f"{sum(agrees)} of {len(agrees)}"))
    if agreement:
        told.append(("mean agreement of methods", words.number(sum(agreement) / len(agreement))))
    return told


def _columns(rows: Sequence[Summary]) -> dict[str, bool]:
    """Returns which columns have anything to show."""
    return {
        "truth": any(row.truth is not None for row in rows),
        "agreement": any(row.agreement is not None for row in rows),
        "view": any(row.view for row in rows),
        "covered": any(row.covered is not None for row in rows),
    }


def _row(row: Summary, picture: str) -> dict[str, Any]:
    axes = Axes(row.duration_s, row.whole.high_hz)
    boxes = [_box(*inside(region, axes)) for region in row.regions[:2]] if picture else []
    return {
        "picture": picture,
        "boxes": boxes,
        "address": address_of(row.folder) if row.has_page else "",
        "name": row.name,
        "folder": row.folder,
        "target": row.target,
        "prob": f"{row.prob:.3f}",
        "heard": _not_heard(row),
        "truth": "" if row.truth is None else ", ".join(row.truth) or "none",
        "agrees": {None: "", True: "yes", False: "no"}[row.agrees],
        "agreement": "" if row.agreement is None else f"{row.agreement:.2f}",
        "method": words.method_name(row.method) + (", own basis" if row.basis == "identity" else ""),
        "view": row.view,
        "covered": "" if row.covered is None else f"{100 * row.covered:.0f}",
        "where": place([r for r in row.regions[:2] if r.label == row.regions[0].label], row.whole),
        "start": f"{row.regions[0].start_s:.4f}" if row.regions else "",
    }


def place(regions: Sequence[Region], everything: Region) -> str:
    """Returns where regions lie in few words; an axis that is covered in full is not named.

    Examples
    --------
    >>> place([Region(1, 2, 0, 8000), Region(0, 5, 480, 2300)], Region(0, 5, 0, 8000))
    '1.00–2.00 s and 480–2300 Hz'
    """
    told = words.where(regions, everything)
    return told.replace(", at all frequencies", "").replace(", at all times", "").replace("at ", "").replace("in ", "")


def _not_heard(row: Summary) -> str:
    """Returns what was heard in place of a target that was not."""
    label, heard = row.decided
    target = row.target.partition(", not ")[0]
    return "" if heard and label == target else f"heard as {row.heard}"


def _box(left: float, bottom: float, right: float, top: float) -> str:
    place = {"left": left, "bottom": bottom, "width": right - left, "height": top - bottom}
    return ";".join(f"{name}:{100 * share:.1f}%" for name, share in place.items())


def bank_summary(bank: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is told of a bank: its classes with their strongest channels."""
    return {
        "classifier": bank["classifier"],
        "explainer": bank["explainer"],
        "basis": bank["basis"],
        "view": bank["view"],
        "address": bank.get("address", ""),
        "note": bank["note"],
        "n_channels": bank["n_channels"],
        "n_clips": bank["n_clips"],
        "n_dead": len(bank["dead"]),
        "n_duplicates": len(bank["duplicates"]),
        "classes": [_bank_class(one) for one in bank["classes"]],
    }


def _bank_class(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": one["label"],
        "n_clips": one["n_clips"],
        "logit": "" if one["logit"] is None else words.signed(one["logit"]),
        "channels": [
            {
                "channel": row["channel"],
                "share": "" if row["share"] is None else f"{100 * row['share']:.1f}\u00a0%",
                "purity": words.number(row["purity"]),
                "labels": ", ".join(f"{label} {count}" for label, count in list(row["histogram"].items())[:3]),
            }
            for row in one["channels"][:MOST_CHANNELS]
        ],
    }
