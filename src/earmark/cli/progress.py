"""Progress with time left, on standard error; plain lines where nobody watches a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from .options import is_terminal, say

UNITS = ((3600, "h"), (60, "min"), (1, "s"))


@runtime_checkable
class Report(Protocol):
    """Takes steps done, steps in all, and values worth showing."""

    def __call__(self, done: int, total: int, values: dict[str, float] | None = None) -> None:
        """Shows them."""


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Yields a function that shows how far a long work is and how long it will still take."""
    if is_terminal():
        with _bar(title) as report:
            yield report
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, values="")

        def report(done: int, total: int, values: dict[str, float] | None = None) -> None:
            bar.update(task, completed=done, total=total, values=_show(values))

        yield report


def _lines(title: str, every_s: float = 20.0) -> Report:
    """Returns a reporter that prints a line at most every `every_s` seconds, and the last one.

    The time left is told by what was done since the first report: a resumed work does not begin at 0.
    """
    began = last = time.monotonic()
    first: int | None = None

    def report(done: int, total: int, values: dict[str, float] | None = None) -> None:
        nonlocal last, first
        now, first = time.monotonic(), max(done - 1, 0) if first is None else first
        if now - last < every_s and done < total:
            return
        last = now
        left_s = (now - began) / max(done - first, 1) * (total - done)
        say(f"{title}: {done}/{total}, {_time(left_s)} left {_show(values)}".rstrip())

    return report


def _time(seconds: float) -> str:
    """Returns a time in s below two minutes, in min below two hours, and in h above."""
    return next(f"{seconds / size:.0f} {unit}" for size, unit in UNITS if seconds >= 2 * size or size == 1)


def _show(values: dict[str, float] | None) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in (values or {}).items())
