"""Training an L-MAC: planted evidence is found, the model is left alone, a killed fit goes on to the same result."""

import json
import math
from dataclasses import replace

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.classifiers.load import load_classifier
from earmark.data.mixtures import mix
from earmark.errors import DataError, InputError, MismatchError, ModelError, TargetError
from earmark.explainers import fitted as fitted_parts
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.decoder import MOST_MULTIPLY_ADDS, MOST_PARAMETERS, Masker
from earmark.explainers.lmac.explainer import Lmac
from earmark.explainers.lmac.train import _Learner, fit_lmac
from earmark.explainers.load import load_explainer
from earmark.masks import mask_of
from earmark.metrics.separation import si_sdr
from earmark.testing.conformance import check_explainer
from earmark.testing.toy_networks import toy_network
from earmark.testing.toys import band_classifier
from earmark.testing.untouched import untouched
from earmark.types import Clip

RATE = 8000
SMALL = LmacConfig(epochs=1, batch_size=4, width=4, crop_s=0.0, learning_rate=1e-2)
#: A tone holds a hundredth of the bins, so the mean of the mask weighs little.
PLANTED = LmacConfig(epochs=12, batch_size=8, width=8, crop_s=0.0, learning_rate=2e-2, noise_share=0.0, lambda_l1=0.5)


def tone(hz, seed, start=0.25, end=0.6, rate=RATE, noise=0.02):
    """Returns a second of faint noise with a tone in it."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(rate) / rate
    inside = ((time >= start) & (time < end)).float()
    return Waveform(
        noise * torch.randn(1, rate, generator=generator) + inside * torch.sin(2 * torch.pi * hz * time), rate
    )


def clips(n=12, bands=4):
    return [Clip(f"{i:02}", tone(250 + 500 * (i % bands), i), group=str(i)) for i in range(n)]


def fitted(tmp_path=None, **changes):
    classifier = band_classifier()
    return fit_lmac(classifier, clips(), SMALL, resume_dir=tmp_path, **changes)


def bits(lmac):
    return {name: tensor.clone() for name, tensor in lmac.decoder.state_dict().items()}


@pytest.mark.parametrize("objective", ["both", "soft", "areas"])
def test_planted_evidence_is_found(objective):
    """The classifier hears the energy of bands, so a tone's evidence is where the tone is."""
    classifier = band_classifier()
    lmac = fit_lmac(
        classifier,
        clips(24),
        PLANTED,
        objective=objective,
    )
    told = lmac.explain(tone(1250, 99), "band 2")
    hz, seconds = told.grid.hz, told.grid.seconds
    truth = ((hz > 1200) & (hz < 1300))[:, None] & ((seconds > 0.25) & (seconds < 0.6))[None]
    share = float(truth.float().mean())
    found = mask_of(told.evidence.ranking(told.grid)[None], "area", share).gain[0].bool()
    iou = float((found & truth).sum() / (found | truth).sum())
    assert iou > 0.5  # of lmac.md: above one half in a small run; chance is below .02


def test_of_two_sounds_each_is_heard_under_its_own_label():
    """Two tones at once: what is kept for a label is its own tone, with less than a quarter of the other one."""
    steady = [Clip(f"{i:02}", tone(250 + 500 * (i % 4), i, 0.0, 1.0), group=str(i)) for i in range(64)]
    settings = replace(PLANTED, objective="apart", lambda_apart=1.0, learning_rate=1e-2, clip_s=0.25, epochs=20)
    lmac = fit_lmac(band_classifier(), steady, settings)
    first, second = tone(750, 97, 0.0, 1.0), tone(1250, 99, 0.0, 1.0)
    both = Waveform(first.samples + second.samples, RATE)
    for label, own in (("band 1", first), ("band 2", second)):
        kept = lmac.explain(both, label).listen().samples
        assert float(si_sdr(kept, own.samples)[0]) > float(si_sdr(both.samples, own.samples)[0]) + 6
    assert 0 < lmac.diagnostics["held_out"]["apart"] < math.log(2)  # of a mask of one half everywhere


