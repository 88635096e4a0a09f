from dataclasses import replace

import pytest
import torch
from tests.checks.retraining import bands

from earmark.checks.config import CheckConfig
from earmark.checks.retraining.labels import Found, check, shuffle_and_retrain, shuffled, verdict
from earmark.checks.retraining.material import Material
from earmark.checks.retraining.removal import INTACT, no_maps, read_features, write_features
from earmark.checks.retraining.trainer import classifier_of
from earmark.checks.similarity import MEASURES
from earmark.checks.subject import Subject
from earmark.testing.toys import band_classifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that hears the tones, and its clips."""
    folder = tmp_path_factory.mktemp("labels")
    blank = bands.material(folder)
    write_features(blank, no_maps, [INTACT], folder / "intact")
    learn = read_features(folder / "intact", INTACT, "training")
    module = bands.TRAINER.train(learn, blank.training.labels, 0, folder / "going")
    return Material(classifier_of(module, blank.classifier, "tones"), blank.training, blank.test), folder


def found(trained, name, clips=None, **options):
    material, folder = trained
    subject = Subject(material.classifier, name, options, clips or material.test.clips)
    return shuffle_and_retrain(subject, material, bands.TRAINER, 1, folder)


def test_maps_of_what_was_learned_change(trained):
    told = found(trained, "integrated-gradients", stage="features", n_steps=4)
    passed, sentence = verdict(told, "integrated-gradients")
    assert passed is None and "as unlike as" in sentence  # it learned nothing, so it cannot be judged
    assert told.unchanged["shuffled"] == 0
    assert min(told.fitted["again"]) > 0.95 > max(told.fitted["shuffled"])
    assert told.alike["again"]["ssim"].shape == (1, 24)
    assert "could not learn the shuffled labels" in sentence


def test_maps_of_the_sound_alone_fail(trained):
    once = trained[0].test.clips[:8]
    twice = [replace(clip, id=f"{clip.id}-again") for clip in once]
    ids = [f"{i:02}" for i in range(16)]
    told = found(trained, "energy", [replace(clip, id=i) for clip, i in zip([*once, *twice], ids, strict=True)])
    assert told.other["iou_of_top"].max() < 0.99  # of two recordings each, although each is there twice
    passed, sentence = verdict(told, "energy")
    assert passed is False and "do not change at all" in sentence
    assert told.mean("shuffled", "ssim").mean == pytest.approx(1)
    assert told.above("shuffled", "iou_of_top").low > 0


def test_shuffling_keeps_the_counts_of_labels():
    truth = torch.eye(3)[torch.tensor([0] * 20 + [1] * 7 + [2] * 3)]
    other = shuffled(truth, 0)
    assert torch.equal(other.sum(0), truth.sum(0)) and torch.equal(other.sum(1), truth.sum(1))
    assert not torch.equal(other, truth) and not torch.equal(other, shuffled(truth, 1))
    assert torch.equal(other, shuffled(truth, 0))


def test_without_a_recipe_it_says_what_it_needs():
    told = check(Subject(band_classifier(), "energy", clips=bands.clips(2)), CheckConfig())
    assert told.passed is None and "earmark train classifier" in told.sentence


def by_hand(other, unchanged=0.0):
    """Maps that are alike by .1 after training, and by `other` between clips."""
    alike = {m: torch.full((1, 6), 0.1, dtype=torch.float64) for m in MEASURES}
    return Found(
        {"shuffled": alike, "again": alike},
        {m: torch.full((6,), other.get(m, 0.5), dtype=torch.float64) for m in MEASURES},
        {"shuffled": [1.0], "again": [1.0]},
        {"shuffled": unchanged, "again": 0.0},
        [f"g{i}" for i in range(6)],
    )


def test_what_is_not_defined_does_not_decide():
    nan = float("nan")
    assert verdict(by_hand({"ssim": nan}), "told")[0] is True
    assert verdict(by_hand({"ssim": nan, "iou_of_top": 0.0}), "told")[0] is False
    passed, sentence = verdict(by_hand(dict.fromkeys(MEASURES, nan)), "told")
    assert passed is None and "cannot be judged" in sentence and "nan" not in sentence
    assert verdict(by_hand(dict.fromkeys(MEASURES, nan), unchanged=1.0), "told")[0] is False
