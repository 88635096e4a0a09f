"""A folder of results: a Parquet table, a summary as JSON and Markdown, and, last, what all of it was made from."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..classifiers.card import write_whole
from ..errors import InputError, MismatchError

About = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """One kind of result folder.

    Parameters
    ----------
    what, command
        What it holds, and which command writes it, in words.
    table, about
        Names of its Parquet and its JSON file.
    version
        Of the layout.
    schema
        Columns; a table of an older earmark that lacks some has them empty.
    keys
        Columns by which rows are ordered.
    """

    what: str
    command: str
    table: str
    about: str
    version: int
    schema: pa.Schema
    keys: tuple[str, ...]

    def save(self, folder: str | Path, table: pa.Table, about: About, summary: About, markdown: str) -> Path:
        """Writes each file in one rename; a JSON file of other results goes first, so that none stands beside these."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.about).unlink(missing_ok=True)
        write_table(table, folder / self.table)
        write_whole(folder / "summary.json", _json(summary))
        write_whole(folder / "summary.md", markdown)
        write_whole(folder / self.about, _json({"schema": self.version, **about}))
        return folder

    def load(self, folder: str | Path) -> tuple[pa.Table, About]:
        """Reads table and about of a folder.

        Raises
        ------
        InputError
            If it holds no readable results of this kind.
        MismatchError
            If a newer earmark wrote it.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / self.about).read_text(encoding="utf-8"))
            table = pq.read_table(folder / self.table)
            version = int(about.pop("schema"))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise InputError(
                f"{folder} holds no readable {self.what} ({type(error).__name__}: {error}); "
                f"name a folder that `{self.command}` wrote."
            ) from error
        if version > self.version:
            raise MismatchError(f"{folder} was written by a newer earmark (schema {version}); update earmark.")
        return self.whole(table), about

    def is_of(self, folder: Path, key: str | None) -> bool:
        """Says whether a folder says that it holds results with a key; any will do for `None`."""
        try:
            about = json.loads((folder / self.about).read_text(encoding="utf-8"))
            return key in (None, about["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def whole(self, table: pa.Table) -> pa.Table:
        """Returns a table with all columns; those that an older version did not know are empty."""
        names = table.column_names
        known = [
            table[field.name].cast(field.type) if field.name in names else pa.nulls(len(table), field.type)
            for field in self.schema
        ]
        return pa.table(known, schema=self.schema)

    def table_of(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Returns rows as a table; what a row does not name, and what is not a number, is empty."""
        filled = [{name: _known(row.get(name)) for name in self.schema.names} for row in rows]
        return pa.Table.from_pylist(filled, self.schema)

    def ordered(self, tables: Sequence[pa.Table]) -> pa.Table:
        """Returns the rows of tables in one order, whatever order they came in."""
        return pa.concat_tables(tables).sort_by([(name, "ascending") for name in self.keys]).combine_chunks()


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


def _known(value: Any) -> Any:
    """Returns a value, or nothing for a number that is not one: in Parquet both are told apart, in summaries not."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
