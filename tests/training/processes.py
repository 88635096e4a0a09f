"""What one process of a launched job does: `python processes.py FOLDER`, in the environment that a launcher makes.

Trains by itself or with others on the same global batches, in double precision, and writes weights and history.
"""

import json
import os
import random
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from earmark.training.config import LoopConfig
from earmark.training.loop import seeded_globals, train

CONFIG = LoopConfig(epochs=3, batch_size=5, learning_rate=0.05, weight_decay=0.1, checkpoint_s=0.0)
SIZES = (5, 2, 1)  # slices of two and three clips, of one each, and of none and one


class Network(nn.Module):
    """Without batch statistics and dropout; a part of it is never used, so it has no gradient."""

    def __init__(self):
        super().__init__()
        with seeded_globals(1):
            self.used = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
            self.spare = nn.Linear(2, 2)
        self.double()


def run(folder, config, stop_at=None, progress=None):
    """Returns what a training came to, and how many clips this process has seen of each batch."""
    module, seen = Network(), []
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()

    def batches(_epoch, generator):
        for rows in torch.randperm(8, generator=generator).split(SIZES):
            yield {"x": x[rows], "y": (x[rows].sum(1, keepdim=True), "a note")}

    def prepare(batch, generator):
        return {**batch, "x": batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=generator).double()}

    def loss(batch):
        seen.append(len(batch["x"]))
        if len(seen) == stop_at:
            raise KeyError("stopped")
        error = module.used(batch["x"]) - batch["y"][0]
        return error.square().mean(), {"absolute": error.abs().mean()}

    scores = iter((1.0, 3.0, 2.0))

    def validate():
        assert int(os.environ.get("RANK", 0)) == 0  # the main process alone
        return {"score": next(scores)}

    history = train(
        module, batches, loss, validate, config, n_steps=3, folder=folder, prepare=prepare, progress=progress
    )
    return module, history, seen


def main(folder):
    """Trains with whole slices, then with accumulated ones, in one process after the other training."""
    rank, state, plain = int(os.environ.get("RANK", 0)), torch.get_rng_state(), random.getstate()
    for name, accumulation in (("plain", 1), ("accumulated", 2)):
        reports = []
        config = replace(CONFIG, accumulation=accumulation)
        module, history, seen = run(folder / name, config, progress=lambda done, *_, told=reports: told.append(done))
        told = {"history": history, "seen": seen, "reports": reports}
        (folder / f"{name}-{rank}.json").write_text(json.dumps(told))
        save_file(module.state_dict(), folder / f"{name}-{rank}.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == plain


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(Path(sys.argv[1]))
