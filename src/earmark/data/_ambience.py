"""What is around the events of a scene: noise behind them, and the room in which they sound."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from .config import SceneConfig

Array = Float[np.ndarray, " sample"]

LOWEST_HZ = 20.0  # backgrounds hold nothing below the range of hearing
MAINS_HZ = (50.0, 60.0)


def fast_length(n: int) -> int:
    """Returns the next length of the form `m * 2**k` with `m <= 16`, whose Fourier transform is fast."""
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def mean_power(samples: Array) -> float:
    """Returns the mean of the squared samples, summed in float64."""
    return float(np.square(samples, dtype=np.float64).mean())


def background(kind: str, config: SceneConfig, rng: np.random.Generator) -> Array:
    """Returns noise of mean power 1 as long as a scene; `hum` is half pink noise, half mains hum."""
    n = fast_length(config.n_samples)
    shape = _spectrum(kind, n, config.sample_rate)
    drawn = rng.standard_normal(2 * len(shape), np.float32).view(np.complex64)
    samples = np.fft.irfft(drawn * shape, n)[: config.n_samples].astype(np.float32)
    samples /= np.sqrt(mean_power(samples))
    if kind == "hum":
        samples += _hum(config, rng)
        samples /= np.sqrt(mean_power(samples))
    return samples


@lru_cache(maxsize=8)
def _spectrum(kind: str, n: int, sample_rate: int) -> Array:
    """Returns the magnitude of a background: power falls as 1/f (pink, hum), 1/f^2 (brown) or not."""
    slope = {"white": 0.0, "pink": 0.5, "hum": 0.5, "brown": 1.0}[kind]
    hz = np.fft.rfftfreq(n, 1 / sample_rate)
    magnitude = (np.maximum(hz, LOWEST_HZ) ** -slope * (hz >= LOWEST_HZ)).astype(np.float32)
    magnitude.setflags(write=False)
    return magnitude


def _hum(config: SceneConfig, rng: np.random.Generator) -> Array:
    """Returns four harmonics of 50 or 60 Hz of mean power 1, with random phases."""
    mains_hz = rng.choice(MAINS_HZ)
    # One second is a whole number of periods of all harmonics, so the rest repeats it.
    time_s = np.arange(config.sample_rate) / config.sample_rate
    waves = [np.sin(2 * np.pi * (k * mains_hz * time_s + phase)) / k for k, phase in enumerate(rng.random(4), 1)]
    second = np.sum(waves, axis=0)
    return np.resize(second / np.sqrt(mean_power(second)), config.n_samples).astype(np.float32)


def impulse_response(n_samples: int, room_db: float, rng: np.random.Generator) -> Array:
    """Returns the response of a room: an impulse, and noise that decays by 60 dB in `n_samples`.

    `room_db` is the energy of the noise over that of the impulse.
    """
    response = rng.standard_normal(n_samples, np.float32)
    response *= 10 ** (-3 * np.arange(n_samples, dtype=np.float32) / n_samples)
    response *= 10 ** (room_db / 20) / np.sqrt(np.square(response).sum())
    response[0] = 1
    return response


def convolve(samples: Array, response: Float[np.ndarray, " tail"]) -> Array:
    """Returns the convolution, cut to the length of `samples`."""
    n = fast_length(len(samples) + len(response) - 1)
    wet = np.fft.irfft(np.fft.rfft(samples, n) * np.fft.rfft(response, n), n)
    return wet[: len(samples)].astype(np.float32)
