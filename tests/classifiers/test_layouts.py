"""Orders of axes: a map and its context are the layer's output taken apart, whatever the order."""

import pytest
import torch
from torch import nn

import earmark as em
from earmark.classifiers import layouts
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.layouts import TokenGrid, arranged, canonical, fits, raw_of, special_of
from earmark.errors import ModelError

ORDERS = {
    "FT": "bcft",
    "TF": "bctf",
    "FTC": "bftc",
    "TFC": "btfc",
}


@pytest.mark.parametrize("axes", ORDERS)
def test_each_letter_lands_where_it_says(axes):
    maps = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    raw = torch.einsum(f"bcft->{ORDERS[axes]}", maps)
    assert torch.equal(canonical(raw, axes), maps)
    assert torch.equal(raw_of(maps, axes), raw)


@pytest.mark.parametrize(("axes", "shape"), [("T", (2, 3, 5)), ("TC", (2, 5, 3))])
def test_maps_without_rows(axes, shape):
    raw = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    maps = canonical(raw, axes)
    assert maps.shape == (2, 3, 1, 5)
    assert torch.equal(raw_of(maps, axes), raw)
    assert not layouts.has_rows(axes)


def test_tokens_by_hand():
    tokens = torch.tensor([9.0, 8, 0, 1, 2, 3, 4, 5])[None, :, None]  # two special tokens, then six cells
    by_row = canonical(tokens, TokenGrid(2, 2, "FT"))
    by_frame = canonical(tokens, TokenGrid(2, 2, "TF"))
    assert by_row[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert by_frame[0, 0].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert special_of(tokens, TokenGrid(2, 2))[0, :, 0].tolist() == [9, 8]


def test_folded_tokens_lie_one_after_the_other():
    """HTS-AT: an image of two parts of a clip, the second below the first."""
    image = torch.tensor([[0.0, 1], [2, 3], [4, 5], [6, 7]])  # rows 0 and 1 are the first part
    maps = canonical(image.reshape(1, 8, 1), TokenGrid(2, folds=2))
    assert maps[0, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.parametrize("order", ["FT", "TF"])
@pytest.mark.parametrize("folds", [1, 2])
@pytest.mark.parametrize("special", [0, 2])
def test_tokens_come_back(order, folds, special):
    axes = TokenGrid(3, special, order, folds)
    raw = torch.randn(2, special + 3 * 4 * folds, 5, generator=torch.Generator().manual_seed(1))
    maps = canonical(raw, axes)
    assert maps.shape == (2, 5, 3, 4 * folds)
    assert torch.equal(raw_of(maps, axes, special_of(raw, axes)), raw)


def test_special_tokens_are_asked_for():
    with pytest.raises(ModelError, match="2 special tokens beside it; pass context="):
        raw_of(torch.zeros(1, 4, 2, 3), TokenGrid(2, 2))


def test_what_does_not_fit():
    assert not fits(torch.zeros(1, 7, 4), TokenGrid(2, 2))  # five cells in two rows
    assert not fits(torch.zeros(1, 2, 4), TokenGrid(2, 2))  # no cell
    assert not fits(torch.zeros(1, 3, 4), "FT")
    assert not fits(torch.zeros(1, 3, 4, 5, dtype=torch.int64), "FT")
    with pytest.raises(ModelError, match="of 1 or more"):
        TokenGrid(0)


def test_features_in_every_order():
    features = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    assert arranged(features, "CTF").shape == (2, 1, 4, 3)
    assert torch.equal(arranged(features, "CFT")[:, 0], features)
    assert torch.equal(arranged(features[:, :1], "S"), features[:, 0])
    assert arranged(features[:, :1], "CS").shape == (2, 1, 4)


class _Tokens(nn.Module):
    """Patches as tokens behind two special ones; a last layer mixes them, and the special ones alone are read."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 8, 8)
        self.special = nn.Linear(1, 6)
        self.layer = nn.ModuleList([_Mix(), _Mix()])
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        cells = self.patches(x).flatten(2).transpose(1, 2)
        special = self.special(x.mean((1, 2, 3))[:, None, None]).expand(-1, 2, -1)
        tokens = torch.cat([special, cells], 1)
        for layer in self.layer:
            tokens = layer(tokens)[0]
        return self.out(tokens[:, :2].mean(1))


class _Mix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Linear(6, 6)

    def forward(self, tokens):
        mixed = (tokens @ tokens.transpose(1, 2) / 6).softmax(2) @ self.values(tokens)
        return tokens + mixed, "attention"  # a tuple, as some layers return


def tokens_classifier(layer="layer.0"):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = _Tokens()
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=32)
    return em.wrap(
        module, front_end, ["a", "b", "c"], map_layer=layer, map_axes=TokenGrid(4, 2), feature_axes="CFT", probe_s=1.0
    )


def test_entry_at_a_map_with_special_tokens_is_exact():
    classifier = tokens_classifier()
    samples = torch.randn(3, 16000, generator=torch.Generator().manual_seed(5))
    tapped = classifier.tap(samples)
    assert tapped.context.special.shape == (3, 2, 6)
    assert tapped.map.shape == (3, 6, 4, 12)
    assert torch.equal(classifier.logits(tapped.map, at="map", context=tapped.context), tapped.logits)
    with pytest.raises(ModelError, match="pass context="):
        classifier.logits(tapped.map, at="map")


def test_a_sibling_at_another_layer():
    classifier = tokens_classifier()
    other = classifier.with_map("patches", "FT")
    samples = torch.randn(1, 16000, generator=torch.Generator().manual_seed(5))
    assert other.fingerprint != classifier.fingerprint
    assert torch.equal(other.tap(samples).logits, classifier.tap(samples).logits)
    assert other.tap(samples).context.special is None
    with pytest.raises(ModelError, match="does not fit"):
        classifier.with_map("out")


@pytest.mark.parametrize("name", ["grad-cam", "grad-cam-plus-plus", "guided-grad-cam"])
def test_class_activation_maps_take_the_special_tokens_along(name):
    """Raised by a multiple of its own gradient, each cell raises the logit: the map is of this clip and this label."""
    classifier = tokens_classifier()
    if name == "guided-grad-cam":
        pytest.skip("guided methods need ReLUs, and this network has none")
    explainer = em.load_explainer(name, classifier=classifier)
    samples = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(5))
    told = explainer.explain(em.Waveform(samples[None], 16000))
    assert float(told.evidence.values.abs().max()) > 0


class _Skips(nn.Module):
    """The head adds the loudness of the features to what it makes of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 4, 3)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.features(x).mean((2, 3))) + x.mean((1, 2, 3))[:, None]


def test_what_passes_beside_the_map_is_taken_along():
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=32)
    classifier = em.wrap(_Skips(), front_end, ["a", "b"], map_layer="features", feature_axes="CFT", probe_s=1.0)
    samples = torch.randn(3, 16000, generator=torch.Generator().manual_seed(5))
    tapped = classifier.tap(samples)
    assert classifier._head_needs == "features"
    whole = classifier.logits(tapped.map, at="map", context=tapped.context)
    assert torch.equal(whole, tapped.logits)
    one = classifier.logits(tapped.map[1:2].expand(4, -1, -1, -1), at="map", context=tapped.context.of(1))
    torch.testing.assert_close(one, tapped.logits[1:2].expand(4, -1))
    assert not torch.allclose(classifier.logits(tapped.map, at="map"), tapped.logits)
