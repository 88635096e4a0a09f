"""`wrap`: any torch module becomes a classifier that can be explained."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from torch import nn

from ..errors import ModelError
from ..types import Task
from .base import Classifier
from .front_ends import FrontEnd
from .heads import HeadFunction
from .layouts import FeatureAxes, MapAxes, check_axes
from .promises import check_module


def wrap(
    module: nn.Module,
    front_end: FrontEnd,
    labels: Sequence[str],
    *,
    map_layer: str,
    head: HeadFunction | None = None,
    task: Task = "multiclass",
    threshold: float = 0.5,
    map_axes: MapAxes = "FT",
    feature_axes: FeatureAxes = "FT",
    name: str | None = None,
    **options: Any,
) -> Classifier:
    """Returns a classifier around any torch module, which is never changed.

    Parameters
    ----------
    module
        Takes features and returns logits `[batch, label]`.
    front_end
        Turns samples into those features.
    labels
        One name per logit.
    map_layer
        Name of the layer whose output is the map (as in `module.named_modules()`).
    head
        What follows the map: its output to logits. Without it, that layer's output is replaced in a forward pass.
    task
        `multiclass` (softmax) or `multilabel` (sigmoid per label).
    threshold
        Probability from which a label of a multi-label classifier counts as present.
    map_axes
        Order of the map's axes behind batch and channel: `FT`, `TF`, or `T` for a map without frequency; with channels
        last `FTC`, `TFC`, `TC`; a `TokenGrid` for the tokens of a transformer.
    feature_axes
        What the module takes behind the batch axis: `FT`, `TF`, or with a channel axis of one `CFT`, `CTF`; `S` and
        `CS` for samples.
    options
        `probe_s`, the seconds of noise for probing (5), `card`, and `blocks`, the names of layers of an encoder.

    Raises
    ------
    ModelError
        If a layer is missing, shapes do not fit, labels are not unique, logits are not one per label, or the module
        is in half precision, has lazy layers, or was made inside `torch.inference_mode`.
    """
    check_module(module)
    labels = checked_labels(labels)
    if task not in get_args(Task):
        raise ModelError(f"task is one of {', '.join(get_args(Task))}, got {task!r}; choose one of these.")
    check_axes(map_axes, feature_axes)
    check_threshold(threshold)
    if not isinstance(front_end, FrontEnd):
        raise ModelError(
            f"front_end is a {type(front_end).__name__}, an earmark FrontEnd was expected; use LogMel, or subclass "
            "earmark.classifiers.front_ends.FrontEnd."
        )
    classifier = Classifier(
        module,
        front_end,
        labels,
        map_layer=map_layer,
        head=head,
        task=task,
        threshold=threshold,
        map_axes=map_axes,
        feature_axes=feature_axes,
        name=name or type(module).__name__,
        **options,
    )
    front_end.to(classifier.device)
    _ = classifier.head  # runs the chain once, so that a misfit is said here and not later
    return classifier


def checked_labels(labels: Iterable[object]) -> tuple[str, ...]:
    """Returns label names; refuses one string, none, and duplicates.

    Raises
    ------
    ModelError
        If there is one of these.
    """
    if isinstance(labels, str):
        raise ModelError(f"Labels are a sequence of names, got the one string {labels!r}; write [{labels!r}].")
    names = tuple(str(label) for label in labels)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        got = f"{', '.join(map(repr, twice[:5]))} more than once" if twice else "none"
        raise ModelError(f"Labels must be unique and at least one, got {got}; name each logit differently.")
    return names


def check_threshold(threshold: object) -> None:
    """Refuses a decision threshold that is no probability.

    Raises
    ------
    ModelError
        If it is none.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ModelError(f"A threshold is a probability from 0 to 1, got {threshold!r}; change it.")
