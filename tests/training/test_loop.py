import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from tests.reference import training as plain
from tests.training import jobs
from torch import nn

from earmark.errors import InputError, MismatchError
from earmark.training.config import LoopConfig
from earmark.training.loop import seeded_globals, train

CONFIG = LoopConfig(epochs=3, batch_size=4, learning_rate=0.05, weight_decay=0.0, warmup=0.25)


class Job:
    """A linear fit with dropout and shuffled batches; validation numbers are given."""

    def __init__(self, scores=(1.0, 3.0, 2.0)):
        with seeded_globals(5):
            self.module = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 1))
        self.x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]])
        self.scores, self.snapshots, self.orders = scores, [], []

    def batches(self, epoch, generator):
        self.orders.append(torch.randperm(12, generator=generator).tolist())
        return self.x.new_tensor(range(12)).long()[torch.randperm(12, generator=generator)].split(4)

    def prepare(self, rows, generator):
        return self.x[rows], self.y[rows] - 0.01 * torch.randn(len(rows), 1, generator=generator)

    def loss(self, batch):
        return (self.module(batch[0]) - batch[1]).square().mean()

    def validate(self):
        assert not self.module.training
        self.snapshots.append({k: v.clone() for k, v in self.module.state_dict().items()})
        return {"score": self.scores[len(self.snapshots) - 1]}

    def run(self, folder, config=CONFIG, **options):
        options |= {"n_steps": 3, "folder": folder, "prepare": self.prepare}
        return train(self.module, self.batches, self.loss, self.validate, config, **options)


def test_the_best_epoch_is_kept(tmp_path):
    job = Job()
    history = job.run(tmp_path)
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert [row["score"] for row in history] == [1.0, 3.0, 2.0]
    for key, value in job.module.state_dict().items():
        assert torch.equal(value, job.snapshots[1][key])
    assert not torch.equal(job.snapshots[1]["1.weight"], job.snapshots[2]["1.weight"])


def test_of_equal_epochs_the_later_is_kept(tmp_path):
    job = Job(scores=(2.0, 2.0, 1.0))
    job.run(tmp_path)
    assert torch.equal(job.module.state_dict()["1.weight"], job.snapshots[1]["1.weight"])


def test_each_epoch_and_seed_has_an_order_of_its_own(tmp_path):
    orders = []
    for seed in (0, 1):
        job = Job()
        job.run(tmp_path / str(seed), LoopConfig(3, seed=seed))
        orders += job.orders
    assert len({tuple(order) for order in orders}) == 6


def test_the_loss_falls(tmp_path):
    history = Job(scores=range(40)).run(tmp_path, LoopConfig(40, learning_rate=0.1, weight_decay=0.0))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]  # dropout leaves a rest


def test_global_random_state_is_left_alone(tmp_path):
    state = torch.get_rng_state()
    Job().run(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(KeyError), seeded_globals(3):
        torch.randn(2)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)


def test_seeded_globals_depend_on_every_part():
    def draw(*parts):
        with seeded_globals(*parts):
            return float(torch.rand(()))

    assert draw(1, 2) == draw(1, 2)
    assert len({draw(1, 1), draw(1, 2), draw(2, 1), draw(2, 2), draw(1, 0)}) == 5


def test_the_learning_rate_rises_and_falls_to_zero(tmp_path, monkeypatch):
    job, steps = Job(), []
    original = torch.optim.AdamW.step

    def step(optimizer, *args, **options):
        steps.append(optimizer.param_groups[0]["lr"])
        return original(optimizer, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    job.run(tmp_path)
    # 9 steps, 2 of them warm-up; then half a cosine over the other 7
    cosine = [0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * i / 7, dtype=torch.float64)))) for i in range(7)]
    assert steps == pytest.approx([0.05 * share for share in (0.5, 1.0, *cosine)])


def test_progress_counts_all_steps(tmp_path):
    seen = []
    Job().run(tmp_path, progress=lambda done, all_steps, values: seen.append((done, all_steps, set(values))))
    assert seen == [(i, 9, {"loss"}) for i in range(1, 10)]


class KilledError(Exception):
    pass


def kill_at(step):
    def progress(done, _all, _values):
        if done == step:
            raise KilledError

    return progress


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    whole = Job()
    expected = whole.run(tmp_path / "whole")
    job = Job()
    with pytest.raises(KilledError):
        job.run(tmp_path / "killed", progress=kill_at(8))
    again = Job(scores=(2.0,))  # the two validated epochs are in the checkpoint
    with torch.no_grad():
        again.module[1].weight.fill_(7.0)  # whatever it starts from
    history = again.run(tmp_path / "killed")
    for key, value in again.module.state_dict().items():
        assert torch.equal(value, whole.module.state_dict()[key])
    assert torch.equal(again.snapshots[0]["1.weight"], whole.snapshots[2]["1.weight"])
    assert [{**row, "seconds": 0} for row in history] == [{**row, "seconds": 0} for row in expected]


