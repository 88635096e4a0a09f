"""A zero-shot model on the command line: prompts behind its name, `fit lmac-zs`, and a prompt that was never seen."""

import json

import pytest

import earmark as em
from earmark.testing.hugging_face import save_tiny_clap


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return save_tiny_clap(tmp_path_factory.mktemp("models") / "clap")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.wav"
    em.scenes(1, 7)[0].source()[:32000].save(path)
    return path


def test_one_command_fits_and_any_prompt_is_explained(run, run_json, clap, scene, tmp_path):
    out, model = tmp_path / "fitted", f"{clap}?prompts=dog,rain,siren"
    sizes = ("--epochs", 1, "--batch-size", 4, "--clip-s", 1, "--width", 4, "--n-prompts", 2, "--most-alike", 1)
    said = run_json("fit", "lmac-zs", "--classifier", model, "--data", "scenes:8", *sizes, "--out", out)
    assert said["diagnostics"]["prompts"] == ["dog", "rain", "siren"]
    assert json.loads((out / "config.json").read_text())["kind"] == "lmac-zs"
    other = f"{clap}?prompts=dog,word"
    asked = ("--explainer", out, "--target", "a train", "--against", "dog", "--out", tmp_path / "told")
    told = run_json("explain", scene, "--classifier", other, *asked)["explained"][0]
    assert told["explanations"][0]["target"] == "a train"
    assert (tmp_path / "told" / "index.html").is_file()


def test_a_model_without_prompts_is_one_sentence(run, clap, scene, tmp_path):
    said = run("explain", scene, "--classifier", clap, "--out", tmp_path / "x", code=2).stderr
    assert "is a CLAP model, whose labels are prompts" in said and "?prompts=dog,rain" in said
