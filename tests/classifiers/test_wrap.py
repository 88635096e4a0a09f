import numpy as np
import pytest
import torch
from tests.classifiers import networks
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError


def build(labels=("a", "b", "c"), module=None, front_end=None, **options):
    module = module or networks.seeded(lambda: networks.Net(networks.gap_linear()))
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5, **options}
    return wrap(module, front_end or networks.small_front_end(), labels, **settings)


def test_what_is_wrapped():
    c = build(task="multilabel", threshold=0.3, card={"data": "none"})
    assert (c.name, c.labels, c.task, c.threshold, c.card) == (
        "Net",
        ("a", "b", "c"),
        "multilabel",
        0.3,
        {"data": "none"},
    )
    assert build(labels=list("abc")).labels == ("a", "b", "c")
    prediction = c.predict(Waveform(np.zeros(4000), 8000))
    assert prediction.threshold == 0.3
    torch.testing.assert_close(prediction.probs, prediction.logits.sigmoid())


def test_a_missing_layer_is_refused_with_suggestions():
    with pytest.raises(ModelError, match=r"map_layer 'feature' is no layer of Net; did you mean 'features'"):
        build(map_layer="feature")
    with pytest.raises(ModelError, match=r"is no layer of Net; did you mean 'head'"):
        build(map_layer="")


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_a_wrong_number_of_labels_is_refused(labels):
    with pytest.raises(ModelError, match=rf"returned \(1, 3\), logits \[batch, {len(labels)}\] were expected"):
        build(labels)


@pytest.mark.parametrize("labels", [("a", "b", "a"), ()])
def test_labels_that_are_not_unique_are_refused(labels):
    with pytest.raises(ModelError, match="Labels must be unique"):
        build(labels)


def test_axes_that_do_not_fit_the_layer_are_refused():
    with pytest.raises(ModelError, match=r"gives shape \(1, 6, 4, 8\), which does not fit map_axes='T'"):
        build(map_axes="T")
    with pytest.raises(ModelError, match="choose a layer with a map"):
        build(map_layer="head.0")
    with pytest.raises(ModelError, match=r"failed on features of shape \(1, 16, 32\)"):
        build(module=nn.Sequential(nn.Conv1d(7, 3, 3), networks.Mean()), feature_axes="FT", map_layer="0")


def test_layers_that_give_no_single_map_are_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return [x, x]

    class Two(networks.Net):
        def __init__(self):
            super().__init__(networks.gap_linear())
            self.pair = Pair()

        def forward(self, x):
            return self.head(self.pair(self.features(x))[0])

    class Twice(networks.Net):
        def __init__(self):
            super().__init__(networks.gap_linear())
            self.again = nn.Identity()

        def forward(self, x):
            return self.head(self.again(self.again(self.features(x))))

    with pytest.raises(ModelError, match="returned list, a tensor was expected"):
        build(module=Two(), map_layer="pair")
    with pytest.raises(ModelError, match="ran 2 times in one pass"):
        build(module=Twice(), map_layer="again")


def test_modules_that_return_no_logits_are_refused():
    class Dictionary(networks.Net):
        def forward(self, x):
            return {"logits": super().forward(x)}

    with pytest.raises(ModelError, match=r"returned dict, logits \[batch, 3\] were expected"):
        build(module=Dictionary(networks.gap_linear()))


def test_a_function_is_no_front_end():
    with pytest.raises((ModelError, TypeError), match="front_end"):
        build(front_end=lambda samples: samples)


def test_a_module_that_fails_is_named_and_left_alone():
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.Linear(7, 3)).train()
    with pytest.raises(ModelError, match="Sequential failed on features of shape"):
        build(module=module, map_layer="0")
    assert all(part.training for part in module.modules())
    assert all(p.requires_grad for p in module.parameters())
    assert not module[0]._forward_hooks
