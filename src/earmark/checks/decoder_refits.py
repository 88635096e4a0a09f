"""Controls of a trained decoder that train it anew: on other classifiers, and without any latents.

D4 is trained on the classifier with all layers re-drawn, D5 on one that has learned shuffled labels, D6 on the intact
one from the sound alone, each with the explainer's own recipe but for the number of epochs, which is few by default.
A second fit on the intact classifier, as short and from the same start, stands beside them: what it differs by is the
re-training's own. They learn from the clips that the classifier learned from. Slow: run only when it is named.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from ..audio.files import clip_sha256
from ..classifiers.base import Classifier
from ..classifiers.decoded import decode
from ..errors import EarmarkError
from ..explainers.base import Explainer
from ..types import Clip
from .compared import Compared, Rows
from .config import CheckConfig
from .decoder import TrainedDecoder, does_not_apply, levels_of, shown, too_few
from .decoder_scores import Scorer
from .decoder_words import AGAIN, Control, Judged, Reading, beats_sound_alone, differs, told
from .randomization import LEAST_CLIPS, statistics
from .redraw import Redraw
from .results import CheckResult, Progress
from .retraining.labels import MEMORIZED, network_of, shuffled
from .retraining.material import Material, folds_of
from .retraining.outcomes import digest
from .retraining.roar import working
from .retraining.trainer import NONE, SmallCnnTrainer, classifier_of
from .subject import Subject
from .words import several

NAME = "decoder-refits"
PARTS = "decoder"  # what the names of parts begin with: intact maps are shared with the check `decoder`
STEPS = 1000  # of progress, for each re-training

WHAT = {
    AGAIN: "second fit, intact classifier",
    "D4": "decoder re-trained on a classifier with all layers re-drawn",
    "D5": "decoder re-trained on a classifier that learned shuffled labels",
    "D6": "decoder of the sound alone, without latents",
}


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Trains D4, D5 and D6, and compares their maps with the intact ones.

    It passes if D4 and D5 differ from the explainer, and if it and its second fit beat D6 at equal areas; D5 needs a
    classifier made by earmark, and does not count without one.
    """
    explainer = subject.explainer
    if not isinstance(explainer, TrainedDecoder):
        return does_not_apply(NAME, subject)
    if len(subject.scored) < LEAST_CLIPS:
        return too_few(NAME, subject)
    clips = training_clips(subject)
    if not clips:
        return CheckResult(NAME, None, nothing_to_learn(subject))
    run = _Refits(subject, config, explainer, clips, progress)
    intact = run.scorer.rows("intact", lambda: subject.explainer)
    controls = run.controls()
    reading = Reading(subject, config, controls, levels_of(run.compared, config), intact)
    steps = [("second fit" if one.key == AGAIN else one.key, run.part(one.key, 0)) for one in controls]
    about = {**run.about(), "pictures": shown(run.compared, config.n_shown, steps)}
    return told(NAME, reading, judged(reading), about)


def training_clips(subject: Subject) -> tuple[Clip, ...]:
    """Returns the clips to train on: those that the caller named, or the given ones of the classifier's own folds."""
    if subject.training:
        return subject.training
    folds = folds_of(subject.classifier.card.get("folds"))
    return tuple(clip for clip in subject.clips if clip.fold in folds)


def nothing_to_learn(subject: Subject) -> str:
    """Returns why no decoder can be trained."""
    return (
        f"Decoders are trained anew on the clips that {subject.classifier.name} learned from, and none of these is "
        "known; name them with --training-folds, or training= in Python."
    )


def judged(reading: Reading) -> list[Judged]:
    """Returns what each control says that could be made."""
    found = [differs(reading, key) for key in ("D4", "D5") if key in reading.controls]
    return found + ([beats_sound_alone(reading)] if "D6" in reading.controls else [])


