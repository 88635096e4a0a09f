"""Folders and tables of recordings as clips, and how clips are divided.

A folder has a `metadata.csv`, or one sub-folder per label, or just sounds. Nothing is decoded here: the
source of a clip is its path. Clips are sorted by id, which is the path relative to the folder, with `/`.

A `metadata.csv` has the column `file_name` and any of `label` (several are separated by `;`), `fold` (an
integer) and `group` (what must not be divided: a source recording, a speaker, a recordist). Without a group
column, and where it is empty or `none`, each file is a group of its own; no other column is taken for one unless it is
named.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np

from ..audio.files import AUDIO_ENDINGS, sound_files
from ..errors import DataError
from ..types import Clip
from ._rows import of_folds, read_rows, refuse_duplicates, refuse_missing, require_column, row_clip

METADATA = "metadata.csv"

Counts = Counter[str | None]


@dataclass(frozen=True)
class ClipFolder(Sequence[Clip]):
    """The clips of a folder or table, sorted by id; sound is read when a clip is used.

    Parameters
    ----------
    root
        The folder that ids are relative to.
    clips
        At least one.
    """

    root: Path
    clips: tuple[Clip, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.clips)

    @overload
    def __getitem__(self, key: int) -> Clip: ...

    @overload
    def __getitem__(self, key: slice) -> "ClipFolder": ...

    def __getitem__(self, key: int | slice) -> "Clip | ClipFolder":
        return replace(self, clips=self.clips[key]) if isinstance(key, slice) else self.clips[key]


def folder(
    path: str | Path,
    *,
    label_column: str | None = "label",
    group_column: str | None = None,
    folds: Iterable[int] | None = None,
) -> ClipFolder:
    """Returns the sounds of a folder as clips.

    Parameters
    ----------
    path
        A folder with `metadata.csv`, with a sub-folder per label, or with sounds and no labels. Hidden files
        and explanations are skipped.
    label_column, group_column, folds
        As for `table`; without `metadata.csv` there are neither groups nor folds.

    Raises
    ------
    DataError
        If the folder is missing, holds no sound, mixes two layouts, or its table is at fault.
    """
    root = Path(path)
    if not root.is_dir():
        what = "is a file, and a folder was expected" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}; name a folder of sounds.")
    if (root / METADATA).is_file():
        return table(root / METADATA, label_column=label_column, group_column=group_column, folds=folds)
    if folds is not None or group_column is not None:
        raise DataError(f"{root} has no {METADATA}, so it has neither folds nor groups; add one to choose by.")
    return ClipFolder(root, _scan(root))


def table(
    path: str | Path,
    root: str | Path | None = None,
    *,
    label_column: str | None = "label",
    group_column: str | None = None,
    folds: Iterable[int] | None = None,
) -> ClipFolder:
    """Returns the rows of a CSV table (UTF-8) as clips.

    Parameters
    ----------
    path
        A table with the column `file_name`.
    root
        The folder that file names are relative to; the table's own by default.
    label_column
        The column of labels; `None` reads a table without labels.
    group_column
        The column of what must not be divided; `group` by default, if there is one.
    folds
        Only clips of these folds, of the column `fold`.

    Raises
    ------
    DataError
        If the table is missing or malformed, lacks a column or fold that is asked for, or names files that do
        not exist, lie outside of `root`, or occur twice.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    columns, rows = read_rows(path)
    for column in filter(None, ("file_name", label_column, group_column)):
        require_column(path, column, columns)
    if group_column is None and "group" in columns:
        group_column = "group"
    clips = [row_clip(root, row, label_column, group_column) for row in rows]
    refuse_duplicates(path, clips)
    if folds is not None:
        require_column(path, "fold", columns)
        clips = of_folds(path, clips, tuple(folds))
    refuse_missing(root, path, clips)
    return ClipFolder(root, tuple(sorted(clips, key=lambda clip: clip.id)))


def parse_folds(text: str) -> tuple[int, ...]:
    """Returns the folds that a list such as `1,2,3` names, each once, in its order.

    Raises
    ------
    DataError
        If a part is no integer.

    Examples
    --------
    >>> parse_folds("1, 2,3")
    (1, 2, 3)
    """
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise DataError(f"Folds are integers separated by commas, such as 1,2,3; got {text!r}.") from error


