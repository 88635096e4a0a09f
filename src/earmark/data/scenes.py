"""Scenes: generated sounds with exactly known evidence.

A scene is a few events of different classes before a background, some in a room. It is a function of seed,
index and configuration alone, and its clip id says all three, so that it can be made again from its id.

Conventions. The *dry* event is the event alone, without room and background, as loud as it is in the scene.
Its SNR is its mean power over that of the background, both in the event's own time, in dB. Ground truth is
stated for dry events: what a room adds is no part of it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float

from ..audio.stft import Stft
from ..audio.waveform import Waveform
from ..errors import DataError
from ..types import Clip, Region
from ._ambience import background, convolve, impulse_response, mean_power
from ._events import KINDS, LABELS
from .config import SceneConfig

__all__ = ["LABELS", "Scene", "SceneConfig", "SceneEvent", "SceneSet", "render", "render_id", "scenes"]

Array = Float[np.ndarray, " sample"]

SUPPORT_DB = 30.0  # a bin belongs to an event if it is at most this far below the event's maximum
N_FOLDS = 5
ROOM_DB = (-12.0, -3.0)  # energy of the room's sound relative to the direct sound
_DRAW, _SOUND, _BACKGROUND, _ROOM = range(4)  # the streams of a scene


@dataclass(frozen=True)
class _Drawn:
    """What is drawn of an event before it sounds."""

    values: Mapping[str, float]
    snr_db: float
    region: Region


@dataclass(frozen=True)
class _Plan:
    """What is drawn of a scene before anything sounds."""

    events: tuple[_Drawn, ...]
    background: str
    peak_db: float
    rt60_s: float  # 0 is no room
    room_db: float


@dataclass(frozen=True, eq=False)
class SceneEvent:
    """One event of a scene.

    Parameters
    ----------
    label
        One of `LABELS`.
    region
        The box around the event: its time, and the band outside which it is 30 dB below its maximum.
    dry
        `[sample]`, the event alone at a mean power of 1, from its start to its end.
    start
        The scene's sample at which the event starts.
    gain
        What `dry` is multiplied by in the scene.
    snr_db
        Power of the dry event over the background's in the event's time.
    """

    label: str
    region: Region
    dry: Array = field(repr=False)
    start: int
    gain: float
    snr_db: float

    @property
    def end(self) -> int:
        """The scene's first sample after the event."""
        return self.start + len(self.dry)

    def placed(self, n_samples: int) -> Array:
        """Returns the dry event in a silence of `n_samples`, as loud as in the scene."""
        out = np.zeros(n_samples, np.float32)
        out[self.start : self.end] = self.gain * self.dry
        return out


