import json
from dataclasses import replace

import pytest
from tests.render.reading import check_page
from tests.store import examples
from typer.testing import CliRunner

from earmark.cli.root import app
from earmark.store.explanations import save_explanation


def call(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    for kind in ("prototypes", "mask"):
        save_explanation(examples.explanation(kind), folder / kind / "yard", page=False)
    other = replace(examples.explanation("mask", examples.noise(seed=9)), name="b & c.wav")
    save_explanation(other, folder / "mask" / "b & c", page=False)
    (folder / "mask" / "b & c" / "index.html").write_text("a page")
    (folder / "broken").mkdir()
    (folder / "broken" / "explanation.json").write_text("{")
    (folder / "metadata.csv").write_text("file_name,label\nyard.wav,dog\nb & c.wav,rain\n")
    return folder


def test_a_report_is_one_page_beside_what_it_is_about(place):
    said = json.loads(call("report", place, "--labels", place / "metadata.csv", "--json").stdout)
    assert [row["folder"] for row in said["rows"]] == ["mask/b & c", "mask/yard", "prototypes/yard"]
    assert [row["agrees"] for row in said["rows"]] == [False, True, True]
    assert [row["agreement"] is None for row in said["rows"]] == [True, False, False]
    assert [one["folder"] for one in said["failed"]] == ["broken"]
    reader = check_page((place / "report.html").read_text(), own_scripts=1)
    assert len(reader.all("img")) == 3 and "broken" in reader.text
    assert [a["href"] for a in reader.all("a")] == ["#failed", "mask/b%20%26%20c/index.html"]
    again = (place / "report.html").read_bytes()
    call("report", place, "--labels", place / "metadata.csv")
    assert (place / "report.html").read_bytes() == again  # it is no explanation of its own


def test_the_figures_go_to_standard_output(place):
    said = call("report", place).stdout
    assert "explanations: 3" in said and "clips: 2" in said and "report.html" in said


def test_a_sound_that_is_gone_leaves_a_row_without_a_picture(tmp_path):
    save_explanation(examples.explanation("mask"), tmp_path / "yard", page=False)
    (tmp_path / "yard" / "original.flac").unlink()
    call("report", tmp_path)
    reader = check_page((tmp_path / "report.html").read_text(), own_scripts=1)
    assert reader.all("img") == [] and "yard.wav" in reader.text


def test_banks_are_included_and_linked(tmp_path):
    save_explanation(examples.explanation("mask"), tmp_path / "yard", page=False)
    call("bank", "esc10-cnn", "--label", "dog", "--top", "1", "--out", tmp_path / "a bank")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "bank-overview.json").write_text('{"classes": 3}')
    said = json.loads(call("report", tmp_path, "--explainer", "esc10-cnn", "--json").stdout)
    assert [(bank["classifier"], bank["address"]) for bank in said["banks"]] == [("esc10-cnn", "a%20bank/index.html")]
    assert [one["folder"] for one in said["failed"]] == ["odd/bank-overview.json"]
    reader = check_page((tmp_path / "report.html").read_text(), own_scripts=1)
    assert "What esc10-cnn listens to" in reader.text and "share of the logit" in reader.text


@pytest.mark.parametrize("what", ["empty", "missing", "broken", "table", "explainer"])
def test_what_cannot_be_reported_is_one_sentence(tmp_path, place, what):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("clip,label\na,b\n")
    arguments, words = {
        "empty": ((tmp_path / "empty",), "no explanation"),
        "missing": ((tmp_path / "missing",), "is no folder"),
        "broken": ((place / "broken",), "can be read"),
        "table": ((place, "--labels", tmp_path / "table.csv"), "file_name"),
        "explainer": ((place, "--explainer", "nothing"), "holds no prototype bank"),
    }[what]
    done = call("report", *arguments, "--json", code=2)
    assert words in json.loads(done.stdout)["error"]
