"""Fitting an L2I and what it tells: two tones are told apart, nothing else is changed, saved, resumed, refused."""

import json
import math
from functools import lru_cache

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.errors import DataError, InputError, MismatchError, ModelError, TargetError
from earmark.explainers.l2i.config import L2iConfig, L2iOptions
from earmark.explainers.l2i.explainer import L2i
from earmark.explainers.l2i.train import fit_l2i, sampled_columns
from earmark.explainers.load import load_explainer
from earmark.masking import masked_logits
from earmark.store.explanations import load_explanation
from earmark.testing.conformance import check_explainer
from earmark.testing.toy_networks import toy_network
from earmark.testing.toys import band_classifier
from earmark.testing.untouched import untouched
from earmark.types import Clip, Target, seeded

RATE = 8000
TONES_HZ = (750, 2750)  # in the middle of the bands that the labels hear
LABELS = ("band 0", "band 1")
TINY = L2iConfig(
    epochs=2, batch_size=4, n_components=4, nmf_columns=200, nmf_steps=10, width=4, attention=4, sparsity=0.1
)
#: Enough steps that theta imitates the classifier on these tones; nothing is mixed in, since tones are mixed already.
LEARNED = L2iConfig(
    epochs=40, batch_size=4, n_components=2, nmf_columns=400, width=4, attention=8, learning_rate=5e-2,
    sparsity=0.1, noise_share=0.0, mix_share=0.0,
)  # fmt: skip


def loud_bands(task="multiclass"):
    """Two labels, one for 500 to 1000 Hz and one for 2500 to 3000 Hz; some 30 units for a tone of amplitude 0.3."""
    weight, bias = torch.zeros(2, 8, dtype=torch.float64), torch.full((2,), -5.0, dtype=torch.float64)
    weight[0, 1] = weight[1, 5] = 32_000
    return band_classifier(weight=weight, bias=bias, task=task)


def tone(hz, amplitude=0.3, start_s=0.0, end_s=1.0, n_samples=RATE):
    seconds = torch.arange(n_samples) / RATE
    inside = (seconds >= start_s) & (seconds < end_s)
    return amplitude * torch.sin(2 * math.pi * hz * seconds) * inside


@lru_cache(maxsize=4)
def clips(n=18, n_samples=RATE):
    """One of two tones, or both, in half a second of a clip."""
    generator, made = seeded(7), []
    for index in range(n):
        amplitudes, starts = torch.rand(2, 2, generator=generator)
        kept = [(True, False), (False, True), (True, True)][index % 3]
        sounds = [
            keep * tone(hz, 0.2 + 0.3 * float(a), 0.5 * float(s), 0.5 + 0.5 * float(s), n_samples)
            for keep, hz, a, s in zip(kept, TONES_HZ, amplitudes, starts, strict=True)
        ]
        samples = sum(sounds) + 1e-3 * torch.randn(n_samples, generator=generator)
        made.append(Clip(f"{index:02}", Waveform(samples[None], RATE), group=str(index)))
    return made


@lru_cache(maxsize=4)
def learned(task="multiclass"):
    return fit_l2i(loud_bands(task), clips(), LEARNED)


@lru_cache(maxsize=32)
def tiny(classifier=None, **changes):
    """A fit of little worth, quickly made."""
    return fit_l2i(classifier or loud_bands(), clips(8), TINY, **changes)


def both_tones():
    return Waveform((tone(TONES_HZ[0]) + tone(TONES_HZ[1], 0.25))[None], RATE)


