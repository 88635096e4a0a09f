"""Options from configuration dataclasses, and what `--data` and `--folds` mean."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from earmark.cli import options
from earmark.cli.datasets import (
    DataOptions,
    clips_of,
    groups_of,
    n_scenes,
    say_groups,
    say_unknown_labels,
    training_clips,
)
from earmark.cli.evaluate import refuse_mixed
from earmark.cli.explain import named_sounds
from earmark.cli.fit import own_folds
from earmark.cli.options import command, refuse_other, save_params, with_config
from earmark.errors import DataError, InputError
from earmark.types import Clip


@dataclass(frozen=True)
class Numbers:
    steps: int = 3  # how many steps
    rate: float | None = 0.5  # how fast
    loud: bool = True  # whether it is heard
    seed: int = 7  # of the draws


@dataclass(frozen=True)
class MoreNumbers(Numbers):
    steps: int = 9  # other steps
    depth: int = 2  # how deep


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


def test_fields_of_a_base_class_are_options_too():
    @command
    @with_config("numbers", MoreNumbers)
    def more(*, numbers: MoreNumbers):
        """Does more."""
        return vars(numbers)

    runner, app = CliRunner(), app_of(more)
    text = runner.invoke(app, ["--help"]).output
    for words in ("--rate", "how fast", "--no-loud", "--steps", "other steps", "how deep"):
        assert words in text
    assert "how many steps" not in text
    done = runner.invoke(app, ["--rate", "2", "--depth", "5", "--json"])
    assert json.loads(done.stdout) == {"steps": 9, "rate": 2.0, "loud": True, "seed": 7, "depth": 5}


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
    (tmp_path / "train.json").write_text('{"command": "train classifier", "options": {"steps": 9}}')
    refused = call("--params", str(tmp_path / "train.json"))
    assert refused.exit_code == 2 and "repeats `earmark train classifier`" in refused.output
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
    assert len(clips_of(DataOptions("scenes:4", seed=1))) == 4


def test_parts_of_a_training_share_no_scene():
    split = training_clips(DataOptions("scenes:10"))
    ids = [{clip.id for clip in part} for part in (split.training, split.selection, split.test)]
    assert [len(part) for part in ids] == [10, 2, 2]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_an_explainer_is_fitted_on_the_classifiers_own_folds(tmp_path, capsys):
    card, data = {"data": "set", "folds": "1,2"}, str(tmp_path / "set")
    assert own_folds(card, data, None) == "1,2"
    assert own_folds(card, data, "1") == "1"
    assert "warning" not in capsys.readouterr().err
    assert own_folds(card, data, "2,5") == "2,5"
    assert "warning: folds 2,5 go beyond" in capsys.readouterr().err
    assert own_folds(card, data, "1, 2") == "1, 2"
    assert own_folds({}, data, "3") == "3"
    assert own_folds(card, "scenes:9", None) is None
    assert capsys.readouterr().err.count("warning") == 0
    assert own_folds(card, str(tmp_path / "elsewhere"), None) is None
    assert "folds could not be matched" in capsys.readouterr().err


def table(folder, groups=None):
    """Writes a table of ten files in five folds; with groups, one column more."""
    rows = [f"{i}.wav,{'ab'[i % 2]},{1 + i // 2}" + (f",{groups[i]}" if groups else "") for i in range(10)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label,fold" + (",group" if groups else ""), *rows]))
    for i in range(10):
        (folder / f"{i}.wav").touch()
    return str(folder)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (("1,2,3", "4", "3"), r"2 groups .*both training and test"),
        (("1,2,3", "3", "4"), r"2 groups .*both training and selection"),
        (("1,2", "4,5", "5"), r"2 groups .*both selection and test"),
        (("1,2,3", None, "3"), "and test clips"),
        ((None, None, "5"), "and test clips"),
    ],
)
def test_parts_of_a_training_share_no_clip(tmp_path, folds, words):
    data = table(tmp_path)
    with pytest.raises(DataError, match=words):
        training_clips(DataOptions(data), *folds)
    split = training_clips(DataOptions(data), "1,2,3", "4", "5")
    assert [len(part) for part in (split.training, split.selection, split.test)] == [6, 2, 2]


def test_parts_of_a_training_share_no_group(tmp_path):
    data = table(tmp_path, ["x", *"bcdefghi", "x"])
    with pytest.raises(DataError, match=r"1 groups \(for instance 'x'\) are in both training and test"):
        training_clips(DataOptions(data), "1,2,3", "4", "5")


def test_it_is_said_where_each_file_is_its_own_recording(tmp_path, capsys):
    data = table(tmp_path)
    say_groups(data, clips_of(DataOptions(data)), None)
    assert "each file counts as its own recording; name a column with --group-column" in capsys.readouterr().err
    data = table(tmp_path, [*"aabbccddee"])
    say_groups(data, clips_of(DataOptions(data)), None)
    say_groups("scenes:5", clips_of(DataOptions("scenes:5")), None)
    assert capsys.readouterr().err == ""
    assert groups_of(data, clips_of(DataOptions(data)), None) == "group"


def test_folds_of_scenes_choose_and_columns_are_refused():
    assert {clip.fold for clip in clips_of(DataOptions("scenes:10"), "2, 4")} == {2, 4}
    with pytest.raises(DataError, match="folds 1, 2, 3, asked for 4"):
        clips_of(DataOptions("scenes:3"), "4")
    with pytest.raises(DataError, match="no folds to choose"):
        training_clips(DataOptions("scenes:10"), "1")
    for columns in (("species", None), ("label", "site")):
        with pytest.raises(DataError, match="--label-column and --group-column"):
            clips_of(DataOptions("scenes:3", *columns))
        with pytest.raises(DataError, match="--label-column and --group-column"):
            training_clips(DataOptions("scenes:3", *columns))


def sounds(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names_of(*inputs):
    return {str(path): name for path, name in named_sounds(list(inputs))}


def test_no_two_explanations_share_a_folder(tmp_path):
    root = sounds(tmp_path / "in", "a-2.wav", "a.mp3", "a.wav", "x.wav", "x/b.wav", "B.wav", "b.flac", "run.json.wav")
    names = {Path(path).relative_to(root).as_posix(): name for path, name in names_of(root).items()}
    assert names == {
        "a-2.wav": "a-2",
        "a.mp3": "a.mp3",
        "a.wav": "a.wav",
        "x.wav": "x.wav",
        "x/b.wav": "x/b",
        "B.wav": "B.wav",
        "b.flac": "b.flac",
        "run.json.wav": "run.json.wav",
    }


def test_names_from_several_inputs_are_numbered_until_they_are_free(tmp_path):
    first, second = (sounds(tmp_path / name, "a.wav") for name in ("one", "two"))
    third = sounds(tmp_path / "three", "a.wav-2.wav")
    assert list(names_of(third, first, second).values()) == ["a.wav-2", "a.wav", "a.wav-3"]


def test_explanations_and_hidden_files_are_not_explained(tmp_path):
    root = sounds(tmp_path, "a.wav", ".b.wav", ".c/d.wav", "out/a/explanation.json", "out/a/original.flac")
    sounds(root, "out/e/explanations.json", "out/e/dog/original.flac")
    assert list(names_of(root)) == [str(root / "a.wav")]
    with pytest.raises(InputError, match="holds no sound file"):
        names_of(root / "out")


def test_a_folder_of_another_command_is_refused_and_an_own_or_new_one_is_not(tmp_path):
    refuse_other(tmp_path / "new", "check")
    save_params(tmp_path, "compare", {})
    refuse_other(tmp_path, "compare")
    with pytest.raises(InputError, match="holds the results of `earmark compare`"):
        refuse_other(tmp_path, "check")


def test_scores_of_one_mixture_and_of_several_do_not_share_a_folder(tmp_path):
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "scores.parquet").touch()
    refuse_mixed(tmp_path, 1)  # a folder of unrelated scores
    (tmp_path / "summary.json").touch()
    refuse_mixed(tmp_path, 2)
    with pytest.raises(InputError, match="scores of several mixtures"):
        refuse_mixed(tmp_path, 1)
    with pytest.raises(InputError, match="scores of one mixture"):
        refuse_mixed(tmp_path / "clean", 2)


def test_labels_that_a_classifier_does_not_have_are_told(capsys):
    clips = [Clip("a", Path("a.wav"), ("dog",)), Clip("b", Path("b.wav"), ("cow", "dog"))]
    say_unknown_labels(clips, ["dog", "cow"])
    assert not capsys.readouterr().err
    say_unknown_labels(clips, ["dog"])
    assert "1 of 2 labels of the clips are unknown to the classifier: cow" in capsys.readouterr().err


def test_warnings_are_told_in_words_and_others_are_left_alone(capsys):
    with pytest.warns(UserWarning, match="another's"), options._warnings_in_words():
        warnings.warn_explicit("half of it", UserWarning, options.__file__, 1)
        assert capsys.readouterr().err == "warning: half of it\n"
        warnings.warn_explicit("another's", UserWarning, "elsewhere.py", 1)
