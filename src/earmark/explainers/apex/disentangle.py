r"""The change of basis `U = exp(A)` and how it is learned: section 3 of APEX, made fast without changing its numbers.

Training maximizes the mean purity (equation 12) of the strongest clips of each channel. In each stage the `n_s`
strongest clips of each channel are selected with the current U; an epoch is one pass over these (clip, channel) pairs.
Three identities make it cheap: `a_k = F'T' (U GAP(Z))_k`, so that selection is one matrix product of pooled vectors;
`Zhat_k = u_k . Z`, so that one vector for each pair is transformed instead of a map; and U commutes with means.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import MismatchError
from ...prototypes.build import is_dead
from ...prototypes.topk import Top
from ...types import seeded
from .config import ApexConfig, Form
from .views import Basis, Tables, activation, purity

Pairs = Int[Tensor, "pair 2"]  # (clip, channel)
Progress = Callable[[int, int, dict[str, float]], None]  # done, in all, latest values

#: Largest norm of a matrix whose exponential twelve terms give to rounding (bader2019computing).
TAYLOR_RADIUS = {torch.float32: 1.4617, torch.float64: 0.29962}
DUPLICATE_CORRELATION = 0.95
SELECTION_CHUNK = 4096  # clips scored at a time


@dataclass(frozen=True, eq=False)
class TrainingClips:
    """What the optimizer reads of the clips; they are sorted by id, so that positions break ties as ids do.

    Parameters
    ----------
    pooled
        `[clip, channel]`, GAP of the maps.
    n_cells
        `[clip]`, cells of each map.
    load
        Returns the tables (see `views.tables_of`) of the clips at some positions.
    """

    pooled: Float[Tensor, "clip channel"]
    n_cells: Int[Tensor, " clip"]
    load: Callable[[Sequence[int]], Sequence[Tables]]

    def __len__(self) -> int:
        return self.pooled.shape[0]

    @property
    def n_channels(self) -> int:
        """Width of the map (D)."""
        return self.pooled.shape[1]


@dataclass(eq=False)
class BasisState:
    """What training changes: A, the optimizer's moments, the next stage, and the mean loss of each epoch."""

    A: Tensor
    optimizer: torch.optim.Optimizer
    stage: int = 0
    n_steps: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"selection": 0.0, "optimizer": 0.0})


def exponential(A: Float[Tensor, "channel channel"]) -> Basis:
    """Returns exp(A): twelve terms of the Taylor series by Paterson and Stockmeyer, with scaling and squaring.

    Plain autograd through its dozen products costs a fraction of the backward pass of `torch.matrix_exp`, which
    exponentiates a matrix of twice the size. The scaling is chosen by the norms of A^3 and A^4, which for most matrices
    are far below powers of the norm of A (Al-Mohy and Higham 2009).
    """
    A2 = A @ A
    A3, A4 = A2 @ A, A2 @ A2
    n_squarings = _n_squarings(A3, A4)
    powers = (torch.eye(A.shape[0], dtype=A.dtype, device=A.device), A, A2, A3)
    scale = 0.5**n_squarings  # of A; folded into the coefficients, so that no matrix is scaled
    result = torch.add(_block(powers, 8, scale), A4, alpha=scale**4 / math.factorial(12))
    for first in (4, 0):
        result = torch.addmm(_block(powers, first, scale), A4, result, alpha=scale**4)
    for _ in range(n_squarings):
        result = result @ result
    return result


def _block(powers: tuple[Tensor, ...], first: int, scale: float) -> Tensor:
    """Returns the sum of (scale X)^i / (first + i)! for i = 0 to 3."""
    result = powers[0] / math.factorial(first)
    for i in (1, 2, 3):
        result = torch.add(result, powers[i], alpha=scale**i / math.factorial(first + i))
    return result


def _n_squarings(A3: Tensor, A4: Tensor) -> int:
    """Returns the s for which A / 2^s lies within the radius of the series."""
    norms = [float(torch.linalg.matrix_norm(X.detach(), 1)) ** (1 / p) for X, p in ((A3, 3), (A4, 4))]
    ratio = max(norms) / TAYLOR_RADIUS[A3.dtype]
    return max(0, math.ceil(math.log2(ratio))) if ratio > 0 else 0


def generator_of(A_raw: Float[Tensor, "channel channel"], form: Form) -> Float[Tensor, "channel channel"]:
    """Returns what is exponentiated: A itself, or A - A^T (skew, so that U is orthogonal)."""
    return A_raw - A_raw.T if form == "orthogonal" else A_raw


def basis(A_raw: Float[Tensor, "channel channel"], form: Form) -> Basis:
    """Returns U, equation (2), differentiable in A."""
    return exponential(generator_of(A_raw, form))


def final_basis(A_raw: Float[Tensor, "channel channel"], form: Form) -> tuple[Basis, Basis]:
    """Returns U and its inverse in float64: exp(A) and exp(-A), or for the orthogonal form U and its transpose."""
    A = generator_of(A_raw.detach().double(), form)
    U = exponential(A)
    return U, (U.T.contiguous() if form == "orthogonal" else exponential(-A))


