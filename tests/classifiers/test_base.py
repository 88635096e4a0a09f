import json

import numpy as np
import pytest
import torch
from tests.classifiers import networks
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.testing.toys import PowerSpectrogram, band_classifier


def sounds(n_samples=4000, batch=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(8)
    return (0.2 * torch.randn(batch, n_samples, generator=generator)).to(dtype)


def state_of(module):
    """Everything that a user could find changed."""
    return (
        {k: v.clone() for k, v in module.state_dict().items()},
        [part.training for part in module.modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in module.parameters()],
        [
            len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
            for part in module.modules()
        ],
        torch.get_rng_state(),
    )


def assert_same(before, after):
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1] == after[1]
    assert [grad for grad, _ in before[2]] == [grad for grad, _ in after[2]]
    for (_, a), (_, b) in zip(before[2], after[2], strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)
    assert before[3] == after[3]
    assert torch.equal(before[4], after[4])


HEADS = ["gap_linear", "gap_batch_norm_stack", "gap_layer_norm", "flatten_linear", "relu_mlp", "max_pool"]


# The chain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n_samples", [3968, 4000, 4095])  # 32 columns each: one of the heads takes no other length
def test_every_entry_gives_the_same_logits(head, n_samples):
    c = networks.wrapped(getattr(networks, head))
    x = sounds(n_samples)
    with torch.no_grad():
        logits = c.logits(x)
        assert torch.equal(c.logits(c.at(x, "features"), at="features"), logits)
        assert torch.equal(c.logits(c.at(x, "stft"), at="stft", n_samples=n_samples), logits)
        assert torch.equal(c.logits(logits, at="logits"), logits)
        assert torch.equal(c.at(x, "logits"), logits)
        # float32: the same layers, but batches of other sizes may take other kernels
        torch.testing.assert_close(c.logits(c.at(x, "map"), at="map"), logits, rtol=1e-5, atol=1e-6)