def kept_in_band(told, hz):
    """The share of the evidence's energy that lies in 500 Hz around a tone."""
    power = (told.grid.stft(told.waveform.samples).abs()[0] * told.evidence.gain).square().sum(1)
    return float(power[(told.grid.hz - hz).abs() < 250].sum() / power.sum())


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_what_is_relevant_for_a_label_is_its_own_tone(task):
    explainer = learned(task)
    assert explainer.diagnostics["held_out"]["agreement"] == 1
    for label, hz in zip(LABELS, TONES_HZ, strict=True):
        told = explainer.explain(both_tones(), label)
        assert kept_in_band(told, hz) >= 0.8
        best = explainer.components(both_tones(), label)[0]
        peak = best.spectrum.argmax() * RATE / 256
        assert abs(float(peak) - hz) <= RATE / 256  # one bin
        top = told.evidence.ranking(told.grid).amax(1)  # of each row
        rows = [round(f * 256 / RATE) for f in (hz, sum(TONES_HZ) - hz)]
        assert top[rows[0]] > top[rows[1]]


def test_the_evidence_of_a_tone_is_decided_as_the_clip_and_the_rest_is_not():
    explainer = learned()
    for index, (hz, label) in enumerate(zip(TONES_HZ, LABELS, strict=True)):
        sound = Waveform((tone(hz, 0.4) + tone(sum(TONES_HZ) - hz, 0.15))[None], RATE)
        told = explainer.explain(sound)
        gain, c = told.evidence.gain[None].double(), explainer.classifier
        inside, outside = (masked_logits(c, c.prepare(sound), g)[0] for g in (gain, 1 - gain))
        assert told.prediction.label == label == c.labels[inside.argmax()]
        assert outside.argmax() != index


def test_components_are_heard_one_by_one_and_add_up():
    explainer = learned().using(threshold=0.0)
    told = explainer.explain(both_tones(), "band 0")
    found = explainer.components(both_tones(), "band 0")
    assert told.evidence.measured["n_chosen"] == len(found) > 0
    assert found[0].relevance == 1 and all(component.relevance > 0 for component in found)
    total = sum(component.gain for component in found)
    torch.testing.assert_close(total, told.evidence.gain, rtol=0, atol=1e-5)  # float32
    heard = sum(component.listen().samples for component in found)
    torch.testing.assert_close(heard, told.listen().samples, rtol=0, atol=1e-5)


def test_a_threshold_of_zero_keeps_all_that_speak_for_a_label_and_a_higher_one_fewer():
    explainer = learned()
    done = explainer._forward(explainer.classifier.prepare(both_tones()))
    for index in range(2):
        target = Target(index, explainer.classifier.labels[index])
        positive = (done.state.heard.pooled[0] * explainer.network.theta.weight[index] > 0).nonzero().flatten().tolist()
        counts = []
        for threshold in (0.0, 0.2, 0.5, 0.8):
            other = explainer.using(threshold=threshold)
            counts.append(len(other.components(both_tones(), target)))
            assert other.explain(both_tones(), target).evidence.measured["n_chosen"] == counts[-1]
        kept = [component.index for component in explainer.using(threshold=0.0).components(both_tones(), target)]
        assert sorted(kept) == positive
        assert counts == sorted(counts, reverse=True)


def test_an_empty_selection_is_an_empty_mask_that_says_so():
    explainer = tiny()
    other = L2i(explainer.classifier, explainer.config, explainer.taps, explainer.network)._with(
        _negative(explainer.network)
    )
    told = other.explain(both_tones())
    assert told.evidence.measured["n_chosen"] == 0 and not told.evidence.gain.any() and not told.evidence.order.any()
    assert other.components(both_tones()) == ()
    assert not told.listen().samples.any() and not told.regions()


def _negative(network):
    import copy

    other = copy.deepcopy(network)
    other.theta.weight.abs_().neg_()
    return other


def test_a_contrast_is_the_difference_of_two_rows():
    explainer = learned()
    told = explainer.explain(both_tones(), "band 0", against="band 1")
    assert kept_in_band(told, TONES_HZ[0]) >= 0.8
    with pytest.raises(TargetError, match="explains logit and contrast"):
        explainer.explain(both_tones(), Target(0, "band 0", "prob"))


