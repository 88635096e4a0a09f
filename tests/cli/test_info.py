import json

from typer.testing import CliRunner

from earmark.classifiers.load import WEIGHTS
from earmark.cli.root import app

APEX = WEIGHTS / "esc10-cnn" / "apex"


def info(path):
    done = CliRunner().invoke(app, ["info", str(path), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_explainer_tells_the_key_figures_of_its_bank():
    said, about = info(APEX), json.loads((APEX / "bank" / "bank.json").read_text())
    assert said["what"] == "explainer (apex)"
    figures = said["bank"]
    assert figures["n_clips"] == about["n_clips"] and figures["n_prototypes"] == about["n_prototypes"]
    assert figures["clips_per_label"]["dog"] == 19 and len(figures["clips_per_label"]) == 10
    assert figures["n_duplicates"] == len(about["duplicates"]) == said["diagnostics"]["duplicate"]
    assert figures["n_channels_of_one_label"] == about["class_purity"].count(1.0)
    assert info(APEX / "bank").items() >= figures.items()


def test_a_bank_of_an_earlier_version_is_told_of_too(tmp_path):
    about = json.loads((APEX / "bank" / "bank.json").read_text())
    del about["class_labels"], about["class_counts"]
    (tmp_path / "bank.json").write_text(json.dumps(about))
    assert info(tmp_path)["clips_per_label"] == {}
