"""`verify`: measures what a wrapped classifier, and an APEX on it, promise; each line has a number and its limit."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier, Tapped
from ..classifiers.front_ends import is_invertible, parity
from ..classifiers.geometry import Axis
from ..classifiers.surgery import own_precision
from ..classifiers.taps import layers_before_the_map
from ..errors import EarmarkError
from ..explainers.apex.contributions import has_fixed_weights, head_function
from ..explainers.apex.explainer import Apex, FoldedHead
from ..explainers.stages import no_gradient
from ..types import Samples

#: What rounding in float32 may add up to in one logit of order 10, through some ten layers.
ROUNDING = 1e-4

#: Steps of a difference quotient, as shares of a clip's norm.
STEPS = (1e-3, 2e-4, 4e-5, 8e-6, 1.6e-6)

SUMMED_LABELS = 4  # labels of a clip whose contributions are summed, where each costs a pass through the head


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
    checks = [
        *_front_end_checks(classifier),
        *_parity_checks(classifier, batch),
        finite,
        *_entry_checks(classifier, batch),
    ]
    checks.append(_completeness(classifier, batch))
    if finite.ok:
        checks.append(_gradient_check(classifier, batch[0]))
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


def _parity_checks(classifier: Classifier, batch: list[Samples]) -> list[Check]:
    """Compares the front end with the feature extractor whose twin it is."""
    if classifier.extractor is None:
        return []
    clips = [x[0].detach().float().cpu() for x in batch]
    found = parity(classifier.front_end, classifier.extractor, clips)
    value = f"{found.max_abs:.2g} at most, {found.mean_abs:.2g} on average"
    limit = f"<= {found.tolerance * found.scale:.2g} at most"
    meaning = f"features beside those of {type(classifier.extractor).__name__}, whose spread is {found.scale:.3g}"
    return [Check("front end against its original", value, limit, found.ok, meaning)]


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
            lambda x: _through_map(classifier, x),
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


def _through_map(classifier: Classifier, x: Samples) -> Tensor:
    tapped = classifier.tap(x)
    return classifier.logits(tapped.map, at="map", context=tapped.context)


def _completeness(classifier: Classifier, batch: list[Samples]) -> Check:
    """Compares offset and weighted cells with the model's logits: all of them, or the first few of tier T3 and T4."""
    head, meaning = classifier.head, "bias and weighted cells of the map sum to each logit"
    if not head.is_exact:
        return Check("completeness residual", "not defined", "-", None, head.notice)
    if not has_fixed_weights(classifier):
        meaning = f"offset and weighted cells sum to the {SUMMED_LABELS} largest logits of each clip, gates held"
    worst, largest = 0.0, 1.0
    with torch.no_grad():
        for x in batch:
            tapped = classifier.tap(x)
            worst = max(worst, _residual(classifier, tapped))
            largest = max(largest, float(tapped.logits.abs().max()))
    limit = ROUNDING * largest
    return Check("completeness residual", worst, f"<= {limit:.1e}", worst <= limit, meaning)


def _residual(classifier: Classifier, tapped: Tapped) -> float:
    """Returns the largest difference between logits of one clip and their sums."""
    head = classifier.head
    if has_fixed_weights(classifier, tapped.map):
        return float((head.linear(head.lift(tapped.map).double()) - tapped.logits).abs().max())
    held = head.held(tapped.map, head_function(classifier, tapped.context))
    residuals = []
    for index in tapped.logits[0].topk(min(SUMMED_LABELS, tapped.logits.shape[1])).indices.tolist():
        J, offset = held.linearize(index)
        total = offset.double() + (J.double() * tapped.map.double()).sum((1, 2, 3))
        residuals.append(float((total - tapped.logits[:, index]).abs().max()))
    return max(residuals)


def _geometry_checks(classifier: Classifier, n_samples: int) -> list[Check]:
    try:
        geometry = classifier.geometry(n_samples)
    except EarmarkError as error:
        return [Check("geometry", str(error), "-", False, "seconds and hertz of map cells")]
    shape = f"{geometry.freq.n_cells} x {geometry.frame.n_cells} cells"
    checks = [Check("map", shape, "-", None, "freq x frame")]
    attends = has_attention(classifier)
    for name, axis in (("freq", geometry.freq), ("frame", geometry.frame)):
        if axis.n_cells == 1:
            continue
        sees = min(2 * axis.reach, axis.n_inputs)
        text = f"cell i at {axis.start:g} + {axis.jump:g} i, sees {sees:g} of {axis.n_inputs}"
        checks.append(Check(f"geometry, {name}", text, "-", None, "feature rows or columns of a cell"))
        checks += _place_checks(name, axis, attends)
    return checks


