"""The mask beside an explanation: a whole folder of its own in that of the explanation, which names and lists it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..explanation import Explanation

MASK = "mask"  # the name of the folder, and where `explanation.json` names it


def mask_folder(folder: Path, about: Mapping[str, Any]) -> Path | None:
    """Returns the folder of the mask beside an explanation, of which `about` is what `explanation.json` says."""
    return folder / MASK if about.get(MASK) == MASK else None


def written_masks(folder: Path, marker: str) -> tuple[str, ...]:
    """Returns the name of the mask's folder if earmark wrote it, else none; `marker` is `explanation.json`.

    A folder of this name is a person's own unless the explanation around it names it; where that cannot be read, unless
    it holds an explanation itself.
    """
    about = _about(folder / marker)
    written = (folder / MASK / marker).is_file() if about is None else about.get(MASK) == MASK
    return (MASK,) if written else ()


def check_beside(explanation: Explanation, beside: Explanation | None) -> None:
    """Refuses what does not belong beside an explanation.

    Raises
    ------
    InputError
        If it explains another clip or another label.
    """
    if beside is None:
        return
    samples, others = explanation.waveform.samples, beside.waveform.samples
    same_clip = samples.shape == others.shape and bool((samples == others).all())
    if not same_clip or beside.target.index != explanation.target.index:
        raise InputError(
            f"{beside!r} cannot stand beside {explanation!r}: both have to explain the same label of the same clip."
        )


def _about(path: Path) -> dict[str, Any] | None:
    """Returns what `explanation.json` says; nothing where it is missing or damaged."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None