def test_telling_sounds_apart_needs_a_label_and_a_gain():
    for changes in ({"conditioned": False}, {"mask_stage": "features"}, {"mask_scale": "log1p", "reentry": "stft"}):
        with pytest.raises(InputError, match="lambda_apart needs a decoder that is told"):
            replace(SMALL, lambda_apart=1.0, **changes)
    with pytest.raises(InputError, match="set lambda_apart above 0"):
        replace(SMALL, objective="apart")
    with pytest.raises(InputError, match="lambda_apart is 0 or more"):
        replace(SMALL, lambda_apart=-1.0)


def test_the_model_is_left_as_it_was():
    classifier = toy_network()
    with untouched(classifier.module):
        lmac = fit_lmac(classifier, clips(), SMALL)
        lmac.explain(tone(500, 1))


def test_a_fit_is_the_same_every_time_and_a_killed_one_goes_on(tmp_path):
    whole = fitted(tmp_path / "whole", epochs=2)
    seen = []

    def stop(done, _every, _values):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "killed", epochs=2, checkpoint_s=0.0, progress=stop)
    again = fitted(tmp_path / "killed", epochs=2, checkpoint_s=0.0, progress=lambda done, *_: seen.append(done))
    assert seen.count(1) == 1  # steps that were done are not done again
    for name, tensor in bits(whole).items():
        assert torch.equal(tensor, bits(again)[name]), name


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    fitted(tmp_path)
    with pytest.raises(MismatchError, match="other settings"):
        fitted(tmp_path, lambda_in=1.0)


