"""Training: planted evidence is found, a killed fit goes on to the same bits, and what cannot work is refused."""

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.classifiers.wrap import wrap
from earmark.errors import DataError, InputError, MismatchError, ModelError, TrainingError
from earmark.explainers.lmac_td.evidence import added_energy, derived_gain
from earmark.explainers.lmac_td.explainer import LmacTd
from earmark.explainers.lmac_td.learner import loudest
from earmark.explainers.lmac_td.refusals import refuse_poor
from earmark.explainers.lmac_td.train import fit_lmac_td
from earmark.testing.toy_networks import ToyNet, toy_network
from earmark.testing.toys import PowerSpectrogram, band_classifier
from earmark.testing.untouched import untouched
from earmark.types import Clip, seeded

RATE = 8000
TINY = {"epochs": 2, "batch_size": 4, "channels": 8, "blocks": 2, "width": 4, "crop_s": 0.2, "lambda_l1": 0.5}


def tone(seed, *, on, seconds=0.3):
    """Returns noise, with a tone in 1 to 1.5 kHz where `on`."""
    generator, n_samples = seeded(seed), round(seconds * RATE)
    hz = 1050 + 400 * torch.rand((), generator=generator)
    sine = 0.1 * torch.sin(2 * torch.pi * hz * torch.arange(n_samples) / RATE)
    return Waveform((on * sine + 0.12 * torch.randn(n_samples, generator=generator))[None], RATE)


def clips(n=12, seconds=0.3):
    return [Clip(f"clip {i}", tone(i, on=i % 2 == 0, seconds=seconds), group=f"clip {i}") for i in range(n)]


def tone_detector():
    """Returns a classifier that reads the third of eight bands, 1 to 1.5 kHz, and nothing else."""
    weight = torch.zeros(2, 8, dtype=torch.float64)
    weight[0, 2] = 8 * 9000
    return band_classifier(weight=weight, bias=torch.tensor([-6.0, 0.0], dtype=torch.float64))


def inside_band(samples):
    power = torch.fft.rfft(samples).abs().square()
    hz = torch.fft.rfftfreq(samples.shape[-1], 1 / RATE)
    return float(power[(hz >= 1000) & (hz < 1500)].sum() / power.sum())


def bits(explainer):
    return {**explainer.separator.masker.state_dict(), **explainer.separator.code.state_dict()}


def test_planted_evidence_is_found():
    changes = {"epochs": 5, "learning_rate": 1e-2, "crop_s": 0.0, "gain_db": 0.0, "noise_share": 0, "mix_share": 0}
    explainer = fit_lmac_td(tone_detector(), clips(40), **{**TINY, **changes, "lambda_l1": 4.0, "batch_size": 8})
    for seed in range(100, 104):
        clip = tone(seed, on=True)
        told = explainer.explain(clip)
        assert told.target.index == 0
        assert inside_band(clip.samples[0]) < 0.5
        assert inside_band(told.listen().samples[0]) > 0.8
    held_out = explainer.diagnostics["held_out"]
    assert held_out["fidelity"] == 1 and held_out["mask_mean"] < 0.25
    assert explainer.diagnostics["reconstruction_snr_db"] > 100


DUAL_PATH = {"mask_net": "dual-path", "chunk": 10, "intra": 1, "inter": 1, "heads": 2, "feed_forward": 8, "blocks": 1}


@pytest.mark.parametrize(
    ("alpha", "changes"),
    [(0.0, {}), (1.0, {"conditioned": False}), (0.75, DUAL_PATH), (0.75, {"lambda_out": 0.0, "compressed": False})],
    ids=["audio alone", "maps alone", "dual path", "nothing left out"],
)
def test_each_form_trains_and_leaves_the_classifier_alone(alpha, changes):
    classifier = toy_network()
    with untouched(classifier.module):
        explainer = fit_lmac_td(classifier, clips(), **{**TINY, **changes}, alpha=alpha)
    assert explainer.config.alpha == alpha and explainer.diagnostics["n_clips"] == 10


def test_progress_counts_the_steps_of_both_trainings():
    steps = []
    changes = {"basis": "random", "autoencoder_epochs": 1, "epochs": 1, "filters": 600, "window_s": 0.008}
    with pytest.raises(ModelError, match="dB"):  # one epoch is not enough, which is said after the autoencoder
        fit_lmac_td(toy_network(), clips(), **TINY | changes, progress=lambda *step: steps.append(step[:2]))
    assert steps == [(1, 4), (2, 4)]


def test_a_learned_basis_is_trained_first_and_then_frozen(tmp_path):
    changes = {"basis": "learned", "window_s": 0.001, "filters": 64, "autoencoder_epochs": 30, "epochs": 1}
    fitted = fit_lmac_td(toy_network(), clips(24), **TINY | changes, autoencoder_rate=1e-2, resume_dir=tmp_path)
    assert fitted.diagnostics["reconstruction_snr_db"] > 20
    told = fitted.explain(clips()[0].source)
    assert told.evidence.measured["reconstruction_snr_db"] > 20
    assert (tmp_path / "autoencoder" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("projection", [True, False])
def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path, projection):
    classifier, settings = toy_network(task="multilabel"), {**TINY, "projection": projection, "lambda_spec": 0.1}
    if not projection:
        settings["lambda_sum"] = 0.5
    whole = fit_lmac_td(classifier, clips(), **settings)

    class Killed(Exception):  # noqa: N818
        pass

    def kill(done, _all, _values):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit_lmac_td(classifier, clips(), **settings, progress=kill, resume_dir=tmp_path)
    done = []
    resumed = fit_lmac_td(
        classifier, clips(), **settings, progress=lambda *step: done.append(step[0]), resume_dir=tmp_path
    )
    assert min(done) > 1
    for name, value in bits(whole).items():
        assert torch.equal(value, bits(resumed)[name]), name
    with pytest.raises(MismatchError, match="settings"):
        fit_lmac_td(classifier, clips(), **{**settings, "alpha": 1.0}, resume_dir=tmp_path)


