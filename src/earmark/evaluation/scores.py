"""Scores: the table of an evaluation, on disk and in summaries.

`scores.parquet` has one row per clip, explainer, target, protocol, area, re-entry stage and seed; a number that is not
defined is empty (NaN), and is counted where means are taken.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import columns
from .columns import KEYS
from .results import Results

_TYPES = {
    **dict.fromkeys((*columns.TEXTS, *columns.ADDED_TEXTS), pa.string()),
    **dict.fromkeys(columns.INTEGERS, pa.int64()),
    **dict.fromkeys(columns.BOOLEANS, pa.bool_()),
    **dict.fromkeys(columns.NUMBERS, pa.float64()),
}
ARROW_SCHEMA = pa.schema([(name, _TYPES[name]) for name in columns.COLUMNS])
RESULTS = Results(
    "scores", "earmark evaluate", "scores.parquet", "evaluation.json", version=1, schema=ARROW_SCHEMA, keys=KEYS
)


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
        from .summary import summarize
        from .words import summary_markdown

        summary = summarize(self)
        return RESULTS.save(folder, self.table, self.about, summary, summary_markdown(summary))


def load_scores(folder: str | Path) -> Scores:
    """Reads a folder that `Scores.save` wrote.

    Raises
    ------
    InputError
        If it holds no readable scores.
    MismatchError
        If a newer earmark wrote it.
    """
    return Scores(*RESULTS.load(folder))
