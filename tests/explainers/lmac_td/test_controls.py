"""What LMAC-TD does for its controls: maps of another clip, first weights, training anew, and no maps at all."""

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
from earmark.explainers.lmac_td.autoencoder import autoencoder_of
from earmark.explainers.lmac_td.config import LmacTdConfig
from earmark.explainers.lmac_td.explainer import LmacTd
from earmark.explainers.lmac_td.separator import Look, Separator
from earmark.explainers.load import load_explainer
from earmark.testing.toy_networks import toy_network
from earmark.types import Clip, Target, seeded

RATE, LABEL = 8000, 1
SIZES = {"channels": 8, "blocks": 2, "width": 4, "batch_size": 4, "crop_s": 0.2}
CLASSIFIER, OTHER = toy_network(seed=3), toy_network(seed=8)


@lru_cache(maxsize=8)
def explainer_of(**changes):
    """Returns an LMAC-TD with random weights and a scale of its maps."""
    config = LmacTdConfig(**{**SIZES, **changes})
    separator = Separator.untrained(CLASSIFIER, config, autoencoder_of(config, RATE))
    separator.masker.calibrate(separator.look(sounds()).maps)
    with torch.no_grad():
        for index, parameter in enumerate(separator.masker.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(index)))
    return LmacTd(separator)


def sounds(n_clips=3, seed=1):
    return 0.1 * torch.randn(n_clips, 2400, generator=seeded(seed))


def clips(n=10):
    return [Clip(f"{i}", Waveform(sounds(1, i), RATE), group=f"{i}") for i in range(n)]


def kept(explainer, samples):
    """Returns what is kept of clips for one label, `[batch, sample]`."""
    target = Target(LABEL, CLASSIFIER.labels[LABEL])
    return torch.cat([one.kept.samples for one in explainer.evidence(samples, [target] * len(samples))])


def weights(explainer):
    return torch.cat([parameter.flatten() for parameter in explainer.separator.masker.parameters()])


def test_crossed_reads_the_maps_of_the_clip_before_and_its_own_sound():
    explainer, samples = explainer_of(), sounds()
    assert isinstance(explainer, TrainedDecoder)
    crossed = explainer._crossed()
    own = explainer.separator.look(samples)
    look = Look(samples, own.logits, tuple(one[[2, 0, 1]] for one in own.maps))
    assert torch.equal(
        kept(crossed, samples), torch.cat([explainer.parts(look.row(i), LABEL).inside for i in range(3)])
    )
    assert torch.equal(crossed._forward(samples).logits, own.logits)
    assert not any(torch.equal(*pair) for pair in zip(kept(crossed, samples), kept(explainer, samples), strict=True))
    same = kept(crossed, samples[[0, 0, 1]])  # the second clip follows one like itself
    for found, expected in ((same[1], kept(explainer, samples)[0]), (same[2], kept(crossed, samples)[1])):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # float32, at another place in the batch
    assert not explainer.separator.crossed


def test_untrained_has_first_weights_of_a_seed_and_the_same_autoencoder_and_scales():
    explainer = explainer_of()
    first, again, second = (explainer._untrained(seed) for seed in (1, 1, 2))
    start = LmacTd(Separator.untrained(CLASSIFIER, LmacTdConfig(**SIZES, seed=1), explainer.separator.code))
    assert torch.equal(weights(first), weights(again)) and torch.equal(weights(first), weights(start))
    assert weights(first).shape == weights(explainer).shape
    assert not torch.equal(weights(first), weights(second)) and not torch.equal(weights(first), weights(explainer))
    assert first.separator.code is explainer.separator.code and first.config == explainer.config
    assert torch.equal(first.separator.masker.trunk.scale, explainer.separator.masker.trunk.scale)
    assert not torch.equal(kept(first, sounds()), kept(second, sounds()))
    assert explainer_of(alpha=0.0)._untrained(0).separator.masker.alpha == 0


@pytest.mark.parametrize("blind", [True, False])
def test_a_blind_one_ignores_the_maps_also_when_it_was_saved(blind, tmp_path):
    explainer, samples = explainer_of(blind=blind), sounds()
    again = load_explainer(explainer.save(tmp_path / "one"), classifier=CLASSIFIER)
    assert again.config.blind is blind
    for one in (explainer, again):
        whole = kept(one, samples)
        assert torch.equal(kept(on_classifier(one, OTHER), samples), whole) is blind
        assert torch.equal(kept(one._crossed(), samples), whole) is blind


def test_refitted_has_the_same_size_and_settings_for_another_classifier():
    explainer = explainer_of().using(power=2.0)
    again = explainer._refitted(OTHER, clips(), seed=5, epochs=1, blind=True)
    taps = ",".join(tap.layer for tap in explainer.separator.taps)
    assert again.config == replace(explainer.config, seed=5, epochs=1, blind=True, taps=taps)
    assert again.classifier is OTHER and again.options.power == 2.0 and again._seed() == 5
    assert weights(again).shape == weights(explainer).shape
    assert explainer._refitted(OTHER, clips(), seed=5, epochs=1).config.blind is False


def test_its_controls_run():
    config = CheckConfig(seeds=(0,), n_shown=0, decoder=DecoderConfig(areas=(0.1,)))
    results = [check(Subject(CLASSIFIER, explainer_of(blind=b), clips=clips(6)), config) for b in (True, False)]
    assert not any(result.about["failures"] or not result.about["unchanged"] for result in results)
    assert [result.about["unchanged"]["D2"] for result in results] == [1, 0]


def test_two_of_the_same_settings_are_told_apart():
    one = explainer_of()
    other = one._untrained(5)
    assert one._learned() and one._learned() != other._learned()
    assert one._learned() == explainer_of()._learned()