def labels_of(clips: Iterable[Clip]) -> tuple[str, ...]:
    """Returns all labels of the clips, sorted."""
    return tuple(sorted({label for clip in clips for label in clip.labels}))


def split_by_group(
    clips: Iterable[Clip], share: float = 0.2, seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Divides clips in two without dividing a group, keeping each label's share as well as groups allow.

    In a random order each group is moved to the other part where that brings the held-out clips nearer to `share`
    of each label, by the sum of `(wanted - held)^2 / n` over labels, until none is; then the same for each label
    and all clips. The order of `clips` plays no part.

    Parameters
    ----------
    share
        Part of the clips to hold out, in (0, 1).

    Returns
    -------
    rest, held_out
        Sorted by id, neither of them empty.

    Raises
    ------
    DataError
        If there are less than two groups, or `share` is not in (0, 1).
    """
    groups = _groups(clips)
    if not 0 < share < 1:
        raise DataError(f"The share to hold out lies between 0 and 1, got {share}.")
    if len(groups) < 2:
        raise DataError(f"At least two groups are needed to hold one out, got {len(groups)}; add recordings.")
    held = _held_groups(groups, share, seed)
    return _joined(groups, groups.keys() - held), _joined(groups, held)


def _groups(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Returns the clips of each group, by the group's name; a clip without a group is one of its own."""
    groups: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        groups.setdefault(clip.id if clip.group is None else clip.group, []).append(clip)
    return dict(sorted(groups.items()))


def _joined(groups: dict[str, list[Clip]], names: set[str]) -> tuple[Clip, ...]:
    """Returns the clips of some groups, sorted by id."""
    return tuple(sorted((clip for name in names for clip in groups[name]), key=lambda clip: clip.id))


def _held_groups(groups: dict[str, list[Clip]], share: float, seed: int) -> set[str]:
    """Returns the names of the groups to hold out: at least one, and not all."""
    counts = {name: _counts(group) for name, group in groups.items()}
    total = _counts([clip for group in groups.values() for clip in group])
    missing = {key: share * n for key, n in total.items()}
    order = [list(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    held: set[str] = set()
    for weight in (0, 1):  # of the count of all clips, so that labels come first
        while sum(_move(name, counts[name], held, missing, total, weight) for name in order):
            pass
    smallest = min(order, key=lambda name: len(groups[name]))
    return held - {smallest} if len(held) == len(groups) else held or {smallest}


def _move(
    name: str,
    counts: Counts,
    held: set[str],
    missing: dict[str | None, float],
    total: Counts,
    weight: int,
) -> bool:
    """Moves a group to the other side, if that lowers the sum of `missing^2 / total`; returns whether it did."""
    sign = -1 if name in held else 1
    weights = {key: (weight if key is None else 1) / total[key] for key in counts}
    change = sum(weights[key] * n * (n - 2 * sign * missing[key]) for key, n in counts.items())
    if change > -1e-9:
        return False
    held ^= {name}
    missing |= {key: missing[key] - sign * n for key, n in counts.items()}
    return True


def _counts(group: list[Clip]) -> Counts:
    """Returns how many clips carry each label, and under `None` how many there are."""
    return Counter(key for clip in group for key in (None, *clip.labels))


def _scan(root: Path) -> tuple[Clip, ...]:
    """Returns the sounds of a folder without a table."""
    names = sorted(path.relative_to(root).as_posix() for path in sound_files(root))
    if not names:
        raise DataError(f"{root} holds no sounds ({', '.join(AUDIO_ENDINGS)}); name another folder.")
    nested = [name for name in names if "/" in name]
    if nested and len(nested) < len(names):
        raise DataError(
            f"{root} holds sounds both directly and in sub-folders ({nested[0]}); put all of them in one "
            f"sub-folder per label, or list them in a {METADATA}."
        )
    return tuple(Clip(name, root / name, labels=tuple(name.split("/")[:-1][:1]), group=name) for name in names)
