"""`earmark evaluate` as a user calls it: tables, page, reruns, refusals."""

import json

import numpy as np
import pytest
import soundfile

from earmark.cli.evaluate import _areas, _mixtures, _say_heard
from earmark.errors import DataError, InputError
from earmark.testing.toys import band_classifier

TOY = """
import torch
from earmark.testing.toys import band_classifier

def build():
    return band_classifier(weight=2000 * torch.eye(8, dtype=torch.float64))
"""
OPTIONS = ("--explainers", "saliency,energy,random", "--areas", "10,50", "--no-insertion", "--seeds", "0,1")
FILES = {"evaluation.json", "index.html", "run.json", "scores.parquet", "summary.json", "summary.md"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier and four tones in folders by label."""
    root = tmp_path_factory.mktemp("evaluate")
    (root / "toy.py").write_text(TOY)
    for index in range(4):
        path = root / "data" / f"band {index % 2}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(1024) / 8000
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * (250 + 500 * (index % 2)) * time_s + index), 8000)
    return root


def line(place, out):
    return ("evaluate", "--classifier", f"{place / 'toy.py'}:build", "--data", place / "data", *OPTIONS, "--out", out)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_scores_and_a_page_are_written_once(run, run_json, place, tmp_path):
    out = tmp_path / "scores"
    done = run(*line(place, out))
    assert "saliency" in done.stdout and "faithfulness, equal area" in done.stdout and f"page: {out}" in done.stdout
    assert "scoring: " in done.stderr and "scoring" not in done.stdout
    assert {path.name for path in out.iterdir()} == FILES
    before = times(out)
    said = run_json(*line(place, out))
    assert times(out) == before
    assert said["rows"] == 4 * 4 * 3  # clips, explainers and seeds, soft and two areas
    assert json.loads((out / "summary.json").read_text()) == said["summary"]
    assert said["summary"]["card"]["mixture"] == "clean"
    refused = run("report", out, code=2)
    assert "index.html" in refused.stderr


def test_a_mixture_is_scored_and_named(run_json, place, tmp_path):
    said = run_json(*line(place, tmp_path / "out"), "--mixture", "white:6", "--limit", "2")
    assert said["summary"]["card"]["mixture"] == "white:6" and said["summary"]["clips"]["n"] == 2


@pytest.mark.parametrize(
    "wrong, words",
    [
        (("--areas", "10,ten"), "numbers"),
        (("--mixture", "white:6;white:6"), "white:6 is there twice"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(run, place, tmp_path, wrong, words):
    done = run(*line(place, tmp_path / "out"), *wrong, code=2)
    assert words in done.stderr and not (tmp_path / "out" / "scores.parquet").exists()


@pytest.mark.parametrize("text, words", [("clean;cafe", "'cafe' is unknown"), ("clean;speech:3", "needs recordings")])
def test_a_mixture_that_is_none_is_refused(text, words):
    with pytest.raises(DataError, match=words):
        _mixtures(text)


def test_mixtures_are_told_apart_by_kind_and_level():
    assert list(_mixtures("clean; pink:0,6;id:0:/noise")) == ["clean", "pink:0", "pink:6", "id:0"]
    assert _mixtures("clean") == {"clean": None} and list(_mixtures("lmac-paper:speech=/s")) == ["white:3", "speech:3"]


def test_several_mixtures_lie_beside_each_other_and_are_written_once(run, run_json, place, tmp_path):
    out = tmp_path / "scores"
    several = (*line(place, out), "--mixture", "clean; pink:0,20;lmac-code", "--seeds", "0", "--explainers", "energy")
    names = ("clean", "pink-0", "pink-20", "ood-12.04-l2-padded", "white-6.02")
    done = run(*several)
    assert "pink:20" in done.stdout and "mixture white:6.02:" in done.stderr and f"page: {out}" in done.stdout
    assert {path.name for path in out.iterdir()} == {*names, "index.html", "run.json", "summary.json", "summary.md"}
    assert all({path.name for path in (out / name).iterdir()} == FILES - {"run.json"} for name in names)
    before = [times(folder) for folder in (out, *(out / name for name in names))]
    said = run_json(*several)
    assert [times(folder) for folder in (out, *(out / name for name in names))] == before
    assert json.loads((out / "summary.json").read_text()) == said["summary"]
    table = next(t for t in said["summary"]["tables"] if t["title"] == "contrast, equal area, dB")
    assert set(table["rows"]["energy"]) == {"pink:0", "pink:20", "ood:12.04,l2,padded", "white:6.02"}
    own = json.loads((out / "pink-0" / "summary.json").read_text())
    assert own["card"]["mixture"] == "pink:0"
    assert own["curves"][0]["rows"][0]["metrics"]["contrast_db"] == table["rows"]["energy"]["pink:0"]
    assert said["summary"]["mixtures"]["ood:12.04,l2,padded"]["clips"]["n"] == 8  # two of each clip
    page = (out / "index.html").read_text()
    assert all(f'href="{name}/index.html"' in page for name in names) and "<script" not in page
    assert "no interval" not in page and said["rows"] == (4 * 4 + 8) * 3 + (3 * 4 + 8)  # and one row for its ideal mask
    refused = run(*line(place, out / "clean"), "--mixture", "clean;white:6", code=2)
    assert "holds the scores of one mixture" in refused.stderr


def test_noise_that_a_training_may_have_heard_is_warned_of(capsys):
    model = band_classifier()
    model.card["training"] = {"background": {"name": "rain#1,2"}}
    for text, n in (("id:0:/data/rain", 1), ("id:0:/data/rain#2,3", 1), ("id:0:/data/rain#3", 0), ("white:6", 0)):
        _say_heard(model, _mixtures(text))
        assert capsys.readouterr().err.count("heard in its training (rain#1,2)") == n, text
    _say_heard(band_classifier(), _mixtures("id:0:/data/rain; clean"))
    assert capsys.readouterr().err == ""


def test_areas_are_percents():
    assert _areas("50,1,1") == (0.01, 0.5)
    for text in ("0", "10,101", "-1"):
        with pytest.raises(InputError, match="--areas takes percentages above 0, at most 100, got"):
            _areas(text)
