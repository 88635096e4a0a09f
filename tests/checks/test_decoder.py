"""Controls of a trained decoder: one that reads its latents passes, one that reads the sound alone fails."""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import pairwise

import pytest
import torch
from tests.checks.retraining import bands

from earmark.audio.waveform import Waveform
from earmark.checks.config import CheckConfig
from earmark.checks.decoder import TrainedDecoder, check, met_another
from earmark.checks.decoder_config import DecoderConfig
from earmark.checks.decoder_refits import check as check_refits
from earmark.checks.decoder_refits import training_clips
from earmark.checks.run import check as run
from earmark.checks.run import plain
from earmark.checks.subject import Subject
from earmark.checks.summary import summary_of
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError
from earmark.evidence import Mask
from earmark.explainers.base import Explainer, Pass
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.train import fit_lmac
from earmark.explainers.load import load_explainer
from earmark.render.check_page import check_page
from earmark.testing.toys import band_classifier
from earmark.testing.untouched import untouched
from earmark.types import Clip, seeded

RATE, N_LABELS, N_BANDS = 8000, 4, 8
CONFIG = CheckConfig(seeds=(0, 1), n_shown=1, decoder=DecoderConfig(areas=(0.005, 0.01), epochs=1))
SMALL = LmacConfig(epochs=1, batch_size=4, width=4, crop_s=0.0)

ONE = replace(CONFIG, seeds=(0,), n_shown=0)


@lru_cache(maxsize=1)
def classifier():
    """Four labels hear one band each, and nothing hears the four bands above."""
    weight = 4000 * torch.eye(N_LABELS, N_BANDS, dtype=torch.float64)
    return band_classifier(n_bands=N_BANDS, weight=weight)


