"""Names, folders and Python files: which classifier they mean, and what is said where they mean none."""

import sys

import pytest
import torch
from tests.hardening.test_refusals import small_classifier
from tests.hardening.test_state import noise

from earmark.classifiers.load import WEIGHTS, classifier_folder, embedded_names, is_there, load_classifier
from earmark.errors import InputError, ModelError

BUILD = """
from earmark.testing.toys import band_classifier

def build():
    return band_classifier(task="multilabel")

def other():
    return 3

def broken():
    raise ZeroDivisionError("half way")

number = 3
"""


def test_every_embedded_name_loads():
    assert {"scenes-cnn", "esc10-cnn", "words-cnn"} <= set(embedded_names())
    for name in embedded_names():
        assert classifier_folder(name) == WEIGHTS / name
        assert load_classifier(name).name == name


def test_a_folder_wins_over_an_embedded_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_classifier(tmp_path / "scenes-cnn")
    assert load_classifier("scenes-cnn").labels == ("a", "b", "c")


def test_what_is_saved_is_what_is_loaded(tmp_path):
    one, two = (load_classifier(small_classifier(tmp_path / name)) for name in "ab")
    assert one.fingerprint == two.fingerprint
    assert torch.equal(one.predict(noise()).logits, two.predict(noise()).logits)


def test_the_threshold_is_an_option(tmp_path):
    assert load_classifier("scenes-cnn").threshold == 0.5
    assert load_classifier("scenes-cnn", threshold=0.25).threshold == 0.25
    (tmp_path / "model.py").write_text(BUILD)
    assert load_classifier(f"{tmp_path}/model.py:build", threshold=0.25).threshold == 0.25
    with pytest.raises(ModelError, match=r"probability from 0 to 1, got 2"):
        load_classifier("scenes-cnn", threshold=2.0)


def test_names_that_no_file_system_takes_are_no_files(tmp_path):
    for name in ("x" * 5000, "a\0b", tmp_path / ("y" * 300)):
        assert not is_there(tmp_path / name / "config.json")
        with pytest.raises(ModelError, match="neither an embedded classifier"):
            load_classifier(name)


@pytest.mark.parametrize(
    "function, words",
    [
        ("other", "gave int, a function that returns"),
        ("number", "gave nothing callable"),
        ("missing", "gave nothing callable"),
        ("broken", r"failed while it was run \(ZeroDivisionError: half way\); mend the file"),
    ],
)
def test_functions_that_give_no_classifier_are_refused(tmp_path, function, words):
    (tmp_path / "model.py").write_text(BUILD)
    with pytest.raises(ModelError, match=words):
        load_classifier(f"{tmp_path}/model.py:{function}")


@pytest.mark.parametrize("text", ["def build(:", "import no_such_module_at_all", "raise KeyError('x')", "1 / 0"])
def test_files_that_fail_leave_nothing_behind(tmp_path, text):
    (tmp_path / "broken_model.py").write_text(text)
    before = set(sys.modules)
    with pytest.raises(ModelError, match=r"broken_model\.py:build failed while it was run") as error:
        load_classifier(f"{tmp_path}/broken_model.py:build")
    assert error.value.__cause__ is not None
    assert set(sys.modules) == before


def test_interrupts_and_refusals_of_the_users_own_file_pass(tmp_path):
    (tmp_path / "stopped.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_classifier(f"{tmp_path}/stopped.py:build")
    assert "earmark_user_stopped" not in sys.modules
    (tmp_path / "refusing.py").write_text(
        "from earmark.errors import InputError\ndef build():\n    raise InputError('No weights are there; fetch them.')"
    )
    with pytest.raises(InputError, match=r"^No weights are there; fetch them\.$"):
        load_classifier(f"{tmp_path}/refusing.py:build")