def test_the_log1p_scale_multiplies_the_log1p_magnitude():
    linear, log1p = (learned().using(mask_scale=scale).explain(both_tones(), "band 0") for scale in ("linear", "log1p"))
    whole = linear.grid.stft(both_tones().samples).abs()[0]
    kept = (log1p.evidence.gain * whole).log1p()
    torch.testing.assert_close(kept, linear.evidence.gain * whole.log1p(), rtol=0, atol=1e-4)  # float32, up to 5
    assert torch.equal(linear.evidence.order, log1p.evidence.order)


@pytest.mark.parametrize(("n_samples", "rate"), [(700, RATE), (RATE, RATE), (13_001, RATE), (44_100, 44_100)])
def test_any_length_and_rate(n_samples, rate):
    noise = Waveform(0.1 * torch.randn(2, n_samples, generator=seeded(1)), rate)
    told = tiny().explain(noise)
    assert told.evidence.gain.shape == told.grid.shape
    assert told.listen().samples.shape == noise.samples.shape


def test_the_classifier_is_left_alone_and_labels_are_not_read():
    classifier = toy_network()
    with untouched(classifier.module):
        first = fit_l2i(classifier, clips(8), TINY)
    other = [Clip(c.id, c.source, labels=("no such label",), group=c.group) for c in clips(8)]
    second = fit_l2i(classifier, other, TINY)
    assert same(first, second)


def same(first, second):
    states = [explainer.network.state_dict() for explainer in (first, second)]
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_global_random_state_plays_no_part_and_seeds_do():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = fit_l2i(loud_bands(), clips(8), TINY)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert same(first, fit_l2i(loud_bands(), clips(8), TINY))
    assert not same(first, tiny(seed=1))


def test_a_fit_that_was_killed_goes_on_to_the_same_result(tmp_path):
    changes = {"epochs": 3, "checkpoint_s": 0.0}
    whole = fit_l2i(loud_bands(), clips(8), TINY, **changes)

    def killed(done, _all_steps, _values):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_l2i(loud_bands(), clips(8), TINY, progress=killed, resume_dir=tmp_path, **changes)
    steps = []
    resumed = fit_l2i(
        loud_bands(), clips(8), TINY, progress=lambda done, *_: steps.append(done), resume_dir=tmp_path, **changes
    )
    assert same(whole, resumed) and 1 not in steps
    with pytest.raises(MismatchError, match="other settings"):
        fit_l2i(loud_bands(), clips(8), TINY, resume_dir=tmp_path, epochs=3, checkpoint_s=0.0, lambda_l1=0.0)


def test_saved_and_loaded_bit_for_bit(tmp_path):
    explainer = learned()
    loaded = load_explainer(explainer.save(tmp_path / "l2i"), classifier=loud_bands(), threshold=0.5)
    assert isinstance(loaded, L2i) and same(explainer, loaded)
    assert (loaded.config, loaded.taps, loaded.options.threshold) == (explainer.config, explainer.taps, 0.5)
    first, second = (e.using(threshold=0.5).explain(both_tones()) for e in (explainer, loaded))
    assert torch.equal(first.evidence.gain, second.evidence.gain)
    assert torch.equal(first.evidence.order, second.evidence.order)
    card = (tmp_path / "l2i" / "README.md").read_text()
    assert "2 spectra" in card and "agreement 1" in card and "-" in card
    explainer.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "l2i" / name).read_bytes()


def test_what_was_measured_is_saved_with_an_explanation(tmp_path):
    told = learned().explain(both_tones(), "band 0")
    assert told.evidence.measured["theta_agrees"] == 1 and told.evidence.measured["model_error"] < 0.3
    assert told.provenance.config["threshold"] == L2iOptions().threshold
    assert load_explanation(told.save(tmp_path / "told", page=False)).evidence.measured == told.evidence.measured


