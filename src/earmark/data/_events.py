"""The sounds that scenes are made of: how each is drawn, how it sounds, and which band it fills.

A kind of event is a table of ranges, a function that renders samples from the drawn values, and functions
that give its length and band from the same values, so that the box of an event is known without its sound.
All events lie below 7.5 kHz, so that a classifier at 16 kHz can hear them. A band ends where the spectrum is
30 dB below its maximum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._ambience import fast_length

Array = Float[np.ndarray, " sample"]
Values = Mapping[str, float]

EDGE_S = 0.01  # fade at both ends of a sustained sound
EDGE_HZ = 1 / EDGE_S  # how far such a fade spreads a tone: its spectrum is below -30 dB from there on


@dataclass(frozen=True)
class Kind:
    """One class of events.

    Parameters
    ----------
    ranges
        For each value `(lowest, highest)`; it is drawn evenly on a logarithmic scale.
    render
        `(values, time_s, rng) -> samples`, with the time of each sample since the event's start.
    band
        `values -> (low_hz, high_hz)`.
    length
        `values -> seconds`; the default is the drawn `duration_s`.
    """

    ranges: Mapping[str, tuple[float, float]]
    render: Callable[[Values, np.ndarray, np.random.Generator], np.ndarray]
    band: Callable[[Values], tuple[float, float]]
    length: Callable[[Values], float] = lambda values: values["duration_s"]

    def draw(self, rng: np.random.Generator, longest_s: float) -> dict[str, float]:
        """Returns the values of one event that is at most `longest_s` long."""
        values = {name: float(np.exp(rng.uniform(*np.log(bounds)))) for name, bounds in self.ranges.items()}
        return values | {"duration_s": min(values["duration_s"], longest_s)}


def fade(time_s: Array, edge_s: float = EDGE_S) -> Array:
    """Returns a gain in [0, 1] that rises and falls as a squared sine at the two ends."""
    gain = np.ones(len(time_s), np.float32)
    n = min(int(np.searchsorted(time_s, edge_s)), len(time_s) // 2)
    rise = np.sin(np.linspace(0, np.pi / 2, n, endpoint=False), dtype=np.float64) ** 2
    gain[:n] = rise
    gain[len(gain) - n :] = rise[::-1]
    return gain


def tone(cycles: Array, n_harmonics: int = 1) -> Array:
    """Returns `sum_k sin(2 pi k cycles) / k`, a stack of harmonics whose amplitude falls as 1/k."""
    # The fraction is taken in float64: thousands of cycles leave no digits for the phase in float32.
    phase = ((cycles - np.floor(cycles)) * (2 * np.pi)).astype(np.float32)
    out = np.sin(phase)
    for k in range(2, n_harmonics + 1):
        out += np.sin(phase * np.float32(k)) / np.float32(k)
    return out


def modulated(time_s: Array, center_hz: float, depth: float, rate_hz: float) -> Array:
    """Returns the cycles of a tone of frequency `center_hz * (1 + depth * sin(2 pi rate_hz t))`."""
    return center_hz * (time_s - depth / (2 * np.pi * rate_hz) * np.cos(2 * np.pi * rate_hz * time_s))


def noise(time_s: Array, low_hz: float, high_hz: float, rng: np.random.Generator) -> Array:
    """Returns Gaussian noise that fills `[low_hz, high_hz]`, with edges of a tenth of the band."""
    n = fast_length(len(time_s))
    hz = np.fft.rfftfreq(n, time_s[1] - time_s[0])
    inside = np.clip(np.minimum(hz - low_hz, high_hz - hz) / (0.1 * (high_hz - low_hz)), 0, 1)
    first, last = np.searchsorted(hz, (low_hz, high_hz))
    spectrum = np.zeros(len(hz), np.complex64)
    drawn = rng.standard_normal(2 * (last - first), np.float32).view(np.complex64)
    spectrum[first:last] = drawn * np.sin(inside[first:last] * (np.pi / 2))
    return np.fft.irfft(spectrum, n)[: len(time_s)]


def since_pulse(time_s: Array, rate_hz: float) -> Array:
    """Returns the time since the last pulse of a train, in seconds."""
    return (time_s + 1e-9) % (1 / rate_hz)


def train_length(values: Values, pulse_s: float) -> float:
    """Returns the length of as many whole pulses of `pulse_s` as `duration_s` holds, at least one."""
    count = max(int((values["duration_s"] - pulse_s) * values["rate_hz"]) + 1, 1)
    return (count - 1) / values["rate_hz"] + pulse_s


# Impulses ---------------------------------------------------------------------------------------------------

CLICK_S = 0.0002  # standard deviation of a click's Gaussian envelope


def _click_train(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    since = since_pulse(time_s, v["rate_hz"]) - 4 * CLICK_S
    return np.exp(-0.5 * (since / CLICK_S) ** 2) * np.cos(2 * np.pi * v["center_hz"] * since)


def _click_band(v: Values) -> tuple[float, float]:
    half_hz = np.sqrt(np.log(1000)) / (2 * np.pi * CLICK_S)  # |G(f)|^2 = exp(-(2 pi s f)^2) = 1/1000
    return v["center_hz"] - half_hz, v["center_hz"] + half_hz


def _knock(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    since = since_pulse(time_s, v["rate_hz"])
    damped = np.exp(-since / v["decay_s"]) - np.exp(-since / 0.002)
    return damped * np.sin(2 * np.pi * v["center_hz"] * since)


def _knock_band(v: Values) -> tuple[float, float]:
    half_hz = np.sqrt(1000) / (2 * np.pi * v["decay_s"])  # |H(f)|^2 = 1 / (1 + (2 pi tau f)^2) = 1/1000
    return max(0.0, v["center_hz"] - half_hz), v["center_hz"] + half_hz


# Tones ------------------------------------------------------------------------------------------------------


def _harmonic_tone(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    cycles = modulated(time_s, v["pitch_hz"], v["depth"], v["rate_hz"])
    return tone(cycles, 6) * fade(time_s, 0.03)


def _siren(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    return tone(modulated(time_s, v["pitch_hz"], v["depth"], v["rate_hz"]), 2) * fade(time_s, 0.03)


def _bird_trill(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    return tone(modulated(time_s, v["pitch_hz"], v["depth"], v["rate_hz"])) * fade(time_s)


def _vibrato_band(n_harmonics: int, edge_s: float = 0.03) -> Callable[[Values], tuple[float, float]]:
    def band(v: Values) -> tuple[float, float]:
        low, high = v["pitch_hz"] * (1 - v["depth"]), v["pitch_hz"] * (1 + v["depth"])
        margin = 2 * v["rate_hz"] + 1 / edge_s  # Carson's rule, and what the fade spreads
        return low - margin, n_harmonics * high + margin

    return band


def _chirp(v: Values, from_hz: float, to_hz: float, time_s: Array) -> Array:
    rate = np.log(to_hz / from_hz) / v["duration_s"]
    return tone(from_hz * np.expm1(rate * time_s) / rate) * fade(time_s)


def _chirp_up(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    return _chirp(v, v["pitch_hz"], v["pitch_hz"] * v["ratio"], time_s)


def _chirp_down(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    return _chirp(v, v["pitch_hz"] * v["ratio"], v["pitch_hz"], time_s)


def _chirp_band(v: Values) -> tuple[float, float]:
    return v["pitch_hz"] - EDGE_HZ, v["pitch_hz"] * v["ratio"] + EDGE_HZ


def _am_hum(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    swell = 1 + 0.9 * np.sin(2 * np.pi * v["rate_hz"] * time_s)
    return tone(v["pitch_hz"] * time_s, 4) * swell * fade(time_s, 0.05)


def _hum_band(v: Values) -> tuple[float, float]:
    return v["pitch_hz"] - v["rate_hz"], 4 * v["pitch_hz"] + v["rate_hz"]  # the sidebands of the modulation


def _high_beeps(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    since = since_pulse(time_s, v["rate_hz"])
    edge = np.clip(np.minimum(since, v["on_s"] - since) / EDGE_S, 0, 1)
    return tone(v["pitch_hz"] * time_s) * np.sin(edge * (np.pi / 2)) ** 2


def _beep_band(v: Values) -> tuple[float, float]:
    return v["pitch_hz"] - EDGE_HZ, v["pitch_hz"] + EDGE_HZ


# Noises -----------------------------------------------------------------------------------------------------


def _noise_band(v: Values) -> tuple[float, float]:
    return v["low_hz"], v["low_hz"] + v["width_hz"]


def _band_noise(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    return noise(time_s, *_noise_band(v), rng) * fade(time_s, 0.03)


def _broadband_burst(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    decay = 10 ** (-1.5 * time_s / v["duration_s"])  # 30 dB until the end
    return noise(time_s, *_noise_band(v), rng) * decay * fade(time_s, 0.004)


def _filtered_rattle(v: Values, time_s: Array, rng: np.random.Generator) -> Array:
    since = since_pulse(time_s, v["rate_hz"]) / v["decay_s"]
    return noise(time_s, *_noise_band(v), rng) * since * np.exp(1 - since)


def _rattle_band(v: Values) -> tuple[float, float]:
    # At most by this do the pulses widen the band: |H(f)|^2 = 1 / (1 + (2 pi tau f)^2)^2 = 1/1000.
    half_hz = np.sqrt(np.sqrt(1000) - 1) / (2 * np.pi * v["decay_s"])
    low, high = _noise_band(v)
    return low - half_hz, high + half_hz


KINDS: Mapping[str, Kind] = {
    "am_hum": Kind(
        {"duration_s": (1.0, 2.5), "pitch_hz": (90, 180), "rate_hz": (3, 8)},
        _am_hum,
        _hum_band,
    ),
    "band_noise": Kind(
        {"duration_s": (0.5, 2.0), "low_hz": (600, 4000), "width_hz": (500, 1500)},
        _band_noise,
        _noise_band,
    ),
    "bird_trill": Kind(
        {"duration_s": (0.4, 1.5), "pitch_hz": (3000, 5500), "rate_hz": (12, 25), "depth": (0.08, 0.2)},
        _bird_trill,
        _vibrato_band(1, EDGE_S),
    ),
    "broadband_burst": Kind(
        {"duration_s": (0.12, 0.4), "low_hz": (200, 400), "width_hz": (5500, 7000)},
        _broadband_burst,
        _noise_band,
    ),
    "chirp_down": Kind(
        {"duration_s": (0.3, 1.2), "pitch_hz": (400, 1400), "ratio": (2.5, 4.5)},
        _chirp_down,
        _chirp_band,
    ),
    "chirp_up": Kind(
        {"duration_s": (0.3, 1.2), "pitch_hz": (400, 1400), "ratio": (2.5, 4.5)},
        _chirp_up,
        _chirp_band,
    ),
    "click_train": Kind(
        {"duration_s": (0.6, 2.0), "center_hz": (3000, 5000), "rate_hz": (5, 14)},
        _click_train,
        _click_band,
        lambda v: train_length(v, 8 * CLICK_S),
    ),
    "filtered_rattle": Kind(
        {
            "duration_s": (0.5, 1.8),
            "low_hz": (3200, 4200),
            "width_hz": (2200, 3200),
            "rate_hz": (9, 20),
            "decay_s": (0.003, 0.006),
        },
        _filtered_rattle,
        _rattle_band,
        lambda v: train_length(v, 8 * v["decay_s"]),
    ),
    "harmonic_tone": Kind(
        {"duration_s": (0.5, 2.0), "pitch_hz": (220, 900), "rate_hz": (4.5, 7), "depth": (0.01, 0.03)},
        _harmonic_tone,
        _vibrato_band(6),
    ),
    "high_beeps": Kind(
        {"duration_s": (0.6, 2.0), "pitch_hz": (3500, 7000), "rate_hz": (3, 5), "on_s": (0.08, 0.14)},
        _high_beeps,
        _beep_band,
        lambda v: train_length(v, v["on_s"]),
    ),
    "knock": Kind(
        {"duration_s": (0.8, 2.0), "center_hz": (90, 250), "rate_hz": (2, 5), "decay_s": (0.02, 0.045)},
        _knock,
        _knock_band,
        lambda v: train_length(v, 4 * v["decay_s"]),
    ),
    "siren": Kind(
        {"duration_s": (1.2, 2.5), "pitch_hz": (600, 1300), "rate_hz": (0.8, 2.5), "depth": (0.25, 0.4)},
        _siren,
        _vibrato_band(2),
    ),
}

LABELS = tuple(KINDS)
