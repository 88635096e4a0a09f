"""The training loop of every trained part: seeded, resumable within an epoch, on one process or several.

Random state is never touched globally, nothing is left behind but the trained module, and on one process on a CPU a
training that was killed ends with the same bits as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..errors import MismatchError, TrainingError
from ..types import seeded
from .checkpoint import Clock, TrainState, about, random_state, resume, save_checkpoint, set_random_state
from .config import LoopConfig
from .logs import Log, logs
from .parallel import Parallel, parallel
from .schedule import is_over, learning_rate, optimizer_of

Batch = Any  # tensors whose first axis is the clip, in tuples, lists or dicts
Loss = Tensor | tuple[Tensor, dict[str, Tensor]]
Progress = Callable[[int, int, dict[str, float]], None]  # done steps, all steps, means over the epoch so far


@contextmanager
def seeded_globals(seed: int, *parts: int) -> Iterator[None]:
    """Seeds torch's global generators inside the block and restores them after, also on error.

    Needed where PyTorch itself offers no generator argument: parameter initialization and dropout. A GPU that is not
    in use yet is left alone.
    """
    number = seeded(seed, *parts).initial_seed()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(number)
        if devices:
            torch.cuda.manual_seed(number)
        yield


def train(
    module: nn.Module,
    batches: Callable[[int, Generator], Iterable[Batch]],
    loss: Callable[[Batch], Loss],
    validate: Callable[[], dict[str, float]],
    config: LoopConfig,
    *,
    n_steps: int,
    folder: Path,
    prepare: Callable[[Batch, Generator], Batch] | None = None,
    beside: Sequence[nn.Module] | None = None,
    progress: Progress | None = None,
    log_folder: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Trains `module` in place and leaves it with the weights of its best epoch.

    In a job of several processes (`torchrun`, or `accelerate launch` on GPUs) each takes its slice of every global
    batch, and the gradient is that of the whole batch: random draws belong into `prepare`, which every process runs on
    the whole batch. What looks at other clips of a batch sees a slice alone, as it sees a part alone where steps are
    accumulated: BatchNorm normalizes by its own slice, and keeps the statistics of the main process. Dropout draws
    differ from those of one process. The main process alone writes, validates and reports.

    Parameters
    ----------
    module
        What is trained, and nothing else: a frozen classifier is used inside `loss`.
    batches
        `batches(epoch, generator)` yields the global batches of one epoch.
    loss
        `loss(batch)` returns the mean over clips of what is to be lowered, or that and its named terms. Its batch is
        on the module's device, and may be a part of a global batch.
    validate
        Returns numbers after each epoch; the one named `score` chooses the epoch (larger is better, ties: later).
    n_steps
        Batches per epoch.
    folder
        Where `checkpoint.safetensors` lies; an unfinished run there goes on bit for bit.
    prepare
        `prepare(batch, generator)` returns what `loss` gets: augmentation and every random draw, on the CPU, on the
        whole global batch, without gradients.
    beside
        Frozen modules that `loss` and `validate` use. If it is given, also empty, these and `module` are moved to the
        GPU where there is one, and come back; if not, nothing is moved, and training happens where `module` is.
    log_folder
        Where TensorBoard's logs go, if it is installed: loss, terms, learning rate and norm of the gradient of each
        step, and what `validate` returned.
    settings
        Whatever else a run depends on, as JSON values; an unfinished run with others is refused.

    Returns
    -------
    history
        One dict per epoch: `epoch`, the means of `loss` and its terms, what `validate` returned, `seconds`, and
        `stopped` in the last one where patience ended the training.

    Raises
    ------
    TrainingError
        If a loss or a gradient is not finite, or Accelerate is not installed.
    MismatchError, InputError
        If the folder's checkpoint is one of other settings, or damaged.
    """
    with parallel(config.precision, module, beside) as processes:
        optimizer = processes.prepared(optimizer_of(module.parameters(), config))
        state = TrainState(module, optimizer)
        job = _Job(processes, config, n_steps, batches, prepare, loss, validate, folder, about(config, settings))
        job.begin(state)
        with logs(log_folder if processes.is_main else None, job.done(state)) as log:
            job.log, job.progress = log, progress if processes.is_main else None
            while not is_over(state.scores, config):
                _epoch(job, state)
        module.load_state_dict(state.best)
        processes.same_everywhere(module)
    return state.history


