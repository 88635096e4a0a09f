"""`verify`: measures what a wrapped classifier, and an APEX on it, promise; each line has a number and its limit."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..classifiers.front_ends import is_invertible
from ..classifiers.surgery import own_precision
from ..errors import EarmarkError
from ..explainers.apex.explainer import Apex, FoldedHead
from ..types import Samples

#: What rounding in float32 may add up to in one logit of order 10, through some ten layers.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Check:
    """One promise: what was measured, the limit, and whether it holds (`None`: for information)."""

    name: str
    value: float | str
    limit: str
    ok: bool | None
    meaning: str


@dataclass(frozen=True)
class Report:
    """All checks of one classifier, with or without an explainer."""

    classifier: str
    fingerprint: str
    tier: str
    notice: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no promise is broken."""
        return all(check.ok is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**asdict(self), "ok": self.ok}


@own_precision()
def verify(classifier: Classifier, explainer: Apex | None = None, clips: Sequence[Waveform] = ()) -> Report:
    """Measures a classifier's promises, and an APEX's on it.

    Parameters
    ----------
    classifier
        What is verified; it is unchanged afterwards, and that is one of the checks.
    explainer
        An APEX fitted to it.
    clips
        Sounds to measure on; without them, noise, a tone and clicks of the classifier's own probe length.

    Returns
    -------
    report
        Differences of logits between entry points, top-1 agreement, completeness of contributions, geometry, order
        of axes, state of the module, and with an APEX invariance, cond(U) and the completeness of its contributions.
    """
    batch = [classifier.prepare(clip) for clip in clips] or list(_probes(classifier).split(1))
    before = _state(classifier)
    finite = _finite(classifier, batch)
    checks = [*_front_end_checks(classifier), finite, *_entry_checks(classifier, batch)]
    checks.append(_completeness(classifier, batch))
    checks += _geometry_checks(classifier, batch[0].shape[-1])
    if explainer is not None:
        explainer.bank.check(classifier, explainer.U)
    if explainer is not None and finite.ok:
        checks += _apex_checks(explainer, batch)
    same = before == _state(classifier)
    checks.append(
        Check("module unchanged", str(same), "True", same, "weights, modes, hooks, gradients, global generators")
    )
    head = classifier.head
    return Report(classifier.name, classifier.fingerprint, head.tier, head.notice, tuple(checks))


