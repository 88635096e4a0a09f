"""The training loop in its plainest form: one process on a CPU, no checkpoints, nothing but the steps."""

import copy
import math

import torch

from earmark.types import seeded


def train(module, batches, prepare, loss, validate, config, n_steps):
    """Trains in place by AdamW, keeps the best epoch, and returns the losses and scores of the epochs."""
    optimizer = torch.optim.AdamW(module.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    all_steps, history, best = n_steps * config.epochs, [], None
    warmup = max(1, round(config.warmup * all_steps))
    before = torch.get_rng_state()
    for epoch in range(config.epochs):
        generator, total = seeded(config.seed, 1, epoch), 0.0
        torch.manual_seed(seeded(config.seed, 2, epoch).initial_seed())
        module.train()
        for step, batch in enumerate(batches(epoch, generator), epoch * n_steps):
            share = (step + 1) / warmup
            if step >= warmup:
                share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, all_steps - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * share
            with torch.no_grad():
                batch = prepare(batch, generator)
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += float(value.detach())
        module.eval()
        history.append({"loss": total / n_steps, **validate()})
        if best is None or history[-1]["score"] >= best[0]:
            best = history[-1]["score"], copy.deepcopy(module.state_dict())
    module.load_state_dict(best[1])
    torch.set_rng_state(before)
    return history
