"""The mask beside an explanation: a whole folder in its folder, which comes and goes with it."""

import json

import numpy as np
import pytest
import soundfile
from tests.store import examples

from earmark.audio.files import sound_files
from earmark.errors import InputError
from earmark.run.known import known
from earmark.store.explanations import load_explanation, save_explanation, save_explanations
from earmark.store.summaries import find_folders

MADE = {"name": "yard.wav", "sha256": "0" * 64, "settings": "1"}


def saved(folder, **options):
    return save_explanation(examples.explanation("prototypes"), folder, page=False, **options)


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("beside") / "yard"
    return saved(place, beside=examples.explanation("mask"), made_from=MADE)


def test_both_come_back_and_are_written_again_to_the_byte(folder, tmp_path):
    main, mask = load_explanation(folder), load_explanation(folder / "mask")
    assert (main.evidence.kind, mask.evidence.kind) == ("prototypes", "mask")
    assert (mask.evidence.gain == examples.explanation("mask").evidence.gain).all()
    again = save_explanation(main, tmp_path / "again", page=False, beside=mask, made_from=MADE)
    assert everything(again) == everything(folder)


def test_the_folder_names_its_mask_and_lists_all_files_of_it(folder):
    about = json.loads((folder / "explanation.json").read_text())
    assert about["mask"] == "mask"
    below = {f"mask/{name}" for name in everything(folder / "mask")}
    assert below <= set(about["files"]) and "mask/tensors.safetensors" in below
    alone = json.loads((folder / "mask" / "explanation.json").read_text())
    assert "mask" not in alone and "mask/explanation.json" not in alone["files"]


def test_what_the_mask_keeps_and_leaves_out_add_up_to_the_clip(folder):
    names = ("mask/evidence", "mask/complement", "mask/original")
    kept, rest, whole = (soundfile.read(folder / f"{name}.flac", dtype="int32")[0] >> 8 for name in names)
    assert np.array_equal(kept + rest, whole)
    assert np.array_equal(whole, soundfile.read(folder / "original.flac", dtype="int32")[0] >> 8)


def test_it_is_no_explanation_of_its_own_and_no_sound_to_explain(folder):
    assert list(find_folders(folder.parent)) == [folder]
    assert sound_files(folder.parent) == []


@pytest.mark.parametrize("name", ["explanation.json", "evidence.flac", "tensors.safetensors"])
def test_a_damaged_mask_makes_the_folder_unknown(folder, name):
    assert known(folder, MADE)[0][0] == folder
    path = folder / "mask" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert known(folder, MADE) is None
    path.write_bytes(whole)
    assert known(folder, MADE) is not None


def test_it_goes_where_the_next_has_none_and_a_person_s_own_stays(tmp_path):
    out = saved(tmp_path / "out", beside=examples.explanation("mask"))
    saved(out)
    assert not (out / "mask").exists()
    (out / "mask").mkdir()
    (out / "mask" / "notes.txt").write_text("mine")
    saved(out, beside=examples.explanation("mask"))
    assert (out / "mask-2" / "notes.txt").read_text() == "mine"
    assert load_explanation(out / "mask").evidence.kind == "mask"
    (out / "explanation.json").write_text("{")  # it no longer says what the folder is
    saved(out)
    assert not (out / "mask").exists() and (out / "mask-2" / "notes.txt").is_file()


def test_each_of_several_labels_has_its_own_or_none(tmp_path):
    mains = [examples.explanation("prototypes", target=i) for i in (0, 1)]
    masks = [examples.explanation("mask"), None]
    first, second = save_explanations(mains, tmp_path / "out", page=False, beside=masks, made_from=MADE)
    assert load_explanation(first / "mask").target.label == "dog"
    assert not (second / "mask").exists()
    assert len(known(tmp_path / "out", MADE)) == 2
    (first / "mask" / "original.flac").unlink()
    assert known(tmp_path / "out", MADE) is None


@pytest.mark.parametrize("other", [{"target": 1}, {"waveform": examples.noise(seed=6)}])
def test_what_does_not_belong_beside_it_is_refused(tmp_path, other):
    with pytest.raises(InputError, match="same label of the same clip"):
        saved(tmp_path / "out", beside=examples.explanation("mask", **other))
    assert list(tmp_path.iterdir()) == []
