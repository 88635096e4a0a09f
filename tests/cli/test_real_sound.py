"""Real recordings: the prototypes of `esc10-cnn` are found by the hash of their sound, or shown as pictures."""

import json
import os
from pathlib import Path

import pytest
import soundfile

DATA = Path(os.environ.get("EARMARK_DATA", "nowhere")) / "esc10"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="EARMARK_DATA with esc10/ is not set")


@pytest.fixture(scope="module")
def held_out():
    return sorted((DATA / "audio").glob("5-*.ogg"))[0]


def test_with_the_recordings_at_hand_prototypes_are_heard(run_json, held_out, tmp_path):
    said = run_json("explain", held_out, "--bank-audio", DATA, "--out", tmp_path / "out")
    assert said["failed"] == []
    original = soundfile.info(held_out)
    for name in ("original", "evidence", "complement"):
        written = soundfile.info(tmp_path / "out" / f"{name}.flac")
        assert (written.frames, written.samplerate, written.channels) == (
            original.frames,
            original.samplerate,
            original.channels,
        )
    about = json.loads((tmp_path / "out" / "explanation.json").read_text())
    n_shown = sum(len(channel["prototypes"]) for channel in about["evidence"]["channels"])
    sounds = list((tmp_path / "out" / "prototypes").glob("*.flac"))
    assert len(sounds) == 2 * n_shown == 32  # clip and region; four channels with four prototypes each
    assert (tmp_path / "out" / "index.html").stat().st_size < 10e6


def test_without_them_their_pictures_are_shown_and_it_is_said(run_json, held_out, tmp_path):
    run_json("explain", held_out, "--no-mask", "--out", tmp_path / "out")
    assert not list((tmp_path / "out" / "prototypes").glob("*.flac"))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not at hand" in page
    assert page.count("data:image/png") == 16  # a picture for each of the sixteen prototypes


def test_a_fitted_apex_explains_held_out_clips(run_json, held_out, tmp_path):
    """A short fit on one fold; explained with sounds found in the data."""
    fit = ["fit", "apex", "--classifier", "esc10-cnn", "--data", DATA, "--folds", "1", "--view", "time-frequency"]
    said = run_json(*fit, "--n-stages", "2", "--out", tmp_path / "apex")
    diagnostics = said["diagnostics"]
    assert diagnostics["purity_per_epoch"][1] > diagnostics["purity_per_epoch"][0]
    assert diagnostics["n_backbone_passes"] == 79  # each clip once
    done = run_json(
        "explain", held_out, "--explainer", tmp_path / "apex", "--bank-audio", DATA, "--out", tmp_path / "out"
    )
    assert list((tmp_path / "out" / "prototypes").glob("*.flac"))
    assert done["explained"][0]["explanations"][0]["regions"]
