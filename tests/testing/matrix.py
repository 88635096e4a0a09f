"""The matrix of families and explainers: makes each pair, explains clips, and says whether all promises held."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import jaxtyping
import torch

from earmark.audio.waveform import Waveform
from earmark.checks.verify import Report, verify
from earmark.classifiers.base import Classifier
from earmark.errors import ModelError
from earmark.evidence import Evidence
from earmark.explainers import EXPLAINERS, FITTED
from earmark.explainers.apex.fit import fit_apex
from earmark.explainers.base import Explainer
from earmark.explainers.l2i.train import fit_l2i
from earmark.explainers.lmac.train import fit_lmac
from earmark.explainers.lmac_td.train import fit_lmac_td
from earmark.explanation import Explanation
from earmark.testing.explainer_checks import sentence
from earmark.testing.families import FAMILIES, PRETRAINED, family
from earmark.testing.report import expect
from earmark.testing.subject import differing, facts_of
from earmark.testing.untouched import state_of
from earmark.types import Clip, seeded

HUB = "transformers/"  # what names of families of that library begin with
NAMES = (*FAMILIES, *(f"{HUB}{name}" for name in PRETRAINED))

#: One of each kind of map: planes, channels last, samples, rows that are no bands, tokens and padding, frames alone.
KINDS = ("resnet", "swin", "samples-cnn", "mfcc-cnn", f"{HUB}ast", f"{HUB}whisper")
#: Made on every family in every run; all others are made in a whole run and on `KINDS`, and elsewhere asked whether
#: they apply. These are also asked about another length, and about all labels that are present.
THOROUGH = ("apex", "integrated-gradients", "lmac")
#: Families on which types and shapes are checked too, which takes a third of the time; all of them in a whole run.
TYPED = ("resnet", f"{HUB}ast")

#: They say the same for every label, since they do not look at the model.
BLIND = ("energy", "random", "all-ones", "all-zeros", "edge")
#: After one pass of training they hardly tell labels apart; another clip then has to make a difference.
COARSE = ("lmac", "lmac-td", "l2i")
#: Values of the map's cells, which have no frequency where the map has none.
OF_THE_MAP = ("apex", "grad-cam", "grad-cam-plus-plus")

SECONDS, LONGER_S = 0.5, 1.0  # of the clips; on the longer ones families are verified, and described in the page
N_CLIPS = {"apex": 10}  # that an explainer is fitted on, the fewest that it takes; others take 6
HELD_OUT = 2

# few samples: promises do not depend on their number
FEW: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 2},
    "integrated-gradients": {"n_steps": 3},
    "gradient-shap": {"n_samples": 2},
    "occlusion": {"octave": 5.0, "window_s": 0.2, "steps": 1},
    "rise": {"n_samples": 8},
    "lime": {"n_samples": 16},
    "kernel-shap": {"n_samples": 16, "exact_up_to": 0},
    "slime": {"n_samples": 8},
    "audiolime": {"n_samples": 4, "nmf_steps": 2},
    "codec-latent": {"n_steps": 2},
}
#: One pass over the clips; nothing good is learned, and all of it runs.
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "apex": (fit_apex, {"n_stages": 1, "epochs_per_stage": 1, "bank_size": 1, "batch_size": 64, "pictures": False}),
    "lmac": (fit_lmac, {"epochs": 1, "batch_size": 8, "width": 4}),
    "lmac-td": (fit_lmac_td, {"epochs": 1, "batch_size": 8, "width": 4, "channels": 8, "blocks": 2}),
    "l2i": (
        fit_l2i,
        {"epochs": 1, "batch_size": 8, "width": 4, "attention": 4}
        | {"n_components": 4, "nmf_columns": 200, "nmf_steps": 5},
    ),
}


@dataclass(frozen=True)
class Row:
    """What is known of one family.

    Parameters
    ----------
    name, classifier
        One of `NAMES`, and a small random one of it.
    report
        What `verify` measured.
    reasons
        By method, why it does not apply; empty where it works.
    broken
        By method, what failed.
    """

    name: str
    classifier: Classifier
    report: Report
    reasons: dict[str, str]
    broken: dict[str, str]


def build(name: str, folder: Path) -> Classifier:
    """Returns the classifier of a family; the folder is where those that are saved and loaded lie."""
    short = name.removeprefix(HUB)
    return FAMILIES[name]() if short == name else family(short, folder / short)


def row(name: str, classifier: Classifier, *, whole: bool = False) -> Row:
    """Returns what every method says to a family; in a whole run, all are made (see `THOROUGH`)."""
    reasons, broken = {}, {}
    with nullcontext() if whole or name in TYPED else types_unchecked():
        report, before = (
            verify(classifier, clips=[sound(classifier.sample_rate, LONGER_S)]),
            state_of(classifier.module),
        )
        for method in EXPLAINERS:
            makes = whole or name in KINDS or method in THOROUGH
            try:
                reasons[method] = _cell(method, classifier, before) if makes else _misfit(method, classifier)
            except Exception as error:  # a crash is a finding too
                broken[method] = f"{type(error).__name__}: {error}"
    return Row(name, classifier, report, reasons, broken)


@contextmanager
def types_unchecked() -> Iterator[None]:
    """Leaves out the checks of types and shapes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _cell(method: str, classifier: Classifier, before: dict[str, Any]) -> str:
    """Returns why a method does not apply to a classifier, or nothing where it does and all promises hold.

    Parameters
    ----------
    before
        The state of the classifier's module.

    Raises
    ------
    CheckFailedError
        If a promise is broken.
    """
    try:
        reason = _misfit(method, classifier) if method in FITTED and method not in FITS else ""
        if not reason:
            _promises(made(method, classifier), classifier)
    except ModelError as refusal:
        reason = str(refusal)
    if reason:
        sentence(ModelError(reason))
    after = state_of(classifier.module)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    expect(not changed, f"{', '.join(changed[:4])} changed", "everything as it was")
    return reason


