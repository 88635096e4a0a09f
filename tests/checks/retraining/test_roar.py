import json

import pytest
import torch
from tests.checks.retraining import bands

from earmark.checks.config import CheckConfig
from earmark.checks.memory import Memory
from earmark.checks.results import CheckResult
from earmark.checks.retraining.config import RetrainingConfig
from earmark.checks.retraining.removal import changed_sound
from earmark.checks.retraining.roar import check, verdict
from earmark.checks.subject import Subject
from earmark.classifiers.fit import fit_classifier
from earmark.classifiers.load import load_classifier
from earmark.testing.toys import band_classifier
from earmark.training.config import LoopConfig

ORACLE = {"oracle": bands.both_bands, "rest": bands.neither_band}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return bands.run(tmp_path_factory.mktemp("roar"), ORACLE)


def test_without_the_bands_that_decide_nothing_can_be_learned(results):
    assert sum(o.accuracy for o in results.intact) / 2 > 0.95
    assert 0.2 < bands.accuracy(results, "oracle", mode="remove") < 0.8  # of 48 tosses; 4 standard deviations are .29
    assert bands.accuracy(results, "random", mode="remove") > 0.9
    assert bands.accuracy(results, "rest", mode="remove") > 0.9


def test_with_nothing_else_all_is_learned(results):
    assert bands.accuracy(results, "oracle", mode="keep") > 0.9
    assert 0.2 < bands.accuracy(results, "rest", mode="keep") < 0.8


def test_the_mean_of_bands_tells_no_class(tmp_path):
    """With the clip's own phase in place of one noise's, the tone would come back through the inverse STFT."""
    given = bands.material(tmp_path)
    samples = torch.from_numpy(given.test.samples[:8])
    changed = changed_sound(given, samples, 1 - bands.both_bands(samples), "band_mean")
    power = given.classifier.stft(changed)[:, :, 2:-2].abs().square().mean(2)
    bins = [round(hz * 256 / bands.RATE) for hz in bands.HZ.values()]
    spread = power[:, bins].log10().std(0) * 10  # dB; of the clips themselves more than 10
    assert float(spread.max()) < 1
    assert float(given.classifier.stft(samples).abs().square().mean(2)[:, bins].log10().std(0).min() * 10) > 5


def test_the_area_to_the_control_is_that_between_the_curves(results):
    for mode, sign in (("remove", -1), ("keep", 1)):
        own, other = (results.curve(name, mode, "silence").mean((0, 1)) for name in ("oracle", "random"))
        x = torch.tensor([0.0, 0.3] if mode == "remove" else [0.3, 1.0])
        area = torch.trapezoid(sign * (own - other), x.double()) / (x[1] - x[0])
        assert results.against("oracle", mode, "silence").mean == pytest.approx(float(area))
    assert results.against("oracle", "remove", "silence").low > 0
    assert results.curve("oracle", "remove", "silence").shape == (2, 24, 2)


def test_a_method_passes_by_what_its_bins_cost(results):
    passed, sentence = verdict(results, "oracle")
    assert passed and "costs more accuracy than at random" in sentence
    assert not verdict(results, "rest")[0]


def test_a_leak_through_the_masks_is_found(tmp_path):
    found = bands.run(
        tmp_path, {"own": bands.own_band, "oracle": bands.both_bands}, modes=("remove",), seeds=1, mask_seeds=1
    )
    assert bands.accuracy(found, "own", mode="masks") == 1.0
    assert bands.accuracy(found, "oracle", mode="masks") == 0.5  # all masks are the same, and classes equally often
    assert "tell the class by their shape" in verdict(found, "own")[1]
    assert "do not tell" in verdict(found, "oracle")[1]


