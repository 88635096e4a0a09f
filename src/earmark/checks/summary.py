"""A report of checks as Markdown."""

from collections.abc import Iterator

from .results import CheckResult, Table
from .run import CheckReport

VERDICTS = {True: "passes", False: "fails", None: "not judged"}


def summary_of(report: CheckReport) -> str:
    """Returns verdicts and tables as Markdown."""
    about = report.about
    lines = [f"# Checks of {escaped(about['explainer']['name'])} on {escaped(about['classifier'])}", ""]
    clips = about["clips"]
    lines += [f"{clips['scored']} of {clips['n']} clips, {clips['groups']} recordings.", ""]
    for warning in about.get("warnings", ()):
        lines += [escaped(warning), ""]
    for result in report.results:
        lines += _check(result)
    return "\n".join(lines).rstrip() + "\n"


def _check(result: CheckResult) -> Iterator[str]:
    yield from (f"## {result.name}: {VERDICTS[result.passed]}", "", escaped(result.sentence), "")
    for note in (result.about or {}).get("notes", ()):
        yield from (escaped(str(note)), "")
    for table in result.tables:
        yield from (f"**{escaped(table.title)}**", "", *_grid(table), "")


def _grid(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield _row(["---"] * len(table.columns))
    for row in table.rows:
        yield _row(["–" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row])


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def escaped(text: str) -> str:
    """Returns a text in which nothing ends a cell or opens a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
