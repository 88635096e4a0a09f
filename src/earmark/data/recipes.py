"""Recipes of mixtures: what is mixed in and how loud, their spelling on the command line, and published presets.

This module imports neither torch nor numpy.

| kind | what is mixed in | level by default |
|---|---|---|
| `id` | the noise that a model was trained with, from recordings that no training used, at a random offset | 0 dB |
| `ood` | another clip of a different class and group, from its start | 6 dB |
| `white`, `pink` | noise | 6 dB |
| `speech`, `scene` | recordings of speech, of real backgrounds, at a random offset | 6 dB |

Recordings that are too short are repeated.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import DataError

Level = Literal["clip", "l2", "peak"]

KINDS: Mapping[str, float] = {"id": 0.0, "ood": 6.0, "white": 6.0, "pink": 6.0, "speech": 6.0, "scene": 6.0}
COLORS = ("white", "pink")  # kinds that are made, not read
RECORDED = ("id", "speech", "scene")  # kinds that need recordings

SPELLING = "KIND[:LEVELS[:PATH]], such as ood, white:6, pink:0,6,12, speech:3:/speech or id:0:/noise"


@dataclass(frozen=True)
class Recipe:
    """What is mixed into a clip, and how loud.

    Parameters
    ----------
    kind
        One of `KINDS`.
    weights
        Norms (square roots of the energies) of the clip and of what is mixed in, up to a common factor; their ratio is
        the SNR.
    source
        The recordings: a folder, or a published layout such as `wham:PATH`; `#FOLDS` behind it chooses among them.
        `None` for `ood` means the other clips of the set.
    n
        How many mixtures of each clip, each with another contaminant.
    level
        `clip`: the clip stays as loud as it is, unless the mixture would exceed full scale. `l2`: the parts' norms are
        the weights. `peak`: the mixture's largest absolute sample is 1.
    padded
        Take the contaminant from its start and fill up with zeros, as published code does.

    Raises
    ------
    DataError
        If a value is impossible.
    """

    kind: str
    weights: tuple[float, float]
    source: str | None = None
    n: int = 1
    level: Level = "clip"
    padded: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"The mixture {self.kind!r} is unknown; its kind is one of {', '.join(KINDS)}.")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise DataError(f"The weights of a mixture are two positive numbers, got {self.weights}.")
        if self.n < 1:
            raise DataError(f"A clip gets at least one mixture, got {self.n}.")

    @property
    def snr_db(self) -> float:
        """Energy of the clip over that of what is mixed in, over the whole clip, in dB."""
        return 20 * math.log10(self.weights[0] / self.weights[1])

    @property
    def name(self) -> str:
        """Kind and SNR, such as `white:6`, with at most two decimals; then level and padding, unless as usual."""
        unusual = f",{self.level}" * (self.level != "clip") + ",padded" * self.padded
        return f"{self.kind}:{round(self.snr_db, 2) + 0.0:g}{unusual}"


def recipe(kind: str, snr_db: float | None = None, source: str | None = None, n: int = 1) -> Recipe:
    """Returns the recipe of a kind at an SNR in dB; `None` is the kind's default.

    Examples
    --------
    >>> recipe("white", 6.0).name
    'white:6'
    """
    snr_db = KINDS.get(kind, 0.0) if snr_db is None else snr_db
    if not abs(snr_db) <= 200:
        raise DataError(f"The level of a mixture is an SNR in dB, at most 200 either way, got {snr_db}.")
    return Recipe(kind, (1.0, 10 ** (-snr_db / 20)), source, n)


#: What was done for the published tables [paissan2024lmac]. `lmac-code` is what the code does: weights .8 and .2 of
#: normalized sounds (12.04 dB), .5 of white noise (6.02 dB), noise of equal energy (0 dB), the contaminant from its
#: start and padded with zeros. `lmac-paper` is what the text says: 3 dB. The random choices of the code are not redone.
PRESETS: Mapping[str, tuple[Recipe, ...]] = {
    "lmac-code": (
        Recipe("ood", (0.8, 0.2), n=2, level="l2", padded=True),
        Recipe("white", (1.0, 0.5)),
        Recipe("speech", (0.8, 0.2), level="l2", padded=True),
        Recipe("id", (1.0, 1.0), level="peak", padded=True),
    ),
    "lmac-paper": (recipe("white", 3.0), recipe("speech", 3.0)),
}


def parse_mixture(text: str) -> tuple[Recipe, ...]:
    """Returns the recipes that a text names: `KIND[:LEVELS[:PATH]]`, or a preset.

    Levels are SNRs in dB, separated by commas. `id`, `speech` and `scene` need a path, `ood` may have one. A preset
    takes its recordings as `lmac-code:speech=PATH,noise=PATH`; what has no path is left out of it.

    Raises
    ------
    DataError
        If the text means no mixture.

    Examples
    --------
    >>> [recipe.name for recipe in parse_mixture("pink:0,6,12")]
    ['pink:0', 'pink:6', 'pink:12']
    >>> [recipe.name for recipe in parse_mixture("lmac-code")]
    ['ood:12.04,l2,padded', 'white:6.02']
    """
    kind, _, rest = text.partition(":")
    if kind in PRESETS:
        return _preset(kind, rest)
    if kind not in KINDS:
        known = ", ".join((*KINDS, *PRESETS))
        raise DataError(f"The mixture {text!r} is unknown; write one of {known}, spelled {SPELLING}.")
    levels, _, path = rest.partition(":")
    if kind in COLORS and path:
        raise DataError(f"The mixture {text!r} names recordings, and {kind} noise has none; leave them out.")
    if kind in RECORDED and not path:
        raise DataError(f"The mixture {text!r} needs recordings; write {kind}:{KINDS[kind]:g}:PATH with their folder.")
    return tuple(recipe(kind, level, path or None) for level in _levels(text, levels))


def _levels(text: str, levels: str) -> tuple[float | None, ...]:
    """Returns each level once, in its order; `None` is the default."""
    try:
        return tuple(dict.fromkeys(float(level) for level in levels.split(","))) if levels else (None,)
    except ValueError as error:
        raise DataError(
            f"The level of the mixture {text!r} is {levels!r}, and dB were expected: {SPELLING}."
        ) from error


def _preset(name: str, rest: str) -> tuple[Recipe, ...]:
    """Returns the recipes of a preset for which there are recordings."""
    pairs = [part.partition("=")[::2] for part in re.split(r",(?=\w+=)", rest) if part]
    paths = dict(pairs)
    if not all(paths.values()) or not paths.keys() <= {"speech", "noise"} or len(paths) < len(pairs):
        raise DataError(f"{name} takes its recordings as {name}:speech=PATH,noise=PATH, got {rest!r}.")
    sources = {"speech": paths.get("speech"), "id": paths.get("noise")}
    named = [replace(made, source=sources.get(made.kind)) for made in PRESETS[name]]
    return tuple(made for made in named if made.source or made.kind not in RECORDED)
