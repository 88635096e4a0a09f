"""Checkpoints within an epoch: a training that is stopped, wherever, ends with the bits of one that is not."""

import functools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors import safe_open
from tests.training import jobs
from tests.training.jobs import CONFIG, Job, LazyJob, StoppedError, same, weights, without_seconds

from earmark.errors import TrainingError
from earmark.training.checkpoint import Clock


def stop():
    raise StoppedError


def stopped(folder, step, kind=Job, config=CONFIG):
    """Trains until within a step, counted from 1."""
    with pytest.raises(StoppedError):
        kind(config=config, stop=stop, stop_at=(step - 1) * config.accumulation + 1).run(folder)


@functools.cache
def uninterrupted(kind, accumulation):
    whole = kind(config=replace(CONFIG, accumulation=accumulation))
    with TemporaryDirectory() as folder:
        return whole, whole.run(Path(folder))


@pytest.mark.parametrize("kind, accumulation", [(Job, 1), (Job, 2), (LazyJob, 1)])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 9])
def test_a_training_that_is_stopped_within_any_step_goes_on_bit_for_bit(tmp_path, kind, accumulation, step):
    config = replace(CONFIG, accumulation=accumulation)
    whole, expected = uninterrupted(kind, accumulation)
    stopped(tmp_path / "stopped", step, kind, config)
    again = kind(scores=(1.0, 3.0, 2.0)[(step - 1) // 3 :], config=config)
    with torch.no_grad():
        again.module[0].weight.fill_(7.0)  # whatever it starts from
    if step == 1:
        again = kind(config=config)  # there is no checkpoint yet
    state, seen = torch.get_rng_state(), []
    history = again.run(tmp_path / "stopped", progress=lambda done, _all, values: seen.append((done, set(values))))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(weights(again), weights(whole))
    assert without_seconds(history) == without_seconds(expected)  # the running losses too
    assert seen == [(i, {"loss", "absolute"}) for i in range(step, 10)]
    assert again.n_losses == (10 - step) * accumulation  # what is done is not computed again


def test_a_training_that_is_killed_goes_on_bit_for_bit(tmp_path):
    done = subprocess.run([sys.executable, jobs.__file__, tmp_path / "killed", "5"], capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["checkpoint.safetensors"]
    again, (whole, expected) = Job(scores=(3.0, 2.0)), uninterrupted(Job, 1)
    assert without_seconds(again.run(tmp_path / "killed")) == without_seconds(expected)
    assert same(weights(again), weights(whole))
    assert again.n_losses == 5


def test_a_training_may_be_stopped_more_than_once(tmp_path):
    whole, _ = uninterrupted(Job, 1)
    for step, scores in ((3, (1.0,)), (3, (1.0,)), (2, (3.0, 2.0))):  # within steps 3, 5 and 6
        with pytest.raises(StoppedError):
            Job(scores=scores, stop=stop, stop_at=step).run(tmp_path / "stopped")
    again = Job(scores=(3.0, 2.0))
    again.run(tmp_path / "stopped")
    assert same(weights(again), weights(whole))
    assert again.n_losses == 4


def test_within_an_epoch_a_checkpoint_has_the_states_of_the_generators(tmp_path):
    stopped(tmp_path, 5)
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert {n for n in file.keys() if n.startswith("random.")} == {"random.batches", "random.torch"}  # noqa: SIM118
    Job(scores=(3.0, 2.0)).run(tmp_path)
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert not [n for n in file.keys() if n.startswith("random.")]  # noqa: SIM118


def test_without_time_there_is_no_checkpoint_within_an_epoch(tmp_path):
    stopped(tmp_path / "a", 3, config=replace(CONFIG, checkpoint_s=60.0))
    assert list((tmp_path / "a").iterdir()) == []
    stopped(tmp_path / "b", 6, config=replace(CONFIG, checkpoint_s=60.0))
    again = Job(scores=(3.0, 2.0))  # the time between checkpoints changes nothing, so another one may go on
    again.run(tmp_path / "b")
    assert again.n_losses == 6


def test_writing_takes_a_twentieth_of_the_time_at_most(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(60.0)
    assert not clock.is_due
    now[0] = 160.0
    assert clock.is_due
    now[0] = 170.0  # ten seconds of writing are to be followed by two hundred without
    clock.wrote(began=160.0)
    now[0] = 369.0
    assert not clock.is_due
    now[0] = 370.0
    assert clock.is_due
    clock.wrote(began=369.9)
    now[0] = 430.0
    assert clock.is_due


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_leaves_a_good_checkpoint(tmp_path, value):
    job = Job()
    losses = job.loss
    job.loss = lambda batch: (losses(batch)[0] * (value if job.n_losses == 5 else 1), {})
    with pytest.raises(TrainingError, match=rf"loss is {value} at step 5 of 9 \(epoch 2\).* learning rate below 0.05"):
        job.run(tmp_path)
    again, (whole, _) = Job(scores=(3.0, 2.0)), uninterrupted(Job, 1)
    again.run(tmp_path)
    assert same(weights(again), weights(whole))


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    job = Job()
    job.loss = lambda batch: (job.module(batch[0]).square().sum() * 0).sqrt()  # zero, with a gradient of 0 / 0
    before = weights(job)
    with pytest.raises(TrainingError, match="gradient is nan at step 1 of 9"):
        job.run(tmp_path)
    assert torch.equal(job.module[0].weight, before["0.weight"])
    assert list(tmp_path.iterdir()) == []
