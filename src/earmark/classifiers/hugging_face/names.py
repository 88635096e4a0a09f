"""Labels and task of a transformers model, as its configuration says them, or fails to."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ...errors import ModelError
from ...types import Task
from ..wrap import checked_labels

AUDIOSET = 527  # labels; models with that many are multi-label, whatever they forget to say
_TASKS = {"single_label_classification": "multiclass", "multi_label_classification": "multilabel"}


def labels_of(config: Any, given: Sequence[str] | str | Path | None, name: str) -> tuple[str, ...]:
    """Returns one label per logit.

    Parameters
    ----------
    config
        The model's configuration.
    given
        Names to use in place of its own, or a text file with one in each line, or a JSON list.

    Raises
    ------
    ModelError
        If there are more or fewer names than logits, or one occurs twice.
    """
    n_labels = int(config.num_labels)
    if given is not None:
        names = checked_labels(_read(Path(given)) if isinstance(given, str | Path) else given)
        if len(names) != n_labels:
            raise ModelError(f"{len(names)} labels were given for the {n_labels} logits of {name}; name each of them.")
        return names
    names = tuple(str(config.id2label[i]) for i in range(n_labels))
    if names == tuple(f"LABEL_{i}" for i in range(n_labels)):
        warnings.warn(
            f"The configuration of {name} names no labels, so that they are called LABEL_0 to LABEL_{n_labels - 1}; "
            "pass labels=[...], or a text file with one name in each line.",
            UserWarning,
            stacklevel=2,
        )
    return checked_labels(names)


def _read(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"Labels could not be read from {path} ({error}); name a text file, one label per line."
        ) from (error)
    if path.suffix == ".json":
        return [str(label) for label in json.loads(text)]
    return [line.strip() for line in text.splitlines() if line.strip()]


def task_of(config: Any, given: str | None, name: str) -> Task:
    """Returns whether labels exclude each other; what a configuration does not say is inferred, with a warning.

    Raises
    ------
    ModelError
        If the given task does not exist, or the model is a regression.
    """
    if given is not None:
        if given not in get_args(Task):
            raise ModelError(f"task is one of {', '.join(get_args(Task))}, got {given!r}; choose one of these.")
        return given  # type: ignore[return-value]
    told = config.problem_type
    if told in _TASKS:
        return _TASKS[told]  # type: ignore[return-value]
    if told is not None:
        raise ModelError(f"{name} solves {told!r}, a classification was expected; it has no labels to explain.")
    task: Task = "multilabel" if config.num_labels == AUDIOSET else "multiclass"
    other = "multiclass" if task == "multilabel" else "multilabel"
    why = "as are models of AudioSet's 527 labels" if task == "multilabel" else "as most are"
    warnings.warn(
        f"The configuration of {name} has no problem_type; it is taken as {task}, {why}. Pass task={task!r} to say so, "
        f"or task={other!r}.",
        UserWarning,
        stacklevel=2,
    )
    return task
