"""Copies with re-drawn weights: which layers, in which order, with which numbers, and what stays as it was."""

import pytest
import torch
from tests.checks.trained import tones, trained
from torch import nn

from earmark.checks.redraw import Redraw, copied
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError, ModelError
from earmark.testing.toys import MagnitudeSpectrogram, band_classifier, linear_classifier
from earmark.testing.untouched import untouched


def wrapped(module, **options):
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=16)
    options = {"map_layer": "map", "feature_axes": "CFT", "probe_s": 0.128, **options}
    return wrap(module, front_end, ["a", "b"], name="net", **options)


class Normed(nn.Module):
    """Registers its head first, and normalizes after each convolution."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.head = nn.Linear(3, 2)
            self.second, self.second_norm = nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
            self.first, self.first_norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.map = nn.ReLU()

    def forward(self, x):
        x = torch.relu(self.first_norm(self.first(x)))
        return self.head(self.map(self.second_norm(self.second(x))).mean((2, 3)))


def state(classifier):
    return {name: value.clone() for name, value in classifier.module.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_layers_come_in_the_order_of_the_data_with_their_normalization():
    redraw = Redraw(wrapped(Normed()), [tones(4, 0)])
    assert [layer.names for layer in redraw.layers] == [("first", "first_norm"), ("second", "second_norm"), ("head",)]
    assert [layer.n_parameters for layer in redraw.layers] == [40 + 8, 111 + 6, 8]
    assert redraw.by_normal == []


def test_chains_are_put_together_but_for_the_head():
    together = Redraw(wrapped(Normed()), [tones(4, 0)], most=2).layers
    assert [layer.names for layer in together] == [("first", "first_norm", "second", "second_norm"), ("head",)]
    assert len(Redraw(wrapped(Normed()), [tones(4, 0)], most=1).layers) == 1


def test_only_chosen_layers_change_and_the_module_never_does():
    classifier = wrapped(Normed())
    intact, redraw = state(classifier), Redraw(classifier, [tones(4, 0)])
    with untouched(classifier.module):
        head, all_ = redraw.draw([2], 0), redraw.draw([0, 1, 2], 0)
    assert changed(intact, state(head)) == {"head.weight", "head.bias"}
    same = {"first_norm.weight", "first_norm.bias", "second_norm.weight", "second_norm.bias"}  # 1 and 0 as they were
    assert changed(intact, state(all_)) == set(intact) - same
    assert changed(intact, state(classifier)) == set()


def test_a_layers_draw_depends_on_the_seed_alone():
    redraw = Redraw(wrapped(Normed()), [tones(4, 0)])
    alone, cascade = state(redraw.draw([1], 5)), state(redraw.draw([0, 1, 2], 5))
    assert torch.equal(alone["second.weight"], cascade["second.weight"])
    assert not torch.equal(alone["second.weight"], state(redraw.draw([1], 6))["second.weight"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert changed(alone, state(redraw.draw([1], 5))) == set()
    bound = (1 / (4 * 9)) ** 0.5  # what nn.Conv2d draws from: uniform within 1 / sqrt(fan in)
    assert alone["second.weight"].abs().max() <= bound and alone["second.bias"].abs().max() <= bound


def test_scales_of_normalization_are_drawn_and_statistics_estimated_behind_the_draw():
    module = Normed()
    with torch.no_grad():
        module.first_norm.weight.fill_(3)
    classifier, batches = wrapped(module), [tones(4, 0), tones(3, 9)]
    intact, redraw = state(classifier), Redraw(classifier, batches)
    second, all_ = redraw.draw([1], 0), redraw.draw([0, 1, 2], 0)
    assert torch.equal(state(second)["first_norm.running_mean"], intact["first_norm.running_mean"])
    assert bool((state(all_)["first_norm.weight"] == 1).all())
    with torch.no_grad():  # the plain mean over batches of what the re-drawn convolution says
        heard = [all_.module.first(all_.at(x, "features")[:, None]) for x in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in heard]).mean(0)
    variance = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in heard]).mean(0)
    torch.testing.assert_close(all_.module.first_norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(all_.module.first_norm.running_var, variance, rtol=1e-4, atol=1e-5)
    assert all_.module.first_norm.momentum == 0.1 and all_.module.first_norm.training is module.training


def test_as_published_head_and_normalization_are_left_alone():
    redraw = Redraw(wrapped(Normed()), [tones(4, 0)], parity=True)
    assert [layer.names for layer in redraw.layers] == [("first",), ("second",)]
    intact, drawn = state(redraw.classifier), state(redraw.draw([0, 1], 0))
    assert changed(intact, drawn) == {f"{name}.{part}" for name in ("first", "second") for part in ("weight", "bias")}


def test_statistics_need_more_than_one_value():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.map, self.norm, self.head = nn.Conv2d(1, 3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.norm(self.map(x).mean((2, 3))))

    with torch.random.fork_rng(devices=[]):
        redraw = Redraw(wrapped(Pooled()), [tones(1, 0)])
    with pytest.raises(InputError, match="two or more clips"):
        redraw.draw([0], 0)


def test_without_an_initializer_numbers_come_from_a_normal():
    redraw = Redraw(linear_classifier(), [])
    assert redraw.by_normal == ["(root)"] and redraw.layers[0].name == "(root)"
    before, after = redraw.classifier.module.weight.detach(), redraw.draw([0], 0).module.weight.detach()
    error = 4 * before.std() / before.numel() ** 0.5  # four standard errors
    assert abs(float((after - before).mean())) < 2 * error and abs(float(after.std() - before.std())) < error
    assert abs(float(torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1])) < 0.15


def test_what_is_never_called_stands_where_the_module_around_it_does():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.attention = nn.Linear(16, 2), nn.MultiheadAttention(16, 2, batch_first=True)
            self.map = nn.Conv1d(16, 16, 3)

        def forward(self, x):
            x = self.map(x).transpose(1, 2)
            return self.last(self.attention(x, x, x, need_weights=False)[0].mean(1))

    with torch.random.fork_rng(devices=[]):
        classifier = wrapped(Attending(), feature_axes="FT", map_axes="T")
    redraw = Redraw(classifier, [tones(2, 0)])
    assert [layer.name for layer in redraw.layers] == ["map", "attention", "attention.out_proj", "last"]
    assert redraw.by_normal == []


def test_a_head_that_is_a_function_is_not_the_intact_one():
    module = Normed()
    classifier = wrapped(module, head=lambda maps: module.head(maps.mean((2, 3))))
    other = Redraw(classifier, [tones(4, 0)]).draw([2], 0)
    maps = other.at(tones(2, 0), "map")
    torch.testing.assert_close(other.logits(maps, at="map"), other.logits(tones(2, 0)), rtol=1e-4, atol=1e-5)


def test_a_copy_says_what_the_original_says():
    classifier = trained()
    other = copied(classifier)
    assert torch.equal(other.logits(tones(2, 0)), classifier.logits(tones(2, 0)))
    assert other.geometry(1024) is classifier.geometry(1024) and other.fingerprint == classifier.fingerprint


def test_a_module_without_layers_is_refused():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Unflatten(1, (1, -1))

        def forward(self, x):
            return self.map(x).mean((1, 3))[:, :2]

    bare = wrap(Fixed(), MagnitudeSpectrogram(8000, 64, 32), ["a", "b"], map_layer="map", probe_s=0.128)
    with pytest.raises(ModelError, match="no layers whose parameters"):
        Redraw(bare, [])
    with pytest.raises(ModelError, match="beside its head"):
        Redraw(band_classifier(), [], parity=True)