def purity_loss(vectors: Float[Tensor, "pair channel"], U: Basis, channels: Int[Tensor, " pair"]) -> Float[Tensor, ""]:
    """Returns minus the mean purity of pairs, for vectors p before U."""
    return -purity(vectors @ U.T, channels).mean()


def new_state(n_channels: int, config: ApexConfig, dtype: torch.dtype = torch.float32) -> BasisState:
    """Returns the start, A = 0 (U = I), with Adam and coupled L2."""
    A = torch.zeros(n_channels, n_channels, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.Adam([A], config.learning_rate, config.betas, config.eps, weight_decay=config.weight_decay)
    return BasisState(A, optimizer)


def train_basis(
    clips: TrainingClips,
    config: ApexConfig,
    *,
    state: BasisState | None = None,
    on_stage: Callable[[BasisState], None] | None = None,
    progress: Progress | None = None,
) -> BasisState:
    """Learns A.

    Parameters
    ----------
    state
        Goes on from here; the result is that of an uninterrupted run.
    on_stage
        Called after each stage, for checkpoints.
    progress
        Called after each optimizer step with steps done, steps in all, and the latest purity.
    """
    state = state or new_state(clips.n_channels, config, clips.pooled.dtype)
    for stage in range(state.stage, config.n_stages):
        _train_stage(clips, config, state, progress)
        state.stage = stage + 1
        if on_stage:
            on_stage(state)
    return state


def _train_stage(clips: TrainingClips, config: ApexConfig, state: BasisState, progress: Progress | None) -> None:
    began = time.perf_counter()
    U = basis(state.A.detach(), config.form)
    pairs = select_pairs(clips, U, config.prototypes_per_stage[state.stage], config)
    tables = load_tables(clips, pairs)
    selected = time.perf_counter()
    for epoch in range(config.epochs_per_stage):
        total = 0.0
        for batch in minibatches(pairs, state.stage, epoch, config):
            loss = _step(state, batch, tables, config.form)
            total += loss * len(batch)
            if progress:
                progress(state.n_steps, n_steps(len(clips), clips.n_channels, config), {"purity": -loss})
        state.losses.append(total / len(pairs))
    state.seconds["selection"] += selected - began
    state.seconds["optimizer"] += time.perf_counter() - selected


def _step(state: BasisState, batch: Pairs, tables: Mapping[int, Tables], form: Form) -> float:
    U = basis(state.A, form)
    vectors = gather(batch, tables, U.detach())
    loss = purity_loss(vectors, U, batch[:, 1])
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    state.n_steps += 1
    return float(loss.detach())


def n_steps(n_clips: int, n_channels: int, config: ApexConfig) -> int:
    """Returns the optimizer steps of a whole run."""
    per_epoch = (math.ceil(min(n, n_clips) * n_channels / config.batch_size) for n in config.prototypes_per_stage)
    return sum(per_epoch) * config.epochs_per_stage


def select_pairs(clips: TrainingClips, U: Basis, n: int, config: ApexConfig) -> Pairs:
    """Returns the `n` strongest clips of each channel, equation (14), as `n * channel` pairs, channel by channel."""
    ids = strongest_clips(clips, U, n, config).ids
    channels = torch.arange(ids.shape[1]).expand_as(ids)
    return torch.stack([ids.T.flatten(), channels.T.flatten()], 1)


def strongest_clips(clips: TrainingClips, U: Basis, n: int, config: ApexConfig, *, smallest: bool = False) -> Top:
    """Returns scores and positions of the clips that excite each channel most, or least."""
    top = Top.empty(n, clips.n_channels, smallest=smallest, dtype=clips.pooled.dtype)
    for position in torch.arange(len(clips)).split(SELECTION_CHUNK):
        n_cells = clips.n_cells[position] if config.selection == "sum" else None
        top = top.merge(activation(U, clips.pooled[position], n_cells), position)
    return top


def load_tables(clips: TrainingClips, pairs: Pairs) -> dict[int, Tables]:
    """Returns the tables of each clip that occurs in the pairs."""
    positions = pairs[:, 0].unique().tolist()
    return dict(zip(positions, clips.load(positions), strict=True))


def minibatches(pairs: Pairs, stage: int, epoch: int, config: ApexConfig) -> Iterator[Pairs]:
    """Yields the pairs in an order of their own for each seed, stage and epoch; the last part may be smaller."""
    order = torch.randperm(len(pairs), generator=seeded(config.seed, stage, epoch))
    for part in order.split(config.batch_size):
        yield pairs[part]


def gather(pairs: Pairs, tables: Mapping[int, Tables], U: Basis) -> Float[Tensor, "pair channel"]:
    """Returns the vector p, before U, of each pair."""
    with torch.no_grad():
        rows = U[pairs[:, 1]]
        of_pairs = [tables[clip] for clip in pairs[:, 0].tolist()]
        found = [_strongest_rows(candidates, rows) for candidates in zip(*of_pairs, strict=True)]
        return found[0] if len(found) == 1 else (found[0] + found[1]) / 2


def _strongest_rows(candidates: Sequence[Tensor], rows: Tensor) -> Float[Tensor, "pair channel"]:
    """Returns of each pair's candidates `[position, channel]` the one to which its row of U responds most.

    One matrix-vector product for each pair: larger products would be shared out to threads several hundred times a
    step, which on a busy machine takes seconds.
    """
    longest = max(len(table) for table in candidates)
    responses = rows.new_full((len(rows), longest), -math.inf)
    for table, row, response in zip(candidates, rows, responses, strict=True):
        torch.mv(table, row, out=response[: len(table)])
    best = responses.argmax(1).tolist()
    return torch.stack([table[i] for table, i in zip(candidates, best, strict=True)])


def mean_purity(clips: TrainingClips, U: Basis, config: ApexConfig) -> Float[Tensor, " channel"]:
    """Returns each channel's purity, averaged over the clips that excite it most (as many as the bank shows)."""
    pairs = select_pairs(clips, U, config.bank_size, config)
    vectors = gather(pairs, load_tables(clips, pairs), U)
    return purity(vectors @ U.T, pairs[:, 1]).reshape(clips.n_channels, -1).mean(1)


def dead_channels(clips: TrainingClips, U: Basis, config: ApexConfig) -> list[int]:
    """Returns the channels that are dead, see `prototypes.build.is_dead`."""
    best = strongest_clips(clips, U, 1, config).scores[0].tolist()
    purity = mean_purity(clips, U, config).tolist()
    return [k for k in range(clips.n_channels) if is_dead(purity[k], best[k])]


def duplicate_channels(clips: TrainingClips, U: Basis) -> list[tuple[int, int]]:
    """Returns the pairs of channels whose pooled activations have an absolute correlation above 0.95.

    A constant channel correlates with none.
    """
    means = activation(U, clips.pooled).double()
    means = means - means.mean(0)
    norms = means.norm(dim=0)
    units = torch.where(norms > 1e-12 * norms.max(), means / norms.clamp_min(1e-300), 0.0)
    first, second = ((units.T @ units).abs() > DUPLICATE_CORRELATION).triu(1).nonzero(as_tuple=True)
    return list(zip(first.tolist(), second.tolist(), strict=True))


def diagnose(
    train: TrainingClips, held_out: TrainingClips | None, state: BasisState, config: ApexConfig
) -> dict[str, Any]:
    """Returns what is to be known of a basis, as plain JSON values.

    `purity` is the mean over channels, `purity_identity` that of U = I; the same for held-out clips, with prototypes
    selected among these, or `None` where no clip was held out.
    """
    U64, _ = final_basis(state.A, config.form)
    U = U64.to(train.pooled.dtype)
    identity = torch.eye(len(U)).to(U)
    dead, duplicates = dead_channels(train, U, config), duplicate_channels(train, U)
    A = generator_of(state.A.detach().double(), config.form)
    return {
        "purity": float(mean_purity(train, U, config).mean()),
        "purity_identity": float(mean_purity(train, identity, config).mean()),
        "purity_held_out": held_out and float(mean_purity(held_out, U, config).mean()),
        "purity_held_out_identity": held_out and float(mean_purity(held_out, identity, config).mean()),
        "dead": len(dead),
        "duplicate": len(duplicates),
        "dead_channels": dead,
        "duplicate_channels": [list(pair) for pair in duplicates],
        "cond": float(torch.linalg.cond(U64)),
        "norm_A": float(torch.linalg.matrix_norm(A, 2)),
        "n_clips": len(train),
        "n_held_out": len(held_out) if held_out else 0,
        "n_steps": state.n_steps,
        "purity_per_epoch": [-loss for loss in state.losses],
        "seconds": dict(state.seconds),
    }


def save_state(state: BasisState, path: Path, key: dict[str, object]) -> None:
    """Writes a checkpoint in one rename; `key` says what it belongs to."""
    moments = state.optimizer.state_dict()["state"].get(0, {})
    tensors = {f"adam.{name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    header = {
        "stage": state.stage,
        "n_steps": state.n_steps,
        "losses": state.losses,
        "seconds": state.seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    save_file({"A": state.A.detach().clone(), **tensors}, temporary, {"state": json.dumps({"key": key, **header})})
    temporary.replace(path)


def load_state(path: Path, config: ApexConfig, key: dict[str, object]) -> BasisState | None:
    """Returns the checkpoint at `path`, or None if there is none.

    Raises
    ------
    MismatchError
        If it belongs to other clips, another classifier or other settings.
    """
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    if header["key"] != json.loads(json.dumps(key)):
        raise MismatchError(
            f"{path} holds an unfinished fit for other clips, another classifier or other settings; "
            "finish it with its own, or choose another folder."
        )
    state = new_state(tensors["A"].shape[0], config, tensors["A"].dtype)
    state.A.data.copy_(tensors["A"])
    moments = {name.removeprefix("adam."): value for name, value in tensors.items() if name != "A"}
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": {0: moments} if moments else {}, "param_groups": groups})
    state.stage, state.n_steps = header["stage"], header["n_steps"]
    state.losses, state.seconds = header["losses"], header["seconds"]
    return state
