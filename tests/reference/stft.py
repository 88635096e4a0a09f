"""The short-time Fourier transform by its definition, frame by frame, in numpy and float64."""

import math

import numpy as np


def window(n_fft):
    """The periodic Hann window."""
    return np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / n_fft) for n in range(n_fft)])


def n_frames(n_samples, hop_length):
    """Frame centers lie at 0, hop, 2 hop ... until one is at or behind the last sample's end."""
    count = 1
    while (count - 1) * hop_length < n_samples:
        count += 1
    return count


def analysis(samples, n_fft, hop_length):
    """Returns [freq, frame]; frame n is centered at sample n * hop_length, silence on both sides."""
    columns = []
    for n in range(n_frames(len(samples), hop_length)):
        frame = np.zeros(n_fft)
        for i in range(n_fft):
            position = n * hop_length - n_fft // 2 + i
            if 0 <= position < len(samples):
                frame[i] = samples[position]
        columns.append(np.fft.rfft(window(n_fft) * frame))
    return np.stack(columns, axis=1)


def synthesis(stft, n_fft, hop_length, n_samples):
    """Returns the sound x that minimizes the squared distance of windowed frames: sum w y / sum w^2."""
    total, weight, hann = np.zeros(n_samples), np.zeros(n_samples), window(n_fft)
    for n in range(stft.shape[1]):
        frame = np.fft.irfft(stft[:, n], n_fft)
        for i in range(n_fft):
            position = n * hop_length - n_fft // 2 + i
            if 0 <= position < n_samples:
                total[position] += hann[i] * frame[i]
                weight[position] += hann[i] ** 2
    return total / weight