def test_another_classifier_or_a_damaged_folder_is_refused(tmp_path):
    tiny().save(tmp_path)
    with pytest.raises(MismatchError, match="fit l2i to this classifier"):
        load_explainer(tmp_path, classifier=toy_network())
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**about, "config": {**about["config"], "n_components": 0}}))
    with pytest.raises(InputError, match="n_components is at least 1"):
        load_explainer(tmp_path, classifier=loud_bands())
    (tmp_path / "config.json").write_text(json.dumps({**about, "config": {**about["config"], "attention": 5}}))
    with pytest.raises(ModelError, match="damaged l2i"):
        load_explainer(tmp_path, classifier=loud_bands())


def test_unknown_options_and_settings_are_refused():
    with pytest.raises(InputError, match="l2i has no option treshold; its options are threshold"):
        tiny().using(treshold=0.5)
    with pytest.raises(InputError, match="did you mean n_components"):
        fit_l2i(loud_bands(), clips(8), TINY, n_component=3)
    for changes, match in (
        ({"threshold": 1.0}, "threshold lies in"),
        ({"top": -1}, "top is 0"),
    ):
        with pytest.raises(InputError, match=match):
            tiny().using(**changes)


def silent(n=20):
    return [Clip(str(i), Waveform(torch.zeros(1, RATE), RATE), group=str(i)) for i in range(n)]


@pytest.mark.parametrize(
    ("data", "changes", "error", "match"),
    [
        (silent, {}, DataError, "All 16 clips to learn from are silent"),
        (clips, {"n_components": 5000}, DataError, "5000 components need as many frames with sound, and there are"),
        (lambda: clips(8, 200), {}, DataError, "shorter than a window"),
        (clips, {"taps": "linear"}, ModelError, "one map"),
        (clips, {"n_components": 0}, InputError, "n_components is at least 1"),
    ],
)
def test_what_cannot_be_learned_is_refused(data, changes, error, match):
    with pytest.raises(error, match=match):
        fit_l2i(loud_bands(), data(), TINY, **changes)


def test_a_classifier_without_a_map_is_refused():
    classifier = toy_network(shape="cell")
    assert L2i.fits(loud_bands()) is None
    refusal = L2i.fits(classifier)
    if refusal:
        with pytest.raises(ModelError):
            fit_l2i(classifier, clips(8), TINY)


def test_silent_frames_are_no_columns_and_each_clip_gives_as_many():
    samples = torch.zeros(4, RATE)
    samples[0, :2000], samples[1] = tone(750)[:2000], tone(2750)
    columns = sampled_columns(loud_bands(), samples.numpy(), L2iConfig(n_components=4, nmf_columns=40))
    assert columns.shape == (129, 20) and bool((columns.amax(0) > 0).all())


def test_presets():
    original, speechbrain = (L2iConfig.of_preset(name) for name in ("original", "speechbrain"))
    assert original.n_components == speechbrain.n_components == 100
    assert [original.fidelity_at(epoch) for epoch in (0, 19, 20, 34)] == [0.5, 0.5, 1.0, 1.0]
    assert (original.lambda_mse, original.lambda_l1) == (5.0, 0.4)
    assert (speechbrain.lambda_mse, speechbrain.lambda_l1, speechbrain.fidelity_at(0)) == (10.0, 0.8, 1.0)
    assert L2iConfig.from_dict(original.to_dict()) == original
    assert L2iConfig(preset="original", epochs=3).with_preset() == L2iConfig.of_preset("original", epochs=3)
    assert L2iConfig().with_preset() == L2iConfig()
    for preset in ("original", "speechbrain"):
        explainer = fit_l2i(
            loud_bands(), clips(8), L2iConfig.of_preset(preset, epochs=1, batch_size=4, n_components=4, nmf_steps=5)
        )
        assert explainer.explain(both_tones()).evidence.gain.shape == (129, 126)


def test_it_keeps_the_promises_of_an_explainer():
    classifier = toy_network()

    def make(c, **options):
        return tiny(c, **options)

    report = check_explainer(make, classifier, rounding=1e-4, n_explanations=12)
    report.raise_if_failed()
