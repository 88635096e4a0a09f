"""`earmark evaluate` as a user calls it: tables, page, reruns, refusals."""

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
        (("--mixture", "pink:0,6"), "one mixture at a time"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(run, place, tmp_path, wrong, words):
    done = run(*line(place, tmp_path / "out"), *wrong, code=2)
    assert words in done.stderr and not (tmp_path / "out" / "scores.parquet").exists()
