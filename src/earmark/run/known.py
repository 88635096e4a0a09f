"""Which explanations are there already: whole, of the same sound, and by the same explainer with the same options.

There is no journal. Each folder says what it was made from (`made_from`), and is believed only if all of its files are
as they were written; so a run that was killed, or to which sounds were added, makes what is missing and nothing else.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..audio.files import file_sha256
from ..classifiers.base import Classifier
from ..explanation import package_versions
from ..store.explanations import LIST, MARKER, SCHEMA, ours
from ..store.folders import recover
from ..store.whole import is_made_from, is_whole, to_json

Found = list[tuple[Path, dict[str, Any]]]  # folders, and what their explanation.json says


def settings_key(
    classifier: Classifier, explainer: Path | str, asked: Mapping[str, Any], beside: Path | None = None
) -> str:
    """Returns the sha256 of all that an explanation depends on beside its sound.

    Parameters
    ----------
    explainer
        Its folder: numbers and banks are hashed, cards and `run.json` are not. Or the name of one that needs no folder.
    asked
        Whatever else decides what is told, as JSON values.
    beside
        The folder of the explainer whose mask stands beside each explanation, if there is one. So what was made
        without a mask is another thing than what has one, and is made again.
    """
    about = {
        "schema": SCHEMA,
        "versions": package_versions(),
        "classifier": [classifier.name, classifier.fingerprint, classifier.task, classifier.threshold],
        "explainer": _files_of(explainer) if isinstance(explainer, Path) else explainer,
        **asked,
        **({} if beside is None else {"beside": _files_of(beside)}),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def made_from(path: Path, settings: str) -> dict[str, str]:
    """Returns what the explanation of a sound file is made from: its name, its bytes, and the settings."""
    return {"name": path.name, "sha256": file_sha256(path), "settings": settings}


def known(folder: Path, made: Mapping[str, str]) -> Found | None:
    """Returns the explanations of one clip that are there and need not be made again, else `None`.

    What a killed run left of the folder is put right first.
    """
    recover(folder, ours)
    about = _read(folder / MARKER)
    several = None if about else _read(folder / LIST)
    said = about or several
    if not said or not is_made_from(said, made) or not is_whole(folder, said):
        return None
    if several is None:
        return [(folder, said)]
    below = [(folder / name, _read(folder / name / MARKER)) for name in several["folders"]]
    found = [(path, about) for path, about in below if about and is_whole(path, about)]
    return found if len(found) == len(below) else None


def bank_state(folders: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Returns where prototypes' sounds are looked for, and whether anything is there (a disk may not be mounted)."""
    paths = [Path(folder).resolve() for folder in folders]
    return [(str(path), path.is_dir() and any(path.iterdir())) for path in paths]


def _files_of(folder: Path) -> dict[str, str]:
    kinds = (".json", ".safetensors", ".parquet")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in kinds}
    return {n: file_sha256(paths[n]) for n in sorted(paths) if not _is_hidden(n) and n != "run.json"}


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def _read(path: Path) -> dict[str, Any] | None:
    """Returns what a file says, if it is written as earmark writes it, to the byte."""
    try:
        text = path.read_bytes().decode("utf-8")
        about = json.loads(text)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return about if isinstance(about, dict) and text == to_json(about) else None
