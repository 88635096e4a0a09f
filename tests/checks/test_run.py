"""check as a function: names, folders, what is reused, what is refused."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.checks.trained import clips, trained

import earmark as em
from earmark.checks import CHECKS, USUAL
from earmark.checks.run import check, finished, plain
from earmark.checks.summary import summary_of
from earmark.errors import InputError, ModelError
from earmark.render.check_page import check_page

QUICK = {"seeds": (0,), "independent": False, "n_shown": 1}
TWO = ("determinism", "completeness")


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_finished_run_is_told_again_and_a_check_is_added(tmp_path):
    report = em.check(trained(), "grad-cam", clips(4), TWO, folder=tmp_path, told={"data": "tones"}, **QUICK)
    assert report.passed is True and [result.name for result in report.results] == list(TWO)
    before = contents(tmp_path)
    assert set(before) == {"check.json", "pictures.json"}
    again = check(trained(), "grad-cam", clips(4), TWO, folder=tmp_path, told={"data": "tones"}, **QUICK)
    assert contents(tmp_path) == before and again.to_dict() == report.to_dict()
    asked = []

    def bars(name):
        asked.append(name)
        return nullcontext(None)

    more = (*TWO, "randomization")
    added = check(trained(), "grad-cam", clips(4), more, folder=tmp_path, told={"data": "tones"}, bars=bars, **QUICK)
    assert asked == ["randomization"] and added["determinism"] == report["determinism"]
    assert [shown["clip"] for shown in added.pictures["randomization"]] == ["clip-00"]
    assert plain(finished(tmp_path).to_dict()) == json.loads((tmp_path / "check.json").read_text())
    other = check(trained(), "energy", clips(4), ("randomization",), folder=tmp_path, **QUICK)
    assert other.passed is False and [result.name for result in finished(tmp_path).results] == ["randomization"]
    words = summary_of(added)
    assert "## randomization: " in words and "| re-drawn" not in words and words.count("**All layers re-drawn**") == 1


def test_checks_that_read_all_clips_are_made_again_where_one_has_changed(tmp_path):
    asked = []

    def bars(name):
        asked.append(name)
        return nullcontext(None)

    given, names = clips(4), ("determinism", "roar")
    marks = []
    for last in (given[3], given[3], replace(given[3], source=given[0].source)):
        done = check(trained(), "energy", [*given[:3], last], names, folder=tmp_path, bars=bars, n_clips=1, **QUICK)
        marks.append(done.mark)
    assert asked == ["determinism", "roar", "roar"]  # the last clip is not explained, and roar alone reads it
    assert marks[0] == marks[1] != marks[2]


def test_clips_of_the_training_folds_are_warned_of(monkeypatch):
    given = [replace(clip, fold=fold) for clip, fold in zip(clips(4), (1, 2, 4, 5), strict=True)]
    monkeypatch.setattr(trained(), "card", {"data": "tones", "folds": "1,2"})
    report = check(trained(), "energy", given, ("completeness",), told={"data": "tones"}, **QUICK)
    (warning,) = report.about["warnings"]
    assert "2 of 4 clips are of the training folds (1,2) of bands" in warning and warning in summary_of(report)
    assert warning in check_page(report)
    assert check(trained(), "energy", given, ("completeness",), told={"data": "x"}, **QUICK).about["warnings"] == []


def test_the_card_says_what_numbers_depend_on():
    report = check(trained(), "integrated-gradients", clips(3), ("completeness",), options={"n_steps": 2}, **QUICK)
    assert report.about["explainer"]["config"]["n_steps"] == 2 and report.about["fingerprint"] == trained().fingerprint
    assert report.about["clips"]["scored"] == 3 and report.about["clips"]["groups"] == 3
    assert {"classifier", "config", "told", "versions", "key"} <= set(report.about)


def test_names_of_checks_are_known():
    assert set(USUAL) < set(CHECKS) and not {"labels", "roar"} & set(USUAL)
    with pytest.raises(InputError, match="did you mean 'randomization'"):
        check(trained(), "energy", clips(2), ["randomisation"])
    with pytest.raises(InputError, match="no check to run"):
        check(trained(), "energy", clips(2), [])
    with pytest.raises(ModelError, match="is no explainer"):
        check(trained(), "apexx", clips(2))


@pytest.mark.parametrize("wrong", [{"n_clips": 0}, {"seeds": (1, 1)}, {"areas": (2.0,)}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        check(trained(), "energy", clips(2), TWO, **wrong)


def test_what_is_not_finite_is_not_written():
    assert plain({"a": (1.0, float("nan"), None, True), 2: {"b"}}) == {"a": [1.0, None, None, True], "2": "{'b'}"}
