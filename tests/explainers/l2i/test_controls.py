"""What L2I does for its controls: maps of another clip, first weights, training anew, and no maps at all."""

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.checks.config import CheckConfig
from earmark.checks.decoder import TrainedDecoder, check
from earmark.checks.decoder_config import DecoderConfig
from earmark.checks.rebinding import on_classifier
from earmark.checks.subject import Subject
from earmark.explainers.l2i.config import L2iConfig
from earmark.explainers.l2i.decoder import seen
from earmark.explainers.l2i.train import fit_l2i, untrained
from earmark.explainers.load import load_explainer
from earmark.testing.toy_networks import toy_network
from earmark.types import Clip, seeded

RATE = 8000
TINY = L2iConfig(
    epochs=1, batch_size=4, n_components=4, nmf_columns=200, nmf_steps=10, width=4, attention=4, sparsity=0.1
)
CLASSIFIER, OTHER = toy_network(seed=3), toy_network(seed=8)


def sounds(n_clips=3, seed=1):
    return 0.1 * torch.randn(n_clips, 2400, generator=seeded(seed))


def clips(n=10):
    return [Clip(f"{i}", Waveform(sounds(1, i), RATE), group=f"{i}") for i in range(n)]


@lru_cache(maxsize=4)
def fitted(**changes):
    return fit_l2i(CLASSIFIER, clips(), TINY, **changes)


def weights(network):
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_crossed_reads_the_maps_of_the_clip_before_and_its_own_sound():
    explainer, samples = fitted(), sounds()
    assert isinstance(explainer, TrainedDecoder)
    crossed, own = explainer._crossed(), seen(CLASSIFIER, samples, explainer.taps)
    done = crossed._forward(samples)
    told = explainer.network(tuple(one[[2, 0, 1]] for one in own.maps), own.log1p)
    assert torch.equal(done.state.heard.codes, told.codes) and torch.equal(done.logits, own.logits)
    plain = explainer._forward(samples).state.heard.codes
    assert not any(torch.equal(*pair) for pair in zip(told.codes, plain, strict=True))
    same = crossed._forward(samples[[0, 0, 1]]).state.heard.codes  # the second clip follows one like itself
    for found, expected in ((same[1], plain[0]), (same[2], told.codes[1])):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # float32, at another place in the batch


def test_untrained_has_first_weights_of_a_seed_and_the_same_dictionary_and_scales():
    explainer = fitted()
    first, again, second = (explainer._untrained(seed).network for seed in (1, 1, 2))
    start = untrained(CLASSIFIER, replace(TINY, seed=1), explainer.taps, explainer.dictionary)
    assert torch.equal(weights(first), weights(again)) and torch.equal(weights(first), weights(start))
    assert weights(first).shape == weights(explainer.network).shape
    assert not torch.equal(weights(first), weights(second))
    assert torch.equal(first.W, explainer.dictionary)
    assert torch.equal(first.trunk.scale, explainer.network.trunk.scale)


@pytest.mark.parametrize("blind", [True, False])
def test_a_blind_one_ignores_the_maps_also_when_it_was_saved(blind, tmp_path):
    explainer, samples = fitted(blind=blind), sounds()
    again = load_explainer(explainer.save(tmp_path / "one"), classifier=CLASSIFIER)
    assert again.config.blind is blind
    for one in (explainer, again):
        codes = one._forward(samples).state.heard.codes
        others = (on_classifier(one, OTHER), one._crossed())
        assert [torch.equal(other._forward(samples).state.heard.codes, codes) for other in others] == [blind, blind]


@pytest.mark.parametrize("blind", [True, False])
def test_a_blind_one_has_no_gradient_to_the_maps_but_hears_the_sound(blind):
    explainer = fitted(blind=blind)
    shown, other = (seen(CLASSIFIER, sounds(seed=seed), explainer.taps) for seed in (1, 2))
    maps = [one.clone().requires_grad_() for one in shown.maps]
    codes = explainer.network(maps, shown.log1p).codes
    assert codes.requires_grad is not blind
    assert not torch.equal(explainer.network(maps, other.log1p).codes, codes)


@pytest.mark.parametrize("changes", [{}, {"activations": "decoded", "pooling": "mean"}])
def test_refitted_has_the_same_size_and_settings_for_another_classifier(changes):
    explainer = fitted(**changes).using(threshold=0.5)
    again = explainer._refitted(OTHER, clips(), seed=5, blind=True)
    taps = ",".join(tap.layer for tap in explainer.taps)
    assert again.config == replace(explainer.config, seed=5, blind=True, taps=taps)
    assert again.classifier is OTHER and again.options.threshold == 0.5 and again._seed() == 5
    assert weights(again.network).shape == weights(explainer.network).shape


def test_its_controls_run():
    config = CheckConfig(seeds=(0,), n_shown=0, decoder=DecoderConfig(areas=(0.1,)))
    results = [check(Subject(CLASSIFIER, fitted(blind=b), clips=clips(6)), config) for b in (True, False)]
    assert not any(result.about["failures"] or not result.about["unchanged"] for result in results)
    assert [result.about["unchanged"]["D2"] for result in results] == [1, 0]
