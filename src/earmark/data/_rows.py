"""The rows of a table of recordings: read, checked, and made into clips."""

import csv
import posixpath
from collections import Counter
from pathlib import Path, PureWindowsPath

from ..errors import DataError
from ..types import Clip

Row = dict[str, str]
NO_GROUP = ("", "none")  # in the group column: a clip that belongs to no other


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Returns the column names and rows of a CSV file."""
    if not path.is_file():
        raise DataError(f"The table {path} does not exist; check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(lines, [])]
            rows = [(lines.line_num, line) for line in lines if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8 ({error}); export it again.") from error
    for line_number, line in rows:
        if len(line) != len(columns):
            raise DataError(
                f"Line {line_number} of {path} has {len(line)} values for {len(columns)} columns; "
                "put values that hold a comma in double quotes."
            )
    if not rows:
        raise DataError(f"{path} has no rows; expected a line of column names and one line for each sound.")
    return columns, [dict(zip(columns, map(str.strip, line), strict=True)) for _, line in rows]


def require_column(path: Path, column: str, columns: list[str]) -> None:
    """Refuses a table without the column, or with two of it."""
    if columns.count(column) == 1:
        return
    problem = "no column" if column not in columns else "more than one column"
    hint = " (label_column=None reads a table without labels)" if column == "label" else ""
    raise DataError(f"{path} has {problem} {column!r}; its columns are {', '.join(columns) or '(none)'}{hint}.")


def row_clip(root: Path, row: Row, label_column: str | None, group_column: str | None) -> Clip:
    """Returns the clip that a row describes."""
    name = _inside(root, row["file_name"])
    labels = row[label_column].split(";") if label_column else []
    return Clip(
        name,
        root / name,
        labels=tuple(sorted({label.strip() for label in labels} - {""})),
        group=name if group_column is None or row[group_column] in NO_GROUP else row[group_column],
        fold=_fold(name, row.get("fold", "")),
    )


def _inside(root: Path, name: str) -> str:
    """Returns a file name in its normal form, if it stays in the folder."""
    normal = posixpath.normpath(name)
    outside = normal.startswith(("/", "../")) or normal in (".", "..") or PureWindowsPath(name).drive
    if outside or not name:
        raise DataError(f"A file_name is a path inside of {root}, got {name!r}; write it relative to that folder.")
    return normal


def _fold(name: str, text: str) -> int | None:
    try:
        return int(text) if text else None
    except ValueError as error:
        raise DataError(f"The fold of {name} is {text!r}, and an integer was expected; correct it.") from error


def refuse_duplicates(path: Path, clips: list[Clip]) -> None:
    """Refuses a table that names a file twice."""
    twice = [name for name, n in Counter(clip.id for clip in clips).items() if n > 1]
    if twice:
        raise DataError(f"{path} names {_some(twice)} more than once; keep one row for each file.")


def refuse_missing(root: Path, path: Path, clips: list[Clip]) -> None:
    """Refuses a table that names files that do not exist."""
    missing = [clip.id for clip in clips if not (root / clip.id).is_file()]
    if missing:
        raise DataError(f"{path} names {_some(missing)}, not found in {root}; add the files or remove the rows.")


def _some(names: list[str]) -> str:
    """Returns how many files, and the first three of them."""
    dots = ", ..." if len(names) > 3 else ""
    return f"{len(names)} file{'s' * (len(names) != 1)} ({', '.join(names[:3])}{dots})"


def of_folds(path: Path, clips: list[Clip], folds: tuple[int, ...]) -> list[Clip]:
    """Returns the clips of some folds, all of which must exist."""
    known = sorted({clip.fold for clip in clips if clip.fold is not None})
    unknown = [fold for fold in folds if fold not in known]
    if unknown or not folds:
        raise DataError(
            f"{path} has the folds {', '.join(map(str, known)) or '(none)'}, "
            f"asked for {', '.join(map(str, unknown)) or 'none'}; choose among those it has."
        )
    return [clip for clip in clips if clip.fold in folds]
