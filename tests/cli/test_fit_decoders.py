"""`earmark fit lmac | lmac-td | l2i`: from one command to a folder that `explain` and `evaluate` take."""

import json

import pytest

import earmark as em

SMALL = ("--epochs", 1, "--batch-size", 4, "--clip-s", 1, "--crop-s", 0.5)
OWN = {
    "lmac": ("--width", 4),
    "lmac-td": ("--channels", 32, "--width", 4),
    "l2i": ("--n-components", 8, "--nmf-steps", 4, "--nmf-columns", 200),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.wav"
    em.scenes(1, 7)[0].source().save(path)
    return path


@pytest.mark.parametrize("method", OWN)
def test_one_command_fits_a_decoder_that_explains(method, run, scene, tmp_path):
    out = tmp_path / "fitted"
    data = ("--classifier", "scenes-cnn", "--data", "scenes:12")
    said = json.loads(run("fit", method, *data, *SMALL, *OWN[method], "--out", out, "--json").stdout)
    assert said["folder"] == str(out)
    kept = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "run.json"} <= kept
    assert not kept & {".resume", ".cache"}
    about = json.loads((out / "config.json").read_text())
    assert about["kind"] == method and about["diagnostics"]["data"] == "scenes:12"
    known = json.loads(run("info", out, "--json").stdout)
    assert known["what"] == f"explainer ({method})" and known["diagnostics"] == about["diagnostics"]
    told = run("explain", scene, "--classifier", "scenes-cnn", "--explainer", out, "--out", tmp_path / "told", "--json")
    assert json.loads(told.stdout)["explained"][0]["explanations"]
    refused = run("explain", scene, "--classifier", "esc10-cnn", "--explainer", out, "--out", tmp_path / "no", code=2)
    assert "was fitted to scenes-cnn" in refused.stderr


def test_a_preset_changes_what_is_not_given(run, tmp_path):
    data = ("--classifier", "scenes-cnn", "--data", "scenes:12")
    run("fit", "lmac", *data, *SMALL, "--width", 4, "--preset", "paper-small", "--out", tmp_path / "paper")
    config = json.loads((tmp_path / "paper" / "config.json").read_text())["config"]
    assert (config["objective"], config["mask_scale"], config["epochs"]) == ("soft", "log1p", 1)


def test_training_clips_too_short_are_one_sentence(run, tmp_path):
    said = run("fit", "lmac", "--data", "scenes:12", "--clip-s", 0.01, "--out", tmp_path / "x", code=2).stderr
    assert "shorter than a window of esc10-cnn" in said
