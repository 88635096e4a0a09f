"""Numbers of checks in words and cells."""

import math
from collections.abc import Sequence

from ..metrics.intervals import Interval
from .results import Point


def number(value: float | None, digits: int = 2) -> str:
    """Returns a number with a real minus sign; a dash where it is not defined.

    Examples
    --------
    >>> number(-0.031), number(float("nan"))
    ('−0.03', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def spread(interval: Interval, digits: int = 2) -> str:
    """Returns a mean with its interval in brackets."""
    mean, low, high = (number(value, digits) for value in (interval.mean, interval.low, interval.high))
    return mean if mean == "–" else f"{mean} [{low}, {high}]"


def point(x: str | float, interval: Interval) -> Point:
    """Returns a point of a chart; not defined where the mean is not."""
    values = [None if math.isnan(v) else v for v in (interval.mean, interval.low, interval.high)]
    return Point(x, *values)


def several(n: int, thing: str) -> str:
    """Returns a number of things.

    Examples
    --------
    >>> several(1, "clip"), several(3, "clip")
    ('1 clip', '3 clips')
    """
    return f"{n} {thing}{'' if n == 1 else 's'}"


def joined(words: Sequence[str]) -> str:
    """Returns words as a list in a sentence.

    Examples
    --------
    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
