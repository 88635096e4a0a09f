"""Mixtures: clips with noise, speech or other clips in them, at an exact SNR.

A mixture is a clip whose sound is made when it is read, and nothing is held in memory. It is a function of the clip,
the recipe, the recordings and the seed: neither the order of clips nor what else is in the set plays a part.

Conventions. Both sounds are mono (the mean of the channels), at the clip's rate and as long as the clip. With the
clip `s` and the contaminant `n`, the mixture is `s + g n`, `g = |s| / |n| 10^(-SNR/20)`: the SNR is the ratio of the
energies over the whole clip, in dB. If the largest absolute sample exceeds 1, both parts are divided by it.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float

from ..audio.files import load_clip
from ..audio.waveform import Waveform
from ..errors import AudioError, DataError
from ..types import Clip
from .folders import folder, parse_folds, split_by_group
from .noises import colored, piece
from .published import is_published, read_published
from .recipes import COLORS, Recipe, parse_mixture

Array = Float[np.ndarray, " sample"]

FRAME_S = 0.02  # length of the frames of which some are active
ACTIVE_DB = 40.0  # a frame is active if its energy is at most this far below that of the loudest one
DRAWS = 8  # random places that are tried until one is not silent


@dataclass(frozen=True, eq=False)
class Parts:
    """A mixture and what it consists of, sample by sample: `source + contaminant` is the mixture, bit for bit.

    Parameters
    ----------
    source, contaminant
        The two sounds as loud as they are in the mixture.
    gain, scale
        `source` is `scale` times the clip, `contaminant` is `scale * gain` times the recording.
    """

    source: Waveform
    contaminant: Waveform
    gain: float
    scale: float

    @property
    def mixture(self) -> Waveform:
        """What is heard."""
        return Waveform(self.source.samples + self.contaminant.samples, self.source.sample_rate)

    @property
    def snr_db(self) -> float:
        """Energy of the source over that of the contaminant, over the whole clip, in dB."""
        return snr_db(*self._samples())

    @property
    def active_snr_db(self) -> float:
        """The same over the frames in which the source is active; infinite if the contaminant is silent there."""
        return active_snr_db(*self._samples(), round(FRAME_S * self.source.sample_rate))

    def _samples(self) -> tuple[Array, Array]:
        return tuple(part.samples[0].double().numpy() for part in (self.source, self.contaminant))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The source of a mixture's clip: what is mixed; call it for the sound.

    Parameters
    ----------
    clip
        What the mixture is of: its labels, group, fold and events are the mixture's.
    contaminant
        What is mixed in; `None` for white and pink noise.
    recipe
        Kind and level.
    seed
        Of the noise, or of the place in the recording.
    """

    clip: Clip
    contaminant: Clip | None = field(repr=False)
    recipe: Recipe
    seed: int = 0

    @property
    def id(self) -> str:
        """The clip's id, then kind and level, then the contaminant's id if there is one, then the seed."""
        other = f":{self.contaminant.id}" if self.contaminant else ""
        return f"{self.clip.id}+{self.recipe.name}{other}+seed={self.seed}"

    def __call__(self) -> Waveform:
        """Returns the sound of the mixture."""
        return self.parts().mixture

    def parts(self) -> Parts:
        """Returns the mixture with its parts.

        Raises
        ------
        AudioError
            If the clip or what is mixed in is silent, or cannot be read.
        """
        source = load_clip(self.clip).mono()
        samples = source.samples[0].double().numpy()
        gains = blend(samples, other := self._other(len(samples), source.sample_rate), self.recipe)
        return _parts(samples, other, gains, source.sample_rate)

    def record(self) -> dict[str, Any]:
        """Returns all that is needed to make the mixture again, and what was measured on it, for JSON."""
        parts = self.parts()
        return {
            "id": self.id,
            "clip": self.clip.id,
            "contaminant": self.contaminant.id if self.contaminant else self.recipe.kind,
            "kind": self.recipe.kind,
            "seed": self.seed,
            "gain": parts.gain,
            "scale": parts.scale,
            "snr_db": parts.snr_db,
            "active_snr_db": parts.active_snr_db,
        }

    def _other(self, n_samples: int, sample_rate: int) -> Array:
        """Returns what is mixed in, at its own level."""
        rng = _stream(self.seed, self.recipe.kind, self.clip.id, self.contaminant.id if self.contaminant else "")
        if self.contaminant is None:
            return colored(self.recipe.kind, n_samples, sample_rate, rng)
        if self.recipe.padded or self.recipe.kind == "ood":
            return piece(self.contaminant, n_samples, sample_rate, None, self.recipe.padded)
        for place in rng.random(DRAWS):
            samples = piece(self.contaminant, n_samples, sample_rate, float(place))
            if samples.any():
                break
        return samples


