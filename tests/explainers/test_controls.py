"""Control maps know the sound and nothing else."""

import json

import pytest
import torch
from tests.classifiers import networks
from tests.explainers import nets

from earmark.errors import InputError
from earmark.explainers.cam import GradCam
from earmark.explainers.controls import AllOnes, AllZeros, ClassMean, Edge, Energy, Random, WrongClass
from earmark.masking import mask_in
from earmark.types import Target


@pytest.fixture(scope="module")
def classifier():
    return networks.wrapped(networks.gap_linear, dtype=torch.float64)


def values_of(explainer, waveform, target=None):
    return explainer.explain(waveform, target).evidence.values


def test_energy_is_the_magnitude_and_knows_no_label(classifier):
    waveform = nets.noise(4000, rate=8000)
    magnitude = classifier.at(waveform, "stft")[0].abs()
    assert torch.equal(values_of(Energy(classifier), waveform, "a"), magnitude)
    assert torch.equal(values_of(Energy(classifier), waveform, "b"), magnitude)
    torch.testing.assert_close(values_of(Energy(classifier, power=True), waveform), magnitude**2, rtol=1e-12, atol=0)


def test_ones_keep_all_and_zeros_keep_nothing(classifier):
    waveform = nets.noise(4000, rate=8000)
    samples, grid = classifier.prepare(waveform), classifier.grid(4000)
    kept = [
        mask_in(samples, control(classifier).explain(waveform).evidence.stft_gain(grid)[None], classifier.stft)
        for control in (AllOnes, AllZeros)
    ]
    torch.testing.assert_close(kept[0], samples, rtol=0, atol=1e-12)  # float64, one STFT and its inverse
    assert kept[1].abs().max() == 0


def test_random_maps_differ_by_clip_and_seed_and_are_uniform(classifier):
    one, other = nets.noise(8000, rate=8000), nets.noise(8000, seed=2, rate=8000)
    values = values_of(Random(classifier, seed=1), one)
    assert torch.equal(values, values_of(Random(classifier, seed=1), one, "b"))
    for different in (values_of(Random(classifier, seed=1), other), values_of(Random(classifier, seed=2), one)):
        correlation = torch.corrcoef(torch.stack([values.flatten(), different.flatten()]))[0, 1]
        assert abs(correlation) < 5 / values.numel() ** 0.5  # five standard errors
    assert float(values.mean()) == pytest.approx(0.5, abs=5 * (1 / 12) ** 0.5 / values.numel() ** 0.5)
    assert 0 <= values.min() < values.max() <= 1


def test_smooth_random_maps_are_smooth(classifier):
    waveform = nets.noise(8000, rate=8000)
    smooth = values_of(Random(classifier, smooth=True), waveform)
    assert (smooth.min(), smooth.max()) == (0, 1)
    steps = [smooth.diff(dim=dim).abs().mean() / smooth.std() for dim in (0, 1)]
    # Blurred by s cells, neighbors differ by about 1 / (sqrt(2) s) standard deviations times sqrt(2 / pi) on average:
    # 200 Hz are 6.4 bins, 0.05 s are 3.1 frames; edges are rougher.
    assert 0.05 < steps[0] < 0.15
    assert 0.1 < steps[1] < 0.3


def test_edges_are_where_the_level_changes(classifier):
    half = nets.noise(8000, rate=8000)
    half.samples[:, :4000] = 0
    edges = values_of(Edge(classifier), half)
    assert edges[:, :30].max() == 0
    assert edges.mean(0).argmax() == 4000 // 128


def test_the_wrong_class_is_another_ones_map(classifier):
    waveform = nets.noise(4000, rate=8000)
    control = WrongClass(GradCam(classifier))
    other = control.other(Target(1, "b"))
    assert other.index in (0, 2)
    assert classifier.labels[other.index] == other.label
    expected = values_of(GradCam(classifier), waveform, other)
    assert torch.equal(values_of(control, waveform, "b"), expected)
    told = control.explain(waveform, "b")
    assert told.target.label == "b"
    assert told.provenance.forward_passes == 3
    assert control.other(Target(0, "a", "contrast", 1, "b")).index == 2


def test_the_mean_map_of_a_class_knows_its_clips_only(classifier):
    clips = [nets.noise(4000, seed=s, rate=8000) for s in (4, 5)]
    control = ClassMean(GradCam(classifier), {"a": clips})
    expected = torch.stack([values_of(GradCam(classifier), clip, "a") for clip in clips]).mean(0)
    torch.testing.assert_close(values_of(control, nets.noise(4000, rate=8000), "a"), expected, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="The mean map of 'b' needs clips of it, got none"):
        control.explain(nets.noise(4000, rate=8000), "b")


def test_settings_of_a_control_tell_whose_maps_and_which_clips(classifier):
    clips = [nets.noise(4000, seed=s, rate=8000) for s in (4, 5)]
    controls = [
        WrongClass(GradCam(classifier)),
        WrongClass(Energy(classifier)),
        WrongClass(Energy(classifier, power=True)),
    ]
    controls += [ClassMean(Energy(classifier), {"a": clips[:1]}), ClassMean(Energy(classifier), {"a": clips[1:]})]
    told = [json.dumps(control._config()) for control in controls]
    assert len(set(told)) == 5 and told[0] == json.dumps(WrongClass(GradCam(classifier))._config())
