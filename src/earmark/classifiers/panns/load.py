"""`load_panns`: a file of PANNs weights as a classifier."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ...errors import ModelError
from ...types import Task
from ..base import Classifier
from ..front_ends import named
from ..surgery import plain_floats
from ..wrap import wrap
from .checkpoint import HEAD, Checkpoint, check_shapes, read_checkpoint
from .filters import read_numbers
from .labels import labels_for
from .network import Panns


def load_panns(
    path: str | Path,
    labels: Sequence[str] | str | Path | None = None,
    sample_rate: int | None = None,
    *,
    hop_length: int | None = None,
    task: Task | None = None,
    threshold: float = 0.5,
) -> Classifier:
    """Returns the classifier of a file of PANNs weights: CNN6, CNN10, CNN14, ResNet22 or ResNet38, of any width.

    Which one it is, its number of labels and its front end are read from names and shapes in the file; fine-tuned
    networks with a last layer of another name (`fc_transfer`), also inside another module (`base.`), load too. Frame-
    wise networks (`Cnn14_DecisionLevelMax`) have the very names of CNN14 and cannot be told apart: they are not meant.

    Parameters
    ----------
    path
        `.pth` (read with torch's safe reader: nothing in it is run) or `.safetensors`; a state dict, bare or under
        `model`.
    labels
        Names; or a file of them: `class_labels_indices.csv`, or one in a line. Without it, that table is looked for
        beside the weights; else labels are numbered, with a warning.
    sample_rate
        In Hz, where it is not the published one: 32 kHz for a window of 1024 samples, 16 kHz for 512, 8 kHz for 256.
    hop_length
        In samples, where it is not the published one, 5/16 of the window.
    task
        `multilabel` for networks as published. For a new last layer, no file tells; without it, `multiclass` is
        assumed, as in the published template for fine-tuning, with a warning.
    threshold
        Probability from which a label of a multi-label classifier counts as present.

    Raises
    ------
    ModelError
        If the file does not hold such a network, or not whole, finite and in float32; or labels do not fit.
    """
    path = Path(path)
    checkpoint = _checkpoint(path)
    network = _filled(checkpoint, path.name)
    numbers = read_numbers(checkpoint.buffers, checkpoint.config.n_mels, sample_rate, hop_length)
    names = labels_for(path, checkpoint.config.n_labels, labels)
    return wrap(
        network,
        named("panns", **asdict(numbers)),
        names,
        map_layer=checkpoint.config.map_layer,
        head=network.head,
        task=task or _task(checkpoint.head, path.name),
        threshold=threshold,
        map_axes="TF",
        feature_axes="CTF",
        name=path.stem,
        card={"panns": asdict(checkpoint.config)},
    )


def read_network(path: str | Path) -> Panns:
    """Returns the network alone, for a front end of your own; see `load_panns`.

    Raises
    ------
    ModelError
        As `load_panns` does.
    """
    path = Path(path)
    return _filled(_checkpoint(path), path.name)


def _checkpoint(path: Path) -> Checkpoint:
    if "decisionlevel" in path.stem.lower():
        raise ModelError(
            f"{path.name} is, by its name, a frame-wise network, whose weights have the names of CNN14 but "
            "whose head is another; wrap it in a Python file, or rename the file if it is CNN14."
        )
    return read_checkpoint(path)


def _filled(checkpoint: Checkpoint, name: str) -> Panns:
    """Returns the network with its weights, which take no memory a second time."""
    with plain_floats(), torch.device("meta"):
        network = Panns(checkpoint.config)
    check_shapes(network, checkpoint, name)
    network.load_state_dict(checkpoint.state, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def _task(head: str, name: str) -> Task:
    if head == HEAD:
        return "multilabel"
    warnings.warn(
        f"{name} ends in {head!r}, and no file tells whether its labels exclude each other; multiclass (softmax) is "
        "assumed, pass task='multilabel' if several can be present.",
        stacklevel=3,
    )
    return "multiclass"
