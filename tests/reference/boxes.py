"""What boxes let through of a sound, in the plainest way: the viewer's filter, written once more."""

import numpy as np


def interval_gain(at, low, high, end):
    """Raised cosines centered on the borders, half as wide as the interval, at most twice the way to the end."""
    half = (high - low) / 2
    gain = 1.0
    if low > 0:
        share = (at - low) / min(half, 2 * low) + 0.5
        gain *= 0.5 - 0.5 * np.cos(np.pi * min(1, max(0, share)))
    if high < end:
        share = (high - at) / min(half, 2 * (end - high)) + 0.5
        gain *= 0.5 - 0.5 * np.cos(np.pi * min(1, max(0, share)))
    return gain


def kept_in_boxes(samples, rate, boxes, duration_s, n_fft):
    """[channel, sample] in and out; Hann windows a quarter of n_fft apart, whose squares sum to 1.5."""
    n_samples = samples.shape[1]
    hop = n_fft // 4
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    hz = np.arange(n_fft // 2 + 1) * rate / n_fft
    padded = np.pad(samples, ((0, 0), (n_fft, 2 * n_fft)))
    out = np.zeros_like(padded, dtype=np.float64)
    for center in range(-hop, n_samples + n_fft // 2, hop):
        start = n_fft + center - n_fft // 2
        gain = np.zeros(len(hz))
        for box in boxes:
            column = interval_gain(center / rate, box["start_s"], box["end_s"], duration_s)
            row = np.array([interval_gain(f, box["low_hz"], box["high_hz"], rate / 2) for f in hz])
            gain = np.maximum(gain, column * row)
        frames = np.fft.rfft(padded[:, start : start + n_fft] * window, axis=1) * gain
        out[:, start : start + n_fft] += np.fft.irfft(frames, n_fft, axis=1) * window / 1.5
    return out[:, n_fft : n_fft + n_samples]
