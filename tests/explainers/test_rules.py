"""Guided backpropagation and DeepLIFT: slow twins, and every way in which a ReLU can hide."""

import warnings

import pytest
import torch
from captum.attr import DeepLift as CaptumDeepLift
from tests.classifiers import networks
from tests.explainers import nets
from tests.reference import gradient as slow
from torch import nn

from earmark.classifiers.relu import watched
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError, TargetError
from earmark.explainers.gradient import Saliency
from earmark.explainers.rules import DeepLift, GuidedBackprop, GuidedGradCam
from earmark.types import Target

F = nn.functional
EXACT = {"rtol": 0, "atol": 1e-12}  # float64, a handful of operations
HIDDEN = [[1.0, -0.5, 0.25], [-0.75, 1.0, 0.5], [0.5, 0.5, -1.0]]
OUT = [1.0, -2.0, 0.5]
X = [1.0, 0.75, 0.5]


class Two(nn.Module):
    """out . activation(hidden x), twice the same if asked."""

    def __init__(self, activation):
        super().__init__()
        self.hidden = nn.Parameter(torch.tensor(HIDDEN, dtype=torch.float64))
        self.out = nn.Parameter(torch.tensor([OUT], dtype=torch.float64))
        self.activation = activation

    def forward(self, x):
        return self.activation(x @ self.hidden.T) @ self.out.T


def in_place(function):
    def activation(x):
        x = x + 0
        function(x)
        return x

    return activation


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x + 0))


class Mine(nn.ReLU):
    """A subclass, which Captum's tables do not know."""


WAYS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "subclass": Mine(),
    "function": F.relu,
    "function in place": in_place(F.relu_),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "method in place": in_place(lambda x: x.relu_()),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "threshold": nn.Threshold(0, 0),
    "reused": Reused(),
}


def two(activation):
    return nets.classifier_of(Two(activation), n_columns=3)


def raw_of(explainer):
    evidence = explainer.explain(nets.clip(*X)).evidence
    return (evidence.values if evidence.raw is None else evidence.raw)[0].tolist()


@pytest.mark.parametrize("way", WAYS)
def test_a_relu_is_found_however_it_is_called(way):
    classifier = two(WAYS[way])
    guided = raw_of(GuidedBackprop(classifier, stage="features"))
    torch.testing.assert_close(guided, slow.guided(X, HIDDEN, OUT), **EXACT)
    plain = raw_of(Saliency(classifier, stage="features"))
    assert max(abs(a - b) for a, b in zip(guided, plain, strict=True)) > 0.5
    lifted = raw_of(DeepLift(classifier))
    torch.testing.assert_close(lifted, slow.rescale(X, [0.0] * 3, HIDDEN, OUT), **EXACT)
    assert not any(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in classifier.module.modules())


def test_a_negative_gradient_is_stopped():
    classifier = nets.classifier_of(lambda x: -x[:, :1].relu() + 0 * x[:, 1:])
    clip = nets.clip(2.0, 1.0)
    values = [method(classifier, stage="features").explain(clip).evidence.raw for method in (Saliency, GuidedBackprop)]
    assert [v.tolist() for v in values] == [[[-1.0, 0.0]], [[0.0, 0.0]]]


class Hidden(nn.Module):
    def forward(self, x):
        return torch.ops.aten.relu(x) + torch.relu(x)


def test_what_cannot_be_replaced_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and used all the same
        scripted = torch.jit.script(nn.ReLU())
    for activation, word in (
        (Hidden(), "has 1 ReLUs that could not be replaced"),
        (scripted, "is compiled by TorchScript"),
        (nn.GELU(), "has no ReLU, so that guided backpropagation is not defined"),
        (nn.Sequential(nn.ReLU(), nn.SiLU()), "uses SiLU, for which guided backpropagation has no rule"),
        (lambda x: torch.relu(x) - torch.relu(-x), "has no"),
    ):
        classifier = two(activation)
        if word == "has no":
            assert GuidedBackprop.fits(classifier) is None
            continue
        for method in (GuidedBackprop, GuidedGradCam):
            with pytest.raises(ModelError, match=word):
                method(classifier)
    for activation, word in ((nn.GELU(), "uses GELU, for which DeepLIFT has no rule"), (scripted, "TorchScript")):
        assert word in DeepLift.fits(two(activation))


def test_relus_that_change_nothing_are_refused():
    positive = nets.classifier_of(lambda x: x.relu().sum(1, keepdim=True))
    with pytest.raises(ModelError, match="equals its plain gradient for every label"):
        GuidedBackprop(positive)


