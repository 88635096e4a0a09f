"""Every explainer and every metric of the package keeps the promises; and each check fails where one is broken."""

import math
from functools import cache, partial
from importlib import import_module

import numpy as np
import pytest
import torch

from earmark.errors import InputError, ModelError, TargetError
from earmark.evidence import Attribution, Mask
from earmark.explainers import EXPLAINERS, FITTED
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.explainer import Apex
from earmark.explainers.base import Explainer, Pass
from earmark.metrics import METRICS
from earmark.metrics.faithfulness import Passes
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash
from earmark.testing.conformance import CHECKS, check_explainer, check_metric
from earmark.testing.explainer_checks import SCORES
from earmark.testing.metric_conformance import METRIC_CHECKS
from earmark.testing.report import CheckFailedError
from earmark.testing.subject import noise
from earmark.testing.toy_networks import toy_network
from earmark.testing.toys import linear_classifier, planted_classifier
from earmark.types import seeded

READY = [name for name in EXPLAINERS if name not in FITTED]

# few samples: promises do not depend on their number
FEW = {
    "smoothgrad": {"n_samples": 3},
    "integrated-gradients": {"n_steps": 4},
    "codec-latent": {"n_steps": 4},
    "gradient-shap": {"n_samples": 4},
    "occlusion": {"octave": 2.0},
    "rise": {"n_samples": 8},
    "lime": {"n_samples": 16},
    "kernel-shap": {"n_samples": 16, "exact_up_to": 0},
    "slime": {"n_samples": 8},
    "audiolime": {"n_samples": 4, "nmf_steps": 2},
}
ENOUGH = {
    **FEW,
    "occlusion": {},
    "lime": {"n_samples": 160},
    "kernel-shap": {"n_samples": 160, "reentry": "stft"},
}
ORACLES = ("linear-oracle", "planted-oracle")

toys = {
    "relu": toy_network,
    "1-D map": partial(toy_network, shape="line"),
    "functional relu, T0 head": partial(toy_network, "functional-relu", linear=False),
    "multilabel, float64": partial(toy_network, task="multilabel", double=True),
}

#: Convolutions choose another order of sums for another size of batch; each has some hundred terms.
ROUNDING = {"multilabel, float64": 1e-13}


def casting():
    """Takes features of any precision."""
    classifier = toy_network()
    classifier.module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
    return classifier


@cache
def toy(name):
    return {**toys, "casting": casting}[name]()


#: What may depend on the kind of classifier, beside that clips do not depend on their batch, and the count of passes.
MORE = {
    "1-D map": {"well-formed"},
    "functional relu, T0 head": {"complete"},
    "multilabel, float64": {"keeps-device-and-dtype", "serves-scores"},
}


# -- the package's own explainers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", READY)
def test_every_method_keeps_its_promises(method):
    report = check_explainer(
        method,
        toy("relu"),
        rounding=1e-5,
        n_explanations=50 if method in ("saliency", "occlusion") else 8,
        without=ORACLES,
        **FEW.get(method, {}),
    )
    report.raise_if_failed()
    assert "well-formed" in {result.name for result in report.results if result.status == "passed"}


@pytest.mark.parametrize("name", [name for name in toys if name != "relu"])
@pytest.mark.parametrize("method", READY)
def test_on_every_kind_of_classifier(method, name):
    checks = {"batch-is-single", "counts-passes"} | MORE.get(name, set())
    report = check_explainer(
        method,
        toy(name),
        rounding=ROUNDING.get(name, 1e-5),
        without=set(CHECKS) - checks,
        **FEW.get(method, {}),
    )
    report.raise_if_failed()


@pytest.mark.parametrize("method", READY)
def test_oracles(method):
    """What a method claims is right on models whose explanation is known."""
    without = {name for name in CHECKS if name not in ORACLES}
    report = check_explainer(method, linear_classifier(), without=without, **ENOUGH.get(method, {}))
    report.raise_if_failed()
    by_name = {result.name: result for result in report.results}
    if method in ("integrated-gradients", "kernel-shap"):
        assert [by_name[name].status for name in ORACLES] == ["passed", "passed"], report.table()
    if method in ("occlusion", "random", "grad-cam"):
        assert by_name["planted-oracle"].status == "passed", report.table()
    if method == "saliency":
        assert by_name["linear-oracle"].detail.startswith("gradient")


