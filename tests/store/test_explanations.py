import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from tests.store import examples

from earmark.audio.files import info, read, write
from earmark.audio.waveform import Waveform
from earmark.errors import InputError, MismatchError
from earmark.evidence import Mask
from earmark.store.explanations import load_explanation, save_explanation, save_explanations
from earmark.store.sounds import to_steps


@pytest.fixture(scope="module", params=examples.KINDS)
def saved(request, tmp_path_factory):
    explanation = examples.explanation(request.param)
    folder = tmp_path_factory.mktemp("store") / "yard"
    assert save_explanation(explanation, folder, page=False) == folder
    return explanation, folder


def everything(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".safetensors"
    }


def steps_in(path):
    return soundfile.read(str(path), dtype="int32", always_2d=True)[0] >> 8


def test_saving_what_was_loaded_writes_the_same(saved, tmp_path):
    _, folder = saved
    again = save_explanation(load_explanation(folder), tmp_path / "again", page=False)
    assert everything(again) == everything(folder)
    first, second = (load_file(f / "tensors.safetensors") for f in (folder, again))
    assert first.keys() == second.keys()
    assert all(first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first)


def test_what_is_loaded_equals_what_was_saved(saved):
    explanation, folder = saved
    loaded = load_explanation(folder)
    assert torch.equal(loaded.waveform.samples, explanation.waveform.samples)
    assert torch.equal(loaded.prediction.logits, explanation.prediction.logits)
    assert loaded.prediction.labels == explanation.prediction.labels
    assert (loaded.target, loaded.name, loaded.grid) == (explanation.target, explanation.name, explanation.grid)
    assert loaded.regions() == explanation.regions()
    assert torch.equal(loaded.listen().samples, explanation.listen().samples)
    assert torch.equal(loaded.evidence.ranking(loaded.grid), explanation.evidence.ranking(explanation.grid))
    assert type(loaded.evidence) is type(explanation.evidence)
    assert replace(loaded.provenance, config={}) == replace(explanation.provenance, config={})


def test_the_json_holds_what_scripts_rely_on(saved):
    explanation, folder = saved
    about = json.loads((folder / "explanation.json").read_text())
    assert about["schema"] == 1
    assert about["target"]["label"] == "dog"
    assert set(about["prediction"]) >= {"label", "logit", "prob", "top", "labels", "task", "threshold"}
    assert about["prediction"]["prob"] == pytest.approx(float(explanation.prediction.probs.max()))
    assert [set(r) for r in about["regions"]] == [{"start_s", "end_s", "low_hz", "high_hz", "weight", "label"}] * len(
        explanation.regions()
    )
    assert about["evidence"]["kind"] == explanation.evidence.kind


def test_flac_files_have_the_clips_rate_channels_and_length(saved):
    explanation, folder = saved
    for name in ("original", "evidence", "complement"):
        header = info(folder / f"{name}.flac")
        assert (header.sample_rate, header.n_channels, header.n_samples) == (22050, 2, explanation.waveform.n_samples)
        assert soundfile.info(str(folder / f"{name}.flac")).subtype == "PCM_24"


def test_evidence_and_complement_add_up_in_whole_steps(saved):
    explanation, folder = saved
    original, evidence, complement = (steps_in(folder / f"{n}.flac") for n in ("original", "evidence", "complement"))
    assert np.array_equal(evidence + complement, original)
    gain = json.loads((folder / "explanation.json").read_text())["provenance"]["gain"]
    exact = explanation.complement().samples.T.double().numpy() * gain * 2**23
    assert np.abs(complement - exact).max() <= 1.0  # two roundings
    assert np.abs(evidence - explanation.listen().samples.T.double().numpy() * gain * 2**23).max() <= 0.5 + 1e-9


def test_one_gain_keeps_loud_sounds_from_clipping(tmp_path):
    loud = examples.noise(peak=2.5)
    explanation = examples.explanation("mask", loud)
    folder = save_explanation(explanation, tmp_path / "loud", page=False)
    gain = json.loads((folder / "explanation.json").read_text())["provenance"]["gain"]
    assert gain < 0.4
    assert torch.allclose(read(folder / "original.flac").samples, loud.samples * gain, atol=2**-23)
    assert torch.equal(load_explanation(folder).waveform.samples, loud.samples)


@pytest.mark.parametrize("bits", [16, 24])
def test_the_original_of_a_pcm_file_is_kept_bit_for_bit(tmp_path, bits):
    write(tmp_path / "clip.wav", examples.noise(0.1, peak=0.9), bit_depth=bits)
    clip = read(tmp_path / "clip.wav")
    grid = examples.explanation("mask", clip).grid
    nothing = replace(examples.explanation("mask", clip), evidence=Mask(torch.zeros(grid.shape), grid))
    folder = save_explanation(nothing, tmp_path / "out", page=False)
    assert torch.equal(read(folder / "original.flac").samples, clip.samples)
    assert torch.equal(read(folder / "complement.flac").samples, clip.samples)


