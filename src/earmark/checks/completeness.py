"""Completeness: do an explanation's values sum to what they claim to divide, the score minus that of a baseline?

Asked of methods that claim it: integrated gradients, GradientSHAP and DeepLIFT, which measure their `gap`, and APEX,
whose contributions and offset sum to the score. A method that claims nothing has no verdict.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch

from ..evidence import Attribution, Evidence, PrototypeEvidence
from ..types import Samples, Target
from .config import CheckConfig
from .results import CheckResult, Progress, Table
from .subject import Subject
from .words import several

LIMIT = 0.05  # of the score's difference from the baseline's
SHARE = 0.05  # of clips that may lie above it: the 95th percentile lies below
SMALL = 1e-12


def gap_of(evidence: Evidence) -> float | None:
    """Returns how far values are from summing to the score's difference, relative to it; `None` without that claim."""
    if isinstance(evidence, Attribution):
        return evidence.measured.get("gap")
    if isinstance(evidence, PrototypeEvidence) and evidence.mode in ("signed", "contrastive"):
        return evidence.residual / max(abs(evidence.score - evidence.offset), SMALL)
    return None


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Explains all clips and looks at the distribution of the gap.

    It passes if at most 5 % of the clips have a gap above 5 %; a gap that is not finite counts as above.
    """
    gaps: list[float | None] = []
    for i, (clips, samples) in enumerate(subject.batches()):
        gaps += subject.memory.json(f"completeness/{i}", partial(_gaps, subject, samples))
        if progress:
            progress(len(gaps), len(subject.scored))
        if not any(gap is not None for gap in gaps[-len(clips) :]):
            break
    return _told(subject, [math.inf if math.isnan(gap) else gap for gap in gaps if gap is not None])


def _gaps(subject: Subject, samples: Samples) -> list[float | None]:
    """Returns the gap of each clip; infinite where the method fails."""
    targets = subject.decisions(samples)
    try:
        return [gap_of(one) for one in subject.evidence(subject.explainer, samples, targets)]
    except Exception:
        return [_alone(subject, samples[i : i + 1], target) for i, target in enumerate(targets)]


def _alone(subject: Subject, samples: Samples, target: Target) -> float | None:
    try:
        return gap_of(subject.evidence(subject.explainer, samples, [target])[0])
    except Exception:
        return math.inf


def _told(subject: Subject, gaps: Sequence[float]) -> CheckResult:
    if not gaps:
        sentence = f"{subject.name} does not claim that its values sum to the score, so there is nothing to judge."
        return CheckResult("completeness", None, sentence, about={"n": 0, "limit": LIMIT})
    values = torch.tensor(gaps, dtype=torch.float64)
    median, high = (float(values.quantile(q, interpolation="higher")) for q in (0.5, 0.95))
    share, worst = float((values > LIMIT).double().mean()), float(values.max())
    passed = share <= SHARE
    sentence = (
        f"The values of {subject.name} {'sum' if passed else 'do not sum'} to the score's difference from its "
        f"baseline: of {several(len(gaps), 'clip')}, half have a gap up to {percent(median)} and 95 % up to "
        f"{percent(high)}; it is above 5 % for {percent(share)} of them."
    )
    rows = (("median", percent(median)), ("95th percentile", percent(high)), ("worst", percent(worst)))
    table = Table(
        "Gap, relative to the difference", ("of all clips", "gap"), (*rows, ("share above 5 %", percent(share)))
    )
    about = {"n": len(gaps), "limit": LIMIT, "median": median, "high": high, "worst": worst, "share_above": share}
    finite = {k: v if math.isfinite(v) else None for k, v in about.items()}
    return CheckResult("completeness", passed, sentence, (table,), (), finite)


def percent(share: float) -> str:
    """Returns a share in percent, with as many digits as tell.

    Examples
    --------
    >>> percent(0.0312), percent(1.2e-9)
    ('3.1 %', '1.2e-07 %')
    """
    if not math.isfinite(share):
        return "not finite"
    value = 100 * share
    return f"{value:.1e} %" if 0 < value < 0.01 else f"{value:.3g} %" if value < 1 else f"{value:.1f} %"
