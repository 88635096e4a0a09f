"""Trainings, one after another: each leaves one small file, and is not repeated."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor, nn

from ...explainers.base import Explainer
from ..memory import Memory
from ..results import Progress
from .config import RetrainingConfig
from .material import PARTS, Material
from .removal import INTACT, Maps, Variant, kept_rows, maps_of, no_maps, read_features, variants, write_features
from .trainer import Trainer, predicted

LEAST = 2  # clips with a map, below which nothing is trained


@dataclass(frozen=True)
class Outcome:
    """What one training came to.

    Parameters
    ----------
    method, variant, seed
        Whose maps, how clips were changed by them, and from which start.
    correct
        For each test clip, changed alike, whether its label is put first; `None` where its map failed.
    fitted
        The accuracy on the training clips; NaN where too few are left to train on.
    n_lost
        Training clips that are left out, since their maps failed.
    """

    method: str
    variant: Variant
    seed: int
    correct: tuple[bool | None, ...]
    fitted: float
    n_lost: int = 0

    @property
    def accuracy(self) -> float:
        """The share of test clips that are right, of those with a map; NaN without any."""
        known = [right for right in self.correct if right is not None]
        return sum(known) / len(known) if known else math.nan


class Retrainings:
    """Trains on changed clips, and remembers each training in a folder.

    Parameters
    ----------
    material, trainer, config
        The clips, how to train, and what to change.
    memory
        Where finished trainings are kept.
    folder
        Where features lie while they are needed.
    progress
        Counts trainings.
    total
        How many there will be.
    """

    def __init__(
        self,
        material: Material,
        trainer: Trainer,
        config: RetrainingConfig,
        memory: Memory,
        folder: Path,
        progress: Progress | None = None,
        total: int = 0,
    ) -> None:
        self.material, self.trainer, self.config = material, trainer, config
        self.memory, self.folder = memory, folder
        self.progress, self.total, self.done = progress, total, 0

    def intact(self) -> list[Outcome]:
        """Returns what trainings on unchanged clips come to, one for each seed."""
        return self._run("intact", [INTACT], no_maps, self._key("", None))

    def of(self, name: str, explainer: Explainer, maps: Maps | None = None) -> list[Outcome]:
        """Returns what trainings on clips changed by an explainer's maps come to.

        Parameters
        ----------
        maps
            How its maps are made, if not by `maps_of`.
        """
        return self._run(name, variants(self.config), maps or maps_of(explainer), self._key(name, explainer))

    def seeds(self, variant: Variant) -> range:
        """Returns the starts of the trainings on clips changed in one way."""
        return range(self.config.mask_seeds if variant.mode == "masks" else self.config.seeds)

    def _run(self, name: str, wanted: Sequence[Variant], maps: Maps, key: str) -> list[Outcome]:
        features = self.folder / f"features-{digest([key, [variant.name for variant in wanted]])}"

        def make(variant: Variant, seed: int) -> dict[str, Any]:
            if not features.is_dir():
                write_features(self.material, maps, wanted, features, self.config.chunk)
            return self._trained(variant, seed, features, self.folder / f"going-{key}-{variant.name}-{seed}")

        found = []
        for variant in wanted:
            for seed in self.seeds(variant):
                told = self.memory.json(f"training-{key}-{variant.name}-{seed}", partial(make, variant, seed))
                correct = tuple(None if right is None else bool(right) for right in told["correct"])
                found.append(Outcome(name, variant, seed, correct, told["fitted"], told.get("n_lost", 0)))
                self._count(found[-1])
        shutil.rmtree(features, ignore_errors=True)
        return found

    def _trained(self, variant: Variant, seed: int, features: Path, going: Path) -> dict[str, Any]:
        """Trains once, and returns what is remembered of it."""
        began = time.perf_counter()
        learn, test = (read_features(features, variant, name) for name in PARTS)
        with_map, scored = (kept_rows(features, name) for name in PARTS)
        n_lost, labels = int((~with_map).sum()), self.material.training.labels[with_map]
        if len(labels) < LEAST or not bool(scored.any()):
            return {"correct": [None] * len(test), "fitted": math.nan, "n_lost": n_lost, "seconds": 0.0}
        learn = learn[with_map.numpy()] if n_lost else learn
        module = self.trainer.train(learn, labels, seed, going)
        hits = zip(_hits(module, test, self.material.truth).tolist(), scored.tolist(), strict=True)
        fitted = float(_hits(module, learn, labels.argmax(1)).double().mean())
        shutil.rmtree(going, ignore_errors=True)
        told = {"correct": [hit if known else None for hit, known in hits], "fitted": fitted, "n_lost": n_lost}
        return {**told, "seconds": time.perf_counter() - began}

    def _count(self, outcome: Outcome) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total, {"accuracy": outcome.accuracy})

    def _key(self, name: str, explainer: Explainer | None) -> str:
        """Returns what a training depends on beside its variant and seed."""
        about: list[Any] = [self.material.sha256, self.trainer.about()]
        if explainer is not None:
            about += [name, explainer.method, explainer._config(), explainer._learned()]
        return digest(about)


def n_trainings(config: RetrainingConfig, n_methods: int) -> int:
    """Returns how many trainings a run has."""
    ways = len(config.taus) * len(config.fills) * len(config.modes) * config.seeds
    return config.seeds + n_methods * (ways + len(config.taus) * config.mask_seeds)


def _hits(module: nn.Module, features: np.ndarray, truth: Int[Tensor, " clip"]) -> Bool[Tensor, " clip"]:
    return predicted(module, features).argmax(1) == truth


def digest(about: Any) -> str:
    """Returns a name for what JSON values tell."""
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]
