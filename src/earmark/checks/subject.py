"""Subject: the explainer under check, its classifier and its clips; what all checks share.

Clips of one length are explained together, in the order of their ids; none is padded. Silent and constant clips, and
those that cannot be read, are left out before any map is made, and counted. A map that fails or is not finite is zeros
or, where asked for, NaN, and counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.files import load_clip
from ..audio.names import printable
from ..classifiers.base import Classifier
from ..errors import DataError, EarmarkError, InputError, TargetError
from ..evidence import Evidence
from ..explainers.base import Explainer
from ..explainers.load import load_explainer
from ..types import Clip, Samples, Target
from .memory import Memory
from .rebinding import draws, on_classifier, with_seed

Values = Float[Tensor, "batch freq frame"]
Given = str | Path | Explainer
Item = TypeVar("Item")


class Subject:
    """An explainer under check.

    Parameters
    ----------
    classifier
        What is explained; no check changes it.
    given
        The explainer, or its registry name or folder.
    options
        Settings of a named explainer.
    clips
        All clips that are known, from which checks that train draw what they need.
    most
        So many of them at most, evenly spaced, are explained, and held in memory as the classifier takes them.
    batch
        Clips explained together.
    memory
        Where finished parts of a check are kept, so that a killed run goes on.

    Raises
    ------
    InputError, ModelError
        If there is no such explainer, or it does not fit the classifier.
    DataError
        If two clips have one id.
    """

    def __init__(
        self,
        classifier: Classifier,
        given: Given,
        options: Mapping[str, Any] | None = None,
        clips: Sequence[Clip] = (),
        *,
        most: int | None = None,
        batch: int = 16,
        memory: Memory | None = None,
    ) -> None:
        self.classifier, self.batch, self.memory = classifier, batch, memory or Memory(None)
        self.explainer = _loaded(classifier, given, dict(options or {}))
        self.name = printable(self.explainer.method if isinstance(given, Explainer) else Path(given).name or str(given))
        self.clips = tuple(sorted(clips, key=lambda clip: clip.id))
        self.training: tuple[Clip, ...] = ()  # what the classifier learned from, where a caller names it
        self.chosen = spaced(self.clips, most)
        self.excluded: Counter[str] = Counter()
        self.broken: dict[str, str] = {}
        self.failures: Counter[str] = Counter()  # why maps failed, and how often
        twice = [clip_id for clip_id, n in Counter(clip.id for clip in self.clips).items() if n > 1]
        if twice:
            raise DataError(f"Clips are told apart by their ids, and {twice[0]!r} is there twice; give each its own.")

    @property
    def is_random(self) -> bool:
        """Whether the method draws at random when it explains."""
        return draws(self.explainer)

    def with_seed(self, seed: int) -> Explainer:
        """Returns the explainer anew, with another seed if it draws at random."""
        return with_seed(self.explainer, seed)

    def on(self, classifier: Classifier, seed: int | None = None) -> Explainer:
        """Returns the same explainer around another classifier of the same architecture.

        What was fitted stays as it is: an APEX keeps its basis U and its bank, which is not matched by fingerprint.
        """
        explainer = self.explainer if seed is None else self.with_seed(seed)
        return on_classifier(explainer, classifier)

    # -- clips --------------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[tuple[tuple[Clip, ...], Samples]]:
        """Yields clips of one length with their samples `[batch, sample]`, the same ones in the same order each time.

        Raises
        ------
        DataError
            If no clip can be used.
        """
        yield from self._batches

    @property
    def scored(self) -> tuple[Clip, ...]:
        """The clips that are used, in the order of `batches`."""
        return tuple(clip for clips, _ in self._batches for clip in clips)

    @property
    def groups(self) -> list[str]:
        """What each used clip comes from: the clusters of intervals."""
        return [clip.group or clip.id for clip in self.scored]

    def coverage(self) -> dict[str, Any]:
        """Returns how many clips are used, and why others are not."""
        n, scored = len(self.chosen), len(self.scored)
        counts = {"n": n, "scored": scored, "coverage": scored / max(n, 1), "groups": len(set(self.groups))}
        return {**counts, "excluded": dict(sorted(self.excluded.items())), "broken": dict(sorted(self.broken.items()))}

    @cached_property
    def _batches(self) -> list[tuple[tuple[Clip, ...], Tensor]]:
        by_length: dict[int, list[tuple[Clip, Tensor]]] = {}
        for clip in self.chosen:
            samples = self._prepared(clip)
            if samples is not None:
                by_length.setdefault(samples.shape[1], []).append((clip, samples))
        found = [
            (tuple(clip for clip, _ in some), torch.cat([samples for _, samples in some]))
            for _, alike in sorted(by_length.items())
            for some in (alike[i : i + self.batch] for i in range(0, len(alike), self.batch))
        ]
        if not found:
            reason = next(iter(self.broken.values()), ", ".join(self.excluded) or "there was none")
            raise DataError(f"None of {len(self.chosen)} clips can be used: {reason}")
        return found

    def _prepared(self, clip: Clip) -> Samples | None:
        try:
            samples = self.classifier.prepare(load_clip(clip))
        except (EarmarkError, OSError) as error:
            self.broken[clip.id] = str(error)
            return None
        if bool((samples == samples[:, :1]).all()):
            self.excluded["silent or constant"] += 1
            return None
        return samples

    # -- what is said of them -----------------------------------------------------------------------------------------

    def decisions(self, samples: Samples) -> list[Target]:
        """Returns the label that the classifier puts first for each clip; it is explained after any change, too."""
        with torch.no_grad():
            top = self.classifier.logits(samples).argmax(1).tolist()
        return [Target(i, self.classifier.labels[i]) for i in top]

    def evidence(self, explainer: Explainer, samples: Samples, targets: Sequence[Target]) -> list[Evidence]:
        """Returns the evidence of a batch; errors pass.

        What explains its classifier's decision alone, and nothing else, does so around another classifier.
        """
        try:
            return explainer.evidence(samples, list(targets))
        except TargetError:
            if explainer.classifier is self.classifier:
                raise
            return explainer.evidence(samples, [None] * len(samples))

    def maps(self, explainer: Explainer, samples: Samples, targets: Sequence[Target], *, failed: float = 0.0) -> Values:
        """Returns the values by which bins are ranked, `[batch, freq, frame]` on the STFT grid, on the CPU.

        Where an explainer fails, each clip is tried alone, so that only what fails is `failed` everywhere.
        """
        try:
            return self._finite(self._values(explainer, samples, targets), failed)
        except Exception:
            rows = [self._alone(explainer, samples[i : i + 1], targets[i], failed) for i in range(len(samples))]
        return torch.cat(rows)

    def _alone(self, explainer: Explainer, samples: Samples, target: Target, failed: float) -> Values:
        try:
            return self._finite(self._values(explainer, samples, [target]), failed)
        except Exception as error:
            self.failures[f"{type(error).__name__}: {error}"] += 1
            return torch.full((1, *self.classifier.grid(samples.shape[1]).shape), failed)

    def _values(self, explainer: Explainer, samples: Samples, targets: Sequence[Target]) -> Values:
        grid = self.classifier.grid(samples.shape[1])
        told = self.evidence(explainer, samples, targets)
        values = torch.stack([one.ranking(grid) for one in told]).detach().float().cpu()
        if values.shape != (len(samples), *grid.shape):
            raise ValueError(f"maps of shape {(len(samples), *grid.shape)} were expected, got {tuple(values.shape)}")
        return values

    def _finite(self, values: Values, failed: float) -> Values:
        finite = values.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            self.failures["NaN or infinite in the map"] += int((~finite).sum())
        return torch.where(finite[:, None, None], values, failed)


def spaced(clips: Sequence[Item], most: int | None) -> tuple[Item, ...]:
    """Returns at most so many clips, evenly spaced."""
    if most is None or most >= len(clips):
        return tuple(clips)
    return tuple(clips[i * len(clips) // most] for i in range(most))


def _loaded(classifier: Classifier, given: Given, options: dict[str, Any]) -> Explainer:
    if not isinstance(given, Explainer):
        return load_explainer(given, classifier=classifier, **options)
    if options:
        raise InputError(f"Options belong to an explainer that is named, and {given.method} is made already.")
    if given.classifier.fingerprint != classifier.fingerprint:
        raise InputError(
            f"This {given.method} explains {given.classifier.name}, not {classifier.name}; make it for this one."
        )
    return given
