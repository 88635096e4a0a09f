import json

import pytest
import torch
from typer.testing import CliRunner

from earmark.audio.waveform import Waveform
from earmark.cli.explain import parsed_settings
from earmark.cli.root import app
from earmark.errors import InputError


@pytest.fixture
def sound(tmp_path):
    seconds = torch.arange(16000) / 32000
    return Waveform((0.3 * torch.sin(2 * torch.pi * 900 * seconds))[None], 32000).save(tmp_path / "tone.wav")


def explained(sound, *options):
    base = ["explain", str(sound), "--classifier", "scenes-cnn", "--out", str(sound.parent / "out"), "--json"]
    return CliRunner().invoke(app, [*base, *options])


def test_a_reference_method_takes_its_own_settings(sound):
    done = explained(
        sound, "--explainer", "integrated-gradients", "--set", "n_steps=4", "--seed", "3", "--target", "siren"
    )
    assert done.exit_code == 0, done.output
    made = json.loads((sound.parent / "out" / "explanation.json").read_text())["provenance"]
    assert made["method"] == "integrated-gradients"
    assert made["config"]["n_steps"] == 4 and made["config"]["seed"] == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--explainer", "grad-cam", "--top", "3"], "grad-cam has no option top"),
        (["--set", "depth=3"], "apex has no option depth"),
        (["--set", "n_steps"], "name=value"),
        (["--explainer", "grad-camm"], "did you mean 'grad-cam'"),
    ],
)
def test_what_does_not_belong_to_a_method_is_refused(sound, wrong, said):
    refused = explained(sound, *wrong)
    assert refused.exit_code == 2 and said in refused.output


def test_settings_are_json_where_they_are_some():
    assert parsed_settings(["grid=[4, 4]", "fill=mean", "exact-up-to=9", "smooth=true"]) == {
        "grid": [4, 4],
        "fill": "mean",
        "exact_up_to": 9,
        "smooth": True,
    }
    with pytest.raises(InputError, match="name=value"):
        parsed_settings(["=3"])
