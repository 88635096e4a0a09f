"""What `--data` and `--folds` mean: a folder of recordings, a published data set, or generated scenes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.published import data_name, is_published, read_published
from ..errors import DataError
from .options import say

if TYPE_CHECKING:
    from ..types import Clip

__all__ = [
    "DataOptions",
    "Split",
    "clips_of",
    "data_name",
    "groups_of",
    "listed_clips",
    "n_scenes",
    "say_groups",
    "training_clips",
]

SCENES = "scenes:"


@dataclass(frozen=True)
class Split:
    """Clips to learn from, to choose by, and to test on."""

    training: "Sequence[Clip]"
    selection: "Sequence[Clip]"
    test: "Sequence[Clip]"


@dataclass(frozen=True)
class DataOptions:
    """Where clips come from: `--data`, `--label-column`, `--group-column` and the seed of generated ones."""

    data: str  # a folder, scenes:N, or a published layout such as esc50:PATH
    label_column: str = "label"
    group_column: str | None = None
    seed: int = 0


def clips_of(options: DataOptions, folds: str | None = None) -> "Sequence[Clip]":
    """Returns the clips of a folder or of a published data set, or `scenes:N` generated ones."""
    from ..data.folders import folder, parse_folds

    chosen = parse_folds(folds) if folds else None
    if options.data.startswith(SCENES):
        from ..data.scenes import scenes

        _check_columns(options)
        made = scenes(n_scenes(options.data), options.seed)
        return _of_folds(made, chosen) if chosen else made
    if is_published(options.data):
        _check_columns(options)
        found = read_published(options.data)
        return _of_folds(found, chosen) if chosen else found
    return folder(options.data, label_column=options.label_column, group_column=options.group_column, folds=chosen)


def training_clips(
    options: DataOptions, folds: str | None = None, select_folds: str | None = None, test_folds: str | None = None
) -> Split:
    """Returns the split that the fold options mean.

    Scenes get fresh seeds for each part, the last two a fifth of the size. Recordings without `--select-folds` give a
    fifth of their groups to the choice of the epoch.

    Raises
    ------
    DataError
        If two parts share a group or a clip, or folds or columns are named for scenes.
    """
    from ..classifiers.clips import check_apart

    if options.data.startswith(SCENES):
        _check_columns(options)
        if folds or select_folds or test_folds:
            raise DataError(
                f"Each part of a training on {options.data} is generated anew, so there are no folds to choose; "
                "leave out --folds, --select-folds and --test-folds."
            )
        return _scene_parts(n_scenes(options.data), options.seed)
    split = _recorded_parts(options, folds, select_folds, test_folds)
    check_apart(vars(split))
    return split


def _scene_parts(n: int, seed: int) -> Split:
    from ..data.scenes import scenes

    return Split(scenes(n, 3 * seed), scenes(max(n // 5, 1), 3 * seed + 1), scenes(max(n // 5, 1), 3 * seed + 2))


def _recorded_parts(options: DataOptions, folds: str | None, select_folds: str | None, test_folds: str | None) -> Split:
    from ..data.folders import split_by_group

    training = clips_of(options, folds)
    test = clips_of(options, test_folds) if test_folds else ()
    if select_folds:
        return Split(training, clips_of(options, select_folds), test)
    return Split(*split_by_group(training, 0.2, options.seed), test)


def n_scenes(data: str) -> int:
    """Returns N of `scenes:N`."""
    text = data.removeprefix(SCENES)
    if not text.isdigit() or int(text) < 1:
        raise DataError(f"Generated scenes are asked for as scenes:N with N >= 1, got {data!r}; write scenes:200.")
    return int(text)


def groups_of(data: str, clips: "Iterable[Clip]", group_column: str | None) -> str | None:
    """Returns the column that groups came from, or `None` where each file is a group of its own."""
    if data.startswith(SCENES) or all(clip.group in (None, clip.id) for clip in clips):
        return None
    return group_column or "group"


def say_groups(data: str, clips: "Iterable[Clip]", group_column: str | None) -> None:
    """Says it where nothing tells which files belong together."""
    if not data.startswith(SCENES) and groups_of(data, clips, group_column) is None:
        say("each file counts as its own recording; name a column with --group-column")


def _check_columns(options: DataOptions) -> None:
    if options.label_column != "label" or options.group_column is not None:
        raise DataError(f"{options.data} has no columns to choose; leave out --label-column and --group-column.")


def _of_folds(clips: "Sequence[Clip]", folds: tuple[int, ...]) -> "tuple[Clip, ...]":
    known = {clip.fold for clip in clips} - {None}
    if not known.issuperset(folds):
        raise DataError(
            f"These clips have the folds {', '.join(map(str, sorted(filter(None, known)))) or '(none)'}, "
            f"asked for {', '.join(map(str, folds))}; choose among those they have."
        )
    return tuple(clip for clip in clips if clip.fold in folds)


def say_unknown_labels(clips: "Sequence[Clip]", labels: "Sequence[str]") -> None:
    """Says on standard error which labels of clips a classifier does not have."""
    found = {label for clip in clips for label in clip.labels}
    if unknown := sorted(found - set(labels)):
        named = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        say(f"{len(unknown)} of {len(found)} labels of the clips are unknown to the classifier: {named}")


def listed_clips(options: DataOptions, folds: str | None = None, limit: int | None = None) -> "Sequence[Clip]":
    """Returns clips by id, at most `limit` of them, evenly spaced, and says what a reader should know of them."""
    clips = sorted(clips_of(options, folds), key=lambda clip: clip.id)
    say_groups(options.data, clips, options.group_column)
    if limit is not None and limit < 1:
        raise DataError(f"--limit is at least 1, got {limit}.")
    if limit is None or limit >= len(clips):
        return clips
    say(f"{limit} of {len(clips)} clips are taken, evenly spaced")
    return [clips[i * len(clips) // limit] for i in range(limit)]
