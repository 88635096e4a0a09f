"""Front ends by their definitions, one frame and one band at a time."""

import math

import numpy as np
from tests.reference.mel import to_mel


def triangle_in_mels(hz, low_hz, high_hz, n_mels, band):
    """Returns the weight of a frequency in a filter whose flanks are straight over HTK mels."""
    low, high = to_mel(low_hz, "htk"), to_mel(high_hz, "htk")
    left, center, right = (low + (high - low) * (band + i) / (n_mels + 1) for i in range(3))
    at = to_mel(hz, "htk")
    return max(0.0, min((at - left) / (center - left), (right - at) / (right - center)))


def yamnet(samples, sample_rate=16000, window=400, hop=160, n_fft=512, n_mels=64):
    """Returns `log(mel magnitude + 0.001)`, `[mel, frame]`; whole periodic Hann windows of 25 ms, every 10 ms."""
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * i / window) for i in range(window)]
    bins = [k * sample_rate / n_fft for k in range(n_fft // 2 + 1)]
    bank = np.array([[triangle_in_mels(hz, 125.0, 7500.0, n_mels, band) for hz in bins] for band in range(n_mels)])
    frames = [samples[start : start + window] * hann for start in range(0, len(samples) - window + 1, hop)]
    return np.log(bank @ np.abs(np.fft.rfft(frames, n_fft)).T + 0.001)
