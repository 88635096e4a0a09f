"""Damaged explanation folders: loading raises a typed error, or gives an explanation that can be used."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.store import examples
from typer.testing import CliRunner

from earmark.cli.root import app
from earmark.errors import EarmarkError, InputError
from earmark.store.explanations import load_explanation, save_explanation, save_explanations

DAMAGES = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other JSON": lambda path: path.write_text('{"schema": 1, "folders": [1], "prototypes": [7], "target": null}'),
}


def outcome(folder):
    """Loads, and uses what was loaded; returns the error's class, or None."""
    try:
        explanation = load_explanation(folder)
        explanation.listen(), explanation.regions(), repr(explanation)
    except EarmarkError as error:
        assert str(folder) in str(error)
        return type(error)
    return None


@pytest.mark.parametrize("kind", examples.KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_a_folder_may_be_damaged(kind, damage, tmp_path):
    sound = examples.noise(0.3, 16000, 1)
    folder = save_explanation(examples.explanation(kind, sound), tmp_path / "out", page=False)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    found = {}
    for path, content in whole.items():
        DAMAGES[damage](path)
        found[path.name] = outcome(folder)
        path.write_bytes(content)
    assert found["explanation.json"] is InputError
    assert found["tensors.safetensors"] is InputError
    assert {found[name] for name in found if not name.startswith(("explanation", "tensors"))} == {None}
    assert outcome(folder) is None


@pytest.mark.parametrize("kind", examples.KINDS)
def test_tensors_of_other_shapes_and_kinds_are_damage(kind, tmp_path):
    folder = save_explanation(examples.explanation(kind, examples.noise(0.3, 16000, 1)), tmp_path / "out", page=False)
    path = folder / "tensors.safetensors"
    whole = load_file(path)
    for name, values in whole.items():
        for other in (values[..., :-1], values[None], torch.zeros(0), values[..., :0]):
            save_file({**whole, name: other.contiguous().clone()}, path)
            found = outcome(folder)  # of some tensors any length will do; a raw error is never the outcome
            assert found is InputError or name not in ("logits", "evidence.values", "evidence.gain"), name
        save_file({key: value for key, value in whole.items() if key != name}, path)
        assert outcome(folder) is InputError or name.startswith("evidence.picture"), name  # pictures are optional
    save_file(whole, path)
    assert outcome(folder) is None


def test_each_value_of_the_json_may_be_of_another_kind(tmp_path):
    folder = save_explanation(examples.explanation("mask", examples.noise(0.3, 16000, 1)), tmp_path / "out", page=False)
    path = folder / "explanation.json"
    about = json.loads(path.read_text())
    for key in about:
        for other in (None, -1, "text", [], {}, [[]]):
            path.write_text(json.dumps({**about, key: other}))
            outcome(folder)
    path.write_text(json.dumps(about))
    assert outcome(folder) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folders": 3}', '{"folders": [3]}', "\x00\x01"])
def test_a_damaged_list_of_explanations_is_a_sentence_and_is_replaced(text, tmp_path):
    made = [examples.explanation("mask", examples.noise(0.3, 16000, 1), target=i) for i in range(2)]
    save_explanations(made, tmp_path / "out", page=False)
    (tmp_path / "out" / "explanations.json").write_text(text)
    with pytest.raises(InputError, match=r"damaged explanation .* make it again"):
        load_explanation(tmp_path / "out")
    done = CliRunner().invoke(app, ["info", str(tmp_path / "out")])
    assert done.exit_code == 2 and "is damaged" in done.stderr if "folders" not in text else done.exit_code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    save_explanation(made[0], tmp_path / "out", page=False)
    assert load_explanation(tmp_path / "out").target.label == "dog"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "rain").exists()  # a label's folder of the older explanation is not a person's
