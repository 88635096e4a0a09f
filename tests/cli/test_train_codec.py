"""`earmark train codec` and `earmark train latent-classifier`, from folders of sound to an explanation."""

import json

import numpy as np

from earmark.audio.waveform import Waveform
from earmark.classifiers.load import load_classifier
from earmark.explainers.load import load_explainer

CODEC = ["--rate", 8000, "--channels", 8, "--filters", 2, "--codebook-size", 16, "--codebooks", 1, "--clip-s", 0.5]
CODEC += ["--crop-s", 0.25, "--batch-size", 4]


def test_from_sounds_to_a_codec_to_a_classifier_to_an_explanation(run, tmp_path):
    for label, hz in (("low", 300.0), ("high", 2000.0)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(5):
            tone = np.sin(2 * np.pi * (hz + 20 * i) * np.arange(4000) / 8000)
            Waveform(0.3 * tone, 8000).save(tmp_path / "data" / label / f"{i}.wav")
    data, codec = ["--data", tmp_path / "data"], tmp_path / "codec"
    said = json.loads(run("train", "codec", *data, "--out", codec, "--steps", 4, *CODEC, "--json").stdout)
    assert said["steps"] == 4 and said["n_selection"] == 2 and "si_sdr_db" in said
    assert json.loads((codec / "run.json").read_text())["command"] == "train codec"
    size = ["--width", 16, "--layers", 1, "--heads", 2, "--clip-s", 0.5, "--batch-size", 4, "--steps", 6]
    run("train", "latent-classifier", *data, "--codec", codec, "--out", tmp_path / "g", *size, "--json")
    classifier = load_classifier(tmp_path / "g")
    assert classifier.labels == ("high", "low") and classifier.name == "g"
    assert json.loads((tmp_path / "g" / "config.json").read_text())["codec"]["folder"] == "codec"
    assert classifier.card["data"] == "data"
    told = load_explainer("codec-latent", classifier=classifier, n_steps=4).explain(Waveform(0.1 * np.ones(4000), 8000))
    assert told.provenance.config["codec"] == "codec"
