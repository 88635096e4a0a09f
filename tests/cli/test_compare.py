"""`earmark compare` as a user calls it."""

import json

import numpy as np
import pytest
import soundfile

from earmark.cli.compare import loaded, refused, settings_by_method
from earmark.errors import InputError

TOY = """
import torch
from earmark.testing.toys import band_classifier

def build():
    return band_classifier(weight=2000 * torch.eye(8, dtype=torch.float64))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier and two tones."""
    root = tmp_path_factory.mktemp("compare")
    (root / "toy.py").write_text(TOY)
    (root / "sounds").mkdir()
    for index in range(2):
        time_s = np.arange(2048) / 8000
        soundfile.write(root / "sounds" / f"{index}.wav", 0.5 * np.sin(2 * np.pi * (250 + 500 * index) * time_s), 8000)
    return root


def line(place, *more):
    return ("compare", place / "sounds", "--classifier", f"{place / 'toy.py'}:build", *more)


def test_a_page_and_its_numbers_are_written(run, run_json, place, tmp_path):
    out = tmp_path / "compared"
    methods = ("--explainers", "saliency,rise,energy", "--set", "rise.n_samples=20", "--set", "rise.grid=[4,2]")
    told = run_json(*line(place, *methods, "--out", out, "--area", "15", "--save"))
    assert {path.name for path in out.iterdir()} == {"0", "1", "compare.json", "index.html", "run.json"}
    assert json.loads((out / "compare.json").read_text()) == told["clips"]
    first = told["clips"][0]
    assert (first["clip"], first["target"], first["area"]) == ("0", "band 0", 0.15)
    assert [side["explainer"] for side in first["explainers"]] == ["saliency", "rise", "energy"]
    assert first["explainers"][1]["config"]["n_samples"] == 20 and first["explainers"][1]["config"]["grid"] == [4, 2]
    assert len(first["agreement"]) == 3
    assert (out / "1" / "rise" / "explanation.json").is_file()
    again = run("compare", "--params", out / "run.json", place / "sounds", "--out", tmp_path / "again")
    assert "rise: alone" in again.stdout and "page: " in again.stdout


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(("--target", "band 9"), "did you mean"), (("--explainers", "apex"), "apex")],
)
def test_what_cannot_be_is_one_sentence_before_any_work(run, place, tmp_path, wrong, words):
    done = run(*line(place, *wrong, "--out", tmp_path / "out"), code=2)
    assert words in done.stderr and "comparing" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_numbers_and_names_are_refused(tmp_path):
    places = [(tmp_path / f"{i}.wav", str(i)) for i in range(25)]
    with pytest.raises(InputError, match="at most 24 clips, got 25"):
        refused(places, 10.0)
    with pytest.raises(InputError, match="between 0 and 100"):
        refused(places[:2], 100.0)
    for given in ("energy,energy", " , "):
        with pytest.raises(InputError, match="each method once"):
            loaded(None, given, [])


def test_settings_belong_to_one_method():
    assert settings_by_method(["a.signed=true", "my.fit.top=3"], ["a", "my.fit"]) == {
        "a": {"signed": True},
        "my.fit": {"top": 3},
    }
    with pytest.raises(InputError, match="for one of a, b"):
        settings_by_method(["signed=true"], ["a", "b"])
