"""`earmark explain` of odd files: each is explained, or named with its sentence, and the others go on."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

RATE = 16000


def explained(*arguments):
    from earmark.cli.root import app

    options = ["--classifier", "scenes-cnn", "--target", "siren", "--json"]
    return CliRunner().invoke(app, ["explain", *map(str, arguments), *options])


def test_silence_is_explained(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    done = explained(tmp_path / "silence.wav", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "index.html").is_file()
    evidence, _ = soundfile.read(tmp_path / "out" / "evidence.flac")
    assert np.array_equal(evidence, np.zeros(RATE))


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_odd_names_and_broken_files_stop_nothing(tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    tone = 0.3 * np.sin(np.arange(RATE) / 5)
    for name in (b"not utf-8 \xff.wav", b"two\nlines.wav"):
        soundfile.write(os.path.join(os.fsencode(sounds), name), tone, RATE, format="WAV")
    whole = Path(os.fsdecode(os.path.join(os.fsencode(sounds), b"two\nlines.wav"))).read_bytes()
    (sounds / "cut.wav").write_bytes(whole[: len(whole) // 2])
    done = explained(sounds, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [Path(one["folder"]).name for one in said["explained"]] == [r"not utf-8 \udcff", r"two\nlines"]
    (failed,) = said["failed"]
    assert failed["error"].startswith("cut.wav is damaged or breaks off: only 0.499 s of 1 s can be decoded")
    assert explained(sounds / "cut.wav", "--end", "0.499", "--out", tmp_path / "part").exit_code == 0