def _class(method: str) -> type[Explainer[Any]]:
    module, _, name = EXPLAINERS[method].partition(":")
    kind: type[Explainer[Any]] = getattr(import_module(module), name)
    return kind


def _misfit(method: str, classifier: Classifier) -> str:
    return _class(method).fits(classifier) or ""


def made(method: str, classifier: Classifier, **changes: Any) -> Explainer[Any]:
    """Returns an explainer with few samples, or fitted in one pass over a few clips."""
    if method not in FITTED:
        return _class(method).ready(classifier, **{**FEW.get(method, {}), **changes})
    fit, options = FITS[method]
    if method == "apex":
        changes["view"] = "time-frequency" if has_rows(classifier, SECONDS) else "time"
    some = clips(classifier.sample_rate)
    n = HELD_OUT + N_CLIPS.get(method, 4)
    explainer: Explainer[Any] = fit(classifier, some[HELD_OUT:n], held_out=some[:HELD_OUT], **options, **changes)
    return explainer


def has_rows(classifier: Classifier, seconds: float) -> bool:
    """Says whether the map of clips of a length has several bands."""
    n_freq = classifier.geometry(round(seconds * classifier.sample_rate)).freq.n_cells
    return classifier.has_frequency and n_freq > 1


def sound(sample_rate: int, seconds: float = SECONDS, seed: int = 1) -> Waveform:
    """Returns faint noise with a tone in a part of it; both depend on the seed."""
    n_samples, generator = round(seconds * sample_rate), seeded(seed)
    hz, start = 300 + 3000 * torch.rand((), generator=generator), 0.6 * seconds * torch.rand((), generator=generator)
    time = torch.arange(n_samples) / sample_rate
    tone = torch.sin(2 * torch.pi * hz * time) * ((time >= start) & (time < start + 0.15))
    return Waveform((0.3 * tone + 0.05 * torch.randn(n_samples, generator=generator))[None], sample_rate)


