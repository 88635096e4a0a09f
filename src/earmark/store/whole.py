"""Is a folder of explanations whole, and what was it made from? So that no clip is explained twice.

`explanation.json` lists the folder's files with their sha256, as does `explanations.json` above several of them. Both
say under `made_from` which sound and which settings led to them, where whoever wrote them knew it; `json` is there the
sha256 of what the same file says beside `made_from`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..audio.files import file_sha256

FILES, MADE_FROM = "files", "made_from"


def listed(folder: Path) -> dict[str, str]:
    """Returns the sha256 of each file below a folder, by its path."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: file_sha256(paths[name]) for name in sorted(paths)}


def sealed(about: Mapping[str, Any], made_from: Mapping[str, str] | None) -> dict[str, Any]:
    """Returns what a folder says of itself, with what it was made from, if that is known."""
    said = {key: value for key, value in about.items() if key != MADE_FROM}
    return said if made_from is None else {**said, MADE_FROM: {**made_from, "json": _digest(said)}}


def to_json(about: Mapping[str, Any]) -> str:
    """Returns the text of `explanation.json` and its like.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    return json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def is_made_from(about: Mapping[str, Any], made_from: Mapping[str, str]) -> bool:
    """Says whether what a folder says of itself is as it was written, and made from this."""
    return about.get(MADE_FROM) == sealed(about, made_from)[MADE_FROM]


def is_whole(folder: Path, about: Mapping[str, Any]) -> bool:
    """Says whether every listed file is there as it was written; other files do not count."""
    files = about.get(FILES)
    return isinstance(files, dict) and all(_is_file(folder / name, sha256) for name, sha256 in files.items())


def _is_file(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _digest(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
