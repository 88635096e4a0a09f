"""Optimizers, learning rates and plateaus, against PyTorch's own and by hand."""

import math

import pytest
import torch
from torch import nn

from earmark.training.config import LoopConfig
from earmark.training.schedule import epochs_without_better, is_best, learning_rate, optimizer_of, plateau_share


def rates(config, all_steps, scores=()):
    return [learning_rate(config, step, all_steps, scores) / config.learning_rate for step in range(all_steps)]


def test_cosine_is_that_of_pytorch_after_a_linear_warmup():
    config = LoopConfig(warmup=0.2)
    assert rates(config, 50)[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    cosine, expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40), []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert rates(config, 50)[10:] == pytest.approx(expected)


def test_a_constant_rate_is_constant_after_the_warmup():
    assert rates(LoopConfig(warmup=0.0, schedule="constant"), 5) == [1.0] * 5
    assert rates(LoopConfig(warmup=0.4, schedule="constant"), 5) == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_a_plateau_halves_the_rate_at_each_fourth_failure_in_a_row():
    shares = {
        (1.0, 2.0, 3.0, 4.0): 1.0,
        (3.0, 2.0, 2.0, 2.0): 1.0,  # three are forgiven
        (3.0, 2.0, 2.0, 2.0, 2.0): 0.5,
        (3.0, 2.0, 2.0, 2.0, 3.0, 2.0, 2.0, 2.0): 1.0,  # an equal score is as good as a better one
        (3.0, *[2.0] * 8): 0.25,
        (3.0, *[2.0] * 4, 4.0, *[3.0] * 4): 0.25,
    }
    for scores, share in shares.items():
        assert plateau_share(scores, 1) == share
        assert plateau_share((9.0, 8.0, *scores), 3) == share  # before, nothing counts, not even better scores
    assert plateau_share([1.0 / i for i in range(1, 101)], 100) == 1.0
    config = LoopConfig(schedule="plateau", plateau_after=1, warmup=0.0)
    assert learning_rate(config, 0, 10, (3.0, *[2.0] * 4)) == config.learning_rate / 2


@pytest.mark.parametrize("name, twin", [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_is_the_one_that_is_named(name, twin):
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimizers = (
        optimizer_of([ours], LoopConfig(learning_rate=0.1, weight_decay=0.5, optimizer=name)),
        twin([theirs], 0.1, weight_decay=0.5),
    )
    for _ in range(3):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            parameter.square().sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, torch.tensor([1.0, -2.0]))


def test_epochs_without_a_better_score():
    assert [epochs_without_better(s) for s in ((), (1.0,), (1.0, 1.0), (1.0, 0.0, 2.0), (3.0, 1.0, 2.0))] == [
        0, 0, 1, 0, 2,
    ]  # fmt: skip


def test_a_score_that_is_not_a_number_is_worse_than_any():
    assert is_best([1.0, math.nan]) is False
    assert is_best([math.nan, -5.0]) is True
    assert is_best([2.0, math.nan, 2.0]) is True
