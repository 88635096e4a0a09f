"""Oracles: classifiers whose explanation is known, so that an explainer's values can be right or wrong.

What is expected of a method is what it claims (`Explainer.claims`):

- `gradient`: values are the gradient at their stage; on a linear model, its weights.
- `contribution`: on a linear model, an element's value is its weight times it.
- `parts`: on a linear model, all bins of a part have the sum of weight times bin over the part as their value.
- `localizes`: bins that a classifier reads come before those that it does not read.
- `chance`: the order of bins has nothing to do with what the classifier reads.
"""

from functools import lru_cache

import torch
from torch import Tensor

from ..classifiers.base import Classifier
from ..errors import ModelError
from ..evidence import Attribution
from ..explainers.base import Explainer
from ..metrics.localization import roc_auc
from .report import NotApplicableError, expect
from .subject import Subject, noise
from .toys import LinearNet, PlantedNet, linear_classifier, planted_classifier

CLAIMS = ("gradient", "contribution", "parts", "localizes", "chance")

#: The least area under the ROC curve of a method that claims to localize.
LOCALIZED = 0.95

#: Stages at which the linear oracle is linear: its features are the magnitudes.
LINEAR_STAGES = ("stft", "features")

#: Values are float32 or better, sums over parts have some hundred terms.
TOLERANCE = 1e-4

linear = lru_cache(maxsize=1)(linear_classifier)
planted = lru_cache(maxsize=1)(planted_classifier)


def linear_oracle(subject: Subject) -> str:
    """On a model whose logit is linear in the magnitudes, gradients are its weights, contributions weight x value."""
    explainer = _made(subject, linear())
    claims = _claims(explainer)
    wanted = [claim for claim in claims if claim in ("gradient", "contribution", "parts")]
    if not wanted:
        raise NotApplicableError("it claims neither gradient, contribution nor parts")
    clip = noise(linear(), 11)
    told = explainer.explain(clip, 0)
    evidence = told.evidence
    if not isinstance(evidence, Attribution):
        raise NotApplicableError(f"its evidence is {evidence.kind}, which has no values to compare")
    if evidence.stage not in LINEAR_STAGES:
        raise NotApplicableError(f"its values are of stage {evidence.stage}, where the oracle is not linear")
    magnitude = linear().at(linear().prepare(clip), "features")[0]
    module = linear().module
    assert isinstance(module, LinearNet)
    weight = module.weight.detach()[0]
    apart = max(_linear(claim, evidence, weight, magnitude, told.provenance.config) for claim in wanted)
    expect(apart <= TOLERANCE, f"values {apart:.1e} of the largest away", f"{wanted[0]} to {TOLERANCE:.0e}")
    gap = evidence.measured.get("gap", 0.0)
    expect(gap <= 1e-3, f"gap {gap:.1e}", "at most 1e-3 on a linear model")
    return f"{', '.join(wanted)} to {apart:.0e}"


def _linear(claim: str, evidence: Attribution, weight: Tensor, magnitude: Tensor, config: dict[str, object]) -> float:
    """Returns how far values are from the known ones, relative to the largest."""
    values = (evidence.values if evidence.raw is None else evidence.raw).double()
    if claim == "gradient":
        return _apart(values, weight, evidence.unsigned and evidence.raw is None)
    if claim == "contribution":
        return _apart(values, weight * magnitude)
    if config.get("reentry", "stft") != "stft":
        raise NotApplicableError("masked clips re-enter as sound, whose magnitudes are not the masked ones")
    return _apart(values, _sums_of_parts(values, weight * magnitude))


def _apart(values: Tensor, known: Tensor, unsigned: bool = False) -> float:
    known = known.abs() if unsigned else known
    return float((values - known).abs().max() / known.abs().max())


def _sums_of_parts(values: Tensor, contribution: Tensor) -> Tensor:
    """Returns for each bin the sum of contributions over all bins of its value: with random weights, over its part."""
    _, part = values.flatten().unique(return_inverse=True)
    sums = torch.zeros(int(part.max()) + 1, dtype=contribution.dtype).index_add_(0, part, contribution.flatten())
    return sums[part].view_as(values)


def planted_oracle(subject: Subject) -> str:
    """A classifier that reads one band and span: what claims to localize finds it, what claims chance does not."""
    explainer = _made(subject, planted())
    claims = _claims(explainer)
    wanted = [claim for claim in claims if claim in ("localizes", "chance")]
    if not wanted:
        raise NotApplicableError("it claims neither to localize nor chance")
    told = explainer.explain(noise(planted(), 11), 0)
    if getattr(told.evidence, "stage", None) == "waveform":
        raise NotApplicableError("its values say when, not at which pitch")
    module = planted().module
    assert isinstance(module, PlantedNet)
    truth = torch.zeros(told.grid.shape, dtype=torch.bool)
    truth[module.rows, module.columns] = True
    auc = float(roc_auc(told.evidence.ranking(told.grid)[None], truth[None])[0])
    if wanted[0] == "localizes":
        expect(auc >= LOCALIZED, f"localization AUC {auc:.3f}", f"at least {LOCALIZED}")
    else:
        spread = _spread(int(truth.sum()), int((~truth).sum()))
        expect(abs(auc - 0.5) <= 4 * spread, f"localization AUC {auc:.3f}", f".5 to {4 * spread:.3f}")
    return f"localization AUC {auc:.3f}"


def _spread(n_inside: int, n_outside: int) -> float:
    """Returns the standard deviation of the AUC of random values."""
    return ((n_inside + n_outside + 1) / (12 * n_inside * n_outside)) ** 0.5


def _made(subject: Subject, classifier: Classifier) -> Explainer:
    """Returns the explainer for an oracle's classifier."""
    try:
        return subject.make(classifier)
    except ModelError as error:
        raise NotApplicableError(f"it refuses the oracle's classifier: {error}") from error


def _claims(explainer: Explainer) -> tuple[str, ...]:
    claims = tuple(explainer.claims)
    unknown = sorted(set(claims) - set(CLAIMS))
    expect(not unknown, f"claims {', '.join(unknown)}", f"some of {', '.join(CLAIMS)}")
    return claims
