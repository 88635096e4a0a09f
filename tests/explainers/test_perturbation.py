"""The methods that switch parts off: exact sums, planted evidence, Captum's on the same windows, and good manners."""

import json
import math

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation
from captum.attr import Occlusion as CaptumOcclusion
from tests.reference import perturbation as twin
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError
from earmark.explainers.load import load_explainer
from earmark.explainers.occlusion import Occlusion, Windows
from earmark.explainers.perturbation import Canvas
from earmark.explainers.perturbation_config import (
    LimeConfig,
    OcclusionConfig,
)
from earmark.explainers.rise import CoarseMasks, Rise
from earmark.explainers.surrogates import AudioLime, KernelShap, Lime, PartSounds, Slime
from earmark.testing.toys import PowerSpectrogram, band_classifier
from earmark.types import Target, seeded

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, sums of some thousand terms near 1
#: Every method with few samples, and how many passes of the classifier one second costs.
QUICK = [
    (Occlusion, {"window_s": 0.5, "octave": 2.0}, 3 * 6 + 2),
    (Rise, {"n_samples": 20}, 22),
    (Lime, {"n_samples": 20, "max_parts": 12}, 22),
    (KernelShap, {"n_samples": 20, "max_parts": 12}, 22),
    (KernelShap, {"max_parts": 4}, 16),
    (Slime, {"n_samples": 20}, 22),
    (AudioLime, {"n_samples": 20, "nmf_steps": 10}, 22),
]


def noise(n_samples=8000, seed=0, level=0.1):
    return Waveform(level * torch.randn(n_samples, generator=seeded(seed)), 8000)


def band_target(label=3):
    return Target(label, f"band {label}")


class InWindow(nn.Module):
    """Hears the mean power of some frames and nothing else."""

    def __init__(self, first, end):
        super().__init__()
        self.first, self.end = first, end
        self.map = nn.Identity()
        self.linear = nn.Linear(1, 2).double()
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[1.0], [-1.0]]))
            self.linear.bias.zero_()

    def forward(self, power):
        inside = torch.zeros(power.shape[-1], dtype=power.dtype)
        inside[self.first : self.end] = 100
        return self.linear(self.map((power * inside)[:, None]).mean((2, 3)))


def window_classifier(first, end):
    return wrap(InWindow(first, end), PowerSpectrogram(), ["in", "out"], map_layer="map", probe_s=1.0)


@pytest.fixture(scope="module")
def bands():
    return band_classifier()


@pytest.fixture(scope="module")
def energies(bands):
    """The energies of the bins of a clip, with weights such that those inside band 3 sum to its logit."""
    samples = bands.prepare(noise())
    power = bands.front_end(samples)[0]
    weighted = torch.zeros_like(power)
    weighted[48:64, :120] = power[48:64, :120] / (16 * 120)  # 15 whole time cells of 8 frames
    assert float(weighted.sum()) == pytest.approx(float(bands.logits(samples)[0, 3]), abs=1e-12)
    return torch.nn.functional.pad(weighted, (0, bands.grid(8000).shape[1] - power.shape[1]))


# -- known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"max_parts": 7}, {"max_parts": 30, "n_samples": 200}])
def test_shapley_values_of_a_linear_score_are_the_parts_own_shares(bands, energies, options):
    """With entry at the STFT the score is linear in the gains of disjoint parts: each part's value is its energy."""
    explainer = KernelShap(bands, reentry="stft", **options)
    canvas = Canvas(bands, bands.prepare(noise())[0], explainer.config)
    each = explainer._parts(canvas).spread(torch.eye(explainer._parts(canvas).n_parts)).double()
    fitted, _ = explainer.parts(noise(), 3)
    torch.testing.assert_close(fitted.values, (each * energies).sum((1, 2)), **EXACT)
    assert fitted.r2 == pytest.approx(1) and fitted.error < 1e-12


def test_lime_without_ridge_gives_the_same_shares(bands, energies):
    explainer = Lime(bands, reentry="stft", alpha=0.0, max_parts=12, n_samples=200)
    shap, _ = KernelShap(bands, reentry="stft", max_parts=12, n_samples=100).parts(noise(), 3)
    fitted, _ = explainer.parts(noise(), 3)
    torch.testing.assert_close(fitted.values, shap.values, rtol=0, atol=1e-9)  # normal equations, weights down to e^-16


