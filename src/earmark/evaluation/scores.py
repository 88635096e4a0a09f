"""Scores: the table of an evaluation, on disk and in summaries.

`scores.parquet` has one row per clip, explainer, target, protocol, area, re-entry stage and seed; a number that is not
defined is empty (NaN), and is counted where means are taken.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, MismatchError
from . import columns
from .columns import KEYS
from .columns import METRIC_COLUMNS as METRIC_COLUMNS

SCHEMA = 1
TABLE, ABOUT = "scores.parquet", "evaluation.json"

_TYPES = {
    **dict.fromkeys((*columns.TEXTS, *columns.ADDED_TEXTS), pa.string()),
    **dict.fromkeys(columns.INTEGERS, pa.int64()),
    **dict.fromkeys(columns.BOOLEANS, pa.bool_()),
    **dict.fromkeys(columns.NUMBERS, pa.float64()),
}
ARROW_SCHEMA = pa.schema([(name, _TYPES[name]) for name in columns.COLUMNS])


@dataclass(frozen=True, eq=False)
class Scores:
    """The result of an evaluation.

    Parameters
    ----------
    table
        The rows, see `ARROW_SCHEMA`.
    about
        Settings, classifier, explainers, how many clips were scored and why others were not.
    """

    table: pa.Table = field(repr=False)
    about: dict[str, Any]

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def explainers(self) -> list[str]:
        """The methods, in the order in which they were asked for."""
        return list(self.about["explainers"])

    def column(self, name: str, **where: Any) -> list[Any]:
        """Returns a column of the rows for which each named column has the given value."""
        return self.rows(**where).column(name).to_pylist()

    def rows(self, **where: Any) -> pa.Table:
        """Returns the rows for which each named column has the given value (`None` is an empty one)."""
        import pyarrow.compute as pc

        table = self.table
        for name, value in where.items():
            chosen = pc.is_null(table[name]) if value is None else pc.equal(table[name], pa.scalar(value, _TYPES[name]))
            table = table.filter(chosen)
        return table

    def save(self, folder: str | Path) -> Path:
        """Writes `scores.parquet`, `summary.json`, `summary.md` and, last, `evaluation.json`; each in one rename.

        An `evaluation.json` of other scores goes first, so that it never stands beside a table that is not its own.
        """
        from ..classifiers.card import write_whole
        from .summary import summarize
        from .words import summary_markdown

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).unlink(missing_ok=True)
        write_table(self.table, folder / TABLE)
        summary = summarize(self)
        write_whole(folder / "summary.json", _json(summary))
        write_whole(folder / "summary.md", summary_markdown(summary))
        write_whole(folder / ABOUT, _json({"schema": SCHEMA, **self.about}))
        return folder


def load_scores(folder: str | Path) -> Scores:
    """Reads a folder that `Scores.save` wrote.

    Raises
    ------
    InputError
        If it holds no readable scores.
    MismatchError
        If a newer earmark wrote it.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        table = pq.read_table(folder / TABLE)
        schema = int(about.pop("schema"))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{folder} holds no readable scores ({type(error).__name__}: {error}); "
            "name a folder that `earmark evaluate` wrote."
        ) from error
    if schema > SCHEMA:
        raise MismatchError(f"{folder} was written by a newer earmark (schema {schema}); update earmark.")
    return Scores(_whole(table), about)


def _whole(table: pa.Table) -> pa.Table:
    """Returns a table with all columns; those that an older version did not know are empty."""
    known = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in ARROW_SCHEMA
    ]
    return pa.table(known, schema=ARROW_SCHEMA)


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Returns rows as a table; what a row does not name is empty."""
    filled = [{name: _finite(row.get(name)) for name in ARROW_SCHEMA.names} for row in rows]
    return pa.Table.from_pylist(filled, ARROW_SCHEMA)


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a table in one rename; it is made in memory, so that a full disk is told as such."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(buffer.getbuffer())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def ordered(tables: Sequence[pa.Table]) -> pa.Table:
    """Returns the rows of tables in one order, whatever order they came in."""
    table = pa.concat_tables(tables)
    return table.sort_by([(name, "ascending") for name in KEYS]).combine_chunks()


def _finite(value: Any) -> Any:
    """Returns a value, or nothing for a number that is not one: in Parquet both are told apart, in summaries not."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