@dataclass(frozen=True, eq=False)
class Scene:
    """A generated clip with its parts.

    Parameters
    ----------
    id
        The clip's id, `scenes:<seed>:<index>`, with the settings that differ from the default behind it.
    waveform
        What is heard: the events, their sound in the room, and the background; its peak is below 1.
    events
        The events in the order of their start, each of another label.
    background
        `[sample]`, the background alone, as loud as in the scene.
    background_kind
        `white`, `pink`, `brown` or `hum`.
    rt60_s
        Reverberation time of the room in seconds; 0 is no room.
    """

    id: str
    waveform: Waveform
    events: tuple[SceneEvent, ...]
    background: Array = field(repr=False)
    background_kind: str
    rt60_s: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that sound, sorted."""
        return tuple(sorted({event.label for event in self.events}))

    def alone(self, label: str) -> Array:
        """Returns the dry event of one label, `[sample]`; silence if it does not sound in this scene.

        Raises
        ------
        DataError
            If scenes have no such label.
        """
        if label not in KINDS:
            raise DataError(f"Scenes have no label {label!r}; their labels are {', '.join(LABELS)}.")
        n_samples = self.waveform.n_samples
        found = (event.placed(n_samples) for event in self.events if event.label == label)
        return next(found, np.zeros(n_samples, np.float32))

    def support(self, label: str, n_fft: int, hop_length: int) -> Bool[np.ndarray, "freq frame"]:
        """Returns where a label sounds, on the grid of an STFT.

        Element `[i, j]` is true if the power of the dry event alone in bin `i` (`i * sample_rate / n_fft` Hz)
        and frame `j` (centered on sample `j * hop_length`) is at most 30 dB below the event's own maximum.
        The grid is that of `earmark.audio.stft.Stft`: a periodic Hann window of `n_fft` samples, zeros beyond
        the ends, and `1 + ceil(n_samples / hop_length)` frames.

        Parameters
        ----------
        label
            One of `LABELS`; nothing is true for a label that does not sound in this scene.
        n_fft, hop_length
            In samples; `hop_length` is at most half of `n_fft`.

        Raises
        ------
        DataError
            If scenes have no such label.
        """
        dry = torch.from_numpy(self.alone(label))[None]
        power = Stft(n_fft, hop_length)(dry)[0].abs().square().numpy()
        return (power > 0) & (power >= power.max() * 10 ** (-SUPPORT_DB / 10))


@dataclass(frozen=True)
class SceneSet(Sequence[Clip]):
    """Clips of generated scenes; nothing sounds before a clip's source is called.

    Parameters
    ----------
    indices
        Which scenes of the seed.
    seed
        Any integer from 0 on; scenes of different seeds have nothing in common.
    config
        How they are drawn.
    """

    indices: range
    seed: int = 0
    config: SceneConfig = field(default_factory=SceneConfig)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, key: int) -> Clip: ...

    @overload
    def __getitem__(self, key: slice) -> "SceneSet": ...

    def __getitem__(self, key: int | slice) -> "Clip | SceneSet":
        if isinstance(key, slice):
            return replace(self, indices=self.indices[key])
        return _clip(self.seed, self.indices[key], self.config)


def scenes(n: int, seed: int = 0, config: SceneConfig | None = None, **changes: Any) -> SceneSet:
    """Returns the first `n` scenes of a seed as clips.

    A clip's labels are those that sound in it, its events their boxes, its fold 1 to 5 in turn.

    Parameters
    ----------
    n
        How many; `scenes(n)` starts with `scenes(m)` for `m < n`.
    seed
        0 to 2^32 - 1.
    config, changes
        A configuration, and fields of `SceneConfig` to set otherwise.

    Raises
    ------
    DataError
        If a number is out of range, or a field unknown or impossible.

    Examples
    --------
    >>> scenes(2, seed=7, max_events=1)[1].id
    'scenes:7:1:max_events=1'
    """
    _check_number("number", n)
    _check_number("seed", seed)
    known = SceneConfig.__dataclass_fields__
    unknown = sorted(changes.keys() - known.keys())
    if unknown:
        raise DataError(f"Scenes have no setting {', '.join(unknown)}; their settings are {', '.join(known)}.")
    return SceneSet(range(n), seed, replace(config or SceneConfig(), **changes))


def _check_number(name: str, value: int) -> None:
    # Numbers of 32 bits take one word each of the random streams' seeds, so that no two streams are the same.
    if not 0 <= value < 2**32:
        raise DataError(f"The {name} of scenes lies in 0 ... 2^32 - 1, got {value}; choose another one.")


def render_id(clip_id: str) -> Waveform:
    """Returns the sound of a scene, from its id alone; see `render`."""
    return render(clip_id).waveform


def render(clip_id: str) -> Scene:
    """Returns a scene with its parts, from its id alone.

    Raises
    ------
    DataError
        If the id is not one of a scene.
    """
    seed, index, config = _parse(clip_id)
    plan = _plan(seed, index, config)
    stream = partial(_stream, seed, index)
    noise = background(plan.background, config, stream(_BACKGROUND))
    events = [_sound(drawn, noise, config, stream(_SOUND, i)) for i, drawn in enumerate(plan.events)]
    mixture = sum((event.placed(config.n_samples) for event in events), np.zeros_like(noise))
    if plan.rt60_s:
        n_tail = round(plan.rt60_s * config.sample_rate)
        mixture = convolve(mixture, impulse_response(n_tail, plan.room_db, stream(_ROOM)))
    mixture += noise
    scale = np.float32(10 ** (plan.peak_db / 20) / np.abs(mixture).max())
    return Scene(
        clip_id,
        Waveform(torch.from_numpy(mixture * scale)[None], config.sample_rate),
        tuple(replace(event, gain=float(event.gain * scale)) for event in events),
        noise * scale,
        plan.background,
        plan.rt60_s,
    )


def _parse(clip_id: str) -> tuple[int, int, SceneConfig]:
    """Returns seed, index and configuration of an id."""
    match = re.fullmatch(r"scenes:(\d+):(\d+)(?::(.+))?", clip_id)
    if match is None:
        raise DataError(f"{clip_id!r} is not a scene's id; expected scenes:SEED:INDEX, such as scenes:0:12.")
    seed, index = int(match[1]), int(match[2])
    _check_number("seed", seed)
    _check_number("index", index)
    return seed, index, SceneConfig.from_changes(match[3] or "")


def _clip(seed: int, index: int, config: SceneConfig) -> Clip:
    """Returns the clip of one scene; its boxes are known from what is drawn, without any sound."""
    clip_id = ":".join(filter(None, ("scenes", str(seed), str(index), config.changes())))
    events = tuple(drawn.region for drawn in _plan(seed, index, config).events)
    return Clip(
        clip_id,
        partial(render_id, clip_id),
        labels=tuple(sorted({region.label for region in events})),
        group=clip_id,
        fold=1 + index % N_FOLDS,
        events=events,
    )


def _stream(seed: int, index: int, *part: int) -> np.random.Generator:
    return np.random.default_rng([seed, index, *part])


def _plan(seed: int, index: int, config: SceneConfig) -> _Plan:
    """Draws everything of a scene but its noise."""
    rng = _stream(seed, index, _DRAW)
    n_events = rng.integers(config.min_events, config.max_events, endpoint=True)
    labels = [LABELS[i] for i in rng.permutation(len(LABELS))[:n_events]]
    events = [_draw_event(label, config, rng) for label in labels]
    return _Plan(
        tuple(sorted(events, key=lambda event: (event.region.start_s, event.region.label))),
        config.backgrounds[rng.integers(len(config.backgrounds))],
        rng.uniform(*config.peak_db),
        rng.uniform(*config.rt60_s) if rng.random() < config.reverberation else 0.0,
        rng.uniform(*ROOM_DB),
    )


def _draw_event(label: str, config: SceneConfig, rng: np.random.Generator) -> _Drawn:
    """Draws an event's values and SNR, and a place for it that starts and ends on whole samples."""
    kind = KINDS[label]
    values = kind.draw(rng, longest_s=0.8 * config.duration_s)
    length = round(kind.length(values) * config.sample_rate)
    start = int(rng.integers(0, config.n_samples - length, endpoint=True))
    low_hz, high_hz = map(float, kind.band(values))
    start_s, end_s = start / config.sample_rate, (start + length) / config.sample_rate
    return _Drawn(values, rng.uniform(*config.snr_db), Region(start_s, end_s, low_hz, high_hz, label=label))


def _sound(drawn: _Drawn, noise: Array, config: SceneConfig, rng: np.random.Generator) -> SceneEvent:
    """Renders one event and sets its gain by its SNR."""
    region = drawn.region
    start, end = (round(t * config.sample_rate) for t in (region.start_s, region.end_s))
    time_s = np.arange(end - start) / config.sample_rate
    dry = KINDS[region.label].render(drawn.values, time_s, rng)
    dry = (dry / np.sqrt(mean_power(dry))).astype(np.float32)
    gain = 10 ** (drawn.snr_db / 20) * np.sqrt(mean_power(noise[start:end]))
    return SceneEvent(region.label, region, dry, start, float(gain), drawn.snr_db)
