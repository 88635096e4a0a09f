"""evaluate: complete tables, what is left out, kills and reruns, and what does not matter."""

import json
import os

import pyarrow.parquet as pq
import pytest
import torch
from tests.evaluation.material import Told, band_map, clip, clips, sound, toy

import earmark as em
from earmark.errors import DataError, InputError, ModelError
from earmark.evaluation.columns import KEYS, METRIC_COLUMNS
from earmark.evaluation.results import write_table
from earmark.evaluation.runner import evaluate
from earmark.evaluation.scores import load_scores
from earmark.types import Clip

FAST = {"areas": (0.1, 0.5), "insertion": False, "batch": 32}


def keys_of(scores):
    return [tuple(row[key] for key in KEYS) for row in scores.table.to_pylist()]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def timeless(files):
    """What was said, without how long it took."""
    about, summary = json.loads(files["evaluation.json"]), json.loads(files["summary.json"])
    assert about.pop("wall_s").keys() == summary["card"].pop("wall_s").keys() == about["explainers"].keys()
    return about, summary


def times_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}


def numbers_of(scores):
    return torch.tensor(
        [[row[m] if row[m] is not None else -9.0 for m in METRIC_COLUMNS] for row in scores.table.to_pylist()]
    )


def test_every_row_is_there_once():
    scores = em.evaluate(toy(), clips(3), ["saliency", "random"], seeds=(0, 5), reentry=("waveform", "stft"), **FAST)
    expected = {
        (name, seed, f"clip-{i:02}", f"band {i}", protocol, stage, area)
        for name, seeds in (("saliency", (0,)), ("random", (0, 5)))
        for seed in seeds
        for i in range(3)
        for stage in ("waveform", "stft")
        for protocol, area in (("soft", None), ("matched", 0.1), ("matched", 0.5))
    }
    found = keys_of(scores)
    assert set(found) == expected and len(found) == len(expected)
    random = scores.column(
        "energy_kept", explainer="random", protocol="matched", area=0.1, reentry="waveform", clip="clip-00"
    )
    assert len(set(random)) == 2  # two seeds, two masks


def test_what_cannot_be_scored_is_counted(tmp_path):
    given = [
        *clips(2),
        Clip("silent", sound(torch.zeros(1024))),
        Clip("flat", sound(torch.full((1024,), 0.25))),
        Clip("gone", tmp_path / "no.wav"),
    ]
    steps = []
    scores = evaluate(toy(), given, ["energy"], progress=lambda *values: steps.append(values[:2]), **FAST)
    counted = scores.about["clips"]
    assert (counted["n"], counted["scored"], counted["coverage"]) == (5, 2, 0.4)
    assert counted["excluded"] == {"silent or constant": 2}
    assert list(counted["broken"]) == ["gone"] and "no.wav" in counted["broken"]["gone"]
    assert steps[-1] == (2, 2)


def test_nothing_to_score_is_refused(tmp_path):
    with pytest.raises(DataError, match="None of 1 clips"):
        evaluate(toy(), [Clip("silent", sound(torch.zeros(1024)))], ["energy"], folder=tmp_path / "out", **FAST)
    with pytest.raises(DataError, match="'clip-00' is there twice"):
        evaluate(toy(), [clip(0), clip(0)], ["energy"], **FAST)


@pytest.mark.parametrize(
    "explainers, error, words",
    [
        ([], InputError, "no explainer"),
        (["energy", "energy"], InputError, "energy is there twice"),
        (["salency"], ModelError, "did you mean 'saliency'"),
        (["guided-backprop"], ModelError, "ReLU"),
    ],
)
def test_explainers_are_refused_before_any_work(explainers, error, words):
    def never():
        raise AssertionError("a clip was read")

    with pytest.raises(error, match=words):
        evaluate(toy(), [Clip("a", never)], explainers, **FAST)
    with pytest.raises(InputError, match="unknown"):
        evaluate(toy(), [Clip("a", never)], ["energy"], fill="pink")


def test_neither_order_nor_batches_matter():
    given = [clip(i, 1024 if i % 2 else 1300) for i in range(4)]
    first = evaluate(toy(), given, ["saliency", "random"], areas=(0.1,), insertion=False, batch=32)
    second = evaluate(toy(), given[::-1], ["saliency", "random"], areas=(0.1,), insertion=False, batch=32)
    assert first.table.equals(second.table)
    third = evaluate(toy(), given, ["saliency", "random"], areas=(0.1,), insertion=False, batch=2)
    assert keys_of(first) == keys_of(third)
    assert torch.allclose(numbers_of(first), numbers_of(third), rtol=0, atol=1e-9)  # float64, rounding alone