def mix(
    clips: Iterable[Clip], recipe: str | Recipe, contaminants: Sequence[Clip] | None = None, seed: int = 0
) -> tuple[Clip, ...]:
    """Returns clips with something mixed in, in the order of the clips.

    Parameters
    ----------
    recipe
        A recipe, or what `parse_mixture` reads, such as `white:6`; several levels give several mixtures of each clip.
    contaminants
        The recordings of recipes that name none; for `ood` the clips themselves by default, so that clips of a held-out
        fold are mixed with each other.
    seed
        Chooses recordings, places in them, and noise; they are the same at all levels.

    Raises
    ------
    DataError
        If the recipe needs recordings and has none, or a clip has no contaminant of another class and group.

    Examples
    --------
    >>> clip = Clip("a.wav", Waveform(np.ones(8000) / 2, 8000), labels=("dog",))
    >>> mix([clip], "white:6")[0].id
    'a.wav+white:6+seed=0'
    """
    clips = tuple(clips)
    recipes = parse_mixture(recipe) if isinstance(recipe, str) else (recipe,)
    return tuple(made for one in recipes for made in _mixtures(clips, one, contaminants, seed))


def _mixtures(clips: Sequence[Clip], recipe: Recipe, pool: Sequence[Clip] | None, seed: int) -> list[Clip]:
    if recipe.kind in COLORS:
        made = [Mixture(clip, None, recipe, seed + i) for clip in clips for i in range(recipe.n)]
        return [_clip(mixture) for mixture in made]
    pool = sorted(_recordings(recipe, clips if pool is None and recipe.kind == "ood" else pool), key=lambda c: c.id)
    made = [Mixture(clip, other, recipe, seed) for clip in clips for other in _chosen(clip, pool, recipe, seed)]
    return [_clip(mixture) for mixture in made]


def parts_of(clip: Clip) -> Parts:
    """Returns the parts of a mixture that `mix` made.

    Raises
    ------
    DataError
        If the clip is not a mixture.
    """
    if not isinstance(clip.source, Mixture):
        raise DataError(f"{clip.id} is not a mixture, so its parts are not known; make it with mix().")
    return clip.source.parts()


def noise_split(clips: Sequence[Clip], seed: int = 0) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Returns the noise to train with and the noise to test with; no recording is in both.

    The last published fold is for tests (of WHAM! the part `tt`), and the first for training. Without folds it is a
    fifth of the recordings, by group.

    Raises
    ------
    DataError
        If there is but one recording, or one fold.
    """
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    if not folds:
        return split_by_group(clips, 0.2, seed)
    if len(folds) == 1:
        raise DataError(
            f"All noise is of fold {folds[0]}, so none can be held out; choose with #FOLDS behind its path."
        )
    training, test = (tuple(clip for clip in clips if clip.fold == fold) for fold in (folds[0], folds[-1]))
    return training, test


def blend(source: Array, contaminant: Array, recipe: Recipe) -> tuple[float, float]:
    """Returns `(a, b)` of the mixture `a source + b contaminant`, by the recipe's weights and level.

    Raises
    ------
    AudioError
        If one of the two is silent.
    """
    norms = np.linalg.norm(source), np.linalg.norm(contaminant)
    for what, norm in zip(("clip", "sound that is mixed into it"), norms, strict=True):
        if not norm > 0:
            raise AudioError(f"The {what} is silent, so there is no level at which to mix; leave it out.")
    a, b = (float(weight / norm) for weight, norm in zip(recipe.weights, norms, strict=True))
    if recipe.level == "l2":
        return a, b
    a, b = 1.0, b / a
    peak = float(np.abs(source + b * contaminant).max())
    if recipe.level == "clip" and peak <= 1:
        return a, b
    return a / peak, b / peak


def snr_db(source: Array, contaminant: Array) -> float:
    """Returns the ratio of two energies in dB; infinite without a contaminant."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(source).sum() / np.square(contaminant).sum()))


