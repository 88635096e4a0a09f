"""Trainer: what trains a classifier anew on features that lie on disk, from the same start and by the same schedule."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...classifiers.base import Classifier
from ...classifiers.small import SmallCnn, SmallCnnConfig
from ...classifiers.surgery import at_rest
from ...training import augment
from ...training.config import AugmentConfig, LoopConfig
from ...training.loop import seeded_globals, train

SMALL = SmallCnnConfig(channels=(8, 16, 32, 64))
SHORT = LoopConfig(epochs=15, learning_rate=5e-3)
NONE = AugmentConfig(0.0, 0.0, (10.0, 40.0), 0.0, 0.0, 0.0, 0, 0, 0)
Truth = Float[Tensor, "clip label"]


@runtime_checkable
class Trainer(Protocol):
    """Trains a network of one architecture by one schedule."""

    def train(self, features: np.ndarray, truth: Truth, seed: int, folder: Path) -> nn.Module:
        """Returns a network at rest, trained on `features [clip, mel, frame]` and one label per clip.

        One seed means one initialization, whatever the features. What an unfinished training needs to go on lies in
        `folder`.
        """

    def start(self, n_mels: int, n_labels: int, seed: int) -> nn.Module:
        """Returns the network from which every training of a seed begins."""

    def about(self) -> dict[str, Any]:
        """Returns all that a training depends on beside its arguments, as plain JSON values."""


@dataclass(frozen=True)
class SmallCnnTrainer:
    """Trains a `SmallCnn` on cached features; the last epoch counts, so that no other clips are needed.

    Of augmentation only what can be done to features is done: time shift (by whole frames), masked stripes, mixing.

    Parameters
    ----------
    architecture
        The network's size; `n_labels` and `n_mels` are taken from what it is trained on.
    loop
        The schedule; its seed is added to that of each training.
    augmentation
        None at all by default.
    """

    architecture: SmallCnnConfig = SMALL
    loop: LoopConfig = SHORT
    augmentation: AugmentConfig = NONE

    @classmethod
    def of(cls, classifier: Classifier, epochs: int | None = None) -> "SmallCnnTrainer | None":
        """Returns the recipe on a classifier's card; `None` if it was not trained by earmark."""
        told = classifier.card.get("training") or {}
        if not isinstance(classifier.module, SmallCnn) or not {"loop", "augmentation"} <= told.keys():
            return None
        loop = LoopConfig(**told["loop"])
        return cls(classifier.module.config, replace(loop, epochs=epochs or loop.epochs), _told(told["augmentation"]))

    def train(self, features: np.ndarray, truth: Truth, seed: int, folder: Path) -> SmallCnn:
        """Returns the trained network, at rest."""
        loop = replace(self.loop, seed=self.loop.seed + seed, batch_size=min(self.loop.batch_size, len(truth)))
        module = self.start(features.shape[1], truth.shape[1], seed)
        train(
            module,
            lambda _epoch, generator: _shuffled(features, truth, loop.batch_size, generator),
            lambda batch: functional.cross_entropy(module(batch[0]), batch[1]),
            lambda: {"score": 0.0},
            loop,
            n_steps=len(truth) // loop.batch_size,
            folder=folder,
            prepare=self._prepared,
            beside=(),
            settings={"trainer": self.about()},
        )
        return module.eval()

    def start(self, n_mels: int, n_labels: int, seed: int) -> SmallCnn:
        """Returns the network from which every training of this seed begins."""
        with seeded_globals(self.loop.seed + seed, 0):
            return SmallCnn(replace(self.architecture, n_mels=n_mels, n_labels=n_labels))

    def about(self) -> dict[str, Any]:
        """Returns sizes, schedule and augmentation."""
        return {
            "kind": "small-cnn",
            "architecture": self.architecture.to_dict(),
            "loop": asdict(self.loop),
            "augmentation": asdict(self.augmentation),
        }

    def _prepared(self, batch: tuple[Tensor, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        """Returns the features of a batch augmented, with their labels."""
        features = rolled(batch[0], self.augmentation.shift, generator)
        return augment.augment_features(features, batch[1], self.augmentation, generator)


def rolled(
    features: Float[Tensor, "batch mel frame"], share: float, generator: Generator
) -> Float[Tensor, "batch mel frame"]:
    """Returns each clip's features rotated in time by its own whole number of frames, up to `share` of them."""
    n_frames = features.shape[2]
    offsets = (torch.rand(len(features), 1, generator=generator) * share * n_frames).long()
    index = (torch.arange(n_frames)[None] - offsets) % n_frames
    return features.gather(2, index[:, None].expand_as(features))


def classifier_of(module: nn.Module, like: Classifier, name: str) -> Classifier:
    """Returns a network of the architecture of a classifier as a classifier of the same sounds and labels."""
    return Classifier(
        module,
        like.front_end,
        like.labels,
        map_layer=like.map_layer,
        head=getattr(module, "head", None) if like.has_own_head else None,
        task=like.task,
        threshold=like.threshold,
        map_axes=like.map_axes,
        feature_axes=like.feature_axes,
        name=name,
        probe_s=like.probe_s,
    )


def predicted(module: nn.Module, features: np.ndarray, size: int = 16) -> Float[Tensor, "clip label"]:
    """Returns the logits of features on disk, in batches."""
    starts = range(0, len(features), size)
    with torch.no_grad(), at_rest(module):
        return torch.cat([module(torch.from_numpy(np.array(features[i : i + size]))) for i in starts])


def _told(augmentation: dict[str, Any]) -> AugmentConfig:
    """Returns what a card tells of augmentation."""
    known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in augmentation.items()}
    return AugmentConfig(**known)


def _shuffled(
    features: np.ndarray, truth: Truth, batch_size: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(truth), generator=generator)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = order[start : start + batch_size]
        yield torch.from_numpy(features[rows.numpy()]), truth[rows]
