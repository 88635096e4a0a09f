"""A small training with all that is drawn at random: order, augmentation, dropout; and one that is killed by a signal.

`python jobs.py FOLDER STEP` trains and kills itself within that step.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from earmark.training.config import LoopConfig
from earmark.training.loop import seeded_globals, train

CONFIG = LoopConfig(epochs=3, batch_size=4, learning_rate=0.05, weight_decay=0.01, warmup=0.25, checkpoint_s=0.0)
N_STEPS = 3


class StoppedError(Exception):
    pass


class Job:
    """Twelve clips in shuffled batches of four, noise on the labels, dropout, batch statistics; scores as given."""

    def __init__(self, scores=(1.0, 3.0, 2.0), config=CONFIG, stop=lambda: None, stop_at=None):
        with seeded_globals(5):
            self.module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 1))
        self.x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]])
        self.scores, self.config, self.stop, self.stop_at = scores, config, stop, stop_at
        self.n_losses = 0

    def batches(self, _epoch, generator):
        for rows in torch.randperm(12, generator=generator).split(4):
            yield self.x[rows], self.y[rows]

    def prepare(self, batch, generator):
        return batch[0], batch[1] + 0.01 * torch.randn(batch[1].shape, generator=generator)

    def loss(self, batch):
        self.n_losses += 1
        if self.n_losses == self.stop_at:
            self.stop()
        error = self.module(batch[0]) - batch[1]
        return error.square().mean(), {"absolute": error.abs().mean()}

    def validate(self):
        scores, self.scores = self.scores, self.scores[1:]
        return {"score": scores[0]}

    def run(self, folder, **options):
        options = {"prepare": self.prepare, **options}
        return train(
            self.module, self.batches, self.loss, self.validate, self.config, n_steps=N_STEPS, folder=folder, **options
        )


class LazyJob(Job):
    """Draws the clips of each batch when it is asked for, from those that are left."""

    def batches(self, _epoch, generator):
        left = list(range(12))
        while left:
            rows = [left.pop(int(torch.randint(len(left), (), generator=generator))) for _ in range(4)]
            yield self.x[rows], self.y[rows]


def weights(job):
    return {name: value.clone() for name, value in job.module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


if __name__ == "__main__":
    Job(stop=lambda: os.kill(os.getpid(), signal.SIGKILL), stop_at=int(sys.argv[2])).run(Path(sys.argv[1]))