@dataclass
class _Job:
    """What a training works with; all but `TrainState`, which changes."""

    processes: Parallel
    config: LoopConfig
    n_steps: int
    batches: Callable[[int, Generator], Iterable[Batch]]
    prepare: Callable[[Batch, Generator], Batch] | None
    loss: Callable[[Batch], Loss]
    validate: Callable[[], dict[str, float]]
    folder: Path
    about: dict[str, Any]
    progress: Progress | None = None
    log: Log = lambda _group, _values, _step: None
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.config.checkpoint_s)

    @property
    def all_steps(self) -> int:
        """Steps of all epochs."""
        return self.n_steps * self.config.epochs

    def done(self, state: TrainState) -> int:
        """Returns the steps of all epochs that are done."""
        return state.epoch * self.n_steps + state.step

    def begin(self, state: TrainState) -> None:
        """Goes on from the folder's checkpoint, if there is one, on all processes alike."""
        if self.processes.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
        resume(state, self.folder, self.about)
        if state.scaler and self.processes.scaler:
            self.processes.scaler.load_state_dict(state.scaler)
        if self.processes.from_main(self.done(state)) != self.done(state):
            raise MismatchError(f"Processes see different checkpoints in {self.folder}; let them share one folder.")
        self.processes.same_everywhere(state.module)

    def prepared(self, batch: Batch, generator: Generator) -> Batch:
        """Returns a whole batch as `loss` gets it."""
        with torch.no_grad():
            return self.prepare(batch, generator) if self.prepare else batch

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint, on the main process."""
        if self.processes.is_main:
            began = time.monotonic()
            state.scaler = self.processes.scaler.state_dict() if self.processes.scaler else {}
            save_checkpoint(state, self.folder, self.about)
            self.clock.wrote(began)

    def report(self, state: TrainState, all_steps: int) -> None:
        """Tells how far the training is, with means over the epoch so far."""
        if self.progress:
            self.progress(self.done(state), all_steps, {k: v / max(state.step, 1) for k, v in state.sums.items()})


def _epoch(job: _Job, state: TrainState) -> None:
    """Trains for one epoch, or the rest of it, and validates."""
    config, index = job.config, job.processes.index
    began, generator = time.perf_counter() - state.seconds, seeded(config.seed, 1, state.epoch)
    state.module.train()
    with seeded_globals(config.seed, 2, state.epoch, *([index] if index else [])):
        for batch in _remaining(job, state, generator):
            values = _step(job, state, batch)
            state.step, state.seconds = state.step + 1, time.perf_counter() - began
            state.sums = {name: state.sums.get(name, 0.0) + value for name, value in values.items()}
            if job.clock.is_due:
                state.random = random_state(generator)
                job.save(state)
            job.report(state, job.all_steps)
    state.module.eval()
    _validate(job, state, began)
    job.save(state)


def _remaining(job: _Job, state: TrainState, generator: Generator) -> Iterator[Batch]:
    """Yields the prepared batches of an epoch that are still to come, generators being where they were."""
    left = iter(job.batches(state.epoch, generator))
    if state.step:
        left = _skipped(job, state, generator, left)
        set_random_state(state.random, generator)
    for batch in left:
        yield job.prepared(batch, generator)


def _skipped(job: _Job, state: TrainState, generator: Generator, left: Iterator[Batch]) -> Iterator[Batch]:
    """Returns batches without those that are done.

    Batches whose order is drawn before the first are passed over. Where more is drawn on the way, the draws between
    belong to the sequence, and so they are prepared once more.
    """
    next(left, None)
    drawn = generator.get_state()
    for _ in range(state.step - 1):
        next(left, None)
    if torch.equal(generator.get_state(), drawn):
        return left
    generator.set_state(seeded(job.config.seed, 1, state.epoch).get_state())
    left = iter(job.batches(state.epoch, generator))
    for _ in range(state.step):
        job.prepared(next(left), generator)
    return left


def _step(job: _Job, state: TrainState, batch: Batch) -> dict[str, float]:
    """Makes one step, and returns its loss and terms."""
    rate = learning_rate(job.config, job.done(state), job.all_steps, state.scores)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    values = _gradients(job, state, batch)
    parameters = list(state.module.parameters())
    job.processes.sum_gradients(parameters)
    norm = _norm(parameters) / job.processes.scale
    if not math.isfinite(values["loss"]):
        raise _not_finite("loss", values["loss"], job, state)
    if not math.isfinite(norm) and not job.processes.scaler:
        raise _not_finite("gradient", norm, job, state)
    state.optimizer.step()
    job.log("training", {**values, "learning_rate": rate, "gradient_norm": norm}, job.done(state) + 1)
    return values


def _gradients(job: _Job, state: TrainState, batch: Batch) -> dict[str, float]:
    """Adds up the gradients of a batch's parts on this process; returns loss and terms over all processes."""
    state.optimizer.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for part, share in job.processes.parts(batch, job.config.accumulation):
        with job.processes.autocast():
            value = job.loss(part)
        value, terms = value if isinstance(value, tuple) else (value, {})
        job.processes.backward(value if share == 1 else share * value)
        for name, term in ({"loss": value, **terms} | {"loss": value}).items():
            sums[name] = sums.get(name, 0.0) + share * float(term.detach())
    return job.processes.sum_values(sums)


def _validate(job: _Job, state: TrainState, began: float) -> None:
    """Ends an epoch with what it came to, by the main process."""
    job.processes.same_everywhere(state.module)
    row: dict[str, float] = {}
    if job.processes.is_main:
        means = {name: value / max(job.n_steps, 1) for name, value in state.sums.items()}
        validated = job.validate()
        job.log("validation", validated, job.done(state))
        row = {"epoch": state.epoch, "loss": 0.0, **means, **validated, "seconds": time.perf_counter() - began}
    row = job.processes.from_main(row)
    if is_over([*state.scores, row["score"]], job.config) and state.epoch + 1 < job.config.epochs:
        row["stopped"] = 1.0
        job.report(state, job.done(state))
    state.record(row)


def _norm(parameters: Sequence[nn.Parameter]) -> float:
    """Returns the Euclidean norm of the gradient."""
    norms = [p.grad.norm() for p in parameters if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def _not_finite(what: str, value: float, job: _Job, state: TrainState) -> TrainingError:
    remedy = "" if job.config.precision == "no" else f", or precision no in place of {job.config.precision}"
    return TrainingError(
        f"The {what} is {value} at step {job.done(state) + 1} of {job.all_steps} (epoch {state.epoch + 1}), so the "
        f"training stops; choose a learning rate below {job.config.learning_rate:g}{remedy}, or look for clips whose "
        "samples are not finite."
    )
