"""Readers of published data sets in the layout in which they are published, found by name in `PUBLISHED`.

A reader takes the unpacked folder and returns its clips with labels, groups (what must not be divided) and the
published folds or splits. Splits are folds too: 1 is training, 2 validation, 3 test.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError

if TYPE_CHECKING:
    from ..folders import ClipFolder

#: Names and where each reader lives, as "module:function"; nothing is imported before it is asked for.
PUBLISHED: dict[str, str] = {
    "esc50": "earmark.data.published.esc50:esc50",
    "esc10": "earmark.data.published.esc50:esc10",
    "urbansound8k": "earmark.data.published.urbansound8k:urbansound8k",
    "wham": "earmark.data.published.wham:wham",
    "ljspeech-wavefake": "earmark.data.published.ljspeech_wavefake:ljspeech_wavefake",
    "birdset": "earmark.data.published.birdset:birdset",
    "birdset-events": "earmark.data.published.birdset:birdset_events",
    "speech-commands": "earmark.data.published.speech_commands:speech_commands",
    "tess": "earmark.data.published.tess:tess",
}


def is_published(text: str) -> bool:
    """Says whether a text is spelled `NAME:PATH` with the name of a published layout.

    Raises
    ------
    DataError
        If it is spelled so, but there is neither such a layout nor such a path.
    """
    name, colon, _ = text.partition(":")
    if colon and name in PUBLISHED:
        return True
    if re.match(r"[a-z][\w-]+:(?!\d+$)", text) and not Path(text).exists():
        raise DataError(f"{name!r} is no published layout; those that can be read are {', '.join(PUBLISHED)}.")
    return False


def read_published(text: str) -> "ClipFolder":
    """Returns the clips of `NAME:PATH`, such as `esc50:/data/ESC-50-master`.

    Raises
    ------
    DataError
        If the name is unknown, or the folder does not have the layout.
    """
    if not is_published(text):
        raise DataError(f"A published layout is named as NAME:PATH, got {text!r}; names are {', '.join(PUBLISHED)}.")
    name, _, path = text.partition(":")
    module, _, reader = PUBLISHED[name].partition(":")
    return getattr(import_module(module), reader)(path)


def data_name(text: str) -> str:
    """Returns what data are called on cards: `scenes:N`, a published name, or the folder's, without its place.

    Examples
    --------
    >>> data_name("esc50:/data/ESC-50-master"), data_name("scenes:40"), data_name("/data/birds")
    ('esc50', 'scenes:40', 'birds')
    """
    if text.startswith("scenes:"):
        return text
    return text.partition(":")[0] if is_published(text) else Path(text).resolve().name
