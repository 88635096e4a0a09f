"""`earmark train classifier`: a background, a front end and a network of one's own."""

import json

import numpy as np

from earmark.audio.waveform import Waveform
from earmark.classifiers.fit import load_small


def curves(folder):
    """Returns how many values each curve has."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: len(events.Scalars(name)) for name in events.Tags()["scalars"]}


def test_a_front_end_of_ones_own_with_recordings_in_the_background(run, tmp_path):
    rng = np.random.default_rng(0)
    for label, hz in (("low", 300.0), ("high", 2000.0)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(5):
            tone = np.sin(2 * np.pi * (hz + 20 * i) * np.arange(4000) / 8000)
            Waveform(0.3 * tone, 8000).save(tmp_path / "data" / label / f"{i}.wav")
    (tmp_path / "wind").mkdir()
    for i in range(5):
        Waveform(rng.uniform(-0.3, 0.3, 3000), 8000).save(tmp_path / "wind" / f"{i}.wav")
    front_end = ["--sample-rate", 8000, "--n-fft", 256, "--hop-length", 128, "--n-mels", 16, "--low-hz", 20]
    options = ["--patience", 3, "--clip-s", 0.5, "--epochs", 1, "--channels", "4,8", "--background", tmp_path / "wind"]
    first = ["train", "classifier", "--data", tmp_path / "data", *front_end, *options]
    said = json.loads(run(*first, "--out", tmp_path / "model", "--json").stdout)
    assert (said["background"]["heard"], said["background"]["held_out"]) == (4, 1)
    module, features, _ = load_small(tmp_path / "model")
    assert (features.sample_rate, features.config.n_mels, module.config.channels) == (8000, 16, (4, 8))
    assert curves(tmp_path / "model" / "logs")["validation/score"] == 1
    assert not (tmp_path / "model" / ".resume").exists()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "--background DATA/wind" in card and "--n-mels 16" in card and "--channels 4,8" in card
    assert "--patience 3" in card and "logs" not in card
    assert str(tmp_path) not in card

    again = ["train", "classifier", "--params", tmp_path / "model" / "run.json", "--out", tmp_path / "again"]
    run(*again, "--no-logs")
    assert not (tmp_path / "again" / "logs").exists()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "model" / "model.safetensors"
    ).read_bytes()
    refused = run(*first, "--out", tmp_path / "no", "--channels", "4,none", code=2)
    assert "Widths are positive integers" in refused.stderr