def test_clips_whose_map_fails_are_left_out_and_counted(tmp_path):
    def torn(samples):
        return torch.where((samples[:, :1] > 0)[:, None], torch.nan, bands.both_bands(samples))

    def none(samples):
        return torch.full_like(bands.both_bands(samples), torch.nan)

    found = bands.run(tmp_path, {"torn": torn, "none": none}, modes=("remove",), seeds=1)
    sets = [
        torch.stack([clip.source.samples[0] for clip in clips]) for clips in (bands.clips(32), bands.clips(24, 1000))
    ]
    lost = [samples[:, 0] > 0 for samples in sets]
    assert found.lost("torn") == tuple(int(part.sum()) for part in lost) and found.lost("none") == (32, 24)
    assert found.curve("torn", "remove", "silence").isnan().all(2)[0].tolist() == lost[1].tolist()
    assert found.against("torn", "remove", "silence").n == 24 - int(lost[1].sum())
    passed, sentence = verdict(found, "torn")
    assert passed is None and f"{sum(found.lost('torn'))} of its 56 maps failed" in sentence and "too many" in sentence
    assert verdict(found, "none") == (None, "none cannot be judged: 56 of its 56 maps failed.")
    assert found.against("random", "remove", "silence", "random").n == 24


class Failing:
    """Trains as another does, and fails at one of its trainings."""

    def __init__(self, at=None):
        self.at, self.n = at, 0

    def train(self, *arguments):
        self.n += 1
        if self.n == self.at:
            raise RuntimeError("killed")
        return bands.TRAINER.train(*arguments)

    def start(self, *arguments):
        return bands.TRAINER.start(*arguments)

    def about(self):
        return bands.TRAINER.about()


def test_a_run_that_broke_off_goes_on_to_the_same_numbers(tmp_path):
    options = {"modes": ("remove",), "seeds": 1, "mask_seeds": 1}
    whole = bands.run(tmp_path / "whole", {"oracle": bands.both_bands}, **options)
    with pytest.raises(RuntimeError, match="killed"):
        bands.run(tmp_path / "broken", {"oracle": bands.both_bands}, trainer=Failing(at=3), keep=True, **options)
    rest = Failing()
    again = bands.run(tmp_path / "broken", {"oracle": bands.both_bands}, trainer=rest, keep=True, **options)
    assert rest.n == 5 - 2
    assert again.intact == whole.intact and dict(again.methods) == dict(whole.methods)
    left = sorted(p.name for p in (tmp_path / "broken" / "features").iterdir())
    assert left == ["decoded-test.safetensors", "decoded-training.safetensors"] or not left


def test_a_trained_folder_is_checked_by_the_recipe_on_its_card(tmp_path):
    clips, steps = bands.clips(16), []
    fit_classifier(
        clips, bands.clips(8, 500), tmp_path / "m", clip_s=0.5, loop=LoopConfig(1, 8), front_end=bands.FRONT_END
    )
    subject = Subject(load_classifier(tmp_path / "m"), "saliency", clips=clips, memory=Memory(tmp_path / "out", "k"))
    own = RetrainingConfig((0.5,), ("silence",), ("remove",), seeds=1, mask_seeds=0, clip_s=0.5, epochs=1)
    found = check(subject, CheckConfig(retraining=own), lambda done, total, values=None: steps.append((done, total)))
    assert steps == [(i, 5) for i in range(1, 6)]
    assert [row[0] for row in found.tables[0].rows] == ["random", "smooth-random", "energy", "saliency"]
    assert found.about["trainer"]["loop"]["epochs"] == 1 and found.about["n_test"] == 4
    assert found.about["trainer"]["architecture"]["channels"] == subject.classifier.module.config.channels
    assert CheckResult.from_dict(json.loads(json.dumps(found.to_dict()))).sentence == found.sentence


def test_without_a_recipe_it_says_what_it_needs():
    found = check(Subject(band_classifier(), "energy", clips=bands.clips(2)), CheckConfig())
    assert found.passed is None
    assert "earmark train classifier" in found.sentence and not found.tables