def test_deeplift_is_captums_on_a_network_of_layers_and_complete():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    waveform = nets.noise(4000, rate=8000)
    told = DeepLift(classifier).explain(waveform, "a", against="c")
    features = classifier.at(waveform, "features")
    silence = classifier.at(0 * classifier.prepare(waveform), "features")
    module = classifier.module.eval()
    with pytest.warns(UserWarning, match="Setting forward"):
        expected = [
            CaptumDeepLift(module).attribute(features[:, None].clone().requires_grad_(), silence[:, None], target=i)
            for i in (0, 2)
        ]
    torch.testing.assert_close(told.evidence.raw, (expected[0] - expected[1])[0, 0].detach(), rtol=0, atol=1e-10)
    assert told.evidence.measured["gap"] < 1e-10
    with pytest.raises(TargetError, match="deeplift explains logit and contrast, got score 'prob'"):
        DeepLift(classifier).explain(waveform, Target(0, "a", "prob"))


class Pooling(nn.Module):
    """Maxima over pairs: a rule that Captum has, but not for several clips at once."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool1d(2)
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return self.linear(self.pool(x[:, None])[:, 0])


def test_maxima_do_not_depend_on_batch_mates():
    classifier = nets.classifier_of(Pooling(), n_columns=4)
    explainer = DeepLift(classifier)
    clips = torch.tensor([[1.0, 0.0, 0.5, 2.0], [0.0, 0.0, 3.0, 1.0]], dtype=torch.float64)
    together = explainer.evidence(clips, [None, None])
    for i, evidence in enumerate(together):
        assert torch.equal(evidence.raw, explainer.evidence(clips[i : i + 1], [None])[0].raw)
        assert evidence.measured["gap"] < 1e-12


class Convolutions(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True), pool, nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        )
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(self.layers(x).mean((2, 3)))


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((3, 2), 1, dilation=2), nn.MaxPool2d((1, 3), (1, 2))]
)
def test_deeplift_is_complete_through_maxima_behind_relus(pool):
    module = networks.seeded(lambda: Convolutions(pool)).double()
    settings = {"map_layer": "layers", "feature_axes": "CFT", "probe_s": 0.5}
    classifier = wrap(module, networks.small_front_end(), ["a", "b", "c"], **settings)
    waveform = nets.noise(4000, rate=8000)
    assert DeepLift(classifier).explain(waveform).evidence.measured["gap"] < 1e-10
    features = classifier.at(waveform, "features")
    with watched(module) as watch:
        seen = classifier.logits(features.requires_grad_(), at="features")
    assert torch.equal(seen, classifier.logits(features, at="features"))
    assert len(watch.calls) == 3


def test_skips_around_a_relu_are_kept():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64))

        def forward(self, x):
            return (torch.relu(x) + x) @ self.weight

    classifier = nets.classifier_of(Skip(), n_columns=3)
    clip = nets.clip(1.0, 0.5, -1.0)
    guided = GuidedBackprop(classifier, stage="features").explain(clip).evidence.raw[0]
    assert guided.tolist() == [2.0, -2.0, 0.5]  # through the skip all, through the ReLU what is positive and on
    lifted = DeepLift(classifier).explain(clip).evidence.raw[0]
    torch.testing.assert_close(lifted, torch.tensor([2.0, -2.0, -0.5], dtype=torch.float64), **EXACT)


def test_guided_grad_cam_is_the_product():
    classifier = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    waveform = nets.noise(4000, rate=8000)
    from earmark.explainers.cam import GradCam

    cam = GradCam(classifier).explain(waveform, "b").evidence.values
    guided = GuidedBackprop(classifier).explain(waveform, "b").evidence.values
    both = GuidedGradCam(classifier).explain(waveform, "b").evidence.values
    torch.testing.assert_close(both, cam * guided, rtol=1e-9, atol=1e-14)
    at_features = GuidedGradCam(classifier, stage="features").explain(waveform, "b").evidence
    assert at_features.raw.shape == (16, 32)
    assert at_features.stage == "features"


def test_the_watch_leaves_results_alone():
    for way, activation in WAYS.items():
        module = Two(activation).double()
        x = torch.tensor([X, [-1.0, 2.0, 0.5]], dtype=torch.float64, requires_grad=True)
        with watched(module) as watch:
            seen = module(x)
        assert torch.equal(seen, module(x)), way
        assert watch.calls, way
        with watched(module, watch.calls), pytest.raises(ModelError, match="calls other activations than"):
            module(x)
            module(x)