def test_a_finished_run_is_not_trained_again(tmp_path):
    job = Job()
    job.run(tmp_path)
    again = Job(scores=())
    history = again.run(tmp_path, progress=kill_at(1))
    assert len(history) == 3
    assert torch.equal(again.module[1].weight, job.module[1].weight)


def test_other_settings_are_refused(tmp_path):
    with pytest.raises(KilledError):
        Job().run(tmp_path, progress=kill_at(5), settings={"clip_s": 5.0})
    for config, settings in ((LoopConfig(4), {"clip_s": 5.0}), (CONFIG, {"clip_s": 4.0}), (CONFIG, None)):
        with pytest.raises(MismatchError, match="finish it with its own settings or choose another folder"):
            Job().run(tmp_path, config, settings=settings)
    assert len(Job(scores=(1.0, 2.0)).run(tmp_path, settings={"clip_s": 5.0})) == 3


def test_checkpoints_are_whole_or_absent(tmp_path):
    """A kill while writing leaves a `.part` and the last whole checkpoint."""
    Job().run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        header = json.loads(file.metadata()["state"])
        names = list(file.keys())
    assert (header["epoch"], header["best_epoch"]) == (3, 1)
    assert {name.split(".")[0] for name in names} == {"model", "best", "optimizer"}
    (tmp_path / ".checkpoint.part").write_bytes(b"half")
    assert len(Job(scores=()).run(tmp_path)) == 3


# Against the plain twin, bit for bit ----------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [LoopConfig(3, 4), LoopConfig(2, 4, 0.1, 0.0, 0.0, seed=3), LoopConfig(4, 4, 0.02, 0.1, 0.5, seed=2**40)],
    ids=lambda config: f"seed-{config.seed}",
)
@pytest.mark.parametrize("kind", [jobs.Job, jobs.LazyJob])
def test_on_one_process_every_bit_is_that_of_the_plain_loop(tmp_path, config, kind):
    scores = (1.0, 3.0, 3.0, 2.0)
    ours, theirs = (kind(scores, config) for _ in range(2))
    history = ours.run(tmp_path)
    expected = plain.train(
        theirs.module, theirs.batches, theirs.prepare, lambda b: theirs.loss(b)[0], theirs.validate, config, 3
    )
    assert jobs.same(jobs.weights(ours), jobs.weights(theirs))
    assert [{name: row[name] for name in ("loss", "score")} for row in history] == expected


# Terms, patience ---------------------------------------------------------------------------------


def test_terms_are_told_and_averaged_beside_the_loss(tmp_path):
    job, seen = jobs.Job(), []
    job.loss = lambda batch: ((loss := job.module(batch[0]).square().mean()), {"twice": 2 * loss, "one": loss / loss})
    history = job.run(tmp_path, progress=lambda _done, _all, values: seen.append(values))
    for row, last in zip(history, seen[2::3], strict=True):  # what is shown is the mean over the epoch so far
        assert list(row) == ["epoch", "loss", "twice", "one", "score", "seconds"]
        assert row["twice"] == pytest.approx(2 * row["loss"])
        assert last == {name: row[name] for name in ("loss", "twice", "one")}
        assert row["one"] == 1.0


PATIENT = LoopConfig(9, 4, learning_rate=0.05, patience=2)


def test_patience_ends_a_training_and_the_best_epoch_is_kept(tmp_path):
    seen = []
    job = jobs.Job((1.0, 2.0, 2.0, 1.0, 5.0), PATIENT)  # an equal score is not a better one
    history = job.run(tmp_path, progress=lambda done, all_steps, _: seen.append((done, all_steps)))
    assert [row["score"] for row in history] == [1.0, 2.0, 2.0, 1.0]
    assert [row.get("stopped") for row in history] == [None, None, None, 1.0]
    assert seen == [*((i, 27) for i in range(1, 13)), (12, 12)]
    kept = jobs.Job((1.0, 2.0, 3.0), LoopConfig(9, 4, learning_rate=0.05), lambda: 1 / 0, 10)
    with pytest.raises(ZeroDivisionError):
        kept.run(tmp_path / "other")
    assert torch.equal(job.module[0].weight, kept.module[0].weight)  # the third epoch, by the schedule of all nine


def test_patience_is_remembered(tmp_path):
    scores = (2.0, 1.0, 0.0, 9.0)
    with pytest.raises(ZeroDivisionError):
        jobs.Job(scores, PATIENT, lambda: 1 / 0, 8).run(tmp_path)
    assert len(jobs.Job(scores[2:], PATIENT).run(tmp_path)) == 3
    again = jobs.Job((), PATIENT)
    assert len(again.run(tmp_path)) == 3 and again.n_losses == 0


@pytest.mark.parametrize(
    "changes", [{"epochs": 0}, {"accumulation": 0}, {"patience": -1}, {"precision": "half"}, {"checkpoint_s": -1.0}]
)
def test_settings_out_of_their_range_are_refused(changes):
    settings = SimpleNamespace(**{**vars(LoopConfig()), **changes})  # types are checked first, in tests alone
    with pytest.raises(InputError, match=next(iter(changes))):
        LoopConfig.__post_init__(settings)
