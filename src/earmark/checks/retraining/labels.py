"""Label randomization: does a map change if the network has learned nothing but noise?

The architecture is trained again on shuffled labels, from other starts. Maps of both networks, for the same clips and
the same labels (those that the intact network decides for), must not be more alike than the intact network's maps of
two different clips (Adebayo et al., 2018, "Sanity Checks for Saliency Maps"). A network trained again on the true
labels stands beside: it shows how much of a change is the new start's.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...metrics.intervals import Interval, bootstrap, paired_difference
from ...types import seeded
from ..compared import Compared
from ..config import AS_USED, CheckConfig
from ..memory import Memory
from ..results import Cell, CheckResult, Progress, Table
from ..similarity import MEASURES
from ..subject import Subject
from .curves import said
from .material import Material, split
from .outcomes import digest
from .removal import INTACT, no_maps, read_features, write_features
from .roar import counts, needs, working
from .trainer import NONE, SmallCnnTrainer, Trainer, classifier_of, predicted

Truth = Float[Tensor, "clip label"]
Network = tuple[nn.Module, float]

MEMORIZED = 0.9  # accuracy on shuffled labels from which a network counts as having learned them by heart
KINDS = {"shuffled": "trained on shuffled labels", "again": "trained on the true labels again"}
OTHER = "another clip, intact network"


@dataclass(frozen=True, eq=False)
class Found:
    """Similarities of maps, `[seed, clip]` by measure, to those of retrained networks and of other clips.

    Parameters
    ----------
    alike
        By kind of network, then by measure.
    other
        By measure, `[clip]`: the map of another clip on the intact network.
    fitted
        By kind, the accuracy on the labels that a network was trained on, for each seed.
    unchanged
        By kind, the share of maps that are the same up to a factor; NaN where no map could be made.
    groups
        What each clip comes from.
    """

    alike: Mapping[str, Mapping[str, Float[Tensor, "seed clip"]]]
    other: Mapping[str, Float[Tensor, " clip"]]
    fitted: Mapping[str, list[float]]
    unchanged: Mapping[str, float]
    groups: list[str]

    def mean(self, kind: str, measure: str) -> Interval:
        """Returns the mean similarity to a kind of network's maps."""
        values = self.alike[kind][measure]
        return bootstrap(values.flatten(), *self._levels(values))

    def to_other(self, measure: str) -> Interval:
        """Returns the mean similarity of two clips' maps."""
        return bootstrap(self.other[measure], self.groups)

    def above(self, kind: str, measure: str) -> Interval:
        """Returns by how much a kind of network's maps are more alike than those of two clips."""
        values = self.alike[kind][measure]
        other = self.other[measure].expand_as(values)
        return paired_difference(values.flatten(), other.flatten(), *self._levels(values))

    def _levels(self, values: Float[Tensor, "seed clip"]) -> tuple[list[str], list[int]]:
        return self.groups * len(values), [seed for seed in range(len(values)) for _ in self.groups]


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Trains on shuffled labels; passes if its maps are not more alike than those of two clips."""
    own = config.retraining
    recipe = SmallCnnTrainer.of(subject.classifier, own.label_epochs or own.epochs)
    if recipe is None or subject.classifier.task != "multiclass":
        return CheckResult("labels", None, needs(subject.classifier))
    trainer = replace(recipe, augmentation=NONE)  # augmentation keeps a network from learning labels by heart
    parts = split(subject.clips, subject.classifier, own.held_out)
    with working(subject.memory) as folder:
        material = Material.of(subject.classifier, parts, own.clip_s, folder)
        found = shuffle_and_retrain(subject, material, trainer, own.seeds, folder, progress)
    passed, sentence = verdict(found, subject.name, config.decides)
    about = {"split": parts.words, "trainer": trainer.about(), "seeds": own.seeds, **counts(material)}
    about |= {
        "failures": dict(subject.failures),
        "coverage": subject.coverage(),
        "fitted": {k: list(v) for k, v in found.fitted.items()},
    }
    return CheckResult("labels", passed, sentence, (table_of(found),), (), about)


def shuffle_and_retrain(
    subject: Subject,
    material: Material,
    trainer: Trainer,
    n_seeds: int,
    folder: Path,
    progress: Progress | None = None,
) -> Found:
    """Returns similarities of the subject's maps to those around retrained networks; finished ones are not repeated."""
    told: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    key, explainer = digest([material.sha256, trainer.about()]), subject.explainer
    own = digest([key, subject.name, explainer.method, explainer._config(), explainer._learned()])
    compared = Compared(subject, f"labels-{own}")
    steps = [(kind, seed) for seed in range(n_seeds) for kind in KINDS]
    for done, (kind, seed) in enumerate(steps):
        truth = shuffled(material.training.labels, seed) if kind == "shuffled" else material.training.labels
        module, fitted = network_of(material, trainer, truth, seed, folder / f"features-{key}", subject.memory)
        name = f"{kind}-{seed}"
        make = partial(subject.on, classifier_of(module, subject.classifier, name))
        told[kind].append({"fitted": fitted, **compared.rows(name, make)})
        if progress:
            progress(done + 1, len(steps), {"accuracy": fitted})
    other = compared.other_clips(0)
    return Found(
        {kind: {m: torch.tensor([row[m] for row in rows]).double() for m in MEASURES} for kind, rows in told.items()},
        {m: torch.tensor(other[m]).double() for m in MEASURES},
        {kind: [row["fitted"] for row in rows] for kind, rows in told.items()},
        {kind: float(torch.tensor([row["unchanged"] for row in rows]).nanmean()) for kind, rows in told.items()},
        subject.groups,
    )