def _probes(classifier: Classifier) -> Samples:
    """Returns noise, a tone that comes and goes, and clicks."""
    n_samples = round(classifier.probe_s * classifier.sample_rate)
    seconds = torch.arange(n_samples) / classifier.sample_rate
    noise = 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(5))
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 * seconds) * torch.sin(torch.pi * seconds / seconds[-1])
    clicks = torch.zeros(n_samples)
    clicks[:: classifier.sample_rate // 4] = 0.9
    return torch.stack([noise, tone, clicks]).to(device=classifier.device, dtype=classifier.dtype)


def _front_end_checks(classifier: Classifier) -> list[Check]:
    inverts = is_invertible(classifier.front_end)
    level = "yes: quiet evidence is amplified" if classifier.front_end.normalizes else "no"
    return [
        Check("inverse STFT gives the sound back", str(inverts), "within -90 dB", inverts, "masks are heard as made"),
        Check("front end removes the level", level, "-", None, "as the front end declares"),
    ]


def _finite(classifier: Classifier, batch: list[Samples]) -> Check:
    """Counts the logits that are NaN or infinite."""
    with torch.no_grad():
        logits = torch.cat([classifier.logits(x) for x in batch])
    odd = int((~torch.isfinite(logits)).sum())
    return Check("logits that are not finite", odd, "0", odd == 0, f"NaN or infinite, of {logits.numel()}")


def _entry_checks(classifier: Classifier, batch: list[Samples]) -> list[Check]:
    """Compares the bare module with every entry point."""

    def bare(x: Samples) -> Tensor:
        with classifier._at_rest():
            return classifier._run(classifier.front_end(x))

    ways: dict[str, tuple[Callable[[Samples], Tensor], float, str]] = {
        "tapped": (lambda x: classifier.tap(x).logits, 0.0, "reading the map changes no bit of a logit"),
        "entry at features": (
            lambda x: classifier.logits(classifier.at(x, "features"), at="features"),
            0.0,
            "features, then the model",
        ),
        "entry at map": (
            lambda x: classifier.logits(classifier.at(x, "map"), at="map"),
            ROUNDING,
            "map, then the head",
        ),
        "entry at stft": (
            lambda x: classifier.logits(classifier.at(x, "stft"), at="stft", n_samples=x.shape[-1]),
            ROUNDING,
            "STFT, then the front end" + ("" if classifier.front_end.native_stft else " through the inverse STFT"),
        ),
    }
    checks = []
    with torch.no_grad():
        reference = torch.cat([bare(x) for x in batch])
        for name, (way, limit, meaning) in ways.items():
            logits = torch.cat([way(x) for x in batch])
            difference = float((logits - reference).abs().max())
            limit *= max(1.0, float(reference.abs().max()))
            checks.append(Check(f"max |dlogit|, {name}", difference, f"<= {limit:.1e}", difference <= limit, meaning))
            agreement = float((logits.argmax(1) == reference.argmax(1)).double().mean())
            checks.append(Check(f"top-1 agreement, {name}", agreement, "1", agreement == 1, "same first label"))
    return checks


def _completeness(classifier: Classifier, batch: list[Samples]) -> Check:
    """Compares the sum of weighted cells with each logit."""
    head, meaning = classifier.head, "bias and weighted cells of the map sum to each logit"
    if head.bias is None:
        return Check("completeness residual", "not defined", "-", None, head.notice)
    worst = 0.0
    with torch.no_grad():
        for x in batch:
            tapped = classifier.tap(x)
            logits = head.linear(head.lift(tapped.map).double())
            worst = max(worst, float((logits - tapped.logits).abs().max()))
    limit = ROUNDING * max(1.0, float(tapped.logits.abs().max()))
    return Check("completeness residual", worst, f"<= {limit:.1e}", worst <= limit, meaning)


def _geometry_checks(classifier: Classifier, n_samples: int) -> list[Check]:
    try:
        geometry = classifier.geometry(n_samples)
    except EarmarkError as error:
        return [Check("geometry", str(error), "-", False, "seconds and hertz of map cells")]
    shape = f"{geometry.freq.n_cells} x {geometry.frame.n_cells} cells"
    checks = [Check("map", shape, "-", None, "freq x frame")]
    for name, axis in (("freq", geometry.freq), ("frame", geometry.frame)):
        if axis.n_cells == 1:
            continue
        sees = min(2 * axis.reach, axis.n_inputs)
        text = f"cell i at {axis.start:g} + {axis.jump:g} i, sees {sees:g} of {axis.n_inputs}"
        limit = 1.0 if axis.exact else max(1.0, 0.5 * axis.jump)
        checks.append(Check(f"geometry, {name}", text, "-", None, "feature rows or columns of a cell"))
        checks.append(
            Check(
                f"geometry residual, {name}",
                axis.residual,
                f"<= {limit:g}" + ("" if axis.exact else " (receptive field cut: half a cell)"),
                axis.residual <= limit,
                "rows or columns between the line and what was probed",
            )
        )
        order = axis.jump > 0 and axis.residual < axis.jump
        checks.append(
            Check(f"axis order, {name}", str(order), "True", order, "cells follow their feature axis, rising")
        )
    return checks


def _apex_checks(apex: Apex, batch: list[Samples]) -> list[Check]:
    """Measures invariance when tapped and folded, cond(U), and completeness of the contributions."""
    classifier, cond = apex.classifier, apex.cond
    checks = [Check("cond(U)", cond, "<= 50 for folding", None, "how much folding amplifies rounding")]
    identity = torch.eye(len(apex.U), dtype=torch.float64)
    error = float((apex.U @ apex.U_inv - identity).abs().max())
    checks.append(Check("|U U^-1 - I|", error, "<= 1e-10", error <= 1e-10, "float64"))
    residual = max(float(apex.evidence(x, [None])[0].residual) for x in batch)  # type: ignore[attr-defined]
    linear = classifier.head.is_linear
    checks.append(
        Check(
            "APEX completeness residual",
            residual,
            "<= 1e-4",
            residual <= 1e-4 if linear else None,
            "sum of contributions",
        )
    )
    try:
        folded = FoldedHead(apex)
    except EarmarkError as error_:
        checks.append(Check("max |dlogit|, folded", str(error_), "-", None, "U folded into the model"))
        return checks
    with torch.no_grad():
        tapped = [classifier.tap(x) for x in batch]
        single = max(float((folded.to(x)(t.map) - t.logits).abs().max()) for x, t in zip(batch, tapped, strict=True))
        double = FoldedHead(apex).double()
        reference = [classifier.logits(t.map, at="map") for t in tapped]
        exact = max(
            float((double(t.map.double().cpu()) - r.double().cpu()).abs().max())
            for t, r in zip(tapped, reference, strict=True)
        )
    promised = single <= 1e-5 if cond <= 50 else None
    checks.append(Check("max |dlogit|, folded", single, "<= 1e-5 up to cond 50", promised, "float32, U folded in"))
    checks.append(Check("max |dlogit|, folded in float64", exact, "-", None, "against the float32 head"))
    return checks


def _state(classifier: Classifier) -> tuple[Any, ...]:
    """Returns everything about a module that a user could see changed."""
    module = classifier.module
    weights = tuple((k, v._version, v.data_ptr()) for k, v in module.state_dict().items())
    modes = tuple(part.training for part in module.modules())
    hooks = tuple((name, tuple(kept)) for part in module.modules() for name, kept in _hooks(part))
    grads = tuple((p.requires_grad, None if p.grad is None else p.grad._version) for p in module.parameters())
    numpy = np.random.get_state(legacy=False)["state"]
    chance = (tuple(torch.get_rng_state().tolist()), numpy["key"].tobytes(), numpy["pos"])
    return weights, modes, hooks, grads, chance


def _hooks(part: nn.Module) -> list[tuple[str, dict[int, Any]]]:
    """Returns the tables of hooks of one module, by name."""
    return [(name, value) for name, value in vars(part).items() if name.endswith("_hooks") and isinstance(value, dict)]
