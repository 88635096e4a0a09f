"""Gradient methods: known answers, completeness, slow twins, seeds, costs, and what they leave untouched."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel
from captum.attr import Saliency as CaptumSaliency
from sklearn.metrics import roc_auc_score
from tests.classifiers import networks
from tests.explainers import nets
from tests.reference import gradient as slow
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.errors import InputError, ModelError
from earmark.explainers import EXPLAINERS
from earmark.explainers.config import GradientShapConfig, SmoothGradConfig
from earmark.explainers.gradient import (
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
    halves,
    leaf,
    noisy,
)
from earmark.explainers.load import load_explainer
from earmark.explainers.rules import DeepLift
from earmark.explainers.scorer import Scorer, rows_of
from earmark.explainers.stages import Entry, frames_of
from earmark.testing.toys import band_classifier
from earmark.types import Target, seeded

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, a handful of operations
STEPS = {"rtol": 0, "atol": 1e-6}  # Captum rounds the weights of steps to float32
MINE = (
    "saliency",
    "input-x-gradient",
    "smoothgrad",
    "integrated-gradients",
    "gradient-shap",
    "deeplift",
    "guided-backprop",
    "guided-grad-cam",
    "grad-cam",
    "grad-cam-plus-plus",
    "energy",
    "random",
    "all-ones",
    "all-zeros",
    "edge",
)
FEW = {"integrated-gradients": {"n_steps": 6}, "gradient-shap": {"n_samples": 6}, "smoothgrad": {"n_samples": 6}}
WEIGHT = [0.5, -2.0, 3.0, 1.5]


def raw_of(explainer, waveform, target=None):
    evidence = explainer.explain(waveform, target).evidence
    return evidence.values if evidence.raw is None else evidence.raw


def tone(hz, start_s, end_s, duration_s=1.0, rate=8000, level=0.5, seed=3):
    seconds = torch.arange(round(duration_s * rate)) / rate
    noise = 0.01 * torch.randn(len(seconds), generator=torch.Generator().manual_seed(seed))
    inside = (seconds >= start_s) & (seconds < end_s)
    return (noise + level * inside * torch.sin(2 * torch.pi * hz * seconds))[None]


@pytest.mark.parametrize("stage", ["features", "waveform"])
def test_a_linear_score_gives_its_weights(stage):
    classifier = nets.classifier_of(nets.linear(WEIGHT, 0.7), n_rows=2)
    x = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    shape = (4,) if stage == "waveform" else (2, 2)
    clip, weight = nets.clip(*x.tolist()), torch.tensor(WEIGHT, dtype=torch.float64)
    for method in (Saliency, SmoothGrad):
        explainer = Saliency(classifier, stage=stage)
        explainer = SmoothGrad(explainer, n_samples=3, sigma=2.0) if method is SmoothGrad else explainer
        torch.testing.assert_close(raw_of(explainer, clip), weight.reshape(shape), **EXACT)
    options = {"n_samples": 5} if stage == "waveform" else {"n_samples": 4, "chunk": 3}
    for explainer in (
        InputXGradient(classifier, stage=stage),
        DeepLift(classifier, stage=stage),
        GradientShap(classifier, stage=stage, **options),
    ):
        torch.testing.assert_close(raw_of(explainer, clip), (weight * x).reshape(shape), **EXACT)
    ig = IntegratedGradients(classifier, stage=stage, n_steps=3)
    torch.testing.assert_close(raw_of(ig, clip), (weight * x).reshape(shape), **STEPS)


def test_two_relus_by_hand():
    def two(x):
        return (x[:, :1] - 1).relu() + x[:, 1:].relu()

    classifier = nets.classifier_of(two)
    ig = IntegratedGradients(classifier, stage="features", n_steps=256)
    found = ig.explain(nets.clip(2.0, 3.0)).evidence
    # The gradient jumps half way, and a quadrature of n nodes finds the jump to 1 / n.
    torch.testing.assert_close(found.raw, torch.tensor([[1.0, 3.0]]).double(), rtol=0, atol=2 / 256)
    assert raw_of(Saliency(classifier, stage="features"), nets.clip(2.0, 3.0)).tolist() == [[1.0, 1.0]]


def test_integrated_gradients_are_complete_and_zero_where_nothing_is_heard():
    weight = torch.tensor([1.0, -0.7, 0.4, 0.0]).double()

    def smooth(x):
        return torch.tanh(x @ weight)[:, None] + 0.3 * (x[:, :1] * x[:, 1:2]) ** 2

    classifier = nets.classifier_of(smooth, n_columns=4)
    values = [0.75, -1.125, 0.5, 2.0]
    evidence = IntegratedGradients(classifier, stage="features").explain(nets.clip(*values)).evidence
    assert evidence.measured["gap"] < 1e-6
    assert evidence.raw[0, 3] == 0
    twin = slow.integrated_gradients(
        lambda x: float(smooth(torch.tensor([x], dtype=torch.float64))[0, 0]),
        [float(np.float32(v)) for v in values],
        [0.0] * 4,
    )
    # Central differences of step 1e-5 are good to about 1e-9, the midpoint rule of 200 steps to 2e-6.
    torch.testing.assert_close(evidence.raw[0].tolist(), twin, rtol=0, atol=5e-6)


def test_power_of_bins_is_integrated_exactly():
    classifier = band_classifier()
    waveform = Waveform(tone(1250, 0.3, 0.5), 8000)
    explanation = IntegratedGradients(classifier, n_steps=4).explain(waveform, "band 2")
    evidence = explanation.evidence
    power = classifier.at(waveform, "features")[0]
    share = torch.zeros(explanation.grid.shape, dtype=torch.float64)
    share[32:48, :120] = power[32:48, :120] / (16 * 120)  # 15 cells of 8 frames; the rest fills none
    torch.testing.assert_close(evidence.values, share, rtol=1e-6, atol=1e-12)  # float32 weights of steps
    assert evidence.values.sum() == pytest.approx(float(explanation.prediction.logits[2]), rel=1e-6)
    assert evidence.measured["baseline_score"] == 0


@pytest.mark.parametrize("name", ["integrated-gradients", "saliency", "smoothgrad", "deeplift", "random"])
def test_a_planted_tone_is_found_where_it_sounds(name):
    classifier = band_classifier()
    samples = tone(1250, 0.3, 0.6) + tone(2750, 0.1, 0.9, seed=4)
    options = {"stage": "stft"} if name == "deeplift" else FEW.get(name, {})
    explanation = load_explainer(name, classifier=classifier, **options).explain(Waveform(samples, 8000), "band 2")
    grid = explanation.grid
    truth = ((grid.hz[:, None] - 1250).abs() < 60) & ((grid.seconds[None] - 0.45).abs() < 0.15)
    area = roc_auc_score(truth.flatten().numpy(), explanation.evidence.values.flatten().numpy())
    assert abs(area - 0.5) < 0.05 if name == "random" else area > 0.95


def test_contrasts_subtract_and_scores_follow_the_target():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    waveform = nets.noise(4000, rate=8000)
    explainer = InputXGradient(classifier)
    one, other = (raw_of(explainer, waveform, label) for label in ("a", "b"))
    contrast = explainer.explain(waveform, "a", against="b")
    torch.testing.assert_close(contrast.evidence.values, one - other, rtol=0, atol=1e-10)
    prob = explainer.explain(waveform, Target(0, "a", "prob")).evidence.values
    p = contrast.prediction.probs
    chain = sum(float(p[0] * (float(i == 0) - p[i])) * raw_of(explainer, waveform, i) for i in range(3))
    torch.testing.assert_close(prob, chain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MINE)
def test_batch_equals_single_and_costs_are_what_is_said(name):
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    explainer = load_explainer(name, classifier=classifier, **{"chunk": 4, **FEW.get(name, {})})
    waveforms = [nets.noise(4000, seed=s, rate=8000) for s in range(5)]
    samples = torch.cat([classifier.prepare(w) for w in waveforms])
    targets = [Target(i % 3, "abc"[i % 3]) for i in range(4)] + [Target(0, "a", "contrast", 1, "b")]
    together = explainer.evidence(samples, targets)
    with counted(classifier.module) as passes:
        explanation = explainer.explain(waveforms[1], targets[1])
    told = explanation.provenance
    assert (told.forward_passes, told.backward_passes) == (passes["forward"], passes["backward"])
    alone = [explanation.evidence, explainer.evidence(samples[4:], targets[4:])[0]]
    for one, among in zip(alone, (together[1], together[4]), strict=True):
        # Convolutions of one clip and of five may add in another order: float64 rounding.
        torch.testing.assert_close(one.values, among.values, rtol=1e-9, atol=1e-12)
    assert explanation.evidence.values.dtype == torch.float64
    assert torch.equal(explainer.explain(waveforms[1], targets[1]).evidence.values, explanation.evidence.values)


@pytest.mark.parametrize("name", ["integrated-gradients", "gradient-shap", "smoothgrad", "random"])
def test_methods_with_many_steps_give_the_same_bits_for_any_batch(name):
    classifier = networks.wrapped(networks.gap_linear)
    explainer = load_explainer(name, classifier=classifier, **{"chunk": 4, **FEW.get(name, {})})
    samples = torch.cat([classifier.prepare(nets.noise(4000, seed=s, rate=8000)) for s in range(3)])
    targets = [Target(i, "abc"[i]) for i in range(3)]
    for i, evidence in enumerate(explainer.evidence(samples, targets)):
        assert torch.equal(explainer.evidence(samples[i : i + 1], targets[i : i + 1])[0].values, evidence.values)


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_chance_are_left_alone(name, fails):
    classifier = networks.wrapped(networks.gap_linear)
    module = classifier.module.train()
    explainer = load_explainer(name, classifier=classifier, **FEW.get(name, {}))
    before, waveform = state_of(module), nets.noise(4000, rate=8000)
    if fails:
        handle = module.head[2].register_forward_hook(fail_from(1 if explainer.passes[0] else 0))
        before = state_of(module)
        with pytest.raises(ArithmeticError):
            explainer.explain(waveform, "a")
    else:
        with torch.inference_mode():
            explainer.explain(waveform, "a")
    after = state_of(module)
    assert before[0] == after[0]
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    if fails:
        handle.remove()


def test_seeds_matter_only_where_something_is_drawn():
    classifier = networks.wrapped(networks.gap_linear)
    waveform = nets.noise(4000, rate=8000)
    for name in ("gradient-shap", "smoothgrad", "random", "integrated-gradients"):
        options = FEW.get(name, {})
        maps = [
            load_explainer(name, classifier=classifier, seed=seed, **options).explain(waveform) for seed in (1, 1, 2)
        ]
        first, again, other = (m.evidence.values for m in maps)
        assert torch.equal(first, again)
        assert torch.equal(first, other) == (name == "integrated-gradients")
        assert maps[2].provenance.seed == (None if name == "integrated-gradients" else 2)


def test_smoothgrad_is_noise_tunnels_mean_on_the_same_noise():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    samples = classifier.prepare(nets.noise(4000, rate=8000))
    entry, targets, heard = Entry.of(classifier, samples, "features"), [Target(1, "b")], []
    scorer = Scorer(entry, targets)

    def listening(x, which):
        heard.append(x.detach().clone())
        return scorer(x, which)

    with torch.random.fork_rng():
        expected = NoiseTunnel(CaptumSaliency(listening)).attribute(
            leaf(entry.x),
            nt_type="smoothgrad",
            nt_samples=4,
            nt_samples_batch_size=1,
            stdevs=0.3,
            abs=False,
            target=None,
            additional_forward_args=rows_of(entry),
        )
    smooth = SmoothGrad(Saliency(classifier, stage="features"))
    copies = [Saliency(classifier, stage="features").raw(entry.moved(x), targets)[0][0] for x in heard]
    torch.testing.assert_close(halves(copies, 4)[0], expected[0].detach(), rtol=0, atol=1e-12)
    still = SmoothGrad(Saliency(classifier, stage="features"), n_samples=1, sigma=0.0)
    plain = raw_of(Saliency(classifier, stage="features", signed=True), nets.noise(4000, rate=8000), "b")
    assert torch.equal(raw_of(still, nets.noise(4000, rate=8000), "b"), plain)
    assert smooth.passes == (50, 50)


def test_smoothgrad_wraps_what_takes_sounds():
    classifier = networks.wrapped(networks.gap_linear)
    waveform = nets.noise(4000, rate=8000)
    cam = load_explainer("smoothgrad", classifier=classifier, of="grad-cam", signed=True, n_samples=3, sigma=0.0)
    plain = load_explainer("grad-cam", classifier=classifier, signed=True).explain(waveform, "a")
    told = cam.explain(waveform, "a")
    # The sound went through STFT and inverse: 1e-6 of the largest value, some layers further.
    size = float(plain.evidence.values.abs().max())
    torch.testing.assert_close(told.evidence.values, plain.evidence.values, rtol=0, atol=1e-4 * size)
    assert told.provenance.config["of"] == "grad-cam"
    with pytest.raises(ModelError, match="SmoothGrad smooths attributions, got SmoothGrad"):
        SmoothGrad(SmoothGrad(Saliency(classifier)))


def test_noise_on_magnitudes_never_makes_them_negative():
    classifier = networks.wrapped(networks.gap_linear)
    entry = Entry.of(classifier, classifier.prepare(nets.noise(4000, rate=8000)), "stft")
    copies = torch.stack(list(noisy(entry, SmoothGradConfig(sigma=0.5), 3)))
    assert copies.min() == 0
    assert not torch.equal(copies[0], copies[1])
    shap = GradientShap(classifier, n_samples=8, sigma=0.5).explain(nets.noise(4000, rate=8000)).evidence
    assert torch.isfinite(shap.values).all()


def test_gradient_shap_averages_over_its_baselines():
    classifier = nets.classifier_of(nets.linear(WEIGHT), n_columns=4)
    reference = nets.clip(0.5, 0.5, 1.0)  # continued with silence
    shap = GradientShap(classifier, GradientShapConfig(stage="features", n_samples=200), references=[reference])
    found = shap.explain(nets.clip(1.0, 2.0, -1.0, 0.5))
    chosen = torch.randint(2, (200,), generator=seeded(42, 2)).double().mean()
    means = chosen * torch.tensor([0.5, 0.5, 1.0, 0.0]).double()
    expected = torch.tensor(WEIGHT).double() * (torch.tensor([1.0, 2.0, -1.0, 0.5]).double() - means)
    torch.testing.assert_close(found.evidence.raw[0], expected, **EXACT)
    assert found.evidence.measured["gap"] < 1e-12
    assert found.provenance.forward_passes == 1 + 200 + 2
    assert found.provenance.config["n_references"] == 1
    others = [GradientShap(classifier, references=[nets.clip(*values)])._config() for values in ((0.5,), (0.25,))]
    assert others[0] != others[1] and "references" not in GradientShap(classifier)._config()


def test_values_reach_the_stft_grid_and_keep_their_sum():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    waveform = nets.noise(4100, rate=8000)
    for stage in ("features", "waveform"):
        evidence = InputXGradient(classifier, stage=stage).explain(waveform).evidence
        assert evidence.values.sum() == pytest.approx(float(evidence.raw.sum()), rel=1e-9)
        assert evidence.stage == stage
    grid, values = classifier.grid(700), torch.randn(700, generator=torch.Generator().manual_seed(1)).double()
    shared = frames_of(values[None], grid)[0]
    twin = slow.frame_shares(values.tolist(), grid.stft.n_fft, grid.stft.hop_length, grid.shape[1])
    torch.testing.assert_close(shared.sum(0).tolist(), twin, rtol=0, atol=1e-10)


class Whole(nn.Module):
    def forward(self, x):
        return x.round()


class Cut(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.detach().numpy() * 2)


class Overwritten(nn.Module):
    def forward(self, x):
        y = torch.exp(x)
        return y * 2 + y.mul_(3)


@pytest.mark.parametrize(("before", "why"), [(Whole, "whole numbers"), (Cut, "whole"), (Overwritten, "inplace operat")])
def test_what_gives_no_gradient_is_refused(before, why):
    classifier = nets.classifier_of(nets.linear([1.0, 2.0]), before=before)
    for method in (Saliency, IntegratedGradients, DeepLift):
        assert "gives no gradient at features" in method.fits(classifier)
        with pytest.raises(ModelError, match=rf"^toy gives no gradient at features: .*{why}.*; use a method that n"):
            method(classifier)


def test_unknown_options_are_refused_in_a_sentence():
    classifier = nets.classifier_of(nets.linear([1.0, 2.0]))
    with pytest.raises(InputError, match=r"^integrated-gradients has no option steps; did you mean n_steps\? Its opt"):
        load_explainer("integrated-gradients", classifier=classifier, steps=3)
    with pytest.raises(InputError, match=r"^stage is one of waveform, stft, features, got 'map'"):
        load_explainer("saliency", classifier=classifier, stage="map")
    with pytest.raises(InputError, match=r"n_steps is a whole number, got 2\.5"):
        IntegratedGradients(classifier, n_steps=2.5)
    with pytest.raises(InputError, match="chunk is at least 1, got 0"):
        Saliency(classifier, chunk=0)
    assert set(MINE) <= set(EXPLAINERS)


def test_settings_import_without_torch():
    code = "import sys, earmark.explainers.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- helpers ----------------------------------------------------------------------------------------------------------


class counted:  # noqa: N801
    """Counts the rows that go through a module, forward and backward."""

    def __init__(self, module):
        self.module, self.passes = module, {"forward": 0, "backward": 0}

    def __enter__(self):
        self.handle = self.module.register_forward_hook(self.count)
        return self.passes

    def count(self, _module, _inputs, logits):
        self.passes["forward"] += len(logits)
        if logits.requires_grad:
            logits.register_hook(self.back)

    def back(self, slope):
        self.passes["backward"] += len(slope)

    def __exit__(self, *_):
        self.handle.remove()


def fail_from(place):
    calls = iter(range(1000))

    def hook(*_):
        if next(calls) >= place:
            raise ArithmeticError

    return hook


def state_of(module):
    parts = [
        (
            name,
            part.training,
            *(len(getattr(part, f"_{kind}_hooks")) for kind in ("forward", "forward_pre", "backward", "backward_pre")),
            sorted(vars(part)),
        )
        for name, part in module.named_modules()
    ]
    parts += [(name, p.requires_grad, p.grad is None) for name, p in module.named_parameters()]
    parts.append(str(np.random.get_state()[1][:5]) + str(np.random.get_state()[2]))
    return parts, [torch.get_rng_state(), *(v.clone() for v in module.state_dict().values())]
