"""Writes measured tables into benchmarks/README.md, each between its own pair of marks."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

README = Path(__file__).parent / "README.md"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a Markdown table; floats with four significant digits."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def put(name: str, command: str, text: str) -> None:
    """Replaces section `name` of the README by a text, with the command that made it and the machine's class."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{begin}\n`{command}` ({machine()})\n\n{text}\n{end}"
    readme = README.read_text()
    if begin not in readme:
        raise SystemExit(f"{README} has no section {begin}")
    before, rest = readme.split(begin, 1)
    README.write_text(before + section + rest.split(end, 1)[1])
    print(section)


def machine() -> str:
    """Returns what a reader needs to place a timing."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
