"""LMAC-ZS: two concepts in two bands are told apart, any prompt is explained, and what is of no use is refused."""

import json

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.checks.decoder import TrainedDecoder
from earmark.errors import DataError, InputError, MismatchError, ModelError, TargetError
from earmark.explainers.lmac_zs.config import LmacZsConfig
from earmark.explainers.lmac_zs.decoder import untrained
from earmark.explainers.lmac_zs.explainer import LmacZs
from earmark.explainers.lmac_zs.train import fit_lmac_zs, refuse_collapsed
from earmark.explainers.load import load_explainer
from earmark.metrics.separation import si_sdr
from earmark.testing.conformance import check_explainer
from earmark.testing.toys import band_classifier
from earmark.testing.untouched import untouched
from earmark.testing.zero_shot import band_prompts
from earmark.types import Clip

RATE, WIDTH_HZ = 8000, 2000
SMALL = LmacZsConfig(epochs=1, batch_size=4, width=4, most_alike=1.0)
#: Faint noise and other clips are left out, so that the two bands are all there is.
PLANTED = LmacZsConfig(
    epochs=20,
    batch_size=8,
    width=16,
    learning_rate=0.03,
    n_prompts=0,
    lambda_l1=0.3,
    lambda_diversity=0.3,
    noise_share=0.0,
    mix_share=0.0,
    shift=0.0,
)


