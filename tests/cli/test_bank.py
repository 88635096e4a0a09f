import csv
import io
import json
import shutil

import pytest
from tests.prototypes import tiny
from typer.testing import CliRunner

from earmark.classifiers.load import WEIGHTS
from earmark.cli.root import app
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.fit import fit_apex

MODEL = """from tests.prototypes import tiny


def build():
    return tiny.classifier()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A fitted explainer of a classifier in a Python file, and the sounds that it learned from."""
    folder = tmp_path_factory.mktemp("bank")
    config = ApexConfig(n_stages=1, epochs_per_stage=1, held_out=0, near_copy_cosine=None, bank_size=2)
    fit_apex(tiny.classifier(), tiny.files(folder / "sounds"), config).save(folder / "apex")
    (folder / "model.py").write_text(MODEL)
    return folder


def call(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done


def table(folder):
    return list(csv.reader(io.StringIO((folder / "channels.csv").read_text(), newline="")))


def bank(place, *more, source="apex", code=0):
    return call("bank", place / source, "--classifier", f"{place / 'model.py'}:build", *more, code=code)


def test_the_folder_holds_page_numbers_and_table(place, tmp_path):
    out = tmp_path / "out"
    done = bank(place, "--top", "2", "--bank-audio", place / "sounds", "--out", out, "--json")
    said = json.loads(done.stdout)
    assert {path.name for path in out.iterdir()} == {"index.html", "bank-overview.json", "channels.csv"}
    stored = json.loads((out / "bank-overview.json").read_text())
    assert {**stored, "folder": str(out), "page": str(out / "index.html")} == said
    assert [one["label"] for one in said["classes"]] == list(tiny.LABELS)
    assert all(len(one["channels"]) <= 2 for one in said["classes"])
    page = (out / "index.html").read_text()
    assert "data:audio/ogg" in page and "data:image/png" in page
    names, *rows = table(out)
    assert len(rows) == said["n_channels"]
    for one in said["classes"]:
        for row in one["channels"]:
            # Written in full, so what is read is what was computed.
            assert float(rows[row["channel"]][names.index(f"share of {one['label']}")]) == row["share"]


def test_the_tables_say_what_each_class_listens_to(place, tmp_path):
    said = bank(place, "--out", tmp_path / "out").stdout
    assert "click (6 training clips, mean logit" in said and "share of the logit" in said and "█" in said
    assert "dead channels:" in said and f"page: {tmp_path / 'out'}" in said.replace("\n", "")


def test_one_class_and_the_models_own_basis(place, tmp_path):
    said = json.loads(bank(place, "--label", "tone", "--basis", "identity", "--out", tmp_path / "a", "--json").stdout)
    assert [one["label"] for one in said["classes"]] == ["tone"] and said["basis"] == "identity"
    inside = bank(place, "--label", "tone", "--out", tmp_path / "b", "--json", source="apex/bank-identity")
    again = json.loads(inside.stdout)
    assert again["classes"] == said["classes"] and again["basis"] == "identity"


def test_a_folder_of_its_own_is_replaced_and_another_is_left_alone(place, tmp_path):
    out = tmp_path / "out"
    bank(place, "--label", "tone", "--out", out)
    (out / "notes.txt").write_text("mine")
    bank(place, "--label", "click", "--out", out)
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "bank-overview.json").read_text())["classes"][0]["label"] == "click"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert "thesis" not in bank(place, "--out", other, code=2).stdout
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("nowhere", (), "holds no prototype bank"),
        ("sounds", (), "holds no prototype bank"),
        ("apex", ("--label", "tine"), "did you mean"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(place, tmp_path, source, more, words):
    done = bank(place, *more, "--out", tmp_path / "out", "--json", source=source, code=2)
    assert words in json.loads(done.stdout)["error"]
    assert not (tmp_path / "out").exists()


def test_a_classifier_that_is_not_at_hand_is_asked_for(place, tmp_path):
    done = call("bank", place / "apex", "--out", tmp_path / "out", "--json", code=2)
    assert "--classifier" in json.loads(done.stdout)["error"]


def test_labels_and_formulas_do_no_harm(place, tmp_path):
    shutil.copytree(place / "apex", tmp_path / "apex")
    path = tmp_path / "apex" / "bank" / "bank.json"
    about = json.loads(path.read_text())
    hostile = "=HYPERLINK(1)\x1b[31m"
    about["class_labels"][0] = hostile
    about["class_histograms"] = [{hostile: 2} for _ in about["class_histograms"]]
    path.write_text(json.dumps(about))
    out = tmp_path / "out"
    said = call("bank", tmp_path / "apex", "--classifier", f"{place / 'model.py'}:build", "--out", out)
    assert "\x1b" not in said.stdout
    rows = table(out)
    assert not any(cell.startswith(("=", "+", "@")) or "\x1b" in cell for row in rows for cell in row)
    assert rows[1][3].startswith("'=HYPERLINK(1)")


def test_what_is_embedded_is_told_by_the_classifiers_name(monkeypatch, tmp_path):
    monkeypatch.delenv("EARMARK_DATA", raising=False)
    for name in ("esc10-cnn", "scenes-cnn", "words-cnn"):
        about = json.loads((WEIGHTS / name / "apex" / "bank" / "bank.json").read_text())
        assert sum(about["class_counts"]) >= about["n_clips"]
    said = json.loads(call("bank", "esc10-cnn", "--top", "1", "--out", tmp_path / "out", "--json").stdout)
    assert said["note"] == "" and len(said["classes"]) == 10
    for one in said["classes"]:
        assert 0 < one["covered"] < 1 and len(one["channels"]) == 1
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not at hand" in page and "data:image/png" in page  # coarse pictures
