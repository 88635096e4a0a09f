"""The plain training loop: seeded, checkpointed each epoch, resumable, never touching global random state."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from ..errors import InputError, MismatchError
from ..types import seeded
from .config import LoopConfig

Batch = Any
Progress = Callable[[int, int, dict[str, float]], None]  # done steps, all steps, latest values


@contextmanager
def seeded_globals(seed: int, *parts: int) -> Iterator[None]:
    """Seeds torch's global generator inside the block and restores it after, also on error.

    Needed where PyTorch itself offers no generator argument: parameter initialization and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed, *parts).initial_seed())
        yield


@dataclass
class TrainState:
    """What a checkpoint holds: weights, optimizer, best weights, and the history of validation."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    best_epoch: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    module: nn.Module,
    batches: Callable[[int, Generator], Iterable[Batch]],
    loss: Callable[[Batch, Generator], Tensor],
    validate: Callable[[], dict[str, float]],
    config: LoopConfig,
    *,
    n_steps: int,
    folder: Path,
    progress: Progress | None = None,
    settings: dict[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Trains `module` in place and leaves it with the weights of its best epoch.

    Parameters
    ----------
    batches
        `batches(epoch, generator)` yields the batches of one epoch.
    loss
        `loss(batch, generator)` returns the scalar to lower.
    validate
        Returns numbers after each epoch; the one named `score` chooses the epoch (larger is better, ties: later).
    n_steps
        Batches per epoch.
    folder
        Where `checkpoint.safetensors` lies; an unfinished run there goes on bit for bit.
    settings
        Whatever else a run depends on, as JSON values; an unfinished run with others is refused.

    Returns
    -------
    history
        One dict per epoch: `epoch`, `loss`, `seconds`, and what `validate` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(module.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    state = TrainState(module, optimizer)
    about = _plain(config, settings)
    resume(state, folder, about)
    all_steps = n_steps * config.epochs
    for epoch in range(state.epoch, config.epochs):
        began, total = time.perf_counter(), 0.0
        generator = seeded(config.seed, 1, epoch)
        module.train()
        with seeded_globals(config.seed, 2, epoch):
            for step, batch in enumerate(batches(epoch, generator)):
                _set_rate(optimizer, config, epoch * n_steps + step, all_steps)
                total += _step(optimizer, loss(batch, generator))
                if progress:
                    progress(epoch * n_steps + step + 1, all_steps, {"loss": total / (step + 1)})
        module.eval()
        row = {"epoch": epoch, "loss": total / max(n_steps, 1), **validate()}
        row["seconds"] = time.perf_counter() - began
        _record(state, row)
        save_checkpoint(state, folder, about)
    module.load_state_dict(state.best)
    return state.history


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _set_rate(optimizer: torch.optim.Optimizer, config: LoopConfig, step: int, all_steps: int) -> None:
    """Sets the learning rate: linear warm-up, then half a cosine down to zero."""
    warmup = max(1, round(config.warmup * all_steps))
    if step < warmup:
        share = (step + 1) / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, all_steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * share


def _record(state: TrainState, row: dict[str, float]) -> None:
    scores = [r["score"] for r in state.history]
    if not scores or row["score"] >= max(scores):
        state.best_epoch = state.epoch
        state.best = {k: v.detach().clone() for k, v in state.module.state_dict().items()}
    state.history.append(row)
    state.epoch += 1


def save_checkpoint(state: TrainState, folder: Path, about: dict[str, Any]) -> None:
    """Writes everything into one file, in one rename; a kill leaves the last whole checkpoint."""
    tensors = {f"model.{k}": v for k, v in state.module.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    header = {
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "history": state.history,
        **about,
    }
    temporary = folder / ".checkpoint.part"
    try:
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary, {"state": json.dumps(header)})
        temporary.replace(folder / "checkpoint.safetensors")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def resume(state: TrainState, folder: Path, about: dict[str, Any]) -> None:
    """Fills `state` from the folder's checkpoint, if there is one.

    Raises
    ------
    MismatchError
        If the checkpoint was made with other numbers, as `about` has them.
    InputError
        If it is damaged.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return
    header, tensors = _read_checkpoint(path)
    if any(header.get(key, value) != value for key, value in about.items()):
        raise MismatchError(
            f"{folder} holds an unfinished training with other settings; "
            "finish it with its own settings or choose another folder."
        )
    state.module.load_state_dict(_prefixed(tensors, "model."))
    state.best = _prefixed(tensors, "best.")
    state.epoch, state.best_epoch = header["epoch"], header["best_epoch"]
    state.history = header["history"]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _prefixed(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["state"])
            return header, {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}), so the training cannot go on from it; remove it to begin anew."
        ) from error


def _prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _plain(config: LoopConfig, settings: dict[str, Any] | None) -> dict[str, Any]:
    return json.loads(json.dumps({"config": asdict(config), "settings": settings or {}}))
