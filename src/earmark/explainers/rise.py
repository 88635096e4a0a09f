"""RISE: random coarse masks, each weighted with the score that it lets through (Petsiuk et al., 2018, equation 6)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..types import Target, seeded
from .perturbation import Canvas, Perturbation, Scored, Valued
from .perturbation_config import RiseConfig


@dataclass(frozen=True, eq=False)
class CoarseMasks:
    """Masks that are bilinear between nodes, each on or off, on a grid that is shifted at random.

    The shift is even over one cell, so every bin has mean p and the masks look the same everywhere.

    Parameters
    ----------
    nodes
        `[mask, freq + 2, frame + 2]` of zeros and ones, for a grid of `freq` x `frame` cells.
    shift
        `[mask, 2]` in [0, 1), in cells, along frequency and time.
    shape
        Bins and frames.
    """

    nodes: Float[Tensor, "mask rows columns"]
    shift: Float[Tensor, "mask 2"]
    shape: tuple[int, int]

    @classmethod
    def drawn(
        cls, n: int, p: float, grid: tuple[int, int], shape: tuple[int, int], generator: torch.Generator
    ) -> "CoarseMasks":
        """Returns `n` masks."""
        nodes = (torch.rand(n, grid[0] + 2, grid[1] + 2, generator=generator) < p).float()
        return cls(nodes, torch.rand(n, 2, generator=generator), shape)

    def gains(self, chosen: Tensor) -> Float[Tensor, "chosen freq frame"]:
        """Returns chosen masks on the STFT grid, in [0, 1]."""
        nodes, shift = self.nodes[chosen], self.shift[chosen]
        rows = _tents(self.shape[0], nodes.shape[1], shift[:, 0])
        columns = _tents(self.shape[1], nodes.shape[2], shift[:, 1])
        return rows @ nodes @ columns.transpose(1, 2)


def _tents(n: int, n_nodes: int, shift: Float[Tensor, " mask"]) -> Float[Tensor, "mask n node"]:
    """Returns the weight of each node at `n` places that are spread evenly over all cells."""
    place = torch.linspace(0, n_nodes - 2, n) + shift[:, None]
    return (1 - (place[..., None] - torch.arange(n_nodes)).abs()).clamp_min(0)


class Rise(Perturbation[RiseConfig]):
    """Values of a bin: `1 / (N p) sum_i s(clip masked with m_i) m_i`, by default with the mean score subtracted.

    The published sum carries a constant, about the mean score, in every bin: it changes no ranking, but a map of it is
    nearly flat. `centered` subtracts the mean score from each `s`, which removes the constant and most of the noise.
    Costs `n_samples + 2` forward passes.
    """

    method = "rise"
    random = True
    settings = RiseConfig

    def _scored(self, canvas: Canvas) -> Scored:
        config = self.config
        masks = CoarseMasks.drawn(config.n_samples, config.p, config.grid, canvas.grid.shape, seeded(config.seed))

        def gain(chosen: Tensor) -> Tensor:
            return masks.gains(chosen).to(canvas.clip)

        def sound(chosen: Tensor) -> Tensor:
            return canvas.sound_of(canvas.fill + gain(chosen) * canvas.difference)

        return canvas.score(torch.arange(config.n_samples), sound, gain, masks)

    def _valued(self, scored: Scored, target: Target) -> Valued:
        """Adds the Monte Carlo error: half the root mean square difference of the maps of every other mask."""
        first, second = self._halves(scored, target)
        error = float((first - second).square().mean().sqrt()) / 2
        return Valued((first + second) / 2, {"monte_carlo_error": error})

    def _halves(self, scored: Scored, target: Target) -> Float[Tensor, "2 freq frame"]:
        """Returns the maps of the even and the odd masks."""
        masks: CoarseMasks = scored.masks
        score = self._score_of(target, scored.logits)
        score = score - score.mean() if self.config.centered else score
        halves = []
        for half in (torch.arange(0, len(score), 2), torch.arange(1, len(score), 2)):
            total = torch.zeros(masks.shape, dtype=torch.float64)
            for chosen in half.split(32):
                total += torch.einsum("n,nft->ft", score[chosen].float(), masks.gains(chosen))
            halves.append(total / (len(half) * self.config.p))
        return torch.stack(halves)