@pytest.mark.parametrize("score", ["logit", "prob", "log_prob", "contrast"])
@pytest.mark.parametrize("fill", ["silence", "mean", "noise"])
def test_shapley_values_sum_to_the_score_less_that_of_the_fill(bands, score, fill):
    target = Target(3, "band 3", score, *((1, "band 1") if score == "contrast" else ()))
    explainer = KernelShap(bands, fill=fill, max_parts=15, n_samples=40)
    scored = explainer._forward(bands.prepare(noise())).state[0]
    fitted = explainer._fitted(scored, target)
    canvas = Canvas(bands, bands.prepare(noise())[0], explainer.config)
    ends = bands.logits(torch.stack([canvas.clip, canvas.fill_sound]))
    whole, empty = target.of(ends, bands.task).tolist()
    assert float(fitted.values.sum()) == pytest.approx(whole - empty, abs=1e-12)


@pytest.mark.parametrize("axes", ["grid", "time", "frequency"])
def test_occlusion_is_the_mean_loss_over_the_windows_of_a_bin(bands, axes):
    options = {"axes": axes, "window_s": 0.25, "octave": 1.5}
    explainer = Occlusion(bands, reentry="stft", **options)
    values = explainer.explain(noise(), 3).evidence.values
    windows = Windows(bands.grid(8000), OcclusionConfig(**options))
    stft = bands.stft(bands.prepare(noise()))

    def score(gain):
        return float(bands.logits(stft * torch.from_numpy(gain), at="stft", n_samples=8000)[0, 3])

    expected = twin.occlusion(score, tuple(values.shape), windows.rows.numpy(), windows.columns.numpy())
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-5, atol=1e-9)  # evidence is kept in float32


def test_occlusion_equals_captums(bands):
    """Without overlap Captum's feature ablation; with one half, in time, its occlusion."""
    samples = bands.prepare(noise(8000 - 64))  # 125 frames
    grid, stft = bands.grid(8000 - 64), bands.stft(samples)

    def score(gain):
        masked = (gain * stft).flatten(0, 0)
        return bands.logits(masked, at="stft", n_samples=8000 - 64)[:, 3]

    ones = torch.ones(1, *grid.shape, dtype=torch.float64)
    explainer = Occlusion(bands, reentry="stft", steps=1, window_s=0.2, octave=1.0)
    windows = Windows(grid, explainer.config)
    mask = windows.rows.argmax(0)[:, None] * windows.shape[1] + windows.columns.argmax(0)
    expected = FeatureAblation(score).attribute(ones, feature_mask=mask[None])[0]
    values = explainer.evidence(samples, [band_target()])[0].values
    torch.testing.assert_close(values, expected.float(), rtol=1e-5, atol=1e-9)

    explainer = Occlusion(bands, reentry="stft", axes="time", window_s=2 * grid.duration_s / 5)  # cells of 25 frames
    expected = CaptumOcclusion(score).attribute(ones, (grid.shape[0], 50), (grid.shape[0], 25))[0]
    values = explainer.evidence(samples, [band_target()])[0].values
    torch.testing.assert_close(values, expected.float(), rtol=1e-5, atol=1e-9)


def test_coarse_masks_are_bilinear_with_a_mean_of_p():
    masks = CoarseMasks.drawn(3, 0.5, (3, 4), (12, 17), seeded(0))
    for i, mask in enumerate(masks.gains(torch.arange(3))):
        expected = twin.coarse_mask(masks.nodes[i].numpy(), masks.shift[i].tolist(), (12, 17))
        np.testing.assert_allclose(mask.numpy(), expected, atol=2e-6)  # float32
    many = CoarseMasks.drawn(4000, 0.3, (3, 4), (12, 17), seeded(1)).gains(torch.arange(4000))
    assert float((many.mean(0) - 0.3).abs().max()) < 4 * math.sqrt(0.3 * 0.7 / 4000)  # in every bin, corners too


def rise_of(score_of_masks, n, seed, shape=(12, 16), p=0.5, centered=True):
    """Returns RISE's map of a linear function of the mask, from its parts."""
    masks = CoarseMasks.drawn(n, p, (4, 4), shape, seeded(seed)).gains(torch.arange(n)).double()
    y = score_of_masks(masks)
    return twin.rise((y - y.mean() if centered else y).numpy(), masks.numpy(), p)


