"""Background recordings by name: those that a training may hear, and those that it may not."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..types import Clip
from .folders import folder, parse_folds
from .mixtures import noise_split
from .published import data_name, is_published, read_published

Parts = tuple[Sequence[Clip], Sequence[Clip]]


def background_recordings(text: str) -> Parts:
    """Returns the recordings to train with and those that no training hears, each sorted by id.

    Parameters
    ----------
    text
        A folder, or a published layout such as `wham:PATH`. It is divided by `noise_split`, so that the mixtures
        `id:LEVELS:PATH` of an evaluation consist of recordings that were not heard. `#FOLDS` behind it trains with
        exactly these folds; name others in the evaluation.

    Raises
    ------
    DataError
        If there are no such recordings, or none could be held out.
    """
    path, folds = _split_name(text)
    found = tuple(read_published(path) if is_published(path) else folder(path, label_column=None))
    if folds is None:
        return _sorted(noise_split(found))
    parts = tuple(c for c in found if c.fold in folds), tuple(c for c in found if c.fold not in folds)
    if not parts[0]:
        there = sorted({c.fold for c in found if c.fold is not None})
        have = f"it has {', '.join(map(str, there))}" if there else "its metadata has no folds"
        raise DataError(f"{text} has no recording of these folds; {have}.")
    return _sorted(parts)


def background_name(text: str) -> str:
    """Returns what a card calls these recordings, without anyone's folders.

    Examples
    --------
    >>> background_name("/data/rain#1,2"), background_name("wham:/data/wham")
    ('rain#1,2', 'wham')
    """
    path, folds = _split_name(text)
    name = data_name(path) if is_published(path) else Path(path).name
    return name if folds is None else f"{name}#{','.join(map(str, folds))}"


def may_have_been_heard(text: str, heard: str) -> bool:
    """Says whether recordings that are mixed in may be among those that a training heard.

    Parameters
    ----------
    text
        The recordings of a mixture: a folder or a published layout, with `#FOLDS` or without.
    heard
        What a card calls those of the training, see `background_name`. Where neither names folds, both are divided
        alike and share nothing.

    Examples
    --------
    >>> may_have_been_heard("/data/rain", "rain#1,2"), may_have_been_heard("/data/rain#3", "rain#1,2")
    (True, False)
    >>> may_have_been_heard("/data/rain", "rain"), may_have_been_heard("/data/wind", "rain#1,2")
    (False, False)
    """
    name, _, theirs = heard.partition("#")
    path, ours = _split_name(text)
    if background_name(path) != name or (ours is None and not theirs):
        return False
    return ours is None or not theirs or bool(set(ours) & set(parse_folds(theirs)))


def _split_name(text: str) -> tuple[str, tuple[int, ...] | None]:
    path, mark, folds = text.rpartition("#")
    return (path, parse_folds(folds)) if mark and folds.replace(",", "").isdigit() else (text, None)


def _sorted(parts: Parts) -> Parts:
    return tuple(sorted(parts[0], key=lambda c: c.id)), tuple(sorted(parts[1], key=lambda c: c.id))
