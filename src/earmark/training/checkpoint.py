"""Checkpoints of a training: one safetensors file with a JSON header, written in one rename."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from ..errors import InputError, MismatchError
from .config import LoopConfig
from .parallel import device_of
from .schedule import is_best

NAME = "checkpoint.safetensors"
TECHNICAL = ("checkpoint_s",)  # settings that change no result
WRITING_SHARE = 0.05  # of the time, at most, goes to checkpoints within an epoch


@dataclass
class TrainState:
    """What a checkpoint holds: weights, optimizer, best weights, history, and the place in the epoch.

    Parameters
    ----------
    epoch, step
        The epoch that runs or comes next, and how many of its steps are done.
    sums
        Running sums over these steps: the loss and its terms.
    seconds
        What the epoch took before it was interrupted.
    random
        States of generators after these steps, by name; empty between epochs.
    scaler
        The gradient scaler's state, where float16 is used.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best_epoch: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    random: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> list[float]:
        """The score of each epoch so far."""
        return [row["score"] for row in self.history]

    def record(self, row: dict[str, float]) -> None:
        """Ends an epoch, and keeps its weights if none was better; of equal ones, the later."""
        self.history.append(row)
        if is_best(self.scores):
            self.best_epoch = self.epoch
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.epoch, self.step, self.seconds, self.sums, self.random = self.epoch + 1, 0, 0.0, {}, {}


class Clock:
    """Says when a checkpoint within an epoch is due: neither too soon, nor so often that writing takes the time."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._due = time.monotonic() + every_s

    @property
    def is_due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() >= self._due

    def wrote(self, began: float) -> None:
        """Starts anew after a checkpoint whose writing began at a monotonic time."""
        now = time.monotonic()
        longest = max(self.every_s, (now - began) / WRITING_SHARE)
        self._due = now + (longest if self.every_s else 0.0)


def random_state(generator: Generator) -> dict[str, Tensor]:
    """Returns the states of an epoch's generator and of torch's own, of the device in use too."""
    states = {"batches": generator.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor], generator: Generator) -> None:
    """Sets the generators to what `random_state` returned."""
    generator.set_state(states["batches"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])


def about(config: LoopConfig, settings: dict[str, Any] | None) -> dict[str, Any]:
    """Returns what an unfinished training must agree with, as plain JSON values."""
    numbers = {name: value for name, value in asdict(config).items() if name not in TECHNICAL}
    return json.loads(json.dumps({"config": numbers, "settings": settings or {}}))


def save_checkpoint(state: TrainState, folder: Path, about: dict[str, Any]) -> None:
    """Writes everything into one file, in one rename; a kill leaves the last whole checkpoint."""
    tensors = {f"model.{k}": v for k, v in state.module.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    tensors |= {f"random.{k}": v for k, v in state.random.items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    header = {name: getattr(state, name) for name in _HEADER} | about
    temporary = folder / ".checkpoint.part"
    try:
        plain = {k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}
        save_file(plain, temporary, {"state": json.dumps(header)})
        temporary.replace(folder / NAME)
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
    path = folder / NAME
    if not path.exists():
        return
    header, tensors = _read(path)
    if any(header.get(key, value) != value for key, value in about.items()):
        raise MismatchError(
            f"{folder} holds an unfinished training with other settings; "
            "finish it with its own settings or choose another folder."
        )
    device = device_of(state.module)
    state.module.load_state_dict(_prefixed(tensors, "model."))
    state.best = {k: v.to(device) for k, v in _prefixed(tensors, "best.").items()}
    state.random = _prefixed(tensors, "random.")
    for name in _HEADER:
        setattr(state, name, header.get(name, getattr(state, name)))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _prefixed(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


_HEADER = ("epoch", "step", "sums", "seconds", "best_epoch", "history", "scaler")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
