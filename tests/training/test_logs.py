"""TensorBoard logs, read back by TensorBoard."""

import importlib.util
import math

import pytest
from tests.training.jobs import Job, StoppedError


def curves(folder):
    """Returns every curve as pairs of step and value, as TensorBoard would show it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def stop():
    raise StoppedError


def test_every_step_and_every_epoch_is_logged(tmp_path):
    history = Job().run(tmp_path, log_folder=tmp_path / "logs")
    seen = curves(tmp_path / "logs")
    training = {f"training/{name}" for name in ("loss", "absolute", "learning_rate", "gradient_norm")}
    assert seen.keys() == training | {"validation/score"}
    for name in training:
        assert [step for step, _ in seen[name]] == list(range(1, 10))
        assert all(math.isfinite(value) for _, value in seen[name])
    losses = [value for _, value in seen["training/loss"]]
    means = [sum(losses[i : i + 3]) / 3 for i in (0, 3, 6)]
    assert means == pytest.approx([row["loss"] for row in history])  # float32 in the logs
    assert seen["validation/score"] == [(3, 1.0), (6, 3.0), (9, 2.0)]


def test_a_resumed_training_goes_on_counting_and_a_new_one_begins_anew(tmp_path):
    Job().run(tmp_path / "whole", log_folder=tmp_path / "logs")
    whole = curves(tmp_path / "logs")
    Job().run(tmp_path / "again", log_folder=tmp_path / "logs")
    assert len(list((tmp_path / "logs").iterdir())) == 1
    assert curves(tmp_path / "logs") == whole
    with pytest.raises(StoppedError):
        Job(stop=stop, stop_at=5).run(tmp_path / "stopped", log_folder=tmp_path / "stopped-logs")
    Job(scores=(3.0, 2.0)).run(tmp_path / "stopped", log_folder=tmp_path / "stopped-logs")
    assert len(list((tmp_path / "stopped-logs").iterdir())) == 2
    assert curves(tmp_path / "stopped-logs") == whole


def test_without_tensorboard_or_a_folder_nothing_is_logged(tmp_path, monkeypatch):
    Job().run(tmp_path / "a")
    find = importlib.util.find_spec
    monkeypatch.setattr("earmark.training.logs.find_spec", lambda name: None if name == "tensorboard" else find(name))
    Job().run(tmp_path / "b", log_folder=tmp_path / "logs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
