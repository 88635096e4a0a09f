"""Remove and retrain: do the bins that a method marks hold what the labels need?

Every clip, training and test, loses the first share of its bins (ROAR; or keeps nothing else: KAR), and the classifier
is trained anew from its own start by its own schedule. Without retraining, a drop may only show that holes are unlike
what the network knows (Hooker et al., 2019, "A Benchmark for Interpretability Methods in Deep Neural Networks"). Random
maps, smooth or not, and energy are the controls. The mask may tell the class by its shape alone (Rong et al., 2022, "A
Consistent and Efficient Evaluation Strategy for Attribution Methods"), so a training on masks alone stands beside.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...classifiers.base import Classifier
from ...explainers.base import Explainer
from ...explainers.load import load_explainer
from ...metrics.intervals import LEVEL, least_p
from ...types import Samples
from ..config import CheckConfig
from ..memory import Memory
from ..results import CheckResult, Progress
from ..subject import Subject
from .config import RetrainingConfig
from .curves import Results, charts_of, said, tables_of, ways
from .material import Material, split
from .outcomes import Retrainings, n_trainings
from .removal import Maps, Values
from .trainer import SmallCnnTrainer, Trainer

MOST_LOST = 0.05  # of a method's maps that may fail

CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "smooth-random": ("random", {"smooth": True}),
    "energy": ("energy", {}),
}


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Removes what the subject marks and retrains; it passes if that costs more accuracy than removing at random.

    Training needs the recipe on the classifier's card. The clips are those that it learned from and others.
    """
    own = config.retraining
    trainer = SmallCnnTrainer.of(subject.classifier, own.epochs)
    if trainer is None or subject.classifier.task != "multiclass":
        return CheckResult("roar", None, needs(subject.classifier))
    parts = split(subject.clips, subject.classifier, own.held_out)
    with working(subject.memory) as folder:
        material = Material.of(subject.classifier, parts, own.clip_s, folder)
        explainers = {**controls(subject.classifier), subject.name: subject.explainer}
        maps: dict[str, Maps] = {subject.name: lambda x: _maps(subject, x)}
        results = remove_and_retrain(
            material, explainers, trainer, own, memory=subject.memory, folder=folder, progress=progress, maps=maps
        )
    passed, sentence = verdict(results, subject.name)
    about = {"split": parts.words, "trainer": trainer.about(), "config": own.to_dict(), **counts(material)}
    lost = dict(zip(("training", "test"), results.lost(subject.name), strict=True))
    about |= {"failed": lost, "failures": dict(subject.failures)}
    return CheckResult("roar", passed, f"{sentence} ({parts.words}.)", tables_of(results), charts_of(results), about)


def remove_and_retrain(
    material: Material,
    explainers: Mapping[str, Explainer],
    trainer: Trainer,
    config: RetrainingConfig,
    *,
    memory: Memory,
    folder: Path,
    progress: Progress | None = None,
    maps: Mapping[str, Maps] | None = None,
) -> Results:
    """Returns all trainings of several methods; finished ones are not repeated.

    Parameters
    ----------
    explainers
        By name, of the material's classifier; `random` is the control.
    memory
        What is finished, one small file for each training.
    folder
        Where features of one method at a time lie meanwhile.
    maps
        How maps are made, by name, if not by `removal.maps_of`.
    """
    total = n_trainings(config, len(explainers))
    runs = Retrainings(material, trainer, config, memory, folder, progress, total)
    intact = runs.intact()
    methods = {name: runs.of(name, explainer, (maps or {}).get(name)) for name, explainer in explainers.items()}
    return Results(config, intact, methods, material.groups, material.chance, len(material.training.clips))


def controls(classifier: Classifier) -> dict[str, Explainer]:
    """Returns maps that know nothing of the classifier, by name."""
    return {name: load_explainer(of, classifier=classifier, **options) for name, (of, options) in CONTROLS.items()}


def verdict(results: Results, name: str) -> tuple[bool | None, str]:
    """Returns whether a method passes, and the sentence that says by what.

    It passes if, for every fill, removing its bins costs more accuracy than removing as many at random: the interval of
    the area between both curves lies above 0. Where nothing was removed, keeping decides. Clips whose map failed are
    left out of the method's own trainings; where these are many, it is not judged: on fewer clips less is learned.
    """
    n_all, lost = len(results.groups) + results.n_training, sum(results.lost(name))
    if math.isnan(results.methods[name][0].accuracy):
        return None, f"{name} cannot be judged: {lost} of its {n_all} maps failed."
    modes = results.config.modes
    deciding = "remove" if "remove" in modes else "keep"
    gaps = {(mode, fill): results.against(name, mode, fill) for mode, fill in ways(results.config)}
    passed = all(gap.low > 0 for (mode, _), gap in gaps.items() if mode == deciding)
    told = ", ".join(f"{mode}, {fill.replace('_', ' ')}: {said(gap)}" for (mode, fill), gap in gaps.items())
    whole = sum(outcome.accuracy for outcome in results.intact) / len(results.intact)
    said_so = "costs more accuracy than" if passed else "does not cost more accuracy than"
    if deciding == "keep":
        said_so = "saves more accuracy than" if passed else "does not save more accuracy than"
    what = "Removing" if deciding == "remove" else "Keeping"
    sentence = (
        f"{what} what {name} marks and retraining {said_so} at random (mean accuracy between the curves, more is "
        f"better: {told}; intact {whole:.3f}, the commonest label {results.chance:.3f})."
    )
    if lost:
        sentence += f" {lost} of its {n_all} maps failed; these clips are left out."
    if lost > MOST_LOST * n_all:
        return None, f"{sentence} They are too many to judge by.{_leak(results, name)}"
    if any(least_p(gap.n_clusters) >= LEVEL for gap in gaps.values()):
        return None, f"{sentence} There are too few recordings to judge by.{_leak(results, name)}"
    return passed, sentence + _leak(results, name)


def _maps(subject: Subject, samples: Samples) -> Values:
    """Returns the subject's maps of what the classifier decided; NaN where they fail."""
    return subject.maps(subject.explainer, samples, subject.decisions(samples), failed=math.nan)


def counts(material: Material) -> dict[str, int]:
    """Returns how many clips there are, and how many could not be read."""
    sizes = {f"n_{name}": len(part.clips) for name, part in material.parts}
    return {**sizes, "n_skipped": sum(len(part.skipped) for _, part in material.parts)}


def needs(classifier: Classifier) -> str:
    """Returns what a classifier lacks for being trained anew."""
    if classifier.task != "multiclass":
        return f"{classifier.name} gives several labels per clip; retraining is compared by accuracy, which needs one."
    return (
        f"{classifier.name} has no recipe to be trained by again; this check needs a classifier made by "
        "`earmark train classifier`, or a Trainer of your own given to "
        "earmark.checks.retraining.roar.remove_and_retrain."
    )


@contextmanager
def working(memory: Memory) -> Iterator[Path]:
    """Gives a folder for sounds and features: beside what is finished, or, if nothing is kept, one that is removed."""
    if memory.folder is not None:
        yield memory.folder / "working"
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _leak(results: Results, name: str) -> str:
    """Returns what the masks tell by themselves."""
    if not results.config.mask_seeds:
        return ""
    alone = results.on_masks(name)
    most = max(alone, key=lambda tau: alone[tau].mean)
    telling = alone[most].low > results.chance
    words = "tell the class by their shape" if telling else "do not tell the class by their shape"
    return f" Masks alone {words} (accuracy {said(alone[most])} at {100 * most:g} %)."