def apex_of(classifier):
    A = 0.2 * torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    U, U_inv = torch.matrix_exp(A), torch.matrix_exp(-A)
    vectors = torch.zeros(0, 6, dtype=torch.float64)
    bank = PrototypeBank((), vectors, BankRules("time-frequency"), classifier.fingerprint, basis_hash(U), 6, 0)
    return Apex(classifier, U, U_inv, ApexConfig(), bank, {})


@pytest.mark.parametrize("name", ["relu", "functional relu, T0 head"])
def test_apex_keeps_its_promises(name):
    report = check_explainer(apex_of(toy(name)), toy(name), rounding=1e-5, n_explanations=12)
    report.raise_if_failed()
    status = {result.name: result.status for result in report.results}
    assert (status["linear-oracle"], status["saves-and-loads"]) == ("not applicable", "passed")
    assert status["complete"] == "passed"


# -- what each check is for -------------------------------------------------------------------------------------------


class Quiet(Explainer):
    """Sound in itself: the magnitude, scaled by a hidden draw and the label's logit."""

    method = "quiet"

    def __init__(self, classifier, seed=1):
        self.classifier, self.seed, self.kept = classifier, seed, []

    def _forward(self, samples):
        with torch.no_grad():
            return Pass(self.classifier.logits(samples), self.classifier.stft(samples).abs())

    def _evidence(self, done, index, target, n_samples):
        draw = torch.rand(done.state[index].shape, generator=seeded(self.seed))
        return Attribution(done.state[index] * draw, self.classifier.grid(n_samples))

    def _config(self):
        return {"seed": self.seed}

    def _seed(self):
        return self.seed


class Loud(Quiet):
    def _evidence(self, done, index, target, n_samples):
        return Mask(1 + 0 * done.state[index] + 1, self.classifier.grid(n_samples))


class Moody(Quiet):
    def _evidence(self, done, index, target, n_samples):
        self.seed += 1
        return super()._evidence(done, index, target, n_samples)


class Deaf(Quiet):
    def _evidence(self, done, index, target, n_samples):
        return Attribution(done.state[index], self.classifier.grid(n_samples))


class Crowded(Quiet):
    def _evidence(self, done, index, target, n_samples):
        return Attribution(done.state.mean(0), self.classifier.grid(n_samples), measured={})

    def _seed(self):
        return None


class Drawing(Quiet):
    def _forward(self, samples):
        np.random.rand()
        return super()._forward(samples)


class Clumsy(Quiet):
    def _forward(self, samples):
        module = self.classifier.module
        handle = module.register_forward_hook(lambda *_: None)
        done = super()._forward(samples)
        handle.remove()
        return done


class Doubled(Quiet):
    def _cost(self):
        return 2, 0


class Precise(Quiet):
    def _forward(self, samples):
        with torch.no_grad():
            self.classifier.logits(self.classifier.at(samples, "features").double(), at="features")
        return super()._forward(samples)


class Brittle(Quiet):
    def _forward(self, samples):
        if samples.shape[-1] < 100:
            raise ValueError("too short")
        return super()._forward(samples)


class Silent(Quiet):
    def _evidence(self, done, index, target, n_samples):
        values = done.state[index] / done.state[index].max()
        return Attribution(
            values * torch.rand(values.shape, generator=seeded(self.seed)), self.classifier.grid(n_samples)
        )


class Vain(Quiet):
    scores = ("logit", "similarity", "prob")

    def _check(self, target):
        if target.score == "prob":
            raise TargetError("This method does not serve prob; use logit.")
        super()._check(target)


class Boastful(Quiet):
    def _evidence(self, done, index, target, n_samples):
        told = super()._evidence(done, index, target, n_samples)
        return Attribution(told.values, told.grid, measured={"gap": 0.0, "baseline_score": 0.0})


class Odd(Quiet):
    def _config(self):
        return {"sizes": (1, 2)}


class Hoarding(Quiet):
    def _forward(self, samples):
        self.kept.append(samples)
        return super()._forward(samples)


class Late(Quiet):
    def _forward(self, samples):
        if "detached" in self.classifier.name:
            raise ModelError("This classifier gives no gradient, one was expected; use another.")
        return super()._forward(samples)


class Proud(Quiet):
    claims = ("contribution", "localizes")


