"""`earmark fit apex --layer`: one block, several, and what connects them; `explain` takes each."""

import json

import pyarrow.parquet as pq
import pytest
from tests.explainers.apex import encoders

from earmark.testing.hugging_face import save_tiny

SHORT = ("--view", "time", "--n-stages", 1, "--epochs-per-stage", 1, "--batch-size", 256, "--bank-size", 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny wav2vec2, and sixteen clips in two folders."""
    root = tmp_path_factory.mktemp("place")
    save_tiny("wav2vec2", root / "tiny")
    for clip in encoders.clips(16):
        folder = root / "clips" / clip.labels[0]
        folder.mkdir(parents=True, exist_ok=True)
        clip.source.save(folder / f"{clip.id}.flac")
    return root


def model(place):
    """The model, probed with one second, as long as the clips."""
    return f"{place / 'tiny'}?probe_s=1"


def test_several_layers_are_fitted_compared_and_explained_by(run, run_json, place):
    out = place / "layers"
    fit = ("fit", "apex", "--classifier", model(place), "--data", place / "clips", *SHORT, "--out", out)
    done = run(*fit, "--layer", "1,3", "--json")
    said = json.loads(done.stdout)
    assert list(said["layers"]) == ["1", "3"] and "layer 3" in done.stderr
    assert said["layers"]["1"]["diagnostics"]["tapped_exactly"] and said["consistency"]["layers"] == [1, 3]
    names = {"layer-01", "layer-03", "consistency.json", "consistency.md", "consistency.png", "index.html"}
    assert {path.name for path in out.iterdir()} == names | {"matches.parquet", "run.json"}
    assert pq.read_table(out / "matches.parquet").num_rows == 16
    assert json.loads((out / "consistency.json").read_text()) == said["consistency"]
    about = json.loads((out / "layer-03" / "config.json").read_text())
    assert about["config"]["standardize"] is True and about["diagnostics"]["data"] == "clips"
    sound = next((place / "clips" / "tone").glob("*.flac"))
    told = run_json(
        "explain", sound, "--explainer", out / "layer-01", "--classifier", model(place), "--out", place / "told"
    )
    assert told["explained"][0]["explanations"]


def test_one_layer_goes_where_it_is_told(run_json, place):
    out = place / "one"
    data = ("--classifier", model(place), "--data", place / "clips")
    said = run_json("fit", "apex", *data, *SHORT, "--layer", 2, "--no-standardize", "--out", out)
    assert said["diagnostics"]["layer"] == 2 and "scale_range" not in said["diagnostics"]
    about = json.loads((out / "config.json").read_text())
    assert about["map_layer"] == "model.wav2vec2.encoder.layers.1" and "standardize" not in about["config"]
    options = json.loads((out / "run.json").read_text())["options"]
    assert (options["layer"], options["standardize"]) == ("2", False)


def test_what_is_no_layer_is_refused(run, place):
    data = ("--classifier", model(place), "--data", place / "clips", "--out", place / "none")
    assert "blocks 1 to 3, got 99" in run("fit", "apex", *data, "--layer", "99", code=2).stderr
    assert not (place / "none").exists()
