"""`earmark train clap`, from two folders of sound and a file of prompts to an explanation."""

import json

import numpy as np
import pytest

from earmark.audio.waveform import Waveform
from earmark.classifiers.load import load_classifier

SIZE = ["--rate", 4000, "--clip-s", 1, "--n-fft", 256, "--hop-length", 64, "--n-mels", 16, "--spec-size", 32]
SIZE += ["--patch", 4, "--width", 8, "--depths", "1,1", "--heads", "2,2", "--window", 4, "--text-width", 16]
SIZE += ["--text-layers", 1, "--dimensions", 8, "--vocabulary", 80, "--text-steps", 4, "--batch-size", 4]
PROMPTS = {"high": {"train": ["high", "a high tone"], "held_out": ["the tone is high", "shrill"]}}


def write(folder, tones):
    (folder / "audio").mkdir(parents=True)
    rows = ["file_name,label,fold"]
    for label, hz in tones.items():
        for i in range(5):
            tone = np.sin(2 * np.pi * (hz + 20 * i) * np.arange(4000) / 8000)
            Waveform(0.3 * tone, 8000).save(folder / "audio" / f"{label}-{i}.wav")
            rows.append(f"audio/{label}-{i}.wav,{label},{i + 1}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    one = write(root / "one", {"low": 200.0, "high": 2000.0, "unknown": 700.0})
    return one, write(root / "two", {"middle_tone": 900.0, "top": 3500.0})


def test_from_two_folders_to_a_model_and_its_card(run, data, tmp_path):
    prompts, out = tmp_path / "prompts.json", tmp_path / "clap"
    prompts.write_text(json.dumps(PROMPTS))
    folds = ["--folds", "1,2,3", "--select-folds", "4", "--test-folds", "5", "--without", "unknown"]
    sets = ["--data", f"{data[0]},{data[1]}", "--prompts", prompts]
    said = json.loads(run("train", "clap", *sets, *folds, "--out", out, "--epochs", 1, *SIZE, "--json").stdout)
    assert said["labels"] == ["high", "low", "middle_tone", "top"] and said["n_training"] == 12
    assert set(said["test"]) == {"one", "two", "all"} and said["test"]["all"]["n"] == 4
    assert said["test"]["one"]["unseen words"]["prompts"] == 1
    run_file = json.loads((out / "run.json").read_text())
    assert run_file["command"] == "train clap" and run_file["options"]["without"] == "unknown"
    told = json.loads((out / "training.json").read_text())
    assert told["prompts"]["high"]["held_out"] == ["the tone is high", "shrill"]
    assert told["prompts"]["middle_tone"]["train"] == ["middle tone"] and told["numbers"]["seed"] == 0
    card = (out / "README.md").read_text()
    assert "12 clips of one and two; folds 1,2,3" in card and "| one (N = 2) | two (N = 2) | all (N = 4) |" in card
    assert "stand-in" in card and "| seed | 0 |" in card
    assert not (out / ".resume").exists() and not list(out.glob(".decoded*"))
    assert load_classifier(f"{out}?prompts=low,a high tone").labels == ("low", "a high tone")


def test_what_cannot_be_trained_is_one_sentence(run, data, tmp_path):
    out = ["--out", tmp_path / "m", *SIZE]
    (tmp_path / "p.json").write_text('{"siren": {"train": ["siren"]}}')
    repeated = {"data": list(map(str, data)), "prompts": str(tmp_path / "p.json"), "without": "unknown"}
    (tmp_path / "run.json").write_text(json.dumps({"command": "train clap", "options": repeated}))
    said = run("train", "clap", "--params", tmp_path / "run.json", *out, code=2).stderr
    assert "labels are high, low, middle_tone, top" in said
    for options, words in (
        (["--prompts", tmp_path / "p.json"], "has prompts for 'siren', and no training clip has that label"),
        (["--without", "low,unknown"], "'high' as their only label"),
        (["--spec-size", 40], "spec_size is a multiple of n_mels"),
        (["--folds", 1, "--select-folds", 1], "are in both"),
    ):
        assert words in run("train", "clap", "--data", data[0], *out, *options, code=2).stderr
    assert not (tmp_path / "m" / "config.json").exists()
