"""What a conformance check says, and the list of what all of them said."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

Status = Literal["passed", "failed", "not applicable"]
Subject = TypeVar("Subject")


class CheckFailedError(AssertionError):
    """Says what came and what was expected."""


class NotApplicableError(Exception):
    """Says why a check says nothing here."""


def expect(fulfilled: bool, came: str, expected: str) -> None:
    """Fails a check.

    Raises
    ------
    CheckFailedError
        If `fulfilled` is false.
    """
    if not fulfilled:
        raise CheckFailedError(f"{came}; {expected} expected.")


@dataclass(frozen=True)
class Result:
    """One check: passed, failed with what came and what was expected, or not applicable with why."""

    name: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """All checks of one subject."""

    subject: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Result, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def table(self) -> str:
        """Returns a line for each check."""
        width = max((len(result.name) for result in self.results), default=0)
        lines = [f"{r.name:<{width}}  {r.status:<14}  {r.detail}".rstrip() for r in self.results]
        return "\n".join([self.subject, *lines])

    def raise_if_failed(self) -> None:
        """Raises an AssertionError that lists what failed.

        Raises
        ------
        CheckFailedError
            If a check failed.
        """
        if self.failed:
            raise CheckFailedError(Report(self.subject, self.failed).table())


def run_checks(
    name: str, subject: Subject, checks: Mapping[str, Callable[[Subject], str | None]], without: Iterable[str] = ()
) -> Report:
    """Runs checks one after another; a check returns what it measured, or raises.

    Parameters
    ----------
    name
        What the report is called.
    without
        Names of checks that are left out.
    """
    without = frozenset(without)
    return Report(name, tuple(_run(check, checks[check], subject, check in without) for check in checks))


def _run(name: str, check: Callable[[Subject], str | None], subject: Subject, left_out: bool) -> Result:
    if left_out:
        return Result(name, "not applicable", "left out by the caller")
    try:
        return Result(name, "passed", check(subject) or "")
    except NotApplicableError as error:
        return Result(name, "not applicable", str(error))
    except CheckFailedError as error:
        return Result(name, "failed", str(error))
    except Exception as error:  # whatever someone else's code raises
        return Result(name, "failed", f"{type(error).__name__}: {error}; no error expected.")
