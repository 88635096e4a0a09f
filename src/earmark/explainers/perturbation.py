"""What the methods share that switch parts of a clip off and look at the score.

Masked clips are made in the STFT domain, `fill + gain * (clip - fill)`, and run in batches. The evaluations of a clip
are kept as logits, so that they serve every target.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..evidence import Attribution
from ..explanation import Explanation
from ..fills import Fill, stft_fill
from ..types import Logits, Prediction, Samples, ScoreFunction, Target
from .base import Explainer, Pass
from .perturbation_config import PerturbationConfig

Config = TypeVar("Config", bound=PerturbationConfig)


@dataclass(frozen=True, eq=False)
class Scored:
    """What the classifier said of a clip and of its masked versions.

    Parameters
    ----------
    whole, empty
        `[label]`, logits of the clip itself, and of the fill alone.
    logits
        `[row, label]` of the masked clips.
    masks
        How these were masked, in the method's own form.
    """

    whole: Float[Tensor, " label"]
    empty: Float[Tensor, " label"]
    logits: Logits
    masks: Any

    @property
    def n_passes(self) -> int:
        """Forward passes of the classifier that it took, each of one clip."""
        return 2 + len(self.logits)


@dataclass(frozen=True, eq=False)
class Valued:
    """Values of all bins, and numbers that the method reports of itself."""

    values: Float[Tensor, "freq frame"]
    measured: dict[str, float] = field(default_factory=dict)


class Canvas:
    """One clip, and what stands where it is masked.

    Parameters
    ----------
    classifier, config
        What hears the masked clips; fill, re-entry, chunk and seed.
    clip
        `[sample]` at the classifier's rate.

    Attributes
    ----------
    stft, fill
        `[freq, frame]` of the clip, and of what replaces it.
    fill_sound
        `[sample]`, the fill as sound.
    """

    def __init__(self, classifier: Classifier, clip: Float[Tensor, " sample"], config: PerturbationConfig) -> None:
        self.classifier, self.clip, self.config = classifier, clip, config
        self.grid = classifier.grid(len(clip))
        self.stft = classifier.stft(clip[None])[0]
        fill = Fill(config.fill, seed=config.seed)
        self.fill = stft_fill(fill, clip[None], self.stft[None], classifier.stft)[0]
        self.difference = self.stft - self.fill
        self.fill_sound = self.sound_of(self.fill[None])[0]

    def sound_of(self, stft: Complex[Tensor, "row freq frame"]) -> Samples:
        """Returns `[row, sample]`."""
        return self.classifier.stft.inverse(stft, len(self.clip))

    def score(
        self,
        rows: Tensor,
        sound: Callable[[Tensor], Tensor],
        gain: Callable[[Tensor], Tensor],
        masks: Any,
    ) -> Scored:
        """Runs the classifier on the clip, the fill, and the masked clip of each row.

        Parameters
        ----------
        rows
            What `sound` and `gain` take, cut into batches along its first axis.
        sound
            Returns the masked clips `[row, sample]`; called for re-entry at the waveform.
        gain
            Returns the gains `[row, freq, frame]`; called for re-entry at the STFT.
        """
        n_samples = len(self.clip)

        def enter(batch: Tensor) -> Logits:
            if self.config.reentry == "waveform":
                return self.classifier.logits(sound(batch))
            masked = self.fill + gain(batch) * self.difference
            return self.classifier.logits(masked, at="stft", n_samples=n_samples)

        if self.config.reentry == "waveform":
            ends = self.classifier.logits(torch.stack([self.clip, self.fill_sound]))
        else:
            ends = self.classifier.logits(torch.stack([self.stft, self.fill]), at="stft", n_samples=n_samples)
        batches = [enter(batch) for batch in rows.split(self.config.chunk)] if len(rows) else [ends[:0]]
        return Scored(ends[0], ends[1], torch.cat(batches), masks)


class Perturbation(Explainer[tuple[Scored, ...]], Generic[Config]):
    """The template of methods that switch parts off: a subclass masks and scores a clip, then values its bins.

    Parameters
    ----------
    classifier
        What is explained.
    config
        The settings; keyword `changes` replace single ones.

    Raises
    ------
    InputError
        If a setting does not exist or lies outside its range.
    """

    scores: ClassVar[tuple[ScoreFunction, ...]] = ("logit", "log_prob", "prob", "contrast")
    settings: ClassVar[type[PerturbationConfig]]
    random: ClassVar[bool] = False  # whether the seed matters
    config: Any  # of the type `settings`

    def __init__(self, classifier: Classifier, config: Config | None = None, **changes: Any) -> None:
        self.classifier = classifier
        given = config or self.settings()
        self.config = self.settings.from_options({**given.to_dict(), **changes}, self.method)
        self._last: tuple[Tensor, Scored] | None = None

    @abstractmethod
    def _scored(self, canvas: Canvas) -> Scored:
        """Masks a clip and runs the classifier."""

    @abstractmethod
    def _valued(self, scored: Scored, target: Target) -> Valued:
        """Returns the values of all bins for one target."""

    def _forward(self, samples: Samples) -> Pass[tuple[Scored, ...]]:
        """Scores each clip by itself, so that its numbers do not depend on its batch mates."""
        with torch.no_grad():
            scored = tuple(self._scored_once(clip) for clip in samples)
        return Pass(torch.stack([one.whole for one in scored]), scored)

    def _scored_once(self, clip: Float[Tensor, " sample"]) -> Scored:
        """Keeps the evaluations of the last clip: another target of it costs no pass."""
        last = self._last
        if last is not None and torch.equal(last[0], clip):
            return last[1]
        scored = self._scored(Canvas(self.classifier, clip, self.config))
        self._last = (clip.clone(), scored)
        return scored

    def _evidence(self, done: Pass[tuple[Scored, ...]], index: int, target: Target, n_samples: int) -> Attribution:
        scored = done.state[index]
        valued = self._valued(scored, target)
        whole, empty = self._score_of(target, torch.stack([scored.whole, scored.empty])).tolist()
        measured = {"score": whole, "fill_score": empty, **valued.measured}
        return Attribution(valued.values.float().cpu(), self.classifier.grid(n_samples), measured=measured)

    def _explanation(
        self,
        waveform: Waveform,
        samples: Samples,
        done: Pass[tuple[Scored, ...]],
        prediction: Prediction,
        target: Target,
    ) -> Explanation:
        """Adds how many passes this clip took."""
        told = super()._explanation(waveform, samples, done, prediction, target)
        return replace(told, provenance=replace(told.provenance, forward_passes=done.state[0].n_passes))

    def _config(self) -> dict[str, Any]:
        return self.config.to_dict()

    def _seed(self) -> int | None:
        return self.config.seed

    def _score_of(self, target: Target, logits: Logits) -> Float[Tensor, " row"]:
        """Returns the score of each row, float64 on the CPU."""
        return target.of(logits.cpu(), self.classifier.task).double()
