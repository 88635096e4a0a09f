import json

import pytest
import torch
from tests.classifiers import networks
from tests.classifiers.test_base import assert_same, busy_module, state_of, wrap_busy
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.checks.verify import verify
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.classifiers.wrap import wrap
from earmark.testing.toys import band_classifier


def failed(report):
    return {check.name for check in report.checks if check.ok is False}


def bundle(module, **options):
    """Wraps a module of 8 x 16 cells a second."""
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 1.0, **options}
    front_end = networks.LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=32)
    return wrap(module, front_end, ["a", "b", "c"], **settings)


def net(head=networks.gap_linear, **options):
    return bundle(networks.seeded(lambda: networks.Net(head())), **options)


@pytest.mark.parametrize("map_axes", ["FT", "TF", "T"])
def test_toys_keep_their_promises(map_axes):
    report = verify(band_classifier(map_axes=map_axes))
    assert report.ok, failed(report)
    assert (report.classifier, report.tier, report.notice) == ("band-energies", "T1", "")
    assert len(report.fingerprint) == 64
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


class Squares(nn.Module):
    """Is a head of tier T0."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(networks.CHANNELS, networks.LABELS)

    def forward(self, maps):
        return self.linear(maps.pow(2).mean((2, 3)))


HEADS = ["gap_linear", "gap_batch_norm_stack", "gap_layer_norm", "conv_mean", "relu_mlp", "max_pool", "gelu_mlp"]


@pytest.mark.parametrize("head", [*HEADS, "squares"])
def test_networks_keep_their_promises(head):
    report = verify(net(Squares if head == "squares" else getattr(networks, head)))
    assert report.ok, failed(report)
    checks = {check.name: check for check in report.checks}
    assert checks["max |dlogit|, tapped"].value == 0.0
    assert checks["max |dlogit|, entry at features"].value == 0.0
    residual = checks["completeness residual"]
    assert (report.tier == "T0") == (head == "squares")
    if report.tier == "T0":
        assert residual.ok is None
        assert report.notice == residual.meaning != ""
    else:
        assert residual.value < 1e-5


def test_the_small_cnn_keeps_its_promises_on_given_clips():
    front_end = networks.LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=32)
    module = networks.seeded(lambda: SmallCnn(SmallCnnConfig(32, 3, (8, 8, 12))))
    c = wrap(module, front_end, ["a", "b", "c"], map_layer="blocks", head=module.head, probe_s=1.0)
    clips = [
        Waveform(torch.randn(2, 22050, generator=torch.Generator().manual_seed(i)).tanh(), 22050) for i in range(2)
    ]
    report = verify(c, clips=clips)
    assert report.ok, failed(report)


def test_the_module_is_afterwards_what_it_was():
    module = busy_module()
    c = wrap_busy(module)
    before = state_of(module)
    report = verify(c)
    assert_same(before, state_of(module))
    assert next(check for check in report.checks if check.name == "module unchanged").ok


def test_a_given_head_that_is_another_is_found():
    other = networks.seeded(networks.gap_linear, seed=9).eval()
    module = networks.seeded(lambda: networks.Net(networks.gap_linear()))
    assert verify(bundle(module, head=module.head)).ok
    report = verify(bundle(module, head=other))
    assert not report.ok
    assert {"max |dlogit|, entry at map", "completeness residual"} <= failed(report)


def test_logits_that_pass_by_the_map_are_taken_along():
    """A skip around the map layer: entry at the map sees the skip of the clip itself."""

    class Bypass(networks.Net):
        def forward(self, x):
            return self.head(self.features(x)) + x.mean((1, 2, 3))[:, None] * torch.tensor([1.0, -1.0, 0.0])

    module = networks.seeded(lambda: Bypass(networks.gap_linear()))
    report = verify(bundle(module))
    assert report.ok, failed(report)


def test_a_wrong_gradient_is_found():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    class Lies(networks.Net):
        def forward(self, x):
            return self.head(self.features(Doubled.apply(x)))

    module = networks.seeded(lambda: Lies(networks.gap_linear()))
    report = verify(bundle(module))
    assert failed(report) == {"gradient against a difference quotient"}


@pytest.mark.parametrize("map_axes, feature_axes", [("TF", "CFT"), ("FT", "CTF")])
def test_axes_that_are_swapped_are_found(map_axes, feature_axes):
    report = verify(net(map_axes=map_axes, feature_axes=feature_axes))
    assert any(name.startswith("geometry residual") for name in failed(report))


def test_bands_that_are_upside_down_are_found():
    class Flipped(networks.Net):
        def forward(self, x):
            return self.head(self.flip(self.features(x)))

    class Flip(nn.Module):
        def forward(self, x):
            return x.flip(2)

    module = networks.seeded(lambda: Flipped(networks.gap_linear()))
    module.flip = Flip()
    c = bundle(module, map_layer="flip")
    assert "axis order, freq" in failed(verify(c))


def test_a_module_that_depends_on_chance_is_found():
    class Noisy(networks.Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) + 1e-3 * self.calls

    module = networks.seeded(lambda: Noisy(networks.gap_linear()))
    c = bundle(module)
    assert "max |dlogit|, tapped" in failed(verify(c))


def test_a_module_that_changes_itself_is_found():
    class Counting(networks.Net):
        def __init__(self):
            super().__init__(networks.gap_linear())
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count += 1
            return super().forward(x)

    module = networks.seeded(Counting)
    c = bundle(module)
    assert failed(verify(c)) == {"module unchanged"}
