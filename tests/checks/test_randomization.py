"""Maps under re-drawn weights: what ignores the model fails, what reads it passes, and a killed run goes on."""

import json
from dataclasses import replace

import pytest
import torch
from tests.checks.trained import clips, trained
from tests.evaluation.material import Told

from earmark.checks.compared import others
from earmark.checks.config import CheckConfig
from earmark.checks.memory import Memory
from earmark.checks.randomization import check, statistics
from earmark.checks.results import CheckResult
from earmark.checks.run import plain
from earmark.checks.subject import Subject
from earmark.errors import InputError
from earmark.explainers.load import load_explainer
from earmark.testing.untouched import untouched

CONFIG = CheckConfig(seeds=(0, 1, 2), n_shown=1)
QUICK = replace(CONFIG, seeds=(0, 1), independent=False, n_shown=0)


def checked(explainer, config=QUICK, n=6, **options):
    return check(Subject(trained(), explainer, options, clips(n), batch=4), config)


@pytest.mark.parametrize("name, options", [("integrated-gradients", {"n_steps": 4}), ("grad-cam", {})])
def test_methods_that_read_the_model_pass(name, options):
    with untouched(trained().module):
        result = checked(name, CONFIG, 9, **options)
    assert result.passed is True and "loses its maps" in result.sentence
    about = result.about
    assert about["unchanged"] == 0 and [layer["name"] for layer in about["layers"]] == ["first", "second", "head"]
    final, cascade, alone = result.tables
    assert final.columns[:4] == ("measure", "after", "another clip, intact model", "random map")
    assert [row[0] for row in cascade.rows] == [row[0] for row in alone.rows] == ["head", "second", "first"]
    assert cascade.rows[0] == alone.rows[0]  # the head alone is the first step of the cascade
    lines = {line.name: line.points for line in result.charts[1].lines}
    assert [point.x for point in lines["re-drawn alone"]] == ["head", "second", "first"]
    assert abs(lines["random map"][0].mean) < 0.05  # 9 maps of 129 x 17 bins, 3 draws: standard error 0.004
    (picture,) = about["pictures"]
    assert picture["names"] == ["sound", "intact", "head", "second", "first"]
    assert {(len(rows), len(rows[0])) for rows in picture["maps"]} == {(48, 96)}


@pytest.mark.parametrize("name", ["energy", "edge", "all-ones", "all-zeros", "random"])
def test_controls_ignore_the_model_and_fail(name):
    result = checked(name)
    assert result.passed is False and "ignores the model" in result.sentence
    assert result.about["unchanged"] == 1 and "100 % of its maps" in result.sentence


def test_methods_that_draw_are_beside_their_other_seeds():
    result = checked("random")
    assert "another seed, intact model" in result.tables[0].columns and result.about["other_seeds"] == [0, 1]
    assert "another seed, intact model" not in checked("energy").tables[0].columns


def test_mostly_sound_with_a_little_model_fails_by_its_interval():
    def leaning(samples, target, grid):
        loud = grid.stft(samples[None]).abs()[0].float()
        with torch.no_grad():
            heard = float(explainer.classifier.logits(samples[None])[0, 0])
        grain = torch.rand(grid.shape, generator=torch.Generator().manual_seed(abs(int(1000 * heard))))
        return loud + 0.01 * loud.max() * grain

    explainer = Told(trained(), leaning)
    explainer._on = lambda classifier: _moved(explainer, classifier)  # keeps the function's classifier in step
    result = check(Subject(trained(), explainer, clips=clips(6)), QUICK)
    assert result.passed is False and result.about["unchanged"] == 0 and "keeps its maps" in result.sentence


def _moved(explainer, classifier):
    explainer.classifier = classifier
    return explainer