def test_rise_of_a_linear_score_is_the_smoothed_weights_and_its_error_falls_with_the_root_of_n():
    weights = torch.randn(12, 16, generator=seeded(5), dtype=torch.float64)

    def linear(masks):
        return (masks * weights).sum((1, 2))

    def overlap(n):
        place = np.linspace(0, 4, n)
        return np.array([[twin.cubic_spline(a - b) for b in place] for a in place])

    expected = 0.5 * overlap(12) @ weights.numpy() @ overlap(16)  # Cov(m_b, m_b') / p = (1 - p) B(f) B(t)
    error = [np.sqrt(np.mean([(rise_of(linear, n, seed) - expected) ** 2 for seed in range(12)])) for n in (100, 1600)]
    assert error[1] < 0.3 * np.abs(expected).max()
    assert 3 < error[0] / error[1] < 5.3  # 4 = sqrt(16); 12 draws of each
    published = rise_of(linear, 20000, 0, centered=False) - expected
    assert np.abs(published - 0.5 * float(weights.sum())).max() < 1.0  # the constant p sum(w); 4 deviations at 20,000


def test_rise_is_its_sum(bands):
    explainer = Rise(bands, n_samples=9, grid=(3, 3), centered=False, reentry="stft")
    done = explainer._forward(bands.prepare(noise()))
    masks, p = done.state[0].masks.gains(torch.arange(9)).numpy(), 0.5
    stft = bands.stft(bands.prepare(noise()))
    scores = [float(bands.logits(stft * torch.from_numpy(m), at="stft", n_samples=8000)[0, 3]) for m in masks]
    halves = [twin.rise(scores[::2], masks[::2], p), twin.rise(scores[1::2], masks[1::2], p)]
    values = explainer._valued(done.state[0], band_target()).values.numpy()
    np.testing.assert_allclose(values, np.mean(halves, 0), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Occlusion, {"window_s": 0.2}),
        (KernelShap, {"span_s": 0.1}),
        (Lime, {"span_s": 0.1, "n_samples": 200}),
    ],
)
@pytest.mark.parametrize("planted", ["band", "window"])
def test_planted_evidence_is_found(bands, kind, options, planted):
    truth = torch.zeros(bands.grid(8000).shape, dtype=torch.bool)
    if planted == "band":
        classifier = bands
        truth[48:64] = True
    else:
        classifier = window_classifier(50, 75)
        truth[:, 50:75] = True
    axes = {"band": "frequency", "window": "time"}[planted]
    options = {**options, **({"axes": axes} if kind is Occlusion else {"segments": axes})}
    evidence = kind(classifier, **options).explain(noise(), 3 if planted == "band" else 0).evidence
    assert twin.auc(evidence.values.numpy(), truth.numpy()) >= 0.95


@pytest.mark.parametrize(("kind", "options"), [(Occlusion, {}), (KernelShap, {"n_samples": 600})])
def test_a_planted_sound_is_found_in_time_and_frequency(bands, kind, options):
    """A tone in band 3 from 0.5 to 0.75 s, over noise: the label hears it there."""
    time = torch.arange(8000) / 8000
    tone = torch.sin(2 * math.pi * 1750 * time) * ((time > 0.5) & (time < 0.75))
    clip = Waveform(noise(level=0.01).samples + 0.5 * tone, 8000)
    truth = np.zeros(bands.grid(8000).shape, bool)
    truth[54:59, 63:94] = True  # the tone's own bins and frames
    assert twin.auc(kind(bands, **options).explain(clip, 3).evidence.values.numpy(), truth) >= 0.95


# -- how masked clips are made ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["silence", "band_mean", "noise"])
@pytest.mark.parametrize("n_samples", [8000, 5001, 200])  # whole hops, not, less than a window
def test_a_masked_clip_is_the_sum_of_its_parts(bands, fill, n_samples):
    config = LimeConfig(fill=fill, max_parts=20)
    canvas = Canvas(bands, bands.prepare(noise(n_samples))[0], config)
    parts = Lime(bands, config)._parts(canvas).like(canvas.clip)
    z = (torch.rand(5, parts.n_parts, generator=seeded(0)) < 0.5).double()
    z[0], z[1] = 1, 0
    sounds = PartSounds(canvas, parts)
    mixed = sounds.mixed(z)
    torch.testing.assert_close(mixed, canvas.sound_of(canvas.fill + parts.spread(z) * canvas.difference), **EXACT)
    torch.testing.assert_close(mixed[0], canvas.clip, **EXACT)
    torch.testing.assert_close(mixed[1], canvas.fill_sound, **EXACT)
    torch.testing.assert_close(sounds.alone().sum(0) + canvas.fill_sound, canvas.clip, **EXACT)
    assert torch.equal(mixed[2:3], sounds.mixed(z[2:3]))  # the bits of a row do not depend on its batch


