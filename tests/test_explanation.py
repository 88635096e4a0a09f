"""What an attribution saves is what it gets back, and older folders still load."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.classifiers import networks
from tests.explainers import nets

from earmark.audio.stft import Stft
from earmark.classifiers.base import Grid
from earmark.evidence import Attribution
from earmark.explainers.gradient import InputXGradient, Saliency
from earmark.store.explanations import load_explanation

GRID = Grid(8000, 4000, Stft(256, 128))


def attribution(**fields):
    values = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(1))
    return Attribution(values, GRID, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stage": "waveform", "raw": torch.arange(5.0)},
        {"stage": "map", "raw": -torch.ones(2, 3), "unsigned": True, "measured": {"gap": 0.25}},
    ],
)
def test_an_attribution_is_given_back_as_it_was(fields):
    given = attribution(**fields)
    about, tensors = given.to_saved()
    back = Attribution.from_saved(json.loads(json.dumps(about, allow_nan=False)), tensors, GRID)
    assert torch.equal(back.values, given.values)
    assert (back.stage, back.unsigned, dict(back.measured)) == (given.stage, given.unsigned, dict(given.measured))
    assert (back.raw is None) if given.raw is None else torch.equal(back.raw, given.raw)


def test_numbers_that_are_not_finite_come_back_as_nan():
    about, tensors = attribution(measured={"gap": math.inf, "score": 1.0}).to_saved()
    back = Attribution.from_saved(json.loads(json.dumps(about, allow_nan=False)), tensors, GRID)
    assert math.isnan(back.measured["gap"])
    assert back.measured["score"] == 1.0


def test_older_folders_hold_values_alone():
    back = Attribution.from_saved({}, {"values": attribution().values}, GRID)
    assert (back.stage, back.raw, back.unsigned, back.measured) == ("stft", None, False, {})


def test_a_saved_explanation_keeps_stage_and_raw(tmp_path):
    classifier = networks.wrapped(networks.gap_linear)
    waveform = nets.noise(4000, rate=8000)
    for method, stage in ((InputXGradient, "features"), (Saliency, "stft")):
        told = method(classifier, stage=stage).explain(waveform, "a")
        folder = told.save(tmp_path / stage, page=False)
        back = load_explanation(folder)
        assert (back.evidence.stage, back.evidence.unsigned) == (stage, method is Saliency)
        assert torch.equal(back.evidence.raw, told.evidence.raw)
        assert torch.equal(back.evidence.values, told.evidence.values)
        assert back.provenance.forward_passes == 2
    tensors = load_file(folder / "tensors.safetensors")
    assert "evidence.raw" in tensors
    save_file({"values": tensors["evidence.values"]}, tmp_path / "old.safetensors")
    old = Attribution.from_saved({}, load_file(tmp_path / "old.safetensors"), back.grid)
    assert torch.equal(old.values, back.evidence.values)
