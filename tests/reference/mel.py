"""Mel scales, triangular filters and log-mel features by their definitions, one number at a time."""

import math

import numpy as np
from tests.reference import stft


def to_mel(hz, scale):
    if scale == "htk":
        return 2595 * math.log10(1 + hz / 700)
    if hz < 1000:
        return 3 * hz / 200
    return 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def to_hz(mel, scale):
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    if mel < 15:
        return 200 * mel / 3
    return 1000 * 6.4 ** ((mel - 15) / 27)


def points(n, low_hz, high_hz, scale):
    low, high = to_mel(low_hz, scale), to_mel(high_hz, scale)
    return [to_hz(low + (high - low) * i / (n - 1), scale) for i in range(n)]


def triangle(hz, left, center, right):
    if left < hz <= center:
        return (hz - left) / (center - left)
    if center < hz < right:
        return (right - hz) / (right - center)
    return 0.0


def filters(sample_rate, n_fft, n_mels, low_hz, high_hz, scale, area_norm):
    at = points(n_mels + 2, low_hz, high_hz, scale)
    bins = [k * sample_rate / n_fft for k in range(n_fft // 2 + 1)]
    rows = []
    for i in range(n_mels):
        height = 2 / (at[i + 2] - at[i]) if area_norm else 1
        rows.append([height * triangle(hz, at[i], at[i + 1], at[i + 2]) for hz in bins])
    return np.array(rows)


def log_mel(samples, config):
    """Returns the features [mel, frame] of a `LogMelConfig`."""
    high_hz = config.sample_rate / 2 if config.high_hz is None else config.high_hz
    bank = filters(
        config.sample_rate, config.n_fft, config.n_mels, config.low_hz, high_hz, config.scale, config.area_norm
    )
    power = np.abs(stft.analysis(samples, config.n_fft, config.hop_length)) ** 2
    power = power[:, : 1 + len(samples) // config.hop_length]
    db = 10 * np.log10(np.maximum(bank @ power, config.floor))
    if config.top_db is not None:
        db = np.maximum(db, db.max() - config.top_db)
    return (db - config.mean_db) / config.std_db
