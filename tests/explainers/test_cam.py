"""Class activation maps: CAM as the free test, slow twins, axes of every order, what has no map."""

import copy

import pytest
import torch
from captum.attr import LayerGradCam
from tests.classifiers import networks
from tests.explainers import nets
from tests.reference import gradient as slow
from torch import nn

from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.explainers.cam import GradCam, GradCamPlusPlus, plus_plus_weights
from earmark.testing.toys import band_classifier

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, sums of some dozen terms near 1
METHODS = (GradCam, GradCamPlusPlus)


def test_grad_cam_of_a_mean_and_a_linear_layer_is_cam_over_cells():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    waveform = nets.noise(4000, rate=8000)
    maps = classifier.at(waveform, "map")[0]
    cam = torch.einsum("k,kft->ft", classifier.module.head[2].weight[1].detach(), maps) / maps[0].numel()
    evidence = GradCam(classifier).explain(waveform, "b").evidence
    torch.testing.assert_close(evidence.raw, cam, **EXACT)
    geometry, grid = classifier.geometry(4000), classifier.grid(4000)
    torch.testing.assert_close(evidence.values, geometry.sample(cam.clamp_min(0), grid.hz, grid.seconds), **EXACT)
    assert evidence.unsigned
    signed = GradCam(classifier, signed=True).explain(waveform, "b").evidence
    torch.testing.assert_close(signed.values, geometry.sample(cam, grid.hz, grid.seconds), **EXACT)
    assert not signed.unsigned
    assert evidence.stage == "map"


def test_both_are_their_slow_twins_through_a_head_that_is_not_linear():
    classifier = networks.wrapped(networks.conv_mean, dtype=torch.float64)
    waveform = nets.noise(4000, rate=8000)
    maps = classifier.at(waveform, "map").detach().requires_grad_()
    (slopes,) = torch.autograd.grad(classifier.logits(maps, at="map")[0, 2], maps)
    for method, twin in ((GradCam, slow.grad_cam), (GradCamPlusPlus, slow.grad_cam_plus_plus)):
        found = method(classifier).explain(waveform, "c").evidence.raw
        torch.testing.assert_close(found.tolist(), twin(maps[0].tolist(), slopes[0].tolist()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("axes", ["FT", "TF", "T"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_any_order_of_axes(method, axes):
    classifier = band_classifier(map_axes=axes)
    seconds = torch.arange(8000) / 8000
    samples = (0.5 * torch.sin(2 * torch.pi * 1250 * seconds) * (seconds > 0.5)).double()[None]
    (evidence,) = method(classifier).evidence(samples, [None])
    assert evidence.raw.shape == ((1, 15) if axes == "T" else (8, 15))
    assert evidence.raw.argmax(1).min() >= 0
    rows, columns = divmod(int(evidence.raw.argmax()), 15)
    assert rows == (0 if axes == "T" else 2)
    assert columns >= 8  # the second half


def test_plus_plus_is_finite_without_gradients():
    zeros = torch.zeros(1, 2, 3, 4)
    assert plus_plus_weights(torch.rand(1, 2, 3, 4), zeros).tolist() == [[0.0, 0.0]]
    dead = nets.classifier_of(lambda x: (x.sum(1, keepdim=True) - 5).relu(), n_columns=4)
    for method in METHODS:
        evidence = method(dead).explain(nets.clip(0.1, 0.2, 0.1, 0.1)).evidence
        assert evidence.raw.abs().max() == 0
        assert evidence.regions() == []


def test_one_pass_to_decide_and_one_for_the_gradient():
    classifier = networks.wrapped(networks.gap_linear)
    module = classifier.module
    given = wrap(
        module,
        networks.small_front_end(),
        ["a", "b", "c"],
        map_layer="features",
        feature_axes="CFT",
        probe_s=0.5,
        head=module.head,
    )
    waveform = nets.noise(4000, rate=8000)
    costs = [GradCamPlusPlus(c).explain(waveform).provenance for c in (classifier, given)]
    assert [(c.forward_passes, c.backward_passes) for c in costs] == [(2, 1), (2, 1)]


def test_grad_cam_is_captums():
    classifier = networks.wrapped(networks.gap_linear)
    samples = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    features = classifier.at(samples, "features")[:, None].requires_grad_()
    module = copy.deepcopy(classifier.module).eval()
    layer = module.get_submodule(classifier.map_layer)
    theirs = LayerGradCam(module, layer).attribute(features, target=1, relu_attributions=False)
    with classifier.cut(samples) as cut:
        gradient = cut.gradient(cut.logits[:, 1])
    ours = (gradient.mean((2, 3), keepdim=True) * cut.map).sum(1)
    torch.testing.assert_close(ours, theirs[:, 0].detach())


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolve = nn.Conv2d(1, 3, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(self.pool(self.convolve(x)).flatten(1))


def test_a_map_of_one_cell_is_refused():
    module = networks.seeded(Pooled)
    classifier = wrap(
        module, networks.small_front_end(), ["a", "b"], map_layer="pool", feature_axes="CFT", probe_s=0.5, name="toy"
    )
    for method in METHODS:
        with pytest.raises(ModelError, match=r"^The map of toy has one cell, .*; wrap the model with an earlier layer"):
            method(classifier)
