"""What LMAC-TD says of one clip: its sounds, in any form of clip, for any label, and what every explainer promises."""

from functools import lru_cache

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.checks.rebinding import on_classifier
from earmark.errors import InputError, ModelError, TargetError
from earmark.evidence import Resynthesis
from earmark.explainers.base import Pass
from earmark.explainers.lmac_td.autoencoder import autoencoder_of
from earmark.explainers.lmac_td.config import LmacTdConfig
from earmark.explainers.lmac_td.explainer import Heard, LmacTd
from earmark.explainers.lmac_td.refusals import misfit
from earmark.explainers.lmac_td.separator import Look, Separator
from earmark.explainers.load import load_explainer
from earmark.store.explanations import load_explanation
from earmark.testing.conformance import check_explainer
from earmark.testing.toy_networks import toy_network
from earmark.types import seeded

SIZES = {"channels": 8, "blocks": 2, "width": 4}


@lru_cache(maxsize=8)
def separator_of(classifier, **changes):
    config = LmacTdConfig(**{**SIZES, **changes})
    code = autoencoder_of(config, classifier.sample_rate)
    found = Separator.untrained(classifier, config, code)
    with torch.no_grad():
        for index, parameter in enumerate(found.masker.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(index)))
    return found


def explainer_of(classifier, *, seed=0, **options):
    """Returns an LMAC-TD with random weights: what it promises does not depend on them."""
    if refusal := misfit(classifier):
        raise ModelError(refusal)
    return LmacTd(separator_of(classifier, seed=seed)).using(**options)


CLASSIFIER = toy_network(seed=3)


def noise(n_channels=1, n_samples=2048, rate=8000, seed=1):
    return Waveform(0.1 * torch.randn(n_channels, n_samples, generator=seeded(seed)), rate)


def test_what_every_explainer_promises():
    check_explainer(explainer_of, CLASSIFIER, rounding=1e-5, n_explanations=12).raise_if_failed()


def test_what_it_promises_for_several_labels_in_float64():
    classifier = toy_network(task="multilabel", double=True, shape="line")
    check_explainer(explainer_of, classifier, rounding=1e-5, n_explanations=6).raise_if_failed()


@pytest.mark.parametrize("n_samples", [2048, 2049, 3001, 300])
def test_what_is_heard_is_what_is_scored(n_samples):
    clip = noise(n_samples=n_samples)
    told = explainer_of(CLASSIFIER).explain(clip)
    assert isinstance(told.evidence, Resynthesis)
    look = separator_of(CLASSIFIER).look(CLASSIFIER.prepare(clip))
    parts = explainer_of(CLASSIFIER).parts(look, told.target.index)
    assert torch.equal(told.listen().samples, parts.inside)
    assert torch.equal(told.complement().samples, parts.outside)
    assert torch.equal(CLASSIFIER.logits(parts.inside)[0], CLASSIFIER.predict(told.listen()).logits)
    assert float(told.evidence.residual.samples.abs().max()) < 1e-6  # the fourier basis is exact


def test_numbers_are_measured():
    told = explainer_of(CLASSIFIER).explain(noise())
    measured = told.evidence.measured
    assert set(measured) == {"added_energy", "reconstruction_snr_db", "mask_mean"}
    assert 0 <= measured["added_energy"] < 1 and measured["reconstruction_snr_db"] > 90
    assert told.provenance.reentry == "waveform" and told.provenance.forward_passes == 1
    assert told.provenance.config["alpha"] == 0.75


@pytest.mark.parametrize("basis", ["fourier", "random"])
@pytest.mark.parametrize(("n_channels", "rate"), [(2, 8000), (2, 11025), (1, 44100), (3, 22050)])
def test_any_rate_and_number_of_channels_comes_back(n_channels, rate, basis):
    clip = noise(n_channels, round(0.3 * rate) + 1, rate)
    explainer = LmacTd(separator_of(CLASSIFIER, basis=basis))
    told = explainer.explain(clip)
    heard = told.listen()
    assert heard.samples.shape == clip.samples.shape and heard.sample_rate == rate
    assert torch.equal(
        told.complement().samples + heard.samples - clip.samples < 1e-6, torch.ones_like(clip.samples) > 0
    )
    alone = explainer.evidence(CLASSIFIER.prepare(clip), [told.target])[0]
    mean = heard.mono().resample(8000).samples[:, : alone.kept.n_samples]
    inner = slice(200, -200)  # resampling twice rings at the ends
    apart = (mean - alone.kept.samples)[:, inner].square().mean() / alone.kept.samples[:, inner].square().mean()
    assert float(apart) < (1e-10 if rate == 8000 else 3e-2)  # resampling takes off the last tenth below Nyquist


