"""What clips must be for a training: labeled as the task asks, readable, and in one part alone."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from ..errors import DataError
from ..types import Clip, Task
from .decoded import TrainingSet


def check_labels(clips: Sequence[Clip], task: Task) -> None:
    """Refuses clips that do not have exactly one label where each must, and clips without any label at all."""
    odd = [clip for clip in clips if len(clip.labels) != 1]
    if task == "multiclass" and odd:
        raise DataError(
            f"{len(odd)} clips (for instance {odd[0].id}, with {len(odd[0].labels)}) do not have exactly one label; "
            "give each one label, or train with --multilabel."
        )
    if not any(clip.labels for clip in clips):
        raise DataError("No clip has a label; name the column that holds them with --label-column.")


def check_heard(data: TrainingSet, labels: tuple[str, ...]) -> None:
    """Refuses to train a label whose clips are all broken."""
    silent = sorted(set(labels) - {label for clip in data.clips for label in clip.labels})
    if silent:
        why = next(iter(data.skipped.values()))
        raise DataError(f"No training clip of {', '.join(silent)} can be read ({why}); mend or remove these clips.")


def check_parts(training: Sequence[Clip], selection: Sequence[Clip]) -> None:
    """Refuses a training without clips to learn from or to choose by, or with clips that are in both."""
    if not training or not selection:
        raise DataError(
            f"Training needs clips to learn from and clips to choose the epoch by, got {len(training)} and "
            f"{len(selection)}; widen --folds or --select-folds."
        )
    check_apart({"training": training, "selection": selection})


def check_apart(parts: Mapping[str, Sequence[Clip]]) -> None:
    """Refuses parts, by their names, that share a group or a clip; a clip without a group is one of its own.

    Raises
    ------
    DataError
        If two of them do.
    """
    groups = {name: {clip.group or clip.id for clip in clips} for name, clips in parts.items()}
    for first, second in combinations(parts, 2):
        shared = groups[first] & groups[second]
        if shared:
            raise DataError(
                f"{len(shared)} groups (for instance {min(shared)!r}) are in both {first} and {second} clips; "
                "choose folds that keep groups apart."
            )