def clips(n=8, **options):
    """Quarter-seconds of faint noise with a soft tone in a band that counts, and a loud one in a band that does not."""

    def sound(i):
        time = torch.arange(RATE // 4) / RATE
        begun = 0.05 * (i % 3)
        inside = ((time >= begun) & (time < begun + 0.1)).float()
        tones = [torch.sin(2 * torch.pi * (250 + 500 * band) * time) for band in (i % N_LABELS, 4 + i % 3)]
        noise = 0.02 * torch.randn(len(time), generator=torch.Generator().manual_seed(i))
        return Waveform((noise + inside * (0.4 * tones[0] + 0.8 * tones[1]))[None], RATE)

    return [Clip(f"{i:02}", sound(i), (f"band {i % N_LABELS}",), f"g{i}", **options) for i in range(n)]


class Decoder(Explainer):
    """A decoder by hand: the level of each bin, where it reads latents times what its band speaks for the decision.

    Like a decoder that is not told the label, it sees the decision in the map alone. `latents` reads the map, `sound`
    does not, `noise` is untrained. `later` is what it becomes when it is fitted again.
    """

    method = "by-hand"

    def __init__(self, given, kind="latents", *, later=None, seed=0, crossed=False):
        self.classifier, self.kind, self.later = given, kind, later or kind
        self.seed, self.crossed, self.fits_made = seed, crossed, []

    def _forward(self, samples):
        with torch.no_grad():
            maps = self.classifier.at(samples, "map")
            return Pass(self.classifier.logits(samples), (maps.roll(1, 0) if self.crossed else maps, samples))

    def _evidence(self, done, index, target, n_samples):
        maps, samples = done.state
        grid = self.classifier.grid(n_samples)
        if self.kind == "noise":
            return Mask(torch.rand(grid.shape, generator=seeded(self.seed, index)), grid)
        level = grid.stft(samples[index : index + 1]).abs()[0].float()
        values = level if self.kind == "sound" else level * self._speaks(maps[index], grid)
        return Mask((values / values.max().clamp_min(1e-12)).clamp(0, 1), grid, values)

    def _speaks(self, maps, grid):
        weight = self.classifier.module.linear.weight
        label = (weight @ maps.mean((1, 2))).argmax()
        cells = torch.einsum("k,kft->ft", weight[label], maps).float()
        rows = (torch.arange(grid.shape[0]) // 16).clamp_max(cells.shape[0] - 1)
        frames = (torch.arange(grid.shape[1]) // 8).clamp_max(cells.shape[1] - 1)
        return cells[rows][:, frames]

    def _config(self):
        return {"kind": self.kind}

    def _crossed(self):
        return Decoder(self.classifier, self.kind, crossed=True)

    def _untrained(self, seed):
        return Decoder(self.classifier, "noise", seed=seed)

    def _refitted(self, other, given, **changes):
        self.fits_made.append((other.fingerprint, len(given), changes))
        return Decoder(other, "sound" if changes.get("blind") else self.later)

    def _on(self, other):
        return Decoder(other, self.kind)


def checked(explainer, how=check, n=8, config=CONFIG, training=()):
    subject = Subject(explainer.classifier, explainer, clips=clips(n))
    subject.training = tuple(training)
    result = how(subject, config)
    json.dumps(plain(result.to_dict()), allow_nan=False)
    return result


def test_a_decoder_that_reads_its_latents_passes():
    with untouched(classifier().module):
        result = checked(Decoder(classifier()))
    assert result.passed is True and result.about["passed_by"] == {"D1": None, "D2": True, "D3": True}
    assert "so they follow the latents" in result.sentence and "The explainer beats it" in result.sentence
    alike, kept = result.tables
    names = ["D1: all layers of the classifier re-drawn", "D2: latents of another clip", "D3: untrained decoder"]
    assert [row[0] for row in alike.rows] == [*names, "another clip, intact explainer", "random map"]
    assert kept.columns[1:3] == ("the explainer", names[1])
    (picture,) = result.about["pictures"]
    assert picture["names"] == ["sound", "intact", "D1", "D2", "D3"] and len(picture["maps"]) == 5


def test_a_decoder_of_the_sound_alone_fails_by_its_latents():
    result = checked(Decoder(classifier(), "sound"))
    assert result.passed is False and result.about["passed_by"]["D2"] is False
    assert result.about["unchanged"]["D1"] == result.about["unchanged"]["D2"] == 1
    assert "hardly need the latents" in result.sentence and "difference 0.0 [0.0, 0.0]" in result.sentence


def test_an_untrained_decoder_does_not_beat_another_one():
    result = checked(Decoder(classifier(), "noise"))
    assert result.passed is False and result.about["passed_by"]["D3"] is False


def test_decoders_trained_anew_differ_and_are_beaten():
    explainer = Decoder(classifier())
    result = checked(explainer, check_refits, training=clips(5))
    assert result.passed is True and result.about["passed_by"] == {"D4": True, "D6": True}
    own = classifier().fingerprint
    assert [(print_ == own, n, changes.get("blind", False)) for print_, n, changes in explainer.fits_made] == [
        (True, 5, False),
        (False, 5, False),
        (True, 5, True),
    ]
    assert {(changes["seed"], changes["epochs"]) for *_, changes in explainer.fits_made} == {(1, 1)}
    notes = " ".join(result.about["notes"])
    assert "5 clips, 1 epoch each" in notes and "5 of 8 explained clips" in notes
    assert "D5 is left out: band-energies" in notes


def test_a_decoder_that_needs_no_classifier_fails_when_it_is_trained_anew():
    result = checked(Decoder(classifier(), "sound"), check_refits, training=clips(5))
    assert result.passed is False and result.about["passed_by"] == {"D4": False, "D6": False}
    assert "they do not differ" in result.sentence and "does not beat it" in result.sentence


def test_what_only_longer_training_can_explain_is_not_judged():
    result = checked(Decoder(classifier(), later="sound"), check_refits, training=clips(5))
    assert result.passed is None and result.about["passed_by"]["D6"] is None and "raise epochs" in result.sentence


def test_too_few_recordings_judge_nothing():
    result = checked(Decoder(classifier()), n=4)
    assert result.passed is None and "too few recordings" in result.sentence
    assert "there is 1: add more" in checked(Decoder(classifier()), n=1).sentence


def test_neighbors_of_one_recording_are_left_out_of_crossing():
    given = [replace(clip, group="ab"[i > 0]) for i, clip in enumerate(clips(3))]
    assert met_another(Subject(classifier(), "energy", clips=given)) == [True, True, False]
    assert met_another(Subject(classifier(), "energy", clips=given[:1])) == [False]
    result = check(Subject(classifier(), Decoder(classifier()), clips=given), CONFIG)
    assert any("D2 leaves out 1 clip " in note for note in result.about["notes"])


def test_methods_without_a_decoder_are_not_asked():
    energy = load_explainer("energy", classifier=classifier())
    assert isinstance(Decoder(classifier()), TrainedDecoder) and not isinstance(energy, TrainedDecoder)
    for how in (check, check_refits):
        result = checked(energy, how)
        assert result.passed is None and "energy has no trained decoder" in result.sentence


def test_without_clips_to_learn_from_nothing_is_trained(monkeypatch):
    explainer = Decoder(classifier())
    result = checked(explainer, check_refits)
    assert result.passed is None and "--training-folds" in result.sentence and not explainer.fits_made
    monkeypatch.setattr(classifier(), "card", {"folds": "1,2"})
    given = [replace(clip, fold=i % 4) for i, clip in enumerate(clips())]
    subject = Subject(classifier(), explainer, clips=given)
    assert [clip.fold for clip in training_clips(subject)] == [1, 2, 1, 2]
    subject.training = tuple(given[:2])
    assert training_clips(subject) == tuple(given[:2])


def test_settings_out_of_range_are_refused():
    for wrong in ({"areas": ()}, {"areas": (1.5,)}, {"epochs": -1}, {"refits": 0}):
        with pytest.raises(InputError):
            DecoderConfig(**wrong)


# -- with a real decoder ------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def lmac(**changes):
    return fit_lmac(classifier(), clips(12), SMALL, **changes)


def test_a_real_decoder_without_latents_fails():
    result = checked(lmac(blind=True), config=ONE)
    assert result.about["passed_by"]["D2"] is False and result.about["unchanged"]["D2"] == 1
    refits = checked(lmac(blind=True), check_refits, config=ONE, training=clips(12))
    assert refits.about["passed_by"]["D6"] is not True and refits.passed is not True


def test_a_real_decoder_is_compared_around_classifiers_that_decide_otherwise():
    """It explains the decision alone; a re-drawn head has others, and the maps below it are what they were."""
    result = checked(lmac(conditioned=False), config=ONE)
    assert not result.about["failures"] and result.about["unchanged"]["D1"] == 1
    assert result.about["unchanged"]["D2"] == 0


def test_a_killed_run_goes_on_to_the_same_result_and_is_drawn(tmp_path):
    names, changes = ("decoder", "decoder-refits"), {"seeds": (0,), "n_shown": 1, "decoder": CONFIG.decoder}
    given = {"training": clips(12), "folder": tmp_path / "killed", **changes}
    seen = []

    class Bar:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def __call__(self, done, total, values=None):
            seen.append((self.name, done, total))
            if not stopped and (self.name, done) >= ("decoder-refits", 1500):
                stopped.append(True)
                raise KeyboardInterrupt

    stopped = []
    with pytest.raises(KeyboardInterrupt):
        run(classifier(), lmac(), clips(6), names, bars=Bar, **given)
    (parts,) = (tmp_path / "killed").glob(".parts-*")
    finished = {path.name for path in parts.iterdir()}
    assert any(name.startswith("decoder--again-0") for name in finished)
    assert any(name.startswith("refit-D4") for name in finished)
    seen.clear()
    report = run(classifier(), lmac(), clips(6), names, bars=Bar, **given)
    assert all(one <= two for one, two in pairwise(seen))
    assert seen[-1] == ("decoder-refits", 3000, 3000) and not list((tmp_path / "killed").glob(".parts-*"))
    whole = run(classifier(), lmac(), clips(6), names, training=clips(12), **changes)
    assert report.to_dict() == whole.to_dict()
    page, words = check_page(report), summary_of(report)
    assert "Controls of the decoder" in page and "Maps of the controls" in page and "layer by layer" not in page
    assert "## decoder-refits: " in words


def test_a_classifier_of_shuffled_labels_is_explained_too():
    module = bands.TRAINER.start(16, 2, 0).eval()
    told = {"training": {"loop": asdict(bands.TRAINER.loop), "augmentation": asdict(bands.TRAINER.augmentation)}}
    given = wrap(
        module, bands.LogMel(bands.FRONT_END), tuple(bands.HZ), map_layer=type(module).map_layer, head=module.head
    )
    given.card.update(told)
    explainer = fit_lmac(given, bands.clips(12), SMALL)
    subject = Subject(given, explainer, clips=bands.clips(8))
    subject.training = bands.clips(12)
    result = check_refits(subject, replace(ONE, retraining=bands.CONFIG))
    assert "D5" in result.about["passed_by"] and len(result.about["accuracy_on_shuffled_labels"]) == 1
    assert 0 <= result.about["accuracy_on_shuffled_labels"][0] <= 1