def both(seed, n=2048):
    """Returns a quarter of a second of noise in both bands, 0 to 2 and 2 to 4 kHz."""
    hz = torch.arange(n // 2 + 1) * RATE / n
    inside = sum(((hz > low + 50) & (hz < low + WIDTH_HZ - 50)).float() for low in (0, WIDTH_HZ))
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return Waveform((0.3 * torch.fft.irfft(torch.fft.rfft(noise) * inside, n))[None], RATE)


def one_band(seed, band, n=2048):
    """Returns that noise in one of the bands."""
    hz = torch.arange(n // 2 + 1) * RATE / n
    inside = ((hz > band * WIDTH_HZ + 50) & (hz < (band + 1) * WIDTH_HZ - 50)).float()
    return Waveform(torch.fft.irfft(torch.fft.rfft(both(seed, n).samples) * inside, n), RATE)


def clips(n=12):
    return [Clip(f"{i:02}", both(i), group=str(i)) for i in range(n)]


def two_bands():
    return band_prompts(("band 0", "band 1"), n_bands=2, gain=0.5)


@pytest.fixture(scope="module")
def planted():
    return fit_lmac_zs(two_bands(), clips(20), PLANTED)


def fitted(**changes):
    return fit_lmac_zs(band_prompts(), clips(), SMALL, **changes)


def first_weights(classifier, **changes):
    masker = untrained(classifier.embedder, LmacZsConfig(**{"width": 4, **changes}))
    return LmacZs(classifier, masker.config, masker.taps, masker.decoder)


def iou(told, band):
    hz = told.grid.hz
    truth = ((hz >= band * WIDTH_HZ) & (hz < (band + 1) * WIDTH_HZ))[:, None].expand(told.grid.shape)
    kept = told.evidence.gain >= 0.5
    return float((kept & truth).sum() / (kept | truth).sum())


def test_each_prompt_keeps_its_band(planted):
    """Known answer 2: encoders are linear and concepts orthogonal, so a mask loses nothing by leaving out a band."""
    for band in (0, 1):
        assert iou(planted.explain(both(99), f"band {band}"), band) > 0.8
    assert planted.diagnostics["held_out"]["overlap"] < 0.2
    assert planted.diagnostics["held_out"]["mask_mean"] == pytest.approx(0.5, abs=0.1)


def test_of_two_sounds_each_is_heard_under_its_own_prompt():
    """Clips of one band each, without labels; of both at once, each prompt keeps its own."""
    alone = [Clip(f"{i:02}", one_band(i, i % 2), group=str(i)) for i in range(20)]
    nothing_else = dict.fromkeys(("lambda_match", "lambda_l1", "lambda_diversity"), 0.0)
    fit = fit_lmac_zs(two_bands(), alone, PLANTED, epochs=50, lambda_apart=4.0, n_prompts=2, **nothing_else)
    assert fit.diagnostics["forward_passes"] == 2 * 50 * 16  # each clip alone and mixed, 2 steps of 8 clips an epoch
    sounds = [one_band(99, 0), one_band(98, 1)]
    both = Waveform(sounds[0].samples + sounds[1].samples, RATE)
    for band, own in enumerate(sounds):
        kept = fit.explain(both, f"band {band}").listen().samples
        assert (
            float(si_sdr(kept, own.samples)[0]) > float(si_sdr(both.samples, own.samples)[0]) + 6
        )  # a quarter is left


def test_a_contrast_keeps_what_speaks_for_one_alone(planted):
    told = planted.explain(both(99), "band 1", against="band 0")
    assert (told.target.score, told.target.against_label) == ("contrast", "band 0")
    assert iou(told, 1) > 0.8
    one, other = (planted.explain(both(99), f"band {band}").evidence for band in (1, 0))
    assert torch.equal(told.evidence.gain, (one.gain - other.gain).clamp_min(0))
    assert torch.equal(told.evidence.order, one.order - other.order)


def test_a_prompt_never_seen_is_explained_too(planted):
    told = planted.explain(both(99), "band 0 and band 1")
    assert told.target.label == "band 0 and band 1"
    assert told.prediction.labels == ("band 0", "band 1", "band 0 and band 1")
    assert planted.classifier.labels == ("band 0", "band 1")  # it is not changed
    with pytest.raises(ModelError, match="names no band"):
        planted.explain(both(99), "rain")
    with pytest.raises(TargetError, match="labels 0 to 1"):
        planted.explain(both(99), 5)


def test_masks_belong_to_prompts_and_not_to_their_places(planted):
    """Known answer 3: permuted prompts have permuted masks, and a prompt has one mask wherever it stands."""
    turned = LmacZs(
        planted.classifier.with_prompts(["band 1", "band 0"]), planted.config, planted.taps, planted.decoder
    )
    for prompt in ("band 0", "band 1"):
        one, other = (explainer.explain(both(7), prompt).evidence for explainer in (planted, turned))
        assert torch.equal(one.gain, other.gain) and torch.equal(one.order, other.order)


def test_before_training_no_prompt_changes_a_mask():
    """Known answer 4: scales and shifts begin as the identity."""
    explainer = first_weights(band_prompts(("band 0", "band 1", "band 2")))
    masks = [explainer.explain(both(1), prompt).evidence.order for prompt in explainer.classifier.labels]
    assert all(torch.equal(masks[0], mask) for mask in masks[1:])


def test_what_is_heard_and_its_complement_are_the_clip(planted):
    sound = Waveform(0.1 * torch.randn(2, 9001, generator=torch.Generator().manual_seed(0)), 44100)
    told = planted.explain(sound, "band 1")
    assert (told.listen().n_samples, told.listen().n_channels) == (9001, 2)
    torch.testing.assert_close(told.listen().samples + told.complement().samples, sound.samples, rtol=0, atol=1e-6)
    small, large = (planted.using(area=area).explain(sound, "band 1").evidence.gain.mean() for area in (0.05, 0.5))
    assert small < large


def test_it_is_saved_and_loaded_bit_for_bit_for_any_prompts(planted, tmp_path):
    planted.save(tmp_path / "zs")
    assert {path.name for path in (tmp_path / "zs").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    other = two_bands().with_prompts(["band 1", "band 0 and 1"])
    again = load_explainer(tmp_path / "zs", classifier=other)
    one, two = (x.explain(both(5), "band 1").evidence for x in (planted, again))
    assert torch.equal(one.gain, two.gain) and again.config == planted.config
    assert "learned from prompts | band 0, band 1" in (tmp_path / "zs" / "README.md").read_text()


def test_other_towers_labels_that_are_no_prompts_and_damage_are_refused(planted, tmp_path):
    planted.save(tmp_path / "zs")
    with pytest.raises(MismatchError, match="fit lmac-zs to this classifier"):
        load_explainer(tmp_path / "zs", classifier=band_prompts())
    with pytest.raises(ModelError, match="labels that were learned"):
        load_explainer(tmp_path / "zs", classifier=band_classifier())
    (tmp_path / "zs" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged lmac-zs"):
        load_explainer(tmp_path / "zs", classifier=two_bands())


def test_the_model_is_left_as_it_was_and_labels_are_not_read():
    classifier = band_prompts()
    with untouched(classifier.module):
        one = fit_lmac_zs(classifier, clips(), SMALL)
        one.explain(both(1))
    labeled = [Clip(clip.id, clip.source, ("x",), clip.group) for clip in clips()]
    other = fit_lmac_zs(classifier, labeled, SMALL)
    for name, tensor in one.decoder.state_dict().items():
        assert torch.equal(tensor, other.decoder.state_dict()[name]), name


def test_a_killed_fit_goes_on_to_the_same_result(tmp_path):
    whole = fitted(epochs=2)

    def stop(done, _every, _values):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(epochs=2, checkpoint_s=0.0, progress=stop, resume_dir=tmp_path)
    again = fitted(epochs=2, checkpoint_s=0.0, resume_dir=tmp_path)
    for name, tensor in whole.decoder.state_dict().items():
        assert torch.equal(tensor, again.decoder.state_dict()[name]), name


@pytest.mark.parametrize(
    "changes", [{"mask_stage": "features"}, {"mask_scale": "log1p", "reentry": "stft"}, {"lambda_out": 0.2}]
)
def test_every_way_of_masking_trains(changes):
    told = fitted(**changes).explain(both(3), "band 2")
    assert told.evidence.gain.shape == told.grid.shape
    assert told.evidence.gain.min() >= 0 and told.evidence.gain.max() <= 1


def test_masks_that_ignore_the_prompt_stop_with_a_sentence():
    with pytest.raises(ModelError, match=r"overlap by 1 on average.*the decoder ignores the prompt"):
        fitted(most_alike=0.95, learning_rate=1e-9)
    with pytest.raises(ModelError, match=r"mean of the masks is 0.99 after training: they say nothing"):
        refuse_collapsed({"mask_mean": 0.99, "overlap": 0.2}, SMALL)


def test_bad_input_is_refused_in_a_sentence():
    with pytest.raises(ModelError, match=r"labels that were learned.*load a CLAP model"):
        fit_lmac_zs(band_classifier(), clips(), SMALL)
    with pytest.raises(InputError, match="One prompt was given"):
        fit_lmac_zs(band_prompts(["band 1"]), clips(), SMALL)
    with pytest.raises(DataError, match="were expected; add clips"):
        fit_lmac_zs(band_prompts(), clips(2), SMALL)
    with pytest.raises(InputError, match="LMAC-ZS has no setting lambda_in"):
        fitted(lambda_in=1.0)
    with pytest.raises(InputError, match="n_prompts is 0"):
        LmacZsConfig(n_prompts=1)
    with pytest.raises(InputError, match="log1p needs reentry stft"):
        LmacZsConfig(mask_scale="log1p")


def test_it_serves_the_controls_of_decoders(planted):
    assert isinstance(planted, TrainedDecoder)
    samples = torch.cat([planted.classifier.prepare(both(seed)) for seed in (1, 2)])
    told, crossed = (x.evidence(samples, [None, None]) for x in (planted, planted._crossed()))
    assert not torch.equal(told[0].order, crossed[0].order)
    new = planted._untrained(3)
    assert torch.equal(new.decoder.trunk.scale, planted.decoder.trunk.scale)
    again = planted._refitted(planted.classifier, clips(), epochs=1, batch_size=4, blind=True, seed=1)
    assert again.config.blind and again.decoder.width == planted.decoder.width


def test_it_keeps_what_every_explainer_promises():
    def make(classifier, **options):
        if refusal := LmacZs.fits(classifier):
            raise ModelError(refusal)
        return first_weights(classifier, **options)

    report = check_explainer(make, band_prompts(("band 0", "band 1", "band 3")), rounding=1e-4, n_explanations=12)
    report.raise_if_failed()


def test_the_folder_says_what_it_is(planted, tmp_path):
    about = json.loads((planted.save(tmp_path / "zs") / "config.json").read_text())
    assert (about["kind"], about["fingerprint"]) == ("lmac-zs", two_bands().tower_fingerprint)
