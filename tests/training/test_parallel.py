"""Several processes, parts of a step, and what Accelerate must leave as it was."""

import json
import os
import socket
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training import jobs, processes
from torch import nn

from earmark.errors import TrainingError
from earmark.training import parallel
from earmark.training.parallel import batch_length, rows_of

# Float64: sums of the same numbers in another order differ by 1e-16; nine steps of AdamW enlarge that, since it divides
# by the size of gradients that nearly vanish
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return processes.run(tmp_path_factory.mktemp("alone"), processes.CONFIG)


def assert_close(weights, others):
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], **CLOSE)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_two_processes_come_to_what_one_does(tmp_path, alone):
    """Slices of equal and unequal size, and empty ones; whole and in parts; two trainings in the same processes."""
    launched = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    launched |= {"OMP_NUM_THREADS": 1}
    workers = []
    for rank in range(2):
        environment = {**os.environ, **{k: str(v) for k, v in launched.items()}, "RANK": str(rank)}
        environment["LOCAL_RANK"] = str(rank)
        line = [sys.executable, processes.__file__, str(tmp_path)]
        workers.append(subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        assert worker.communicate(timeout=120)[1] == ""
        assert worker.returncode == 0
    module, history, _ = alone
    for name, slices in (("plain", ([2, 1], [3, 1, 1])), ("accumulated", ([1, 1, 1], [1, 2, 1, 1]))):
        for rank in range(2):
            weights = load_file(tmp_path / f"{name}-{rank}.safetensors")
            assert_close(weights, module.state_dict())
            assert torch.equal(weights["spare.weight"], processes.Network().spare.weight)  # no gradient, so no decay
            told = json.loads((tmp_path / f"{name}-{rank}.json").read_text())
            assert told["seen"] == slices[rank] * 3
            assert told["reports"] == (list(range(1, 10)) if rank == 0 else [])
            for row, expected in zip(told["history"], history, strict=True):
                values = ("epoch", "loss", "absolute", "score")
                assert [row[v] for v in values] == pytest.approx([expected[v] for v in values], rel=1e-9)
        both = [load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in range(2)]
        assert jobs.same(*both)  # each process has the same bits
        assert [path.name for path in (tmp_path / name).iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("accumulation", [2, 3, 7])
def test_the_parts_of_a_step_add_up_to_the_whole(tmp_path, alone, accumulation):
    """Also where parts differ in size, and where there are more parts than clips."""
    module, history, seen = processes.run(tmp_path, replace(processes.CONFIG, accumulation=accumulation))
    assert_close(module.state_dict(), alone[0].state_dict())
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in alone[1]], rel=1e-9)
    assert seen == {2: [2, 3, 1, 1, 1], 3: [1, 2, 2, 1, 1, 1], 7: [1] * 8}[accumulation] * 3


