"""Options from configuration dataclasses, and what `--data` and `--folds` mean."""

from dataclasses import dataclass

import pytest
import typer
from typer.testing import CliRunner

from earmark.cli.datasets import clips_of, n_scenes, training_clips
from earmark.cli.fit import own_folds
from earmark.cli.options import command, with_config
from earmark.errors import DataError, InputError


@dataclass(frozen=True)
class Numbers:
    steps: int = 3  # how many steps
    rate: float | None = 0.5  # how fast
    loud: bool = True  # whether it is heard
    seed: int = 7  # of the draws


def app_of(function):
    app = typer.Typer()
    app.command()(function)
    return app


@command
@with_config("numbers", Numbers)
def work(*, name: str = "x", numbers: Numbers):
    """Does it."""
    if name == "bad":
        raise InputError("A name came, and another was expected; choose one.")
    if name == "broken":
        raise RuntimeError("inside")
    return {"name": name, **vars(numbers)}


def call(*arguments):
    return CliRunner().invoke(app_of(work), list(arguments))


def test_every_field_is_an_option_with_its_comment_as_help():
    text = call("--help").output
    for words in ("--steps", "how many steps", "--rate", "--no-loud", "--seed", "--json", "--params", "--debug"):
        assert words in text


def test_options_reach_the_function():
    assert '"steps": 5' in call("--steps", "5", "--json").output
    assert '"loud": false' in call("--no-loud", "--json").output


def test_params_are_defaults_that_options_override(tmp_path):
    (tmp_path / "run.json").write_text('{"command": "work", "options": {"steps": 9, "rate": 0.25}}')
    said = call("--params", str(tmp_path / "run.json"), "--steps", "2", "--json").output
    assert '"steps": 2' in said and '"rate": 0.25' in said
    (tmp_path / "other.json").write_text("[]")
    assert call("--params", str(tmp_path / "other.json")).exit_code == 2


def test_exit_codes_tell_whose_fault_it_is():
    assert call().exit_code == 0
    assert call("--name", "bad").exit_code == 2
    assert "another was expected" in call("--name", "bad").output
    assert call("--name", "broken").exit_code == 1
    assert "Traceback" not in call("--name", "broken").output
    assert isinstance(call("--name", "broken", "--debug").exception, RuntimeError)


def test_scenes_are_asked_for_by_number():
    assert n_scenes("scenes:12") == 12
    for wrong in ("scenes:", "scenes:0", "scenes:-3", "scenes:many"):
        with pytest.raises(DataError, match="scenes:N"):
            n_scenes(wrong)
    assert len(clips_of("scenes:4", seed=1)) == 4


def test_parts_of_a_training_share_no_scene():
    split = training_clips("scenes:10", None, None, None, "label", None, 0)
    ids = [{clip.id for clip in part} for part in (split.training, split.selection, split.test)]
    assert [len(part) for part in ids] == [10, 2, 2]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_an_explainer_is_fitted_on_the_classifiers_own_folds(tmp_path, capsys):
    card, data = {"data": "set", "folds": "1,2"}, str(tmp_path / "set")
    assert own_folds(card, data, None) == "1,2"
    assert own_folds(card, data, "1") == "1"
    assert "warning" not in capsys.readouterr().err
    assert own_folds(card, data, "2,5") == "2,5"
    assert "warning" in capsys.readouterr().err
    assert own_folds(card, str(tmp_path / "elsewhere"), None) is None
    assert own_folds({}, data, "3") == "3"
