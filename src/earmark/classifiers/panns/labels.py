"""Names of labels for a network that has none: from a sequence, a table, or a list in a file."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

from ...errors import ModelError
from ..wrap import checked_labels

#: The table of AudioSet's classes: columns index, mid, display_name.
TABLE = "class_labels_indices.csv"


def labels_for(checkpoint: Path, n_labels: int, given: Sequence[str] | Path | str | None = None) -> tuple[str, ...]:
    """Returns one name for each label of a checkpoint.

    Parameters
    ----------
    checkpoint
        The file of weights; a `class_labels_indices.csv` with as many rows beside it is read.
    given
        Names; or a file of them, one in a line, or a table (`.csv`) with the column `display_name`.

    Raises
    ------
    ModelError
        If there are more or fewer names than labels, or the file cannot be read.
    """
    beside = checkpoint.with_name(TABLE)
    if given is None and beside.is_file() and len(names := _from_file(beside)) == n_labels:
        return checked_labels(names)
    if given is None:
        warnings.warn(
            f"{checkpoint.name} does not name its {n_labels} labels, so they are called label 0 to label "
            f"{n_labels - 1}; pass labels= (names, or a file of them), or put {TABLE} beside it.",
            stacklevel=3,
        )
        return tuple(f"label {i}" for i in range(n_labels))
    found = _from_file(Path(given)) if isinstance(given, str | Path) else [str(label) for label in given]
    if len(found) != n_labels:
        raise ModelError(
            f"{len(found)} labels were given, {checkpoint.name} has {n_labels} outputs; name each output once, in "
            "order."
        )
    return checked_labels(found)


def _from_file(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"The labels in {path} cannot be read ({type(error).__name__}: {error}); check it.") from error
    if path.suffix.lower() != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip()]
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "display_name" not in rows[0]:
        columns = ", ".join(rows[0]) if rows else "none"
        raise ModelError(f"{path.name} has columns {columns}, display_name was expected; name the column so.")
    if all((row.get("index") or "").isdigit() for row in rows):
        rows.sort(key=lambda row: int(row["index"]))
    return [row["display_name"] or "" for row in rows]