def test_occluded_clips_are_heard_as_well(bands):
    """At the waveform, cutting out a window is subtracting its sound; here against whole inverse STFTs."""
    explainer = Occlusion(bands, window_s=0.4, octave=2.0, fill="noise")
    samples = bands.prepare(noise())
    scored = explainer._forward(samples).state[0]
    canvas, windows = Canvas(bands, samples[0], explainer.config), scored.masks
    masks = 1 - windows.rows[None, :, :, None] * windows.columns[:, None, None, :]  # by time, then by frequency
    sounds = canvas.sound_of(canvas.fill + masks.flatten(0, 1).double() * canvas.difference)
    torch.testing.assert_close(scored.logits, bands.logits(sounds), **EXACT)


@pytest.mark.parametrize("name", ["occlusion", "rise", "lime", "kernel-shap", "slime", "audiolime"])
def test_methods_are_found_by_name_with_their_settings(bands, name):
    explainer = load_explainer(name, classifier=bands, seed=7, fill="noise")
    assert (explainer.method, explainer.config.seed, explainer.config.fill) == (name, 7, "noise")
    assert json.loads(json.dumps(explainer.config.to_dict()))["reentry"] == "waveform"


# -- good manners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options", "passes"), QUICK)
def test_a_clip_has_the_same_bits_alone_and_in_a_batch(bands, kind, options, passes):
    before = torch.random.get_rng_state()
    clips = torch.cat([bands.prepare(noise(seed=seed)) for seed in range(3)])
    together = kind(bands, **options).evidence(clips, [band_target()] * 3)
    for clip, evidence in zip(clips, together, strict=True):
        alone = kind(bands, **options).evidence(clip[None], [band_target()])[0]
        assert torch.equal(alone.values, evidence.values) and bool(evidence.values.isfinite().all())
        assert evidence.values.shape == bands.grid(8000).shape
    other = kind(bands, chunk=1, **options).evidence(clips[:1], [band_target()])[0]
    torch.testing.assert_close(other.values, together[0].values, rtol=1e-4, atol=1e-7)  # rounding, kept in float32
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("kind", "options", "passes"), QUICK)
def test_passes_are_counted_and_shared_between_targets(bands, kind, options, passes):
    seen = []
    hook = bands.module.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    try:
        explainer = kind(bands, **options)
        first = explainer.explain(noise(), 3)
        assert first.provenance.forward_passes == sum(seen) == passes
        second = explainer.explain(noise(), 4)
        assert sum(seen) == passes, "the second target of a clip ran the classifier"
    finally:
        hook.remove()
    assert not torch.equal(first.evidence.values, second.evidence.values)
    assert first.provenance.seed == (None if kind is Occlusion else 42)  # it draws nothing
    assert first.provenance.config["fill"] == "silence"


@pytest.mark.parametrize("kind", [KernelShap, Occlusion])
def test_a_contrast_is_the_difference_of_two_labels(bands, kind):
    explainer = kind(bands, **({"max_parts": 8} if kind is KernelShap else {"axes": "time"}))
    one, two = (explainer.explain(noise(), label).evidence.values for label in (3, 4))
    contrast = explainer.explain(noise(), "band 3", against="band 4").evidence.values
    torch.testing.assert_close(contrast, one - two, rtol=1e-4, atol=1e-8)  # kept in float32


@pytest.mark.parametrize(("kind", "options", "passes"), QUICK)
def test_silence_has_values_of_zero_and_a_short_clip_is_explained(bands, kind, options, passes):
    evidence = kind(bands, **options).explain(Waveform(torch.zeros(8000), 8000), 3).evidence
    assert not evidence.values.any() and evidence.regions() == []
    short = kind(bands, **options).explain(noise(900), 3).evidence
    assert bool(short.values.isfinite().all())


def test_the_samples_depend_on_the_seed(bands):
    one, two = (Lime(bands, n_samples=50, seed=seed).explain(noise(), 3).evidence.values for seed in (1, 2))
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        (Lime, {"n_sample": 3}, "n_samples"),
        (Lime, {"n_samples": 1}, "at least 4"),
        (Lime, {"kernel_width": 0}, "positive"),
        (KernelShap, {"exact_up_to": 30}, "0 to 16"),
        (Rise, {"p": 1.0}, "between 0 and 1"),
        (Rise, {"grid": (0, 3)}, "at least 1"),
        (Occlusion, {"window_s": 0}, "positive"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(bands, kind, options, sentence):
    with pytest.raises(InputError, match=sentence):
        kind(bands, **options)
