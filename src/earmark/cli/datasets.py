"""What `--data` and `--folds` mean: a folder of recordings, or generated scenes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from .options import say

if TYPE_CHECKING:
    from ..types import Clip

SCENES = "scenes:"


@dataclass(frozen=True)
class Split:
    """Clips to learn from, to choose by, and to test on."""

    training: "Sequence[Clip]"
    selection: "Sequence[Clip]"
    test: "Sequence[Clip]"


def clips_of(
    data: str,
    folds: str | None = None,
    label_column: str = "label",
    group_column: str | None = None,
    seed: int = 0,
) -> "Sequence[Clip]":
    """Returns the clips of a folder, or `scenes:N` generated ones."""
    from ..data.folders import folder, parse_folds

    if data.startswith(SCENES):
        from ..data.scenes import scenes

        _check_columns(data, label_column, group_column)
        made = scenes(n_scenes(data), seed)
        return _of_folds(made, parse_folds(folds)) if folds else made
    chosen = parse_folds(folds) if folds else None
    return folder(data, label_column=label_column, group_column=group_column, folds=chosen)


def training_clips(
    data: str,
    folds: str | None,
    select_folds: str | None,
    test_folds: str | None,
    label_column: str,
    group_column: str | None,
    seed: int,
) -> Split:
    """Returns the split that the fold options mean.

    Scenes get fresh seeds for each part, the last two a fifth of the size. A folder without `--select-folds` gives a
    fifth of its groups to the choice of the epoch.

    Raises
    ------
    DataError
        If two parts share a group or a clip, or folds or columns are named for scenes.
    """
    from ..classifiers.fit import check_apart

    if data.startswith(SCENES):
        _check_columns(data, label_column, group_column)
        if folds or select_folds or test_folds:
            raise DataError(
                f"Each part of a training on {data} is generated anew, so there are no folds to choose; "
                "leave out --folds, --select-folds and --test-folds."
            )
        return _scene_parts(n_scenes(data), seed)
    split = _folder_parts(data, folds, select_folds, test_folds, label_column, group_column, seed)
    check_apart(vars(split))
    return split


def _scene_parts(n: int, seed: int) -> Split:
    from ..data.scenes import scenes

    return Split(scenes(n, 3 * seed), scenes(max(n // 5, 1), 3 * seed + 1), scenes(max(n // 5, 1), 3 * seed + 2))


def _folder_parts(
    data: str,
    folds: str | None,
    select_folds: str | None,
    test_folds: str | None,
    label_column: str,
    group_column: str | None,
    seed: int,
) -> Split:
    from ..data.folders import split_by_group

    def part(chosen: str | None) -> "Sequence[Clip]":
        return clips_of(data, chosen, label_column, group_column)

    training = part(folds)
    test = part(test_folds) if test_folds else ()
    if select_folds:
        return Split(training, part(select_folds), test)
    return Split(*split_by_group(training, 0.2, seed), test)


def n_scenes(data: str) -> int:
    """Returns N of `scenes:N`."""
    text = data.removeprefix(SCENES)
    if not text.isdigit() or int(text) < 1:
        raise DataError(f"Generated scenes are asked for as scenes:N with N >= 1, got {data!r}; write scenes:200.")
    return int(text)


def data_name(data: str) -> str:
    """Returns what data are called on cards: `scenes:N`, or the folder's name without the place it lies in."""
    return data if data.startswith(SCENES) else Path(data).resolve().name


def groups_of(data: str, clips: "Iterable[Clip]", group_column: str | None) -> str | None:
    """Returns the column that groups came from, or `None` where each file is a group of its own."""
    if data.startswith(SCENES) or all(clip.group in (None, clip.id) for clip in clips):
        return None
    return group_column or "group"


def say_groups(data: str, clips: "Iterable[Clip]", group_column: str | None) -> None:
    """Says it where nothing tells which files belong together."""
    if not data.startswith(SCENES) and groups_of(data, clips, group_column) is None:
        say("each file counts as its own recording; name a column with --group-column")


def _check_columns(data: str, label_column: str, group_column: str | None) -> None:
    if label_column != "label" or group_column is not None:
        raise DataError(f"{data} is generated and has no table; leave out --label-column and --group-column.")


def _of_folds(clips: "Sequence[Clip]", folds: tuple[int, ...]) -> "tuple[Clip, ...]":
    known = {clip.fold for clip in clips}
    if not known.issuperset(folds):
        raise DataError(
            f"These scenes have the folds {', '.join(map(str, sorted(filter(None, known))))}, "
            f"asked for {', '.join(map(str, folds))}; choose among those they have."
        )
    return tuple(clip for clip in clips if clip.fold in folds)
