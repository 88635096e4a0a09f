"""Occlusion: what the score loses when a window is cut out (Zeiler and Fergus, 2014)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..classifiers.base import Grid
from ..types import Target
from .perturbation import Canvas, Perturbation, Scored, Valued
from .perturbation_config import OcclusionConfig
from .segments import even_index, local_inverse, octave_bands


class Windows:
    """Overlapping windows over the STFT: each is `steps` neighboring cells high and as many wide.

    Attributes
    ----------
    rows, columns
        `[window, freq]` and `[window, frame]`, 1 inside: window (i, j) is `rows[i]` x `columns[j]`.
    """

    def __init__(self, grid: Grid, config: OcclusionConfig) -> None:
        n_freq, n_frames = grid.shape
        bands = octave_bands(grid.hz, config.octave / config.steps) if config.axes != "time" else even_index(n_freq, 1)
        n_cells = max(1, round(grid.duration_s * config.steps / config.window_s)) if config.axes != "frequency" else 1
        self.rows = sliding(bands, config.steps)
        self.columns = sliding(even_index(n_frames, min(n_cells, n_frames)), config.steps)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of windows in frequency and in time."""
        return len(self.rows), len(self.columns)

    def frames(self, window: int) -> slice:
        """Returns the frames of a window in time."""
        inside = self.columns[window].nonzero().flatten()
        return slice(int(inside[0]), int(inside[-1]) + 1)

    def mean_over(self, values: Float[Tensor, "rows columns"]) -> Float[Tensor, "freq frame"]:
        """Returns for each bin the mean value of the windows that cover it."""
        rows, columns = self.rows.to(values), self.columns.to(values)
        return (rows.T @ values @ columns) / (rows.sum(0)[:, None] * columns.sum(0)[None])


def sliding(cell_of: Int[Tensor, " n"], steps: int) -> Float[Tensor, "window n"]:
    """Returns windows of `steps` neighboring cells, one for each place; one over all where there are fewer cells."""
    n_cells = int(cell_of[-1]) + 1
    first = torch.arange(max(n_cells - steps + 1, 1))[:, None]
    return ((cell_of >= first) & (cell_of < first + steps)).float()


class Occlusion(Perturbation[OcclusionConfig]):
    """Values of a bin: the mean of `s(clip) - s(clip without the window)` over the windows that cover it.

    Costs one forward pass for each window, and two.
    """

    method = "occlusion"
    claims = ("localizes",)
    settings = OcclusionConfig

    def _seed(self) -> int | None:
        """Returns the seed of the noise that fills windows; nothing else is drawn."""
        return self.config.seed if self.config.fill == "noise" else None

    def _scored(self, canvas: Canvas) -> Scored:
        windows = Windows(canvas.grid, self.config)
        rows, columns = windows.rows.to(canvas.clip), windows.columns.to(canvas.clip)
        i, j = torch.meshgrid(*(torch.arange(n) for n in windows.shape), indexing="ij")
        order = torch.stack([i.T.flatten(), j.T.flatten()], 1)  # by time, so that a batch shares its frames

        def sound(batch: Tensor) -> Tensor:
            masked = canvas.clip.repeat(len(batch), 1)
            for column in batch[:, 1].unique().tolist():
                here = (batch[:, 1] == column).nonzero().flatten()
                frames = windows.frames(column)
                inside = rows[batch[here, 0], :, None] * canvas.difference[:, frames]
                start, removed = local_inverse(canvas.classifier.stft, inside, frames, len(canvas.clip))
                masked[here, start : start + removed.shape[1]] -= removed
            return masked

        def gain(batch: Tensor) -> Tensor:
            return 1 - rows[batch[:, 0], :, None] * columns[batch[:, 1], None, :]

        return canvas.score(order, sound, gain, windows)

    def _valued(self, scored: Scored, target: Target) -> Valued:
        windows: Windows = scored.masks
        whole = self._score_of(target, scored.whole[None])
        losses = whole - self._score_of(target, scored.logits)
        return Valued(windows.mean_over(losses.reshape(windows.shape[::-1]).T))