def _place_checks(name: str, axis: Axis, attends: bool) -> list[Check]:
    """Compares the line on which cells lie with what was probed."""
    cells = 1.0 if axis.walked else 0.5
    limit = 1.0 if axis.exact else max(2.0, cells * axis.jump)
    cut = "" if axis.exact else f" (receptive field cut: {'a' if axis.walked else 'half a'} cell)"
    within, limits = (axis.residual <= limit, f"<= {limit:g}{cut}") if not attends else (None, "-")
    meaning = "rows or columns between the line and what was probed"
    if attends:
        meaning += "; attention sees the whole clip, so that a cell stands for the patch that its token was made of"
    order = axis.jump > 0 and (axis.walked or axis.residual < axis.jump)
    return [
        Check(f"geometry residual, {name}", axis.residual, limits, within, meaning),
        Check(f"axis order, {name}", str(order), "True", order, "cells follow their feature axis, rising"),
    ]


def has_attention(classifier: Classifier) -> bool:
    """Says whether layers of attention come before the map, by their names: then each cell sees the whole clip."""
    parts = dict(classifier.module.named_modules())
    before = layers_before_the_map(classifier)
    return any("attention" in type(parts[name]).__name__.lower() for name in before)


def _gradient_check(classifier: Classifier, samples: Samples) -> Check:
    """Compares the gradient of the first label's logit with a difference of logits along it.

    Some versions of torch give wrong gradients for some layers without a word (batch normalization of one-row maps on
    a CPU, torch 2.13), and then every explanation that uses them is wrong.
    """
    name, meaning = "gradient against a difference quotient", "change of a logit along its gradient, over the predicted"
    if refusal := no_gradient(classifier, "waveform"):
        return Check(name, refusal, "-", None, meaning)
    if classifier.front_end.gives_latents:  # of samples, logits are steps, through which gradients are handed
        return Check(name, "not measured: gradients pass a quantizer straight through", "-", None, meaning)
    with torch.enable_grad():
        x = samples.clone().requires_grad_()
        logits = classifier.logits(x)
        label = int(logits[0].argmax())
        (gradient,) = torch.autograd.grad(logits[0, label], x)
    ratios = [
        ratio
        for share in STEPS
        if (ratio := _quotient(classifier, samples, gradient, share, logits.detach()[0], label)) is not None
    ]
    if not ratios:
        return Check(name, "too small to be measured", "-", None, meaning)
    ratio = min(ratios, key=lambda one: abs(one - 1))  # a larger step may cross a kink, a smaller one drown in rounding
    return Check(name, ratio, "0.8 to 1.2", 0.8 <= ratio <= 1.2, meaning)


def _quotient(
    classifier: Classifier, samples: Samples, gradient: Samples, share: float, logits: Tensor, label: int
) -> float | None:
    """Returns the change of a logit along its gradient, over the predicted one; `None` where it is mere rounding."""
    length = float(gradient.norm())
    step = share * float(samples.norm()) / 2
    change = 2 * step * length
    if change < 100 * torch.finfo(samples.dtype).eps * max(1.0, float(logits.abs().max())):
        return None
    way = step * gradient / length
    with torch.no_grad():
        ahead, behind = (classifier.logits(samples + sign * way)[0, label] for sign in (1, -1))
    return float(ahead - behind) / change


def _apex_checks(apex: Apex, batch: list[Samples]) -> list[Check]:
    """Measures invariance when tapped and folded, cond(U), and completeness of the contributions."""
    classifier, cond = apex.classifier, apex.cond
    checks = [Check("cond(U)", cond, "<= 50 for folding", None, "how much folding amplifies rounding")]
    identity = torch.eye(len(apex.U), dtype=torch.float64)
    error = float((apex.U @ apex.U_inv - identity).abs().max())
    checks.append(Check("|U U^-1 - I|", error, "<= 1e-10", error <= 1e-10, "float64"))
    residual = max(float(apex.evidence(x, [None])[0].residual) for x in batch)  # type: ignore[attr-defined]
    additive = classifier.head.is_exact
    checks.append(
        Check(
            "APEX completeness residual",
            residual,
            "<= 1e-4",
            residual <= 1e-4 if additive else None,
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
        reference = [classifier.logits(t.map, at="map", context=t.context) for t in tapped]
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