def test_few_clips_wait_for_others_of_their_length():
    """Lengths that all differ would otherwise all be held until the end."""
    held = []

    def source(n):
        def make():
            held.append(n)
            return clip(1, n).source

        return make

    seen = []

    def say(samples, target, grid):
        seen.append(len(held))
        return band_map(samples, target, grid)

    given = [Clip(f"clip-{i:02}", source(1000 + i)) for i in range(12)]
    evaluate(toy(), given, [Told(toy(), say)], areas=(0.1,), insertion=False, soft=False, batch=1)
    read = [n - 12 for n in seen]  # each was read once for the hash of its sound
    assert max(n - i for i, n in enumerate(read)) <= 4


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path):
    classifier, given = toy(), clips(5)
    names = ["energy", "random"]
    evaluate(classifier, given, names, folder=tmp_path / "whole", **{**FAST, "batch": 2})

    class Killed(BaseException):
        pass

    def kill(done, total, values=None):
        if done >= 6:
            raise Killed

    with pytest.raises(Killed):
        evaluate(classifier, given, names, folder=tmp_path / "cut", progress=kill, **{**FAST, "batch": 2})
    (parts,) = (tmp_path / "cut").glob(".parts-*")
    there = sorted(parts.iterdir())
    assert len(there) == 3 and not (tmp_path / "cut" / "scores.parquet").exists()
    there[0].unlink()
    there[1].write_bytes(b"PAR1")  # a part that a power cut left
    evaluate(classifier, given, names, folder=tmp_path / "cut", **{**FAST, "batch": 2})
    cut, whole = bytes_of(tmp_path / "cut"), bytes_of(tmp_path / "whole")
    assert cut.keys() == whole.keys() and cut["scores.parquet"] == whole["scores.parquet"]
    assert timeless(cut) == timeless(whole)
    assert set(bytes_of(tmp_path / "whole")) == {"evaluation.json", "scores.parquet", "summary.json", "summary.md"}


def test_what_is_finished_is_not_scored_again(tmp_path):
    explainer = Told(toy(), band_map)
    first = evaluate(toy(), clips(2), [explainer], folder=tmp_path, **FAST)
    calls, times = explainer.calls, times_of(tmp_path)
    again = evaluate(toy(), clips(2)[::-1], [explainer], folder=tmp_path, **FAST)
    assert explainer.calls == calls and times_of(tmp_path) == times
    assert again.table.equals(first.table) and again.about == first.about
    evaluate(toy(), clips(2), [explainer], folder=tmp_path, **{**FAST, "areas": (0.2, 0.5)})
    assert explainer.calls > calls
    assert load_scores(tmp_path).column("area", protocol="matched", clip="clip-00") == [0.2, 0.5]
    changed = [clip(0), clip(1, group="other")]
    assert evaluate(toy(), changed, [explainer], folder=tmp_path, **FAST).column("group", protocol="soft")[1] == "other"


def test_a_kill_while_scores_are_replaced_leaves_no_mixture(tmp_path, monkeypatch):
    evaluate(toy(), clips(2), ["energy"], folder=tmp_path, **FAST)
    monkeypatch.setattr("earmark.evaluation.results.write_table", lambda table, path: os.kill(os.getpid(), 0) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(toy(), clips(3), ["energy"], **FAST).save(tmp_path)
    monkeypatch.undo()
    scores = evaluate(toy(), clips(2), ["energy"], folder=tmp_path, **FAST)
    assert len(scores) == len(pq.read_table(tmp_path / "scores.parquet")) == 6


def test_two_explainers_of_one_method_are_told_apart():
    classifier = toy()
    sure, wrong = Told(classifier, band_map), Told(classifier, lambda s, t, grid: 1 - band_map(s, t, grid))
    scores = evaluate(classifier, clips(2), {"sure": sure, "wrong": wrong}, **FAST)
    assert scores.explainers == ["sure", "wrong"]
    means = [sum(scores.column("faithfulness", explainer=name, protocol="soft")) for name in scores.explainers]
    assert means[0] > means[1] + 1
    with pytest.raises(InputError, match="told is there twice"):
        evaluate(classifier, clips(2), [sure, wrong], **FAST)


def test_two_folders_of_one_name_are_told_apart(tmp_path):
    from earmark.evaluation.entrants import _named

    names = [name for name, _ in _named([str(tmp_path / "a" / "apex"), str(tmp_path / "b" / "apex"), "energy"])]
    assert names == [str(tmp_path / "a" / "apex"), str(tmp_path / "b" / "apex"), "energy"]
    assert [name for name, _ in _named([str(tmp_path / "a" / "mine"), "apex"])] == ["mine", "apex"]


def test_an_explainer_of_another_classifier_is_refused():
    other = Told(toy(bias=torch.ones(8, dtype=torch.float64)), band_map)
    with pytest.raises(InputError, match="make it for this one"):
        evaluate(toy(), clips(1), [other], **FAST)


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    scores = evaluate(toy(), clips(1), ["energy"], **FAST)

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_table(scores.table, tmp_path / "scores.parquet")
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_newer_scores_are_refused(tmp_path):
    evaluate(toy(), clips(1), ["energy"], folder=tmp_path, **FAST)
    about = (tmp_path / "evaluation.json").read_text()
    (tmp_path / "evaluation.json").write_text(about.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(em.EarmarkError, match="newer"):
        load_scores(tmp_path)
    (tmp_path / "evaluation.json").write_text(about)
    (tmp_path / "scores.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="no readable scores"):
        load_scores(tmp_path)
    assert len(evaluate(toy(), clips(1), ["energy"], folder=tmp_path, **FAST)) == 3  # made anew