class Fanciful(Quiet):
    claims = ("wisdom",)


def test_a_sound_explainer_passes():
    report = check_explainer(Quiet, toy("relu"), n_explanations=12)
    assert report.ok
    report.raise_if_failed()
    assert len(report.table().splitlines()) == 1 + len(CHECKS)
    assert {r.name for r in report.results if r.status == "not applicable"} == {"complete", *ORACLES}


@pytest.mark.parametrize(
    ("broken", "name", "checks", "what"),
    [
        (Loud, "relu", {"well-formed", "seeded", "odd-inputs", "refuses-misfits"}, "gains from 2 to 2; 0 to 1"),
        (Moody, "relu", {"deterministic", "batch-is-single", "leaves-model-alone-on-error"}, "the same bits"),
        (Deaf, "relu", {"seeded"}, "for seeds 1 and 2"),
        (Crowded, "relu", {"batch-is-single"}, "other values in a batch"),
        (Drawing, "relu", {"leaves-model-alone", "leaves-model-alone-on-error"}, "numpy's generator changed"),
        (Clumsy, "relu", {"leaves-model-alone-on-error"}, "hooks of the module changed"),
        (Doubled, "relu", {"counts-passes"}, "2 forward and 0 backward passes said; 1 and 0, as made"),
        (Precise, "casting", {"counts-passes", "keeps-device-and-dtype"}, "torch.float32 on cpu expected"),
        (Brittle, "relu", {"odd-inputs"}, "one sample: ValueError: too short"),
        (Silent, "relu", {"odd-inputs"}, "silence: CheckFailedError: ranking with values that are not finite"),
        (Vain, "relu", {"serves-scores"}, "a refusal of prob"),
        (Boastful, "relu", {"complete"}, "gap 0.00e+00 reported"),
        (Odd, "relu", {"saves-and-loads"}, "provenance"),
        (Hoarding, "relu", {"memory-plateau"}, "7 tensors of 57344 bytes more after 12"),
        (Late, "relu", {"refuses-misfits"}, "ModelError from explain for a module without gradients"),
        (Proud, "relu", {*ORACLES}, "at least 0.95"),
        (Fanciful, "relu", {*ORACLES}, "claims wisdom; some of gradient"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_found(broken, name, checks, what):
    others = set(CHECKS) - checks - {"well-formed", "deterministic", "saves-and-loads"}
    report = check_explainer(broken, toy(name), n_explanations=12, without=others)
    assert {result.name for result in report.failed} == checks, report.table()
    assert not report.ok
    with pytest.raises(CheckFailedError) as error:
        report.raise_if_failed()
    assert what in str(error.value)


def test_the_classifier_is_what_it_was_after_all_checks():
    c = toy_network()
    c.module.head.weight.grad = torch.full_like(c.module.head.weight, 3.0)
    c.module.first.train()
    c.module.second.bias.requires_grad_(False)
    check_explainer(Clumsy, c, n_explanations=1)
    assert [part.training for part in (c.module.first, c.module.second)] == [True, True]
    c.module.second.eval()
    check_explainer("saliency", c, n_explanations=1, rounding=1e-5)
    assert [part.training for part in (c.module.first, c.module.second)] == [True, False]
    assert c.module.head.weight.grad.unique().tolist() == [3.0]
    assert c.module.first.weight.grad is None
    assert [p.requires_grad for p in c.module.second.parameters()] == [True, False]


def test_a_misfit_is_reported_and_nothing_else_is_run():
    report = check_explainer("guided-backprop", toy_network("tanh"))
    assert report.ok
    assert [(r.name, r.status) for r in report.results] == [("fits", "not applicable")]
    assert "has no ReLU" in report.table()


def test_arguments_that_make_no_sense_are_refused():
    made = Quiet(toy("relu"))
    with pytest.raises(InputError, match="There is no check hoks"):
        check_explainer(Quiet, toy("relu"), without=["hoks"])
    with pytest.raises(InputError, match="made already"):
        check_explainer(made, toy("functional relu, T0 head"))
    with pytest.raises(InputError, match="made already"):
        check_explainer(made, toy("relu"), seed=3)


def test_the_oracles_know_their_evidence():
    c = linear_classifier()
    x = c.prepare(noise(c))
    expected = (c.module.weight * c.at(x, "features")).sum((1, 2))
    torch.testing.assert_close(c.logits(x)[0], expected.detach())
    c, features = planted_classifier(), torch.rand(1, 129, 129, dtype=torch.float64)
    inside, outside = features.clone(), features.clone()
    inside[:, 32:64, 32:64] = 0
    outside[:, :32], outside[:, 64:] = 0, 0
    base = c.logits(features, at="features")
    assert (c.logits(inside, at="features") - base).abs().min() > 10
    assert (c.logits(outside, at="features") - base).abs().max() < 2
    assert c.head.tier == "T1"


# -- metrics ----------------------------------------------------------------------------------------------------------

N, F, T = 3, 9, 11


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def passes_of(seed=0, n=N):
    whole, inside, outside = (6 * uniform(seed + k, n, 4) for k in range(3))
    return Passes(whole, whole.argmax(1), inside, outside)


def degenerate_passes(**logits):
    """One clip of which the classifier is certain, unless logits say otherwise."""
    given = {name: torch.tensor([logits.get(name, [40.0, 0, 0, 0])]) for name in ("whole", "inside", "outside")}
    return (Passes(given["whole"], torch.tensor([0]), given["inside"], given["outside"]),)


TRUTH = uniform(5, N, F, T) > 0.7
VALUES, OTHER, POWER = uniform(6, N, F, T), uniform(7, N, F, T), uniform(8, N, F, T)
NONE = torch.zeros(1, F, T)
NAN = math.nan
ALL_OF_BOTH, NONE_OF_BOTH = (NONE + 1, POWER[:1], OTHER[:1]), (NONE, POWER[:1], OTHER[:1])
ALONE = (NONE + 1, POWER[:1], NONE)  # a source and nothing else

IMPOSSIBLE = degenerate_passes(whole=[-40.0, 0, 0, 0])
NO_TRUTH = {
    "empty truth": ((VALUES[:1], TRUTH[:1] & False), [NAN]),
    "all truth": ((VALUES[:1], TRUTH[:1] | True), [NAN]),
}

#: Arguments, range, and degenerate cases with the values that the module's docstring states.
METRIC_CASES = {
    "average_increase": ((passes_of(),), (0, 100), {"nothing changes": (degenerate_passes(), [0])}),
    "average_drop": ((passes_of(),), (0, 100), {"impossible": (IMPOSSIBLE, [NAN])}),
    "average_drop_legacy": ((passes_of(),), (0, 100 * (1 - math.exp(-1))), {"no drop": (degenerate_passes(), [0])}),
    "average_gain": ((passes_of(),), (0, 100), {"certain": (degenerate_passes(), [0])}),
    "faithfulness": ((passes_of(),), (-1, 1), {"nothing left out": (degenerate_passes(), [0])}),
    "faithfulness_logit": ((passes_of(),), (-math.inf, math.inf), {"nothing left out": (degenerate_passes(), [0])}),
    "input_fidelity": ((passes_of(),), (0, 1), {"NaN": (degenerate_passes(inside=[NAN, 0, 0, 0]), [NAN])}),
    "output_fidelity": ((passes_of(),), (0, 1), {"NaN": (degenerate_passes(outside=[NAN, 0, 0, 0]), [NAN])}),
    "sparseness": ((VALUES,), (0, 1), {"zeros": ((NONE,), [0]), "ones": ((NONE + 1,), [0])}),
    "complexity": ((VALUES,), (0, math.log(F * T)), {"zeros": ((NONE,), [NAN])}),
    "complexity_normalized": ((VALUES,), (0, 1), {"zeros": ((NONE,), [NAN]), "ones": ((NONE + 1,), [1])}),
    "mask_mean": ((VALUES,), (0, 1), {"zeros": ((NONE,), [0]), "ones": ((NONE + 1,), [1])}),
    "energy_kept": ((VALUES, POWER), (0, 1), {"silence": ((NONE + 1, NONE), [NAN])}),
    "iou_match": ((VALUES, TRUTH), (0, 1), NO_TRUTH),
    "iou_half": ((VALUES, TRUTH), (0, 1), {**NO_TRUTH, "nothing positive": ((NONE, TRUTH[:1]), [0])}),
    "pointing": ((VALUES, TRUTH), (0, 1), NO_TRUTH),
    "mass_inside": ((VALUES, TRUTH), (0, 1), {**NO_TRUTH, "nothing positive": ((NONE, TRUTH[:1]), [0])}),
    "energy_inside": ((VALUES, TRUTH, POWER), (0, 1), {"nothing kept": ((NONE, TRUTH[:1], POWER[:1]), [0])}),
    "localization_auc": ((VALUES, TRUTH), (0, 1), {**NO_TRUTH, "all equal": ((NONE, TRUTH[:1]), [0.5])}),
    "localization_precision": ((VALUES, TRUTH), (0, 1), NO_TRUTH),
    "ssim": ((VALUES, OTHER), (-1, 1), {"the same": ((VALUES[:1], VALUES[:1]), [1])}),
    "rank_correlation": ((VALUES, OTHER), (-1, 1), {"constant": ((NONE, VALUES[:1]), [NAN])}),
    "iou_top": ((VALUES, OTHER), (0, 1), {"the same": ((VALUES[:1], VALUES[:1]), [1])}),
    "source_kept": ((VALUES, POWER, OTHER), (0, 1), {"ones": (ALL_OF_BOTH, [1]), "zeros": (NONE_OF_BOTH, [0])}),
    "contaminant_kept": ((VALUES, POWER, OTHER), (0, 1), {"ones": (ALL_OF_BOTH, [1]), "silence": (ALONE, [NAN])}),
    "contrast_db": ((VALUES, POWER, OTHER), (-100, 100), {"ones": (ALL_OF_BOTH, [0]), "zeros": (NONE_OF_BOTH, [NAN])}),
    "ideal_auc": ((VALUES, POWER, OTHER), (0, 1), {"all equal": (ALL_OF_BOTH, [0.5])}),
    "ideal_correlation": ((VALUES, POWER, OTHER), (-1, 1), {"constant": (ALL_OF_BOTH, [NAN])}),
}


def test_every_metric_has_a_case():
    assert METRIC_CASES.keys() == METRICS.keys()


@pytest.mark.parametrize("name", METRIC_CASES)
def test_every_metric_keeps_its_promises(name):
    module, attribute = METRICS[name].split(":")
    args, limits, degenerate = METRIC_CASES[name]
    metric = getattr(import_module(module), attribute)
    report = check_metric(metric, *args, limits=limits, degenerate=degenerate)
    report.raise_if_failed()
    assert sum(result.status == "passed" for result in report.results) >= len(METRIC_CHECKS) - (limits[0] == -math.inf)


def mean(values):
    return values.mean((1, 2))


def changing(values):
    return values.clamp_(max=0.6).mean((1, 2))


def drawing(values):
    return values.mean((1, 2)) + torch.rand(())


def centered(values):
    return (values - values.mean()).amax((1, 2))


def numbered(values):
    return values.mean((1, 2)) + torch.arange(len(values))


def lumped(values):
    return values.mean()


def rough(values):
    return values.mean((1, 2)) + (0.001 if values.dtype == torch.float32 else 0)


@pytest.mark.parametrize(
    ("broken", "checks"),
    [
        (mean, set()),
        (changing, {"pure"}),
        (drawing, {"pure", "batch-is-single", "order-is-nothing", "stated-degenerate", "precision-is-nothing"}),
        (centered, {"batch-is-single", "stated-degenerate"}),
        (numbered, {"batch-is-single", "order-is-nothing", "stated-range"}),
        (rough, {"stated-degenerate", "precision-is-nothing"}),
    ],
)  # fmt: skip
def test_a_metric_that_breaks_a_promise_is_found(broken, checks):
    state = torch.get_rng_state()
    try:
        report = check_metric(broken, VALUES.clone(), limits=(0, 0.6), degenerate={"halves": ((NONE + 0.5,), [0.5])})
    finally:
        torch.set_rng_state(state)
    found = {result.name for result in report.failed} - ({"stated-range"} if broken is drawing else set())
    assert found == checks, report.table()


def test_one_number_for_all_clips_is_found():
    report = check_metric(lumped, VALUES)
    assert report.failed[0].name == "one-number-per-clip"
    assert report.failed[0].detail == "torch.float32 of shape (); floats of shape (3,) expected."


def test_every_score_function_is_known():
    from typing import get_args

    from earmark.types import ScoreFunction

    assert get_args(ScoreFunction) == SCORES