@cache
def clips(sample_rate: int) -> tuple[Clip, ...]:
    """Returns the clips that explainers are fitted on."""
    n = HELD_OUT + max(N_CLIPS.values())
    return tuple(Clip(f"{i:02}", sound(sample_rate, seed=10 + i), group=str(i)) for i in range(n))


# -- the promises -----------------------------------------------------------------------------------------------------


def _promises(explainer: Explainer[Any], classifier: Classifier) -> None:
    """Fails unless explanations are well-formed, the same each time, and depend on the model."""
    clip = sound(classifier.sample_rate)
    told = explainer.explain(clip)
    _well_formed(told, clip)
    if explainer.method in OF_THE_MAP and not has_rows(classifier, clip.duration_s):
        _flat(told)
    odd = differing(facts_of(told.evidence), facts_of(explainer.explain(clip).evidence))
    expect(not odd, f"other {odd} of the same clip", "the same bits")
    label = classifier.labels[(told.target.index + 1) % len(classifier.labels)]
    if explainer.method not in BLIND:
        _not_the_same(told, explainer, clip, label)
    if explainer.method in THOROUGH:
        longer = sound(classifier.sample_rate, LONGER_S, seed=2)
        _well_formed(explainer.explain(longer, label), longer)
        if classifier.task == "multilabel":
            _all_labels(explainer, clip)


def _well_formed(told: Explanation, clip: Waveform) -> None:
    """Fails unless values are finite and on the clip's grid, gains lie in [0, 1], and boxes inside clip and band."""
    ranking, gain = told.evidence.ranking(told.grid), told.evidence.stft_gain(told.grid)
    for what, values in (("ranking", ranking), ("gain", gain)):
        expect(tuple(values.shape) == told.grid.shape, f"{what} {tuple(values.shape)}", f"{told.grid.shape}")
        expect(bool(values.isfinite().all()), f"{what} that is not finite", "finite values")
    expect(float(gain.min()) >= 0 and float(gain.max()) <= 1, "a gain outside", "0 to 1")
    end_s, top_hz = clip.duration_s, clip.sample_rate / 2
    for box in told.regions():  # where clips are padded, a box in the padding would begin at the clip's end
        inside = 0 <= box.start_s < box.end_s <= end_s and 0 <= box.low_hz < box.high_hz <= top_hz
        expect(inside, f"{box}", f"a box inside {end_s} s and {top_hz} Hz")
    apart = float((told.listen().samples + told.complement().samples - clip.samples).abs().max())
    expect(apart <= 1e-6, f"evidence and rest {apart:.1e} from the clip", "its sum, to rounding")


def _flat(told: Explanation) -> None:
    """Fails if an explanation names bands; what is the same in all of them may differ by rounding."""
    values = told.evidence.ranking(told.grid)
    uneven = float((values - values[:1]).abs().max()) > 1e-6 * float(values.abs().max())
    expect(not uneven, "values that differ from band to band", "one value for each time")
    bands = {(box.low_hz, box.high_hz) for box in told.regions()}
    expect(len(bands) <= 1, f"boxes with bands {bands}", "the whole band")


def _not_the_same(told: Explanation, explainer: Explainer[Any], clip: Waveform, label: str) -> None:
    same = _equal(told.evidence, explainer.explain(clip, label).evidence)
    if same and explainer.method in COARSE:
        same = _equal(told.evidence, explainer.explain(sound(clip.sample_rate, seed=3)).evidence)
    expect(not same, f"the same evidence for {told.target.label!r} and {label!r}", "another")


def _equal(a: Evidence, b: Evidence) -> bool:
    mine, theirs = a.to_saved()[1], b.to_saved()[1]
    return all(torch.equal(mine[name], theirs[name]) for name in mine if not name.startswith("picture"))


def _all_labels(explainer: Explainer[Any], clip: Waveform) -> None:
    """Fails unless every label that is present is explained as it is alone."""
    for told in explainer.explain_all(clip):
        odd = differing(facts_of(told.evidence), facts_of(explainer.explain(clip, told.target.label).evidence))
        expect(not odd, f"other {odd} for {told.target.label!r} among all labels", "the same bits")
