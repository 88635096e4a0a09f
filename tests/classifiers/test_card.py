"""The card of a trained classifier: what it says, and that the command on it makes the model."""

import json
import shlex

import pytest

from earmark.classifiers.card import command_line, write_card, write_whole

OPTIONS = {
    "data": "/home/someone/private/birds",
    "folds": "1,2,3",
    "select_folds": "4",
    "test_folds": "5",
    "multilabel": False,
    "seed": 7,
    "name": None,
    "epochs": 50,
    "label_column": "label",
    "clip_s": 3.0,
}
SUMMARY = {
    "labels": ["a", "b"],
    "score": 0.87654321,
    "epoch": 12,
    "test": {"n": 80, "accuracy": 0.9125},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "small-cnn", "labels": ["a", "b"]}))
    return tmp_path


def test_a_card_says_what_was_learned_chosen_and_tested(folder):
    write_card(folder, SUMMARY, OPTIONS)
    card = (folder / "README.md").read_text()
    assert "folds 1,2,3" in card
    assert "fold 4 (score 0.8765 at epoch 12)" in card
    assert "fold 5: accuracy 0.9125 (N = 80)" in card
    assert "/home/someone" not in card  # nobody's folders
    config = json.loads((folder / "config.json").read_text())
    assert config["kind"] == "small-cnn"
    assert config["card"]["folds"] == "1,2,3"
    assert config["card"]["test"] == {"n": 80, "accuracy": 0.9125}
    assert config["name"] == folder.name


def test_the_command_names_only_what_is_not_the_default():
    words = shlex.split(command_line(OPTIONS, "birds"))
    assert words[:4] == ["earmark", "train", "classifier", "--data"]
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert flags["--clip-s"] == "3.0"
    assert flags["--folds"] == "1,2,3"
    assert not {"--label-column", "--name", "--multilabel"} & set(flags)


def test_a_card_says_what_was_mixed_in(folder):
    background = {"name": "rain", "heard": 26, "held_out": 6, "snr_db": 0.0, "share": 0.8}
    options = {**OPTIONS, "background": "/home/someone/rain", "background_share": 0.8, "start": "/home/someone/first"}
    write_card(folder, {**SUMMARY, "background": background}, options)
    card = (folder / "README.md").read_text()
    assert "| background | 26 recordings of rain at 0 dB SNR in 80 % of the clips" in card
    assert "not heard: 6 others" in card and "folds 1,2,3, from the weights of first |" in card
    assert "--background DATA/rain --background-share 0.8" in card and "--start first" in card
    assert "/home/someone" not in card


def test_the_command_can_be_typed():
    options = {**OPTIONS, "background": "wham:/home/x#1,2", "noise_snr_db": [0.0, 20.0], "sample_rate": 16000}
    words = command_line(options, "birds")
    assert "--background wham:DATA#1,2 --noise-snr-db 0.0 20.0 --sample-rate 16000" in words


def test_generated_scenes_are_told_as_such(folder):
    write_card(folder, {**SUMMARY, "test": None}, {**OPTIONS, "data": "scenes:400", "multilabel": True, "name": "s"})
    card = (folder / "README.md").read_text()
    assert "400 generated scenes" in card
    assert "several labels per clip" in card
    assert "tested on | nothing" in card
    assert "--data scenes:400" in card and "--multilabel" in card
    assert json.loads((folder / "config.json").read_text())["name"] == "s"


def test_files_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "one\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "two \udcff")
    assert path.read_text() == "one\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
