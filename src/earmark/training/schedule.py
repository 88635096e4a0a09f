"""Optimizer, learning rate, and when to stop, from settings and scores alone."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from .config import LoopConfig

PLATEAU_FACTOR = 0.5  # by which the learning rate falls
PLATEAU_PATIENCE = 3  # epochs that may fail before it does


def optimizer_of(parameters: Iterable[nn.Parameter], config: LoopConfig) -> torch.optim.Optimizer:
    """Returns AdamW, or Adam with the weight decay in its gradient."""
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.learning_rate, weight_decay=config.weight_decay)


def learning_rate(config: LoopConfig, step: int, all_steps: int, scores: Sequence[float] = ()) -> float:
    """Returns the rate of a step: linear warm-up, then by `config.schedule`.

    Parameters
    ----------
    step, all_steps
        Counted over all epochs, also those that early stopping may leave out.
    scores
        One per epoch so far; only a plateau asks for them.
    """
    warmup = max(1, round(config.warmup * all_steps))
    if step < warmup:
        share = (step + 1) / warmup
    elif config.schedule == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, all_steps - warmup)))
    else:
        share = 1.0
    if config.schedule == "plateau":
        share *= plateau_share(scores, config.plateau_after)
    return config.learning_rate * share


def plateau_share(scores: Sequence[float], after: int) -> float:
    """Returns by what the learning rate has fallen: halved at each fourth epoch in a row that is worse than the anchor.

    The anchor is the score of epoch `after`, or a later one that is at least as good. This is the schedule of the
    published training of L-MAC: factor 0.5, patience 3, not before epoch 100.
    """
    share, failed, anchor = 1.0, 0, -math.inf
    for epoch, score in enumerate(scores, 1):
        if epoch <= max(after, 1) or score >= anchor:
            anchor, failed = score, 0
        elif failed < PLATEAU_PATIENCE:
            failed += 1
        else:
            share, failed = share * PLATEAU_FACTOR, 0
    return share


def epochs_without_better(scores: Sequence[float]) -> int:
    """Returns how many epochs have passed since the last one that was better than all before it."""
    best, since = -math.inf, 0
    for score in scores:
        since = 0 if score > best else since + 1
        best = max(best, score)
    return since


def is_over(scores: Sequence[float], config: LoopConfig) -> bool:
    """Says whether all epochs are done, or patience is at its end."""
    return len(scores) >= config.epochs or 0 < config.patience <= epochs_without_better(scores)


def is_best(scores: Sequence[float]) -> bool:
    """Says whether the last epoch is at least as good as all before it; a score that is not a number is worse."""
    known = [score for score in scores[:-1] if not math.isnan(score)]
    return not known or scores[-1] >= max(known)