class _Refits:
    """The re-trainings of one explainer."""

    def __init__(
        self,
        subject: Subject,
        config: CheckConfig,
        explainer: TrainedDecoder,
        clips: Sequence[Clip],
        progress: Progress | None,
    ) -> None:
        self.subject, self.config, self.explainer, self.clips = subject, config, explainer, clips
        self.progress, self.n_done, self.notes, self.is_shuffled = progress, 0, list[str](), False
        self.fitted: dict[int, float] = {}  # accuracy on shuffled labels, by seed
        self.compared = Compared(subject, PARTS)
        self.scorer = Scorer(self.compared, config.decoder.areas)

    def controls(self) -> list[Control]:
        """Returns all that could be trained; the notes say why others could not."""
        intact = self.subject.classifier
        made = [
            self._control(AGAIN, lambda _seed: intact, is_scored=True),
            self._control("D4", self._redrawn),
            self._control("D5", self._on_shuffled_labels) if self._can_learn else None,
            self._control("D6", lambda _seed: intact, is_scored=True, blind=True),
        ]
        self.is_shuffled = made[2] is not None
        return [control for control in made if control is not None]

    def about(self) -> dict[str, Any]:
        """Returns settings and counts."""
        epochs = self.config.decoder.epochs
        long = f"{several(epochs, 'epoch')} each" if epochs else "as many epochs as the explainer had"
        own = {clip.id for clip in self.clips}
        n_both = sum(clip.id in own for clip in self.subject.scored)
        notes = [f"Decoders are trained anew on {several(len(self.clips), 'clip')}, {long}.", *self.notes]
        accuracies = [self._accuracy(seed) for seed in range(self.config.decoder.refits)] if self.is_shuffled else []
        if accuracies and min(accuracies) < MEMORIZED:
            notes.append(f"The classifier of D5 did not learn its labels by heart (accuracy {min(accuracies):.2f}).")
        notes += [f"{n_both} of {len(self.subject.scored)} explained clips are among these."] if n_both else []
        return {
            "n_training": len(self.clips),
            "epochs": epochs,
            "refits": self.config.decoder.refits,
            "accuracy_on_shuffled_labels": accuracies,
            "failures": dict(self.compared.failures),
            "notes": notes,
        }

    def _accuracy(self, seed: int) -> float:
        """Returns the accuracy of the classifier of D5 on its shuffled labels; it is kept with the parts."""
        return float(self.subject.memory.json(f"{PARTS}/{self.part('D5', seed)}-accuracy", lambda: self.fitted[seed]))

    def part(self, key: str, seed: int) -> str:
        """Returns the name of a finished part; the clips to train on are in it, and not in the key of the run."""
        return f"{key}-{seed}-{self._mark}"

    @cached_property
    def _mark(self) -> str:
        return digest([[clip.id, clip.labels, clip.group, _sha256(clip)] for clip in self.clips])[:12]

    # -- one control ----------------------------------------------------------------------------------------------

    def _control(
        self, key: str, classifier: Callable[[int], Classifier], *, is_scored: bool = False, **changes: Any
    ) -> Control | None:
        draws: list[Rows] = []
        scores: list[Rows] = []
        for seed in range(self.config.decoder.refits):
            make = cache(partial(self._refitted, key, seed, classifier, changes))
            n_shown = 0 if seed else self.config.n_shown
            try:
                draws.append(self.compared.rows(self.part(key, seed), make, n_shown=n_shown))
                scores += [self.scorer.rows(self.part(key, seed), make)] if is_scored else []
            except EarmarkError as error:
                self.notes.append(f"{key} ({WHAT[key]}) could not be trained: {error}")
                return None
            self._clear(key, seed)
            self._step()
        return Control(key, WHAT[key], draws, scores)

    def _refitted(
        self, key: str, seed: int, classifier: Callable[[int], Classifier], changes: dict[str, Any]
    ) -> Explainer:
        """Returns a decoder trained anew; all controls of one seed begin with the same weights and batches."""
        begun = (self.subject.explainer._seed() or 0) + 1 + seed
        epochs = {"epochs": self.config.decoder.epochs} if self.config.decoder.epochs else {}
        beside = {"progress": self._within, "resume_dir": self._place(key, seed)}
        return self.explainer._refitted(classifier(seed), self.clips, seed=begun, **epochs, **changes, **beside)

    def _place(self, key: str, seed: int) -> Path | None:
        """Returns where an unfinished training lies."""
        folder = self.subject.memory.folder
        return None if folder is None else folder / f"refit-{self.part(key, seed)}"

    def _clear(self, key: str, seed: int) -> None:
        place = self._place(key, seed)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)

    # -- progress -------------------------------------------------------------------------------------------------

    @property
    def _n_steps(self) -> int:
        return STEPS * (len(WHAT) - (not self._can_learn)) * self.config.decoder.refits

    def _within(self, done: int, total: int, values: dict[str, float] | None = None) -> None:
        if self.progress:
            self.progress(self.n_done + STEPS * done // max(total, 1), self._n_steps, values)

    def _step(self) -> None:
        self.n_done += STEPS
        if self.progress:
            self.progress(self.n_done, self._n_steps)

    # -- other classifiers ----------------------------------------------------------------------------------------

    @cached_property
    def _redraw(self) -> Redraw:
        return Redraw(self.subject.classifier, statistics(self.subject, self.config.n_statistics))

    def _redrawn(self, seed: int) -> Classifier:
        return self._redraw.draw(range(len(self._redraw.layers)), seed)

    @cached_property
    def _trainer(self) -> SmallCnnTrainer | None:
        """What trains the classifier anew; no augmentation, which keeps it from learning labels by heart."""
        own = self.config.retraining
        recipe = SmallCnnTrainer.of(self.subject.classifier, own.label_epochs or own.epochs)
        return None if recipe is None else replace(recipe, augmentation=NONE)

    @cached_property
    def _can_learn(self) -> bool:
        """Whether a classifier can be fitted to shuffled labels; a note says why not."""
        classifier = self.subject.classifier
        known = all(len(clip.labels) == 1 and clip.labels[0] in classifier.labels for clip in self.clips)
        if self._trainer is not None and classifier.task == "multiclass" and known:
            return True
        why = "it was not made by `earmark train classifier`" if known else "not each clip has one of its labels"
        self.notes.append(f"D5 is left out: {classifier.name} cannot be trained on shuffled labels, since {why}.")
        return False

    def _on_shuffled_labels(self, seed: int) -> Classifier:
        """Returns a classifier of the same architecture that learned the labels of the clips in another order."""
        assert self._trainer is not None
        like = self.subject.classifier
        with working(self.subject.memory) as folder:
            path = folder / "decoded-D5.safetensors"
            training = decode(self.clips, like.labels, like.sample_rate, self.config.retraining.clip_s, path)
            one = replace(training, samples=training.samples[:1], labels=training.labels[:1], clips=training.clips[:1])
            truth = shuffled(training.labels, seed)
            material = Material(like, training, one)
            network, accuracy = network_of(
                material, self._trainer, truth, seed, folder / "features-D5", self.subject.memory
            )
        self.fitted[seed] = accuracy
        self._accuracy(seed)
        return classifier_of(network, like, f"{like.name}, shuffled labels {seed}")


def _sha256(clip: Clip) -> str:
    try:
        return clip_sha256(clip)
    except (EarmarkError, OSError) as error:
        return type(error).__name__
