"""The checks of `check_explainer`: each makes explanations, and fails with what came and what was expected."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..errors import EarmarkError, ModelError, TargetError
from ..evidence import Attribution, PrototypeEvidence
from ..explainers.base import Explainer
from ..explanation import Explanation
from ..store.explanations import load_explanation, save_explanation
from ..types import ScoreFunction, Target
from .report import NotApplicableError, expect
from .subject import Subject, differing, facts, facts_of
from .toy_networks import toy_network
from .untouched import counting, in_training, untouched

#: Every score function there is; an explainer serves those in `scores` and refuses the others.
SCORES: tuple[ScoreFunction, ...] = ("logit", "log_prob", "prob", "contrast")

#: What float32 may add up to in a sum, relative to the sum of sizes.
SUM_ROUNDING = 1e-5


class _StopError(Exception):
    """Is raised in the middle of a pass."""


def well_formed(subject: Subject) -> None:
    """Values lie on the clip's grid and are finite, gains lie in [0, 1], sounds have the clip's form."""
    clip = subject.clip()
    _well_formed(subject.make().explain(clip), clip)


def _well_formed(told: Explanation, clip: Waveform) -> None:
    ranking, gain = told.evidence.ranking(told.grid), told.evidence.stft_gain(told.grid)
    for what, values in (("ranking", ranking), ("stft_gain", gain)):
        expect(tuple(values.shape) == told.grid.shape, f"{what} {tuple(values.shape)}", f"{told.grid.shape}")
        expect(bool(values.isfinite().all()), f"{what} with values that are not finite", "finite ones")
    expect(float(gain.min()) >= 0 and float(gain.max()) <= 1, f"gains {_range(gain)}", "0 to 1")
    for sound in (told.listen(), told.complement()):
        form = sound.sample_rate, tuple(sound.samples.shape)
        expected = clip.sample_rate, tuple(clip.samples.shape)
        expect(form == expected, f"a sound of {form}", f"the clip's own {expected}")


def _range(values: Tensor) -> str:
    return f"from {float(values.min()):.3g} to {float(values.max()):.3g}"


def deterministic(subject: Subject) -> None:
    """The same clip has the same evidence bit for bit: again, after another clip, and from a new explainer."""
    first, clip = subject.make(), subject.clip()
    told = facts(first.explain(clip))
    first.explain(subject.clip(2))
    for who, again in (("the same explainer", first), ("a new explainer", subject.make())):
        other = differing(told, facts(again.explain(clip)))
        expect(not other, f"other {other} from {who}", "the same bits")


def seeded(subject: Subject) -> None:
    """Where a seed is recorded, another one leads to other evidence; where nothing is drawn, none is recorded."""
    clip = subject.clip()
    told = subject.make().explain(clip)
    seed = told.provenance.seed
    if seed is None:
        raise NotApplicableError("it draws nothing: its provenance records no seed")
    other = subject.make(seed=seed + 1).explain(clip)
    same = not differing(facts(told), facts(other))
    expect(not same, f"the same evidence for seeds {seed} and {seed + 1}", "another, or a provenance without seed")


def batch_is_single(subject: Subject) -> str:
    """A batch of clips has the evidence that each clip has alone, and that `explain` returns."""
    clips = [subject.clip(seed) for seed in (1, 2, 3)]
    samples = torch.cat([subject.classifier.prepare(clip) for clip in clips])
    labels = subject.classifier.labels
    targets = [Target(i % len(labels), labels[i % len(labels)]) for i in range(len(clips))]
    grid = subject.classifier.grid(samples.shape[1])
    explainer, worst = subject.make(), 0.0
    together = explainer.evidence(samples, list(targets))
    for i, target in enumerate(targets):
        alone = explainer.evidence(samples[i : i + 1], [target])[0]
        worst = max(worst, _apart(together[i].ranking(grid), alone.ranking(grid)))
        if subject.rounding == 0:
            other = differing(facts_of(together[i]), facts_of(alone))
            expect(not other, f"other {other} in a batch, {worst:.1e} of the largest value", "the same bits")
    told = facts_of(explainer.explain(clips[0], targets[0]).evidence)
    other = differing(told, facts_of(explainer.evidence(samples[:1], list(targets[:1]))[0]))
    expect(not other, f"other {other} from explain than from evidence", "the same bits")
    expect(worst <= subject.rounding, f"{worst:.1e} of the largest value between both", f"{subject.rounding:.0e}")
    return "bit for bit" if worst == 0 else f"to {worst:.1e}"


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def leaves_model_alone(subject: Subject) -> None:
    """Weights, mode, hooks, requires_grad, .grad, generators and the samples are what they were."""
    module, clip = subject.classifier.module, subject.clip()
    samples = subject.classifier.prepare(clip)
    kept = samples.clone()
    with in_training(module):
        with untouched(module):
            explainer = subject.make()
            explainer.explain(clip)
        with untouched(module):
            explainer.evidence(samples, [None])
    expect(torch.equal(samples, kept), "changed samples", "the caller's samples as they were")


def leaves_model_alone_on_error(subject: Subject) -> str:
    """They are so too where the model raises, in any pass; the explainer then still says what it said."""
    module, clip, explainer = subject.classifier.module, subject.clip(), subject.make()
    told = facts(explainer.explain(clip))
    with counting(module) as counted:
        explainer.explain(subject.clip(2))
    for call in sorted({1, counted.calls // 2, counted.calls} - {0}):
        with in_training(module), counting(module, at_call=_stopping(call)), untouched(module):
            _interrupted(explainer, subject.clip(3), f"call {call}")
    if counted.backward:
        with in_training(module), counting(module, at_backward=_stopping(1)), untouched(module):
            _interrupted(explainer, subject.clip(3), "its first backward pass")
    other = differing(told, facts(explainer.explain(clip)))
    expect(not other, f"other {other} after an error", "the same bits as before")
    return f"in {counted.calls} calls{' and backward' if counted.backward else ''}"


def _stopping(call: int) -> Callable[[int], None]:
    def stop(number: int) -> None:
        if number == call:
            raise _StopError

    return stop


def _interrupted(explainer: Explainer, clip: Waveform, where: str) -> None:
    try:
        explainer.explain(clip)
    except _StopError:
        return
    expect(False, f"an explanation although the model raised at {where}", "the model's own error")


def keeps_device_and_dtype(subject: Subject) -> str:
    """The model meets tensors of its own kind and device only, and evidence comes back to the CPU as floats."""
    classifier = subject.classifier
    before = classifier.device, classifier.dtype
    with counting(classifier.module) as counted:
        told = subject.make().explain(subject.clip())
    expect((classifier.device, classifier.dtype) == before, f"{classifier.device}, {classifier.dtype}", str(before))
    odd = counted.kinds - {(classifier.dtype, classifier.device)}
    expect(not odd, f"passes over {odd}", f"{classifier.dtype} on {classifier.device}")
    values = told.evidence.ranking(told.grid)
    floats = values.device.type == "cpu" and values.is_floating_point()
    expect(floats, f"values in {values.dtype} on {values.device}", "floats on the CPU")
    return f"{classifier.dtype} on {classifier.device}"


def odd_inputs(subject: Subject) -> str:
    """One sample, one frame, a short clip, silence, two channels and another rate: explained as predicted, or refused.

    Where the classifier itself refuses a clip, so has the explainer, with the sentence of an EarmarkError.
    """
    explainer, refused = subject.make(), []
    for name, clip in odd_clips(subject).items():
        try:
            subject.classifier.predict(clip)
        except EarmarkError:
            expect(_refuses(explainer, clip), f"no error for {name}", "a refusal, as the classifier's own")
            refused.append(name)
            continue
        try:
            _well_formed(explainer.explain(clip), clip)
        except Exception as error:
            expect(False, f"{name}: {type(error).__name__}: {error}", "a well-formed explanation")
    return f"the classifier takes no {', '.join(refused)}" if refused else ""


def odd_clips(subject: Subject) -> dict[str, Waveform]:
    """Returns clips that are not as usual, by name."""
    clip, rate, stft = subject.clip(), subject.classifier.sample_rate, subject.classifier.stft
    both = torch.cat([clip.samples, subject.clip(2).samples])
    return {
        "one sample": clip[:1],
        "one frame": clip[: stft.hop_length],
        "a short clip": clip[: stft.n_fft // 3],
        "silence": Waveform(torch.zeros_like(clip.samples), rate),
        "two channels": Waveform(both, rate),
        "another rate": Waveform(clip.samples, 11025 if rate != 11025 else 16000),
    }


def _refuses(explainer: Explainer, clip: Waveform) -> bool:
    try:
        explainer.explain(clip)
    except EarmarkError as error:
        sentence(error)
        return True
    return False


def sentence(error: Exception) -> None:
    """Fails unless an error says a sentence."""
    text = str(error)
    expect(len(text) > 20 and text.endswith((".", "?")), f"{text!r}", "a sentence")


def serves_scores(subject: Subject) -> str:
    """Each score function that the explainer declares is explained; the others are refused."""
    explainer, clip, labels = subject.make(), subject.clip(), subject.classifier.labels
    for score in SCORES:
        if score == "contrast" and len(labels) < 2:
            continue
        other = {"against": 1, "against_label": labels[1]} if score == "contrast" else {}
        target = Target(0, labels[0], score, **other)  # type: ignore[arg-type]
        try:
            told = explainer.explain(clip, target)
        except TargetError as error:
            sentence(error)
            expect(score not in explainer.scores, f"a refusal of {score}", "the explanation that `scores` declares")
            continue
        expect(score in explainer.scores, f"an explanation of {score}", "a refusal: `scores` does not declare it")
        expect(told.target == target, f"target {told.target}", f"{target}")
    return ", ".join(explainer.scores)


def complete(subject: Subject) -> str:
    """Evidence that reports a `gap` sums to the score minus `baseline_score` but for this gap; exact prototypes sum."""
    told = subject.make().explain(subject.clip())
    evidence = told.evidence
    if isinstance(evidence, PrototypeEvidence) and evidence.exact:
        limit = SUM_ROUNDING * (abs(evidence.offset) + float(evidence.contributions.abs().sum()))
        expect(evidence.residual <= limit, f"residual {evidence.residual:.1e}", f"at most {limit:.1e}")
        return f"residual {evidence.residual:.1e}"
    if not isinstance(evidence, Attribution) or not {"gap", "baseline_score"} <= set(evidence.measured):
        raise NotApplicableError("it does not claim that values sum to a difference of scores (no `gap` is measured)")
    values = evidence.values if evidence.raw is None else evidence.raw
    score = float(told.target.of(told.prediction.logits[None], subject.classifier.task)[0])
    difference = score - evidence.measured["baseline_score"]
    scale = max(abs(difference), 1e-12)
    gap, reported = abs(float(values.double().sum()) - difference) / scale, evidence.measured["gap"]
    limit = SUM_ROUNDING * (1 + (float(values.abs().sum()) + abs(score)) / scale)
    expect(abs(gap - reported) <= limit, f"gap {reported:.2e} reported, {gap:.2e} found", "the same")
    return f"gap {gap:.1e}"


def saves_and_loads(subject: Subject) -> None:
    """An explanation that was saved and loaded again equals itself, bit for bit."""
    told = subject.make().explain(subject.clip(), name="conformance")
    with tempfile.TemporaryDirectory() as folder:
        back = load_explanation(save_explanation(told, Path(folder) / "saved", page=False))
        other = differing(facts(told), facts(back))
        expect(not other, f"other {other} after loading", "the same bits")
        expect(back.provenance == told.provenance, f"provenance {back.provenance}", f"{told.provenance}")
        same = torch.equal(back.waveform.samples, told.waveform.samples) and back.grid == told.grid
        expect(same and back.name == told.name, "another clip, grid or name after loading", "the same")


def memory_plateau(subject: Subject) -> str:
    """Tensors that are alive do not grow in number or size from one explanation to the next."""
    explainer, start = subject.make(), min(5, subject.n_explanations)
    held = []
    with _fresh_collector():
        for n in range(subject.n_explanations):
            explainer.explain(subject.clip(n))
            if n in (start - 1, subject.n_explanations - 1):
                held.append(_held())
    (count, size), (count_then, size_then) = held[0], held[-1]
    grown = f"{count_then - count} tensors of {size_then - size} bytes"
    expect(count_then <= count and size_then <= size, f"{grown} more after {subject.n_explanations}", "none more")
    return f"{subject.n_explanations} explanations"


@contextmanager
def _fresh_collector() -> Iterator[None]:
    """Lets the garbage collector look at new objects only, which is much faster; unless the user did so already."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _held() -> tuple[int, int]:
    """Returns number and bytes of the tensors that the garbage collector knows."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    return len(tensors), sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def counts_passes(subject: Subject) -> str:
    """The provenance counts the passes that were made, one for each clip that went through the module."""
    explainer = subject.make()
    explainer.explain(subject.clip())  # what is probed once for a classifier and a length is no part of the cost
    with counting(subject.classifier.module) as counted:
        told = explainer.explain(subject.clip(2)).provenance
    said, made = (told.forward_passes, told.backward_passes), (counted.forward, counted.backward)
    expect(said == made, f"{said[0]} forward and {said[1]} backward passes said", f"{made[0]} and {made[1]}, as made,")
    return f"{made[0]} forward, {made[1]} backward"


def refuses_misfits(subject: Subject) -> str:
    """Classifiers that it does not fit are refused when it is made, with a sentence; others are explained."""
    refused = []
    for name, classifier in misfits().items():
        try:
            with untouched(classifier.module):
                explainer = subject.make(classifier)
        except ModelError as error:
            sentence(error)
            refused.append(name)
            continue
        clip = Subject(subject.source, classifier).clip()
        try:
            _well_formed(explainer.explain(clip), clip)
        except Exception as error:
            expect(False, f"{type(error).__name__} from explain for {name} ({error})", "a refusal when it is made")
    return f"refuses {', '.join(refused)}" if refused else "refuses none"


@lru_cache(maxsize=1)
def misfits() -> dict[str, Classifier]:
    """Returns classifiers that some methods do not fit, by what is odd about them."""
    return {
        "a module without gradients": toy_network("detached"),
        "a map of one cell": toy_network(shape="cell"),
        "no ReLU": toy_network("tanh"),
        "ReLUs as functions": toy_network("functional-relu"),
    }