def test_it_is_saved_and_loaded_bit_for_bit(tmp_path):
    lmac = fitted()
    lmac.save(tmp_path / "lmac")
    assert {path.name for path in (tmp_path / "lmac").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again = load_explainer(tmp_path / "lmac", classifier=lmac.classifier)
    one, two = (x.explain(tone(750, 5)).evidence for x in (lmac, again))
    assert torch.equal(one.gain, two.gain) and torch.equal(one.order, two.order)
    assert again.config == lmac.config and again.taps == lmac.taps


def test_another_classifier_and_damage_are_refused(tmp_path):
    fitted().save(tmp_path / "lmac")
    with pytest.raises(MismatchError, match="fit lmac to this classifier"):
        load_explainer(tmp_path / "lmac", classifier=band_classifier(n_bands=4))
    (tmp_path / "lmac" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged lmac"):
        load_explainer(tmp_path / "lmac", classifier=band_classifier())
    about = json.loads((tmp_path / "lmac" / "config.json").read_text())
    (tmp_path / "lmac" / "config.json").write_text(json.dumps({**about, "schema": 99}))
    with pytest.raises(MismatchError, match="newer earmark"):
        load_explainer(tmp_path / "lmac", classifier=band_classifier())


def test_any_length_rate_and_number_of_channels_is_explained():
    lmac = fitted()
    for n_samples, rate, n_channels in ((5003, 8000, 1), (30_000, 44100, 2), (700, 8000, 1)):
        sound = Waveform(0.1 * torch.randn(n_channels, n_samples, generator=torch.Generator().manual_seed(0)), rate)
        told = lmac.explain(sound)
        assert told.evidence.gain.shape == told.grid.shape
        heard = told.listen()
        assert (heard.n_samples, heard.n_channels, heard.sample_rate) == (n_samples, n_channels, rate)
        both = heard.samples + told.complement().samples
        torch.testing.assert_close(both, sound.samples, rtol=0, atol=1e-6)


def test_any_label_can_be_asked_for():
    lmac = fitted()
    one, two = (lmac.explain(tone(750, 5), label).evidence.order for label in ("band 1", "band 6"))
    assert not torch.equal(one, two)


def test_a_decoder_that_is_not_told_the_label_explains_the_decision_alone():
    lmac = fitted(conditioned=False)
    sound = tone(750, 5)
    decided = lmac.classifier.predict(sound).label
    other = next(label for label in lmac.classifier.labels if label != decided)
    lmac.explain(sound)
    with pytest.raises(TargetError, match="no other one"):
        lmac.explain(sound, other)


def test_an_area_can_be_heard():
    lmac = fitted()
    small, large = (lmac.using(area=area).explain(tone(750, 5)).evidence.gain.mean() for area in (0.02, 0.5))
    assert small < large
    with pytest.raises(InputError, match=r"area lies in 0 \.\.\. 1"):
        lmac.using(area=2.0)
    with pytest.raises(InputError, match="no option aera"):
        lmac.using(aera=0.5)


def test_masks_on_features_become_gains_that_can_be_heard():
    lmac = fit_lmac(toy_network(), clips(), SMALL, mask_stage="features")
    told = lmac.explain(tone(750, 5))
    assert told.evidence.gain.shape == told.grid.shape
    assert told.evidence.gain.min() >= 0 and told.evidence.gain.max() <= 1


def test_several_labels_are_explained_one_by_one():
    classifier = band_classifier(task="multilabel")
    lmac = fit_lmac(classifier, clips(), SMALL)
    told = lmac.explain_all(tone(750, 5))
    assert [one.target.label for one in told] == list(classifier.predict(tone(750, 5)).decided)


def test_fine_tuning_is_guided_by_the_clean_source():
    lmac = fitted()
    noisy = mix(clips(), "white:0")
    tuned = fit_lmac(lmac.classifier, noisy, start=lmac, objective="soft", lambda_g=16.0, cct=0.0)
    assert tuned.config.lambda_g == 16 and not all(
        torch.equal(a, b) for a, b in zip(bits(lmac).values(), bits(tuned).values(), strict=True)
    )
    unguided = fit_lmac(
        lmac.classifier, noisy, start=lmac, objective="soft", lambda_g=16.0, cct=1.1
    )  # none is so alike
    assert not all(torch.equal(a, b) for a, b in zip(bits(unguided).values(), bits(tuned).values(), strict=True))


def test_fine_tuning_from_another_classifier_or_size_is_refused():
    lmac = fitted()
    with pytest.raises(MismatchError, match="explains band-energies"):
        fit_lmac(band_classifier(n_bands=4), clips(), start=lmac)
    with pytest.raises(MismatchError, match="another size"):
        fit_lmac(lmac.classifier, clips(), start=lmac, width=6)


def test_a_compact_decoder_keeps_to_its_limits():
    cost = Masker.untrained(load_classifier("scenes-cnn"), LmacConfig()).cost()
    assert cost["parameters_share"] <= MOST_PARAMETERS and cost["multiply_adds_share"] <= MOST_MULTIPLY_ADDS


def test_bad_input_is_refused_in_a_sentence():
    short = [Clip(str(i), tone(500, i, rate=8000).fit(100), group=str(i)) for i in range(12)]
    with pytest.raises(DataError, match="shorter than a window"):
        fit_lmac(band_classifier(), short, SMALL)
    with pytest.raises(DataError, match="were expected; add clips"):
        fit_lmac(band_classifier(), clips(2), SMALL)
    with pytest.raises(InputError, match="did you mean epochs"):
        fit_lmac(band_classifier(), clips(), SMALL, epoch=3)
    with pytest.raises(InputError, match="Areas lie in"):
        LmacConfig(least_area=0.7)
    with pytest.raises(InputError, match="log1p needs reentry stft"):
        LmacConfig(mask_scale="log1p", reentry="waveform")
    with pytest.raises(ModelError, match="no decoder has at most half"):
        fit_lmac(band_classifier(), clips(), SMALL, width=0)


@pytest.mark.parametrize("logit", [-30.0, 30.0])
def test_collapsed_masks_stop_with_a_sentence(logit, tmp_path):
    quiet = torch.zeros(8, dtype=torch.float64)
    quiet[7] = 0.01  # what the last label has without a sound, so that an empty mask loses decisions
    classifier, config = band_classifier(bias=quiet), replace(SMALL, objective="soft")
    masker = Masker.untrained(classifier, config)
    with torch.no_grad():
        masker.decoder.planes.convolution.bias[: masker.decoder.planes.rows_per_cell] = logit
    data = fitted_parts.material(clips(), classifier, config, tmp_path)
    with data as found, pytest.raises(ModelError, match=r"they say nothing\. Change lambda_l1"):
        _Learner(masker, found).validate()


@pytest.mark.parametrize("shape", ["plane", "line"])
def test_it_keeps_what_every_explainer_promises(shape):
    def make(classifier, **options):
        masker = Masker.untrained(classifier, replace(SMALL, **options))
        return Lmac(classifier, masker.config, masker.taps, masker.decoder)

    classifier = toy_network(shape=shape)
    check_explainer(make, classifier, rounding=1e-4, n_explanations=12).raise_if_failed()