def everything_global():
    """Returns what torch, numpy, Python and Accelerate hold for the whole process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    return {
        "random": (torch.get_rng_state().tolist(), str(np.random.get_state())),  # type checks draw from Python's own
        "torch": (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cuda.matmul.allow_tf32,
        ),
        "environment": dict(os.environ),
        "states": [dict(kind._shared_state) for kind in (AcceleratorState, PartialState, GradientState)],
    }


def test_training_leaves_nothing_behind_and_asks_no_network(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = everything_global()
    jobs.Job().run(tmp_path / "a")
    assert everything_global() == before
    with pytest.raises(ZeroDivisionError):
        jobs.Job(stop=lambda: 1 / 0, stop_at=2).run(tmp_path / "b")
    assert everything_global() == before


def test_an_accelerator_of_the_callers_own_is_left_to_the_caller(tmp_path):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    theirs = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
    try:
        alone, beside = jobs.Job(), jobs.Job()
        beside.run(tmp_path / "a")
        assert theirs.mixed_precision == "bf16"
        assert theirs.gradient_accumulation_steps == 4
    finally:
        for kind in (AcceleratorState, PartialState, GradientState):
            kind._reset_state()
    alone.run(tmp_path / "b")
    assert jobs.same(jobs.weights(alone), jobs.weights(beside))


def test_the_forward_of_a_module_is_never_replaced(tmp_path):
    job = jobs.Job()
    job.run(tmp_path)
    assert all("forward" not in vars(part) and not part._forward_hooks for part in job.module.modules())


def test_without_accelerate_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(TrainingError, match=r'pip install "earmark\[train\]"'):
        jobs.Job().run(tmp_path)


def test_a_process_counts_as_one_of_several_only_in_a_launched_job(monkeypatch):
    for world, rank, index in ((None, None, 0), (None, "3", 0), ("1", "3", 0), ("4", "3", 3), ("4", "0", 0)):
        for name, value in (("WORLD_SIZE", world), ("RANK", rank)):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert parallel.process_index() == index


def test_rows_of_nested_batches():
    pair = namedtuple("pair", "first second")
    batch = (torch.arange(4), [pair(torch.arange(8).view(4, 2), "text")], {"a": torch.tensor(3.0), "b": None})
    some = rows_of(batch, 1, 3)
    assert some[0].tolist() == [1, 2]
    assert some[1][0].first.tolist() == [[2, 3], [4, 5]]
    assert (some[1][0].second, some[2]) == ("text", {"a": torch.tensor(3.0), "b": None})
    assert batch_length(({"a": torch.tensor(3.0)}, [torch.zeros(7, 2)])) == 7
    with pytest.raises(TypeError, match="has none: tuple"):
        batch_length(("a", 3))


def test_modules_come_home_from_a_device_also_after_an_error(monkeypatch):
    """Another device is told by what a module is asked, since there may be no GPU."""
    asked = []
    monkeypatch.setattr(nn.Linear, "to", lambda module, device: asked.append((module.in_features, device.type)))
    trained, frozen = nn.Linear(1, 1), nn.Linear(2, 2)
    for beside in (None, [], [nn.ReLU(), frozen]):
        with pytest.raises(KeyError), parallel.parallel("no", trained, beside) as here:
            assert here.device.type in ("cpu", "cuda" if beside is not None else "cpu")
            there = here.device.type
            raise KeyError
    home = [(1, "cpu"), (2, "cpu")]
    assert asked == [home[0], (1, there), home[0], (1, there), (2, there), *home]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_on_a_gpu_a_training_comes_near_that_of_a_cpu(tmp_path, precision):
    """Dropout draws differ between devices, so there is none; 8 bits of mantissa keep two digits of the loss."""
    frozen, states = nn.Linear(3, 3), torch.cuda.get_rng_state()

    def trained(cpu):
        job = jobs.Job(config=replace(jobs.CONFIG, precision=precision, learning_rate=0.01))
        job.module[3].p = 0.0
        inner = job.loss
        if not cpu:
            job.loss = lambda batch: (frozen(batch[0]), inner(batch))[1]
        return job

    gpu = trained(cpu=False)
    history = gpu.run(tmp_path / "gpu", beside=[frozen])
    assert {p.device.type for m in (gpu.module, frozen) for p in m.parameters()} == {"cpu"}
    assert torch.equal(torch.cuda.get_rng_state(), states)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        expected = trained(cpu=True).run(tmp_path / "cpu")
    tolerance = 1e-3 if precision == "no" else 5e-2
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in expected], rel=tolerance)


@needs_gpu
@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_on_a_gpu_a_stopped_training_goes_on(tmp_path, precision):
    """With dropout: the GPU's generator and the gradient scaler are in the checkpoint."""
    config, whole = replace(jobs.CONFIG, precision=precision), None
    whole = jobs.Job(config=config)
    whole.run(tmp_path / "whole")

    def stop():
        raise jobs.StoppedError

    with pytest.raises(jobs.StoppedError):
        jobs.Job(config=config, stop=stop, stop_at=5).run(tmp_path / "stopped")
    again = jobs.Job(scores=(3.0, 2.0), config=config)
    again.run(tmp_path / "stopped")
    for name, value in jobs.weights(again).items():
        torch.testing.assert_close(value, jobs.weights(whole)[name], rtol=1e-4, atol=1e-5)  # sums by atomics