def shuffled(truth: Truth, seed: int) -> Truth:
    """Returns the labels of all clips in another order, so that each label is there as often as before."""
    return truth[torch.randperm(len(truth), generator=seeded(seed, 17))]


def verdict(found: Found, name: str, decides: str = "all") -> tuple[bool | None, str]:
    """Returns whether a method passes, and the sentence that says by what.

    It passes if the similarity to maps around a network that learned shuffled labels is not above that of two clips'
    maps within its interval, by the measure that decides or by all of a map as it is used. It fails if no map changed
    at all. It is not judged where no two clips can be compared, since each has a length of its own, nor where the
    network could not learn the shuffled labels.
    """
    defined = [measure for measure in AS_USED if not math.isnan(found.above("shuffled", measure).low)]
    surest = max(defined, key=lambda measure: found.above("shuffled", measure).low, default=AS_USED[0])
    measure = decides if decides != "all" else surest
    above, stuck = found.above("shuffled", measure), found.unchanged["shuffled"] == 1
    if math.isnan(found.unchanged["shuffled"]):
        return None, f"Maps of {name} cannot be judged: none could be made."
    if math.isnan(above.low) and not stuck:
        return None, f"Maps of {name} cannot be judged: {MEASURES[measure]} of two clips' maps is not defined."
    passed = above.low <= 0 and not stuck
    fitted = sum(found.fitted["shuffled"]) / len(found.fitted["shuffled"])
    word = "as unlike as" if passed else "more alike than"
    sentence = (
        f"Maps of {name} before and after training on shuffled labels are {word} maps of two clips ({MEASURES[measure]}"
        f" {said(found.mean('shuffled', measure))}; two clips {said(found.to_other(measure))}; difference "
        f"{said(above)})."
    )
    if stuck:
        sentence = f"Maps of {name} do not change at all when the network is trained on shuffled labels."
    heart = "learned the shuffled labels by heart" if fitted >= MEMORIZED else "could not learn the shuffled labels"
    judged = passed if fitted >= MEMORIZED or not passed else None  # maps may differ for having learned nothing
    return judged, f"{sentence} The network {heart} (accuracy on them {fitted:.3f})."


def table_of(found: Found) -> Table:
    """Returns all similarities, with their intervals."""
    rows: list[tuple[Cell, ...]] = [
        (
            text,
            *(said(found.mean(kind, measure)) for measure in MEASURES),
            found.unchanged[kind],
            sum(found.fitted[kind]) / len(found.fitted[kind]),
        )
        for kind, text in KINDS.items()
    ]
    other = (OTHER, *(said(found.to_other(measure)) for measure in MEASURES), None, None)
    above = ("shuffled labels - another clip", *(said(found.above("shuffled", m)) for m in MEASURES), None, None)
    columns = ("maps compared with those of", *MEASURES.values(), "share unchanged", "accuracy on its own labels")
    return Table("How alike maps are", columns, (*rows, other, above))


def network_of(
    material: Material, trainer: Trainer, truth: Truth, seed: int, features: Path, memory: Memory
) -> Network:
    """Returns a network that learned labels from another start than the intact one, and its accuracy on them."""
    if not features.is_dir():
        write_features(material, no_maps, [INTACT], features)
    learn = read_features(features, INTACT, "training")
    name = f"network-{digest([features.name, truth.argmax(1).tolist(), seed])}"

    def make() -> dict[str, Tensor]:
        module = trainer.train(learn, truth, seed + 1, features.parent / name)
        shutil.rmtree(features.parent / name, ignore_errors=True)
        return module.state_dict()

    module = trainer.start(learn.shape[1], truth.shape[1], seed + 1)
    module.load_state_dict(memory.tensors(name, make))
    return module.eval(), float((predicted(module, learn).argmax(1) == truth.argmax(1)).double().mean())
