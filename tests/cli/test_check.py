"""`earmark check` as a user calls it: verdicts, page, reruns, refusals."""

import json

import numpy as np
import pytest
import soundfile

TOY = """
import torch
from earmark.testing.toys import band_classifier

def build():
    return band_classifier(weight=2000 * torch.eye(8, dtype=torch.float64))
"""
OPTIONS = ("--checks", "determinism,randomization", "--limit", "3", "--seeds", "0")
FILES = {"check.json", "index.html", "pictures.json", "run.json", "summary.md"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier and four tones in folders by label."""
    root = tmp_path_factory.mktemp("check")
    (root / "toy.py").write_text(TOY)
    for index in range(4):
        path = root / "data" / f"band {index % 2}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(1024) / 8000
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * (250 + 500 * (index % 2)) * time_s + index), 8000)
    return root


def line(place, explainer="energy"):
    return ("check", explainer, "--classifier", f"{place / 'toy.py'}:build", "--data", place / "data")


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_verdicts_and_a_page_are_written_once(run, run_json, place, tmp_path):
    out = tmp_path / "checked"
    done = run(*line(place), *OPTIONS, "--out", out)
    assert "FAILS      randomization: energy ignores the model" in done.stdout and f"page: {out}" in done.stdout
    assert "checking randomization: " in done.stderr and "checking" not in done.stdout
    assert {path.name for path in out.iterdir()} == FILES
    before = times(out)
    said = run_json("check", "energy", "--data", place / "data", "--params", out / "run.json", "--out", out)
    assert times(out) == before and said["passed"] is False
    assert [result["passed"] for result in said["results"]] == [True, False] and said["clips"]["n"] == 3
    told = json.loads((out / "check.json").read_text())
    assert told == {name: said[name] for name in told}


@pytest.mark.parametrize(
    "wrong, words",
    [
        (("--checks", "randomisation"), "did you mean 'randomization'"),
        (("--set-check", "n_show=1"), "no setting 'n_show'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(run, place, tmp_path, wrong, words):
    done = run(*line(place), *wrong, "--out", tmp_path / "out", code=2)
    assert words in done.stderr and not (tmp_path / "out").exists()


def test_settings_of_checks_reach_their_kinds():
    from earmark.cli.check import config_of
    from earmark.errors import InputError

    config = config_of(5, "0,4", True, 2, {"n_shown": 1, "retraining.taus": [0.5]})
    assert (config.n_clips, config.seeds, config.parity, config.batch, config.n_shown) == (5, (0, 4), True, 2, 1)
    assert config.retraining.taus == (0.5,)
    with pytest.raises(InputError, match="whole numbers"):
        config_of(5, "0,x", False, 2, {})
    with pytest.raises(InputError, match="no setting 'area'"):
        config_of(5, "0", False, 2, {"n_shown.area": 1})


@pytest.mark.parametrize("name, value", [("areas", "abc"), ("n_shown", "abc"), ("n_shown", True), ("parity", 1)])
def test_a_setting_of_another_kind_is_refused(name, value):
    from earmark.cli.check import config_of
    from earmark.errors import InputError

    with pytest.raises(InputError, match=f"{name} is .* by default"):
        config_of(5, "0", False, 2, {name: value})


def test_one_number_stands_for_a_list_and_a_whole_one_for_a_fraction():
    from earmark.cli.check import config_of

    config = config_of(5, "0", False, 2, {"areas": 0.2, "retraining.clip_s": 2, "stability.shifts_ms": [12.5]})
    assert (config.areas, config.retraining.clip_s, config.stability.shifts_ms) == ((0.2,), 2, (12.5,))