def test_an_explainer_comes_back_bit_for_bit(tmp_path):
    classifier, clip = toy_network(), clips()[0].source
    explainer = fit_lmac_td(classifier, clips(), **TINY)
    back = LmacTd.load(explainer.save(tmp_path / "a"), classifier, power=2.0)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert back.config == explainer.config and back.options.power == 2.0
    first, again = (one.explain(clip).evidence for one in (explainer, back.using(power=1.0)))
    assert torch.equal(first.kept.samples, again.kept.samples) and torch.equal(first.gain, again.gain)
    assert first.measured == again.measured
    assert not torch.equal(first.gain, back.explain(clip).evidence.gain)
    card = (tmp_path / "a" / "README.md").read_text()
    assert "alpha 0.75" in card and "fourier" in card
    with pytest.raises(MismatchError, match="fit"):
        LmacTd.load(tmp_path / "a", toy_network(seed=1))
    (tmp_path / "a" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        LmacTd.load(tmp_path / "a", classifier)


class Rooted(ToyNet):
    """Has the square root of zero in it, whose slope is infinite."""

    def forward(self, features):
        return super().forward(features) + (0 * features.mean()).sqrt()


def wrapped(module, **changes):
    about = {"map_layer": "map", "feature_axes": "CFT", "probe_s": 0.3, "name": "odd"}
    return wrap(module, PowerSpectrogram(), ["a", "b", "c"], **about | changes)


@pytest.mark.parametrize(
    ("classifier", "sentence"),
    [
        (lambda: toy_network(shape="cell"), "more than one cell"),
        (lambda: toy_network("detached"), "no gradient"),
        (lambda: wrapped(Rooted()), "NaN or infinite"),
    ],
    ids=["one cell", "no gradient", "broken gradient"],
)
def test_classifiers_that_it_does_not_fit_are_refused(classifier, sentence):
    classifier = classifier()
    assert sentence in LmacTd.fits(classifier)
    with pytest.raises(ModelError, match=sentence):
        fit_lmac_td(classifier, clips(), **TINY)
    assert LmacTd.fits(toy_network()) is None


def test_other_refusals():
    classifier = toy_network()
    with pytest.raises(DataError, match="shorter than a window"):
        fit_lmac_td(classifier, clips(), **{**TINY, "crop_s": 0.01})
    with pytest.raises(DataError, match="shorter than a window"):
        fit_lmac_td(classifier, clips(seconds=0.01), **TINY)
    with pytest.raises(DataError, match="at least 2"):
        fit_lmac_td(classifier, clips(2), **TINY)
    with pytest.raises(ModelError, match="layer"):
        fit_lmac_td(classifier, clips(), **TINY, taps="nowhere")
    with pytest.raises(InputError, match="alpha"):
        fit_lmac_td(classifier, clips(), alfa=1.0)
    with pytest.raises(ModelError, match="20 dB"):
        refuse_poor(19.9)
    refuse_poor(20.0)
    silent = [Clip(f"{i}", Waveform(torch.zeros(1, 2400), RATE), group=f"{i}") for i in range(8)]
    with pytest.raises(DataError, match="silent"):
        fit_lmac_td(classifier, silent, **TINY)


def test_masks_that_collapse_stop_the_fit():
    with pytest.raises(TrainingError, match="lambda_l1"):
        fit_lmac_td(toy_network(), clips(40), **{**TINY, "epochs": 40, "learning_rate": 0.1, "lambda_l1": 500.0})


def test_derived_numbers_of_known_sounds():
    classifier = tone_detector()
    samples = torch.cat([classifier.prepare(tone(i, on=True)) for i in range(2)])
    stft = classifier.stft
    half = derived_gain(0.5 * samples, samples, stft)
    loud = stft(samples).abs() > 0.1 * stft(samples).abs().amax((1, 2), keepdim=True)
    assert torch.allclose(half[loud], torch.tensor(0.5, dtype=torch.float64), atol=0.006)  # eps is 1 % of these
    assert float(derived_gain(3 * samples, samples, stft).max()) == 1
    assert not bool(derived_gain(0 * samples, 0 * samples, stft).any())
    assert added_energy(0.5 * samples, samples, stft).tolist() == [0, 0]
    assert added_energy(2 * samples, samples, stft).tolist() == pytest.approx([0.75, 0.75])
    assert added_energy(0 * samples, samples, stft).tolist() == [0, 0]
    kept = loudest(samples, samples, classifier)
    assert float(kept.mean()) == pytest.approx(0.1, abs=0.03)  # the threshold is that of every eighth bin
