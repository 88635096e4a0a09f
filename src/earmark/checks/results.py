"""What a check of an explainer found: a verdict, a sentence, tables and charts; no check prints or draws."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

Cell = str | int | float | bool | None


@runtime_checkable
class Progress(Protocol):
    """Takes steps done, steps in all, and values worth showing."""

    def __call__(self, done: int, total: int, values: dict[str, float] | None = None) -> None:
        """Shows them."""


@dataclass(frozen=True)
class Point:
    """A mean over clips with its 95 % interval, at a place on the horizontal axis; `None` is not defined."""

    x: str | float
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A named row of points."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """Lines over one horizontal axis, whose places are numbers or names."""

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class CheckResult:
    """One check of one explainer.

    Parameters
    ----------
    name
        The check's registry name.
    passed
        Whether it holds; `None` where there is nothing to judge by.
    sentence
        What came out, with its numbers and what it was compared with.
    tables, charts
        The numbers behind it.
    about
        Settings, counts, seeds.
    """

    name: str
    passed: bool | None
    sentence: str
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    about: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**asdict(self), "about": dict(self.about or {})}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "CheckResult":
        """Returns the result that `to_dict` told."""
        return cls(
            told["name"],
            told["passed"],
            told["sentence"],
            tuple(Table(t["title"], tuple(t["columns"]), _tuples(t["rows"])) for t in told["tables"]),
            tuple(_chart(chart) for chart in told["charts"]),
            dict(told["about"]),
        )


def _tuples(rows: Sequence[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _chart(told: Mapping[str, Any]) -> Chart:
    lines = tuple(Line(line["name"], tuple(Point(**point) for point in line["points"])) for line in told["lines"])
    return Chart(told["title"], told["x_name"], told["y_name"], lines)