def test_prototype_sounds_are_found_in_the_folder_wherever_it_is(tmp_path):
    own = {rank: examples.noise(0.5, 8000, 1, seed=20 + rank, peak=[0.5, 1.7][rank]) for rank in (0, 1)}
    evidence = {"find_sound": lambda prototype: own[prototype.rank] if prototype.channel == 0 else None}
    folder = save_explanation(examples.explanation("prototypes", **evidence), tmp_path / "first", page=False)
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    loaded = load_explanation(moved).evidence
    for rank, prototype in enumerate(loaded.channels[0].prototypes):
        found = loaded.find_sound(prototype)
        assert found.sample_rate == 8000
        assert torch.allclose(found.samples, own[rank].samples, atol=2**-22)
    assert [loaded.find_sound(p) for p in loaded.channels[1].prototypes] == [None, None]
    index = json.loads((moved / "prototypes" / "index.json").read_text())["prototypes"]
    assert [entry["sound"] is None for entry in index] == [False, False, True, True]
    assert "not at hand" in index[2]["note"]


def test_small_pictures_come_back(tmp_path):
    explanation = examples.explanation("prototypes")
    loaded = load_explanation(save_explanation(explanation, tmp_path / "out", page=False))
    assert loaded.evidence.pictures.keys() == explanation.evidence.pictures.keys()
    for sha256, picture in explanation.evidence.pictures.items():
        assert torch.equal(loaded.evidence.pictures[sha256], picture)


def test_a_page_is_made_unless_it_is_not_wanted(tmp_path):
    for page in (True, False):
        folder = save_explanation(examples.explanation("mask"), tmp_path / str(page), page=page)
        assert (folder / "index.html").exists() == page


def test_a_prototypes_region_keeps_its_band_and_loses_the_rest(tmp_path):
    seconds = torch.arange(4000) / 8000
    low, high = (torch.sin(2 * math.pi * hz * seconds)[None] * 0.4 for hz in (700, 3000))
    explanation = examples.explanation("prototypes", find_sound=lambda p: Waveform(low + high, 8000))
    folder = save_explanation(explanation, tmp_path / "tones", page=False)
    heard = read(folder / "prototypes" / "channel0-positive1-region.flac").samples
    middle = slice(2400, 3600)  # the boxes: all frequencies at 0.1 to 0.2 s, 500 to 900 Hz at all times
    assert float((heard - low)[:, middle].abs().max()) < 0.02
    inside = slice(1180, 1220)
    assert float((heard - low - high)[:, inside].abs().max()) < 0.05


def test_a_saved_folder_is_replaced_and_a_foreign_one_refused(tmp_path):
    explanation = examples.explanation("mask")
    save_explanation(explanation, tmp_path / "out", page=False)
    save_explanation(explanation.renamed("other.wav"), tmp_path / "out", page=False)
    assert load_explanation(tmp_path / "out").name == "other.wav"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="left alone"):
        save_explanation(explanation, tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(("n_channels", "rate"), [(9, 8000), (1, 65537), (1, 700000)])
def test_what_flac_cannot_hold_is_refused_before_anything_is_written(tmp_path, n_channels, rate):
    explanation = examples.explanation("mask", examples.noise(0.2, rate, n_channels))
    with pytest.raises(InputError, match="FLAC holds"):
        save_explanation(explanation, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    explanation = examples.explanation("mask")
    logits = explanation.prediction.logits.clone()
    logits[0] = torch.inf
    broken = replace(explanation, prediction=replace(explanation.prediction, logits=logits))
    with pytest.raises(InputError, match="not finite"):
        save_explanation(broken, tmp_path / "out", page=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_explanation_is_said_so(tmp_path):
    with pytest.raises(InputError, match="is not an explanation's folder"):
        load_explanation(tmp_path)
    folder = save_explanation(examples.explanation("mask"), tmp_path / "out", page=False)
    whole = (folder / "explanation.json").read_text()
    (folder / "explanation.json").write_text(whole.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(MismatchError, match="newer"):
        load_explanation(folder)
    for damage in (whole[:100], "[]", whole.replace('"labels"', '"lables"'), whole.replace('"mask"', '"musk"')):
        (folder / "explanation.json").write_text(damage)
        with pytest.raises(InputError, match="damaged"):
            load_explanation(folder)
    (folder / "explanation.json").write_text(whole)
    tensors = (folder / "tensors.safetensors").read_bytes()
    (folder / "tensors.safetensors").write_bytes(tensors[: len(tensors) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_explanation(folder)


def test_tables_name_the_regions(saved):
    explanation, folder = saved
    raven = (folder / "regions.raven.txt").read_text().splitlines()
    assert len(raven) == 1 + len(explanation.regions())
    assert float(raven[1].split("\t")[3]) == explanation.regions()[0].start_s


def test_steps_stay_within_24_bit():
    steps = to_steps(Waveform(torch.tensor([[-1.0, 1.0, 0.5]]), 8000))
    assert steps.tolist() == [[-(2**23), 2**23 - 1, 2**22]]


def test_each_label_gets_a_folder_whatever_it_is_called(tmp_path):
    labels = ("a/b", "a_b", "A_b", "x" * 81, "x" * 82, "prototypes", "")
    made = [examples.explanation("attribution", labels=labels, target=i) for i in range(len(labels))]
    folders = save_explanations(made, tmp_path / "out", page=False)
    assert [folder.name for folder in folders] == [
        "a_b",
        "a_b-2",
        "A_b-3",
        "x" * 80,
        "x" * 80 + "-2",
        "prototypes-2",
        "label",
    ]
    assert [load_explanation(folder).target.label for folder in folders] == list(labels)
    with pytest.raises(InputError, match=r"several labels; name one of its folders: a_b, a_b-2"):
        load_explanation(tmp_path / "out")