def active_snr_db(source: Array, contaminant: Array, frame_length: int) -> float:
    """Returns the ratio over the frames in which the source is at most 40 dB below its loudest one.

    Parameters
    ----------
    frame_length
        Samples of a frame; frames do not overlap, and the last one may be shorter.
    """
    starts = np.arange(0, len(source), max(frame_length, 1))
    energies = np.add.reduceat(np.square(source), starts), np.add.reduceat(np.square(contaminant), starts)
    active = energies[0] >= energies[0].max() * 10 ** (-ACTIVE_DB / 10)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(energies[0][active].sum() / energies[1][active].sum()))


def _parts(source: Array, contaminant: Array, gains: tuple[float, float], sample_rate: int) -> Parts:
    """Returns the parts in float32; where their rounding leads beyond full scale, both are one step softer."""
    a, b = gains
    pair = [(part * gain).astype(np.float32) for part, gain in ((source, a), (contaminant, b))]
    peak, limit = np.abs(pair[0] + pair[1]).max(), np.float32(1)
    if limit < peak < 1 + 1e-5:
        return _parts(source, contaminant, (a * (1 - 2**-23), b * (1 - 2**-23)), sample_rate)
    return Parts(Waveform(pair[0], sample_rate), Waveform(pair[1], sample_rate), b / a, a)


def _clip(mixture: Mixture) -> Clip:
    """Returns the clip of a mixture."""
    return replace(mixture.clip, id=mixture.id, source=mixture, start_s=None, end_s=None, group=_group(mixture.clip))


def _group(clip: Clip) -> str:
    return clip.id if clip.group is None else clip.group


def _chosen(clip: Clip, pool: Sequence[Clip], recipe: Recipe, seed: int) -> list[Clip]:
    """Returns the contaminants of a clip: the first ones that fit, in a random order of a pool sorted by id."""
    order = _stream(seed, recipe.kind, clip.id).permutation(len(pool))
    chosen = list(islice((pool[i] for i in order if _fits(clip, pool[i], recipe.kind)), recipe.n))
    if len(chosen) < recipe.n:
        wanted = "recordings of another class and group" if recipe.kind == "ood" else "recordings"
        raise DataError(f"{recipe.n} {wanted} are needed to mix into {clip.id}, got {len(chosen)}; add some.")
    return chosen


def _fits(clip: Clip, other: Clip, kind: str) -> bool:
    """Says whether a recording may be mixed into a clip."""
    if kind != "ood":
        return other.id != clip.id or other.source != clip.source
    return bool(clip.labels and other.labels) and not {*clip.labels} & {*other.labels} and _group(clip) != _group(other)


def _recordings(recipe: Recipe, pool: Sequence[Clip] | None) -> Sequence[Clip]:
    """Returns the recordings that a recipe names, else the pool; of noise, those that are held out."""
    if recipe.source is None:
        if pool is None:
            raise DataError(f"A mixture with {recipe.kind!r} needs recordings; name their folder or give contaminants.")
        return pool
    path, folds = re.fullmatch(r"(.*?)(?:#([\d,]+))?", recipe.source, re.DOTALL).groups()  # type: ignore[union-attr]
    label_column = "label" if recipe.kind == "ood" else None
    found = tuple(read_published(path) if is_published(path) else folder(path, label_column=label_column))
    if folds:
        return _of_folds(recipe.source, found, parse_folds(folds))
    return noise_split(found)[1] if recipe.kind == "id" else found


def _of_folds(name: str, clips: tuple[Clip, ...], folds: tuple[int, ...]) -> tuple[Clip, ...]:
    chosen = tuple(clip for clip in clips if clip.fold in folds)
    if not chosen:
        raise DataError(f"{name} has no recording of these folds; choose among those it has.")
    return chosen


def _stream(seed: int, *names: str) -> np.random.Generator:
    """Returns random numbers that depend on everything given, and on nothing else."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, "<u4"))