def test_entry_through_the_inverse_stft_gives_the_same_logits():
    c, plain = networks.wrapped(networks.gap_linear), networks.small_front_end()
    c.front_end.from_stft = lambda stft, n: plain(plain.stft.inverse(stft, n))
    x = sounds()
    # the inverse STFT is exact to 1e-5, and dB of it to 1e-3 at most at the floor
    torch.testing.assert_close(c.logits(c.at(x, "stft"), at="stft", n_samples=4000), c.logits(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_tapping_changes_no_bit(head):
    c = networks.wrapped(getattr(networks, head))
    x = sounds()
    tapped = c.tap(x)
    with torch.no_grad():
        plain = c.module.eval()(c.front_end(x)[:, None])
    assert torch.equal(tapped.logits, plain)
    assert torch.equal(tapped.map, c.module.features(c.front_end(x)[:, None]))


def test_maps_are_cloned():
    """An in-place ReLU behind the map layer overwrites that layer's output, never what was tapped."""
    c = networks.wrapped(lambda: nn.Sequential(nn.ReLU(inplace=True), networks.Mean(), nn.Linear(6, 3)))
    maps = c.tap(sounds()).map
    assert (maps < 0).any()
    torch.testing.assert_close(c.logits(maps, at="map"), c.logits(sounds()), rtol=1e-5, atol=1e-6)  # other kernels


def test_gradients_flow_from_every_stage():
    c = networks.wrapped(networks.gap_linear)
    for stage in ("waveform", "stft", "features", "map"):
        x = c.at(sounds(), stage).detach().requires_grad_(True)
        c.logits(x, at=stage, n_samples=4000)[:, 1].sum().backward()
        assert torch.isfinite(x.grad).all()
        assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in c.module.parameters())


def test_logits_do_not_depend_on_batch_mates():
    c = networks.wrapped(networks.gap_batch_norm_stack)
    x = sounds(batch=5)
    alone = torch.cat([c.logits(row[None]) for row in x])
    torch.testing.assert_close(c.logits(x), alone, rtol=1e-5, atol=1e-6)  # float32, other kernels for other batches


def test_a_double_precision_module_is_run_in_double_precision():
    c = networks.wrapped(networks.gap_linear, dtype=torch.float64)
    assert c.dtype == torch.float64
    assert c.prepare(Waveform(np.zeros(4000), 8000)).dtype == torch.float64
    assert c.tap(c.prepare(Waveform(np.ones(4000), 8000))).map.dtype == torch.float64


def test_sounds_are_prepared_as_mono_at_the_classifiers_rate():
    c = networks.wrapped(networks.gap_linear)
    seconds = np.arange(44100) / 44100
    stereo = np.stack([np.sin(2 * np.pi * 500 * seconds), np.zeros(44100)])
    samples = c.prepare(Waveform(stereo, 44100))
    assert samples.shape == (1, 8000)
    expected = 0.5 * torch.sin(2 * torch.pi * 500 * torch.arange(8000, dtype=torch.float64) / 8000).float()
    torch.testing.assert_close(samples[0, 1000:-1000], expected[1000:-1000], rtol=0, atol=1e-4)  # resampled float32


def test_predictions_of_any_rate():
    c = band_classifier()
    for rate in (8000, 22050, 44100, 48000):
        tone = Waveform(0.9 * np.sin(2 * np.pi * 1700 * np.arange(rate) / rate), rate)
        prediction = c.predict(tone)
        assert prediction.label == "band 3"
        assert (prediction.labels, prediction.task) == (c.labels, "multiclass")
        assert not prediction.logits.requires_grad


@pytest.mark.parametrize("map_axes", ["FT", "TF", "T"])
@pytest.mark.parametrize("feature_axes", ["FT", "TF", "CFT", "CTF"])
def test_every_order_of_axes_is_the_same_classifier(map_axes, feature_axes):
    plain, other = band_classifier(), band_classifier(map_axes=map_axes, feature_axes=feature_axes)
    x = sounds(8000, dtype=torch.float64)
    maps = other.at(x, "map")
    # float64; the order of a sum over 120 cells differs
    torch.testing.assert_close(other.logits(x), plain.logits(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(other.logits(maps, at="map"), plain.logits(x), rtol=1e-12, atol=0)
    expected = plain.at(x, "map")
    expected = expected.mean(2, keepdim=True) if map_axes == "T" else expected
    torch.testing.assert_close(maps, expected, rtol=1e-12, atol=0)
    assert other.geometry(8000).time_edges_s == plain.geometry(8000).time_edges_s
    assert torch.equal(other.head.weight, plain.head.weight)


def test_grids():
    c = band_classifier()
    grid = c.grid(8001)
    assert grid.shape == tuple(c.at(sounds(8001), "stft").shape[1:]) == (129, 127)
    assert (float(grid.hz[-1]), grid.duration_s) == (4000.0, 8001 / 8000)
    assert float(grid.seconds[1]) == pytest.approx(0.008)


# What is done to a module is undone -------------------------------------------------------------


def busy_module():
    """In train mode but for one part, with a frozen parameter, a gradient, and a hook of its user."""
    module = networks.seeded(lambda: networks.Net(networks.gap_batch_norm_stack())).train()
    module.features[1].eval()
    module.features[0].bias.requires_grad_(False)
    module.features[0].weight.grad = torch.ones_like(module.features[0].weight)
    module.features.register_forward_hook(lambda *_: None)
    return module


def wrap_busy(module, **options):
    return wrap(
        module,
        networks.small_front_end(),
        ["a", "b", "c"],
        map_layer="features",
        feature_axes="CFT",
        probe_s=0.5,
        **options,
    )


def test_a_module_is_afterwards_what_it_was():
    module = busy_module()
    before = state_of(module)
    c = wrap_busy(module)
    x = sounds().requires_grad_(True)
    c.logits(x).sum().backward()
    tapped = c.tap(x)
    c.logits(tapped.map, at="map")
    c.head.logits(tapped.map)
    c.predict(Waveform(np.zeros(4000), 8000))
    c.geometry(4000)
    c.geometry(5000)
    _ = c.fingerprint
    assert_same(before, state_of(module))


def test_a_module_in_train_mode_is_explained_in_eval_mode():
    module = busy_module()
    c = wrap_busy(module)
    first, second = c.logits(sounds()), c.logits(sounds())
    assert torch.equal(first, second)  # no dropout
    copied = networks.seeded(lambda: networks.Net(networks.gap_batch_norm_stack())).eval()
    with torch.no_grad():
        assert torch.equal(first, copied(c.front_end(sounds())[:, None]))


class Failing(networks.Net):
    """Fails inside when told to, after layers have run."""

    fails = False

    def forward(self, x):
        maps = self.features(x)
        if self.fails:
            raise KeyError("on purpose")
        return self.head(maps)


@pytest.mark.parametrize("stage", ["waveform", "features", "map"])
def test_a_module_is_what_it_was_also_after_an_error(stage):
    module = networks.seeded(lambda: Failing(networks.gap_linear())).train()
    c = wrap_busy(module)
    x = c.at(sounds(), stage).detach()
    before = state_of(module)
    module.fails = True
    for call in (lambda: c.logits(x, at=stage), lambda: c.tap(sounds()), lambda: c.geometry(4000)):
        with pytest.raises(KeyError, match="on purpose"):
            call()
        assert_same(before, state_of(module))


def test_a_front_end_with_layers_is_put_to_rest_too():
    class Dropping(LogMel):
        def __init__(self):
            super().__init__(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
            self.drop, self.gain = nn.Dropout(0.5), nn.Parameter(torch.ones(1))

        def from_stft(self, stft, n_samples):
            return self.gain * self.drop(super().from_stft(stft, n_samples))

    module, front_end = networks.seeded(lambda: networks.Net(networks.gap_linear())), Dropping().train()
    c = wrap(module, front_end, ["a", "b", "c"], map_layer="features", feature_axes="CFT", probe_s=0.5)
    assert torch.equal(c.logits(sounds()), c.logits(sounds()))
    assert torch.equal(c.logits(c.at(sounds(), "features"), at="features"), c.logits(sounds()))
    assert front_end.training and front_end.drop.training and front_end.gain.requires_grad
    again = wrap(module, front_end, ["a", "b", "c"], map_layer="features", feature_axes="CFT", probe_s=0.5)
    assert again.fingerprint == c.fingerprint
    with torch.no_grad():
        front_end.gain.mul_(2)
    changed = wrap(module, front_end, ["a", "b", "c"], map_layer="features", feature_axes="CFT", probe_s=0.5)
    assert changed.fingerprint != c.fingerprint


# Fingerprints -----------------------------------------------------------------------------------


def fingerprint(change=lambda module: None, labels=("a", "b", "c"), front_end=None, **options):
    module = networks.seeded(lambda: networks.Net(networks.gap_batch_norm_stack()))
    change(module)
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5, **options}
    return wrap(module, front_end or networks.small_front_end(), labels, **settings).fingerprint


def test_fingerprints_are_reproducible():
    known = fingerprint()
    assert len(known) == 64
    int(known, 16)
    assert fingerprint() == known
    assert fingerprint(lambda m: m.train()) == fingerprint(lambda m: m.eval()) == known
    assert fingerprint(lambda m: m.requires_grad_(False)) == known
    assert fingerprint(name="another name", threshold=0.2) == known


def test_fingerprints_change_with_every_weight_and_buffer():
    keys = list(networks.Net(networks.gap_batch_norm_stack()).state_dict())
    assert any("running_mean" in key for key in keys)

    def nudge(key):
        def change(module):
            values = module.state_dict()[key].view(-1)
            bump = torch.nextafter(values[-1], torch.tensor(10.0)) if values.is_floating_point() else values[-1] + 1
            values[-1] = bump

        return change

    found = {fingerprint(), *(fingerprint(nudge(key)) for key in keys)}
    assert len(found) == 1 + len(keys)


def test_fingerprints_change_with_labels_front_end_task_layer_and_axes():
    found = [
        fingerprint(),
        fingerprint(labels=("a", "c", "b")),
        fingerprint(labels=("a", "b", "d")),
        fingerprint(front_end=networks.small_front_end(mean_db=1.0)),
        fingerprint(front_end=networks.small_front_end(low_hz=51.0)),
        fingerprint(task="multilabel"),
        fingerprint(map_layer="features.4"),
        fingerprint(map_axes="TF"),
    ]
    assert len(set(found)) == len(found)


# Errors -----------------------------------------------------------------------------------------


def test_stages_that_do_not_exist_are_refused():
    c = band_classifier()
    with pytest.raises(ModelError, match="has no stage 'latents'"):
        c.at(sounds(8000, dtype=torch.float64), "latents")
    with pytest.raises(ModelError, match="cannot be entered at 'latents'"):
        c.logits(sounds(8000, dtype=torch.float64), at="latents")
    with pytest.raises(ModelError, match="needs n_samples"):
        c.logits(c.at(sounds(8000, dtype=torch.float64), "stft"), at="stft")


def test_clips_that_are_too_short_are_refused():
    c = band_classifier()
    with pytest.raises(ModelError, match="may be too short for the model"):
        c.predict(Waveform(np.zeros(300), 8000))


def test_it_describes_itself():
    assert repr(band_classifier()) == "Classifier('band-energies', 8 labels, 8000 Hz, multiclass)"
    assert json.dumps(PowerSpectrogram().to_dict())
