"""The conditions of one clip and label: APEX's region, and the controls that are drawn for it.

Controls of the same shape lie on other cells of the map than the region, where the same area is taken. A region that
is matched in energy has any proportions and lies anywhere, but shares less than half with APEX's (soft intersection
over union); it is drawn by rejection, and where no proposal fits, the clip counts as unmatched.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator

from ...types import seeded
from .chosen import Chosen, Pick
from .config import DRAWN, REGION, AblationConfig
from .places import Ground, Place, Power, everywhere, overlap

SILENCE = 1e-10  # of the clip's energy: what is below counts as this, so that silence matches silence
CHUNK = 200  # proposals tried together
SAME = 0.5  # overlap from which a region counts as APEX's own


@dataclass(frozen=True)
class Masked:
    """One condition of a clip: where it is masked, or why it is not."""

    condition: str
    seed: int
    draw: int
    pick: Pick | None
    failed: str | None = None


class Scene:
    """One clip under one view: every place on its map's cells, what they take, and what it is compared with.

    Parameters
    ----------
    ground, power
        Of the clip.
    view
        Shape of the regions.
    """

    def __init__(self, ground: Ground, power: Power, view: str) -> None:
        self.ground, self.power, self.view = ground, power.double().cpu(), view
        self.places = everywhere(view, ground.n_cells)

    @cached_property
    def areas(self) -> torch.Tensor:
        """Of every place."""
        return self.ground.areas(self.places)

    @cached_property
    def energies(self) -> torch.Tensor:
        """What every place takes, as a share of the clip's energy."""
        return self.ground.energies(self.places, self.power)[0] / self.power.sum()

    def alike(self, region: Place, tolerance: float) -> list[int]:
        """Returns the positions of other places of the region's area."""
        near = (self.areas / self.ground.areas([region]) - 1).abs() <= tolerance
        return [i for i in near.nonzero().flatten().tolist() if self.places[i] != region]


def conditions(scene: Scene, said: Chosen, config: AblationConfig, name: str) -> Iterator[Masked]:
    """Yields APEX's region and all controls of a clip; draws depend on the clip's name and the seed alone."""
    yield Masked(REGION, 0, 0, said.top)
    yield Masked("least-channel", 0, 0, said.least)
    yield Masked("identity", 0, 0, said.identity)
    alike = scene.alike(said.top.place, config.within_area)
    loudest = max([*alike, scene.places.index(said.top.place)], key=lambda i: (float(scene.energies[i]), -i))
    yield Masked("loudest", 0, 0, Pick(-1, scene.places[loudest]))
    sounding = [i for i in alike if 10 * math.log10(max(float(scene.energies[i]), 1e-30)) >= config.sound_db]
    pools: dict[str, tuple[Callable[[Generator], list[Pick]], str]] = {
        "random": (_from([Pick(-1, scene.places[i]) for i in alike], config.draws), "no other place of this area"),
        "random-sounding": (
            _from([Pick(-1, scene.places[i]) for i in sounding], config.draws),
            "no other place of this area with sound",
        ),
        "other-channel": (_from(said.others, config.draws), "no other channel with a place"),
        "energy-matched": (
            lambda generator: matched(scene, said.top.place, config, generator),
            "no region of this area and energy",
        ),
    }
    for condition, (draw, failed) in pools.items():
        for seed in config.seeds:
            part = DRAWN.index(condition) + 1
            picks = draw(seeded(seed, zlib.crc32(f"{name}/{scene.view}".encode()), part))
            for i in range(config.draws):
                pick = picks[i % len(picks)] if picks else None
                yield Masked(condition, seed, i, pick, None if picks else failed)


def _from(pool: Sequence[Pick], n: int) -> Callable[[Generator], list[Pick]]:
    """Returns what draws from a pool: each once before any is drawn again."""

    def draw(generator: Generator) -> list[Pick]:
        order = [torch.randperm(len(pool), generator=generator) for _ in range(math.ceil(n / max(len(pool), 1)))]
        return [pool[i] for i in torch.cat(order).tolist()[:n]] if pool else []

    return draw


# -- the same area and energy ---------------------------------------------------------------------------------------


def matched(scene: Scene, region: Place, config: AblationConfig, generator: Generator) -> list[Pick]:
    """Returns up to `draws` regions of another place that take the same area and, within 1 dB, the same energy."""
    ground, total = scene.ground, scene.power.sum()
    area, own = float(ground.areas([region])), ground.gains([region])[0]
    wanted = _db(ground.energies([region], scene.power)[0] / total)
    found: list[Pick] = []
    for _ in range(math.ceil(config.proposals / CHUNK)):
        tried = _proposed(ground, scene.view, area, CHUNK, generator)
        gap_db = (_db(ground.energies(tried, scene.power)[0] / total) - wanted).abs()
        gap_area = (ground.areas(tried) / area - 1).abs()
        fits = ((gap_db <= config.within_db) & (gap_area <= config.within_area)).nonzero().flatten().tolist()
        apart = [i for i in fits if float(overlap(ground.gains([tried[i]]), own)) < SAME]
        found += [Pick(-1, tried[i]) for i in apart]
        if len(found) >= config.draws:
            break
    return found[: config.draws]


def _db(share: torch.Tensor) -> torch.Tensor:
    return 10 * share.clamp_min(SILENCE).log10()


def _proposed(ground: Ground, view: str, area: float, n: int, generator: Generator) -> list[Place]:
    """Returns regions of an area, half of the view's own shape and half boxes of other proportions, anywhere."""
    draws = torch.rand(n, 3, generator=generator, dtype=torch.float64).tolist()
    return [(_moved if i % 2 else _box)(ground, view, area, *draws[i]) for i in range(n)]


def _moved(ground: Ground, view: str, area: float, at: float, along: float, _: float) -> Place:
    freq = None if view == "time" else _center(ground.rows.low, ground.rows.high, 1.0, at)
    frame = None if view == "frequency" else _center(ground.columns.low, ground.columns.high, 1.0, along)
    return Place(freq, frame, cross=view == "time-frequency")


def _box(ground: Ground, view: str, area: float, at: float, along: float, proportion: float) -> Place:
    cells = area * ground.rows.size * ground.columns.size
    least, most = max(0.5, cells / ground.columns.size), min(ground.rows.size, cells / 0.5)
    height = least * (most / least) ** proportion
    width = cells / height
    freq = _center(ground.rows.low, ground.rows.high, height, at)
    frame = _center(ground.columns.low, ground.columns.high, width, along)
    return Place(freq, frame, height, width)


def _center(low: float, high: float, size: float, at: float) -> float:
    """Returns a center with which a region lies inside; where its border would cut its edge, it ends with the axis."""
    center = low + size / 2 + at * max(high - low - size, 0.0)
    if center - size / 2 - low < 0.25:
        return low + size / 2
    return high - size / 2 if high - center - size / 2 < 0.25 else center