def test_channels_keep_their_own_sound():
    loud = noise(seed=2).samples
    told = explainer_of(CLASSIFIER).explain(Waveform(torch.cat([loud, torch.zeros_like(loud)]), 8000))
    left, right = told.listen().samples
    assert float(left.square().sum()) > 0 and float(right.square().sum()) < 1e-8 * float(left.square().sum())


def test_sound_above_the_classifiers_band_stays_in_the_complement():
    rate, n_samples = 44100, 44100 // 2
    high = 0.3 * torch.sin(2 * torch.pi * 9000 * torch.arange(n_samples) / rate)
    clip = Waveform(high[None] + noise(1, n_samples, rate).samples, rate)
    told = explainer_of(CLASSIFIER).explain(clip)
    share = [torch.fft.rfft(s.samples[0]).abs().square()[4200:].sum() for s in (told.listen(), told.complement(), clip)]
    assert float(share[0] / share[2]) < 1e-6 and float(share[1] / share[2]) == pytest.approx(1, abs=1e-4)


def test_another_target_has_other_evidence_from_the_same_pass():
    explainer, clip = explainer_of(CLASSIFIER), noise()
    first, second = explainer.explain(clip, 0), explainer.explain(clip, 1)
    assert not torch.equal(first.listen().samples, second.listen().samples)
    told = LmacTd(separator_of(toy_network(task="multilabel"))).explain_all(clip)
    assert len({one.target.label for one in told}) == len(told)


def test_without_conditioning_other_targets_are_refused():
    explainer = LmacTd(separator_of(CLASSIFIER, conditioned=False))
    top = explainer.explain(noise()).target.index
    explainer.explain(noise(), top)
    with pytest.raises(TargetError, match="conditioned"):
        explainer.explain(noise(), (top + 1) % 3)
    with pytest.raises(TargetError, match="conditioned"):
        LmacTd(separator_of(CLASSIFIER, alpha=0.0)).explain(noise(), (top + 1) % 3)


def test_maps_of_another_clip_make_another_mask_unless_audio_alone_counts():
    samples = torch.cat([noise(seed=seed).samples for seed in (1, 2)])
    for alpha, same in ((0.0, True), (0.75, False)):
        explainer = LmacTd(separator_of(CLASSIFIER, alpha=alpha))
        done = explainer._forward(samples)
        look = done.state.look
        crossed = Pass(done.logits, Heard(Look(look.samples, look.logits, tuple(one.flip(0) for one in look.maps))))
        target = explainer.explain(noise()).target
        own, other = (explainer._evidence(one, 0, target, 2048) for one in (done, crossed))
        assert torch.equal(own.kept.samples, other.kept.samples) is same


def test_around_another_classifier_the_networks_stay():
    explainer, other = explainer_of(CLASSIFIER), toy_network(seed=8)
    moved = on_classifier(explainer, other)
    assert moved.classifier is other and moved.separator.masker is explainer.separator.masker
    assert torch.equal(moved.explain(noise()).prediction.logits, other.predict(noise()).logits)
    assert explainer.classifier is CLASSIFIER


def test_options_change_how_it_is_told():
    explainer = explainer_of(CLASSIFIER)
    energy = [float(explainer.using(power=p).explain(noise()).listen().samples.square().sum()) for p in (0.5, 1, 3)]
    assert energy[0] > energy[1] > energy[2] > 0
    with pytest.raises(InputError, match="power"):
        explainer.using(power=0.0)
    with pytest.raises(InputError, match="options are"):
        explainer.using(strength=2)
    with pytest.raises(ModelError, match="20 dB"):
        LmacTd(separator_of(CLASSIFIER), {"reconstruction_snr_db": 12.0})


def test_an_explanation_is_saved_with_its_page_sounds_and_numbers(tmp_path):
    told = explainer_of(CLASSIFIER).explain(noise(2, 3001, 11025))
    back = load_explanation(told.save(tmp_path / "told"))
    assert torch.equal(back.listen().samples, told.listen().samples)
    assert back.evidence.measured == told.evidence.measured
    assert (tmp_path / "told" / "index.html").exists()
    assert {"original", "evidence", "complement", "residual"} == set(back.sounds())


def test_a_folder_is_found_by_its_kind(tmp_path):
    explainer = explainer_of(CLASSIFIER)
    folder = explainer.save(tmp_path / "lmac-td")
    again = load_explainer(folder, classifier=CLASSIFIER, power=2.0)
    assert isinstance(again, LmacTd) and again.options.power == 2.0
    with pytest.raises(ModelError, match="lmac-td"):
        load_explainer("lmac-td", classifier=CLASSIFIER)
