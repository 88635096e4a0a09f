"""What `--data` and `--folds` mean: a folder of recordings, or generated scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DataError

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

        return scenes(n_scenes(data), seed)
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
    """
    from ..data.folders import split_by_group

    if data.startswith(SCENES):
        from ..data.scenes import scenes

        n = n_scenes(data)
        return Split(scenes(n, 3 * seed), scenes(max(n // 5, 1), 3 * seed + 1), scenes(max(n // 5, 1), 3 * seed + 2))

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
