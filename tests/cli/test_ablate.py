"""`earmark ablate` as a user calls it: table, page, reruns, refusals."""

import json
import os

import pytest
import soundfile
from tests.evaluation.ablation import planted

BUILD = """
import sys
sys.path.insert(0, {root!r})
from tests.evaluation.ablation.planted import classifier

def build():
    return classifier()
"""
FILES = {"ablation.json", "ablation.parquet", "index.html", "run.json", "summary.json", "summary.md"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier, an APEX on it, and two clips."""
    root = tmp_path_factory.mktemp("ablate")
    (root / "toy.py").write_text(BUILD.format(root=os.getcwd()))
    model = planted.classifier()
    planted.apex(model).save(root / "apex")
    for index in range(2):
        path = root / "data" / "band 0" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, planted.two_bursts(index).numpy(), planted.RATE)
    return root


def line(place, out):
    given = ("--classifier", f"{place / 'toy.py'}:build", "--data", place / "data", "--views", "square")
    return ("ablate", place / "apex", *given, "--draws", 2, "--out", out)


def test_a_table_and_a_page_are_written_once(run, run_json, place, tmp_path):
    out = tmp_path / "out"
    done = run(*line(place, out))
    assert "square, fill waveform: APEX's region" in done.stdout and f"page: {out}" in done.stdout
    assert "masking: 2/2" in done.stderr and "masking" not in done.stdout
    assert {path.name for path in out.iterdir()} == FILES
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    said = run_json(*line(place, out))
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times
    assert json.loads((out / "summary.json").read_text()) == said["summary"]
    region = said["summary"]["views"][0]["rows"][0]
    assert region["condition"] == "region" and region["metrics"]["flip"]["mean"] == 1


def test_what_cannot_be_is_refused(run, place, tmp_path):
    done = run(*line(place, tmp_path / "out"), "--fills", "silence", code=2)
    assert "fills are waveform, floor" in done.stderr and not (tmp_path / "out").exists()