def failing(bands):
    """An explainer that reads the model, and fails for the labels of some bands."""

    def say(samples, target, grid):
        if target.index in bands:
            raise ValueError("no")
        return saliency[-1].evidence(samples[None], [target])[0].ranking(grid)

    saliency = [load_explainer("saliency", classifier=trained())]
    explainer = Told(trained(), say)

    def on(classifier):
        saliency.append(load_explainer("saliency", classifier=classifier))
        return _moved(explainer, classifier)

    explainer._on = on
    return explainer


def test_what_always_fails_cannot_be_judged():
    result = check(Subject(trained(), failing((0, 1, 2)), clips=clips(4)), replace(QUICK, seeds=(0,)))
    assert result.passed is None and "none of its maps could be made" in result.sentence
    assert result.about["failed"] == 4 and result.tables[1].rows[0][-1] == "–"
    json.dumps(plain(result.to_dict()), allow_nan=False)


def test_maps_that_fail_are_left_out_and_counted():
    result = check(Subject(trained(), failing((0,)), clips=clips(6)), replace(QUICK, seeds=(0,), n_shown=1))
    assert result.passed is not None and result.about["unchanged"] == 0  # failed maps, all zeros, would be unchanged
    assert result.about["failed"] == 2 and "2 of 6 pairs of maps are left out" in result.sentence


def test_as_published_head_and_statistics_stay():
    result = checked("grad-cam", replace(QUICK, parity=True))
    assert [layer["name"] for layer in result.about["layers"]] == ["first", "second"]
    assert result.about["n_statistics"] == 0 and ("but the head" in result.sentence or result.about["unchanged"] > 0.5)


def test_the_deciding_measure_can_be_another_one():
    results = [checked("saliency", replace(QUICK, decides=name)) for name in ("ssim", "rank_correlation_absolute")]
    for name, result in zip(("ssim", "rank_correlation_absolute"), results, strict=True):
        assert result.passed is result.about["passed_by"][name]
    with pytest.raises(InputError, match="decide by one of these"):
        replace(CONFIG, decides="likeness")


def test_other_clips_are_of_other_recordings():
    chosen = others(["a", "a", "b", "c"], 0).tolist()
    assert chosen[0] in (2, 3) and chosen[1] in (2, 3) and chosen[2] != 2 and chosen[3] != 3
    assert others(["a", "a"], 0).tolist() == [1, 0] and others(["a"], 0).tolist() == [-1]


def test_statistics_are_of_clips_evenly_spaced():
    subject = Subject(trained(), "energy", clips=clips(9), batch=4)
    rows = torch.cat(statistics(subject, 3))
    every = torch.cat([samples for _, samples in subject.batches()])
    assert torch.equal(rows, every[[0, 3, 6]]) and len(torch.cat(statistics(subject, 64))) == 9
    assert [len(batch) for batch in statistics(subject, 3)] == [3]  # not alone, as they lie in the subject's batches
    assert [len(batch) for batch in statistics(subject, 64)] == [4, 4, 1]


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    class StopError(Exception):
        pass

    def stop(done, total, values=None):
        if done > total / 2:
            raise StopError

    def subject():
        return Subject(trained(), "grad-cam", clips=clips(4), memory=Memory(tmp_path, "key"))

    with pytest.raises(StopError):
        check(subject(), CONFIG, stop)
    parts = {path.name: path.stat().st_mtime_ns for path in (tmp_path / ".parts-key").iterdir()}
    assert len(parts) > 3
    seen = []
    result = check(subject(), CONFIG, lambda done, total, values=None: seen.append((done, total)))
    assert {name: (tmp_path / ".parts-key" / name).stat().st_mtime_ns for name in parts} == parts
    assert seen[0][0] > 0 and seen[-1][0] == seen[-1][1] == 4 * (1 + 5 * 3)
    whole = check(Subject(trained(), "grad-cam", clips=clips(4)), CONFIG)
    assert result.to_dict() == whole.to_dict()
    assert CheckResult.from_dict(whole.to_dict()).to_dict() == whole.to_dict()


def test_one_clip_is_too_few():
    result = checked("energy", n=1)
    assert result.passed is None and "there is 1: add more" in result.sentence
