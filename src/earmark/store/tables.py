"""Regions as tables for Raven and Audacity.

Labels come from data sets and file names, so they are made harmless before they enter a table: tabs, line breaks and
other control characters become spaces, quotation marks apostrophes (a spreadsheet takes all between two of them for
one cell), spaces at the ends are dropped, and a label that a spreadsheet would take for a formula (it starts with `=`,
`+`, `-` or `@`, or their full-width forms) gets an apostrophe in front. Numbers are written in full, without exponents,
so that they read back as they were.
"""

from collections.abc import Iterable

import numpy as np

from ..types import Region

RAVEN_COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Annotation",
    "Weight",
)

_FORMULA_STARTS = tuple("=+-@＝＋－＠")


def harmless(text: str) -> str:
    """Returns a label on one line, in one cell, and never a formula.

    Examples
    --------
    >>> harmless("=HYPERLINK(1)"), harmless("dog" + chr(9) + "bark")
    ("'=HYPERLINK(1)", 'dog bark')
    """
    line = "".join(character if character.isprintable() else " " for character in text.replace('"', "'")).strip()
    return f"'{line}" if line.startswith(_FORMULA_STARTS) else line


def raven_table(regions: Iterable[Region], label: str = "") -> str:
    """Returns a Raven selection table: one row for each region, tab separated.

    Parameters
    ----------
    label
        The annotation of regions without a label of their own.
    """
    lines = ["\t".join(RAVEN_COLUMNS)]
    for i, region in enumerate(regions, 1):
        bounds = (region.start_s, region.end_s, region.low_hz, region.high_hz)
        cells = (str(i), "Spectrogram 1", "1", *map(_written, bounds), harmless(region.label or label))
        lines.append("\t".join((*cells, _written(region.weight))))
    return "\n".join(lines) + "\n"


def audacity_labels(regions: Iterable[Region], label: str = "") -> str:
    """Returns an Audacity label track with spectral selections: times and label, then a line with the band."""
    lines = []
    for region in regions:
        text = harmless(region.label or label)
        lines.append(f"{_written(region.start_s)}\t{_written(region.end_s)}\t{text}")
        lines.append(f"\\\t{_written(region.low_hz)}\t{_written(region.high_hz)}")
    return "".join(f"{line}\n" for line in lines)


def _written(value: float) -> str:
    """Returns the shortest decimal, without exponent, that reads back as the same float."""
    return np.format_float_positional(np.float64(value), trim="-")
