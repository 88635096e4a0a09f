"""What the readers share: refusing a wrong folder, and tables whose columns have other names."""

from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import DataError
from ...types import Clip
from .._rows import Row, read_rows, refuse_duplicates, refuse_missing, require_column, row_clip
from ..folders import ClipFolder

TRAINING, VALIDATION, TEST = 1, 2, 3  # published splits as folds


def expect(root: Path, name: str, what: str) -> Path:
    """Returns a file or folder that a layout must have."""
    if not (root / name).exists():
        raise DataError(f"{root} is not a folder of {what}: {root / name} was expected; name the unpacked folder.")
    return root / name


def from_table(
    table: Path, root: Path, file_column: str, file_name: Callable[[Row], str], names: dict[str, str]
) -> ClipFolder:
    """Returns the rows of a CSV table as clips; all files must exist.

    Parameters
    ----------
    file_column, file_name
        The column of files, and what returns the path relative to `root` of a row.
    names
        Which columns are `group` and, where there are any, `label` and `fold`.
    """
    columns, rows = read_rows(table)
    for column in (file_column, *names.values()):
        require_column(table, column, columns)
    label_column = "label" if "label" in names else None
    renamed = ({"file_name": file_name(row), **_renamed(row, names)} for row in rows)
    clips = [row_clip(root, row, label_column, "group") for row in renamed]
    refuse_duplicates(table, clips)
    refuse_missing(root, table, clips)
    return in_order(root, clips)


def in_order(root: Path, clips: Iterable[Clip]) -> ClipFolder:
    """Returns clips sorted by id."""
    return ClipFolder(root, tuple(sorted(clips, key=lambda clip: clip.id)))


def read_names(path: Path) -> frozenset[str]:
    """Returns the lines of a list of names."""
    return frozenset(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))


def _renamed(row: Row, names: dict[str, str]) -> Row:
    return {name: row[column] for name, column in names.items()}
