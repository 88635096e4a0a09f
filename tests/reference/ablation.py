"""The masking ablation of APEX in the plainest way: one number at a time, as the method sheet words it.

The top-1 channel of the predicted class -> the region of the view -> a soft mask with raised-cosine edges of half a
cell, in the geometry of the map -> taken out -> scored again.
"""

import math


def position_of_hz(hz, row_edges_hz):
    """The feature row (fractional) at a frequency: row i lies between edges i and i + 1, its middle is i."""
    if hz <= row_edges_hz[0]:
        return -0.5
    for i in range(len(row_edges_hz) - 1):
        low, high = row_edges_hz[i], row_edges_hz[i + 1]
        if low <= hz <= high and high > low:
            return i - 0.5 + (hz - low) / (high - low)
    return len(row_edges_hz) - 1.5


def window(position, center, size, low, high):
    """1 inside, 0 outside, half a cosine over a quarter of a cell to either side of each border."""
    if center is None:
        return 1.0
    gain = 1.0
    for inside, at_end in (
        (position - (center - size / 2), center - size / 2 <= low + 1e-6),
        (center + size / 2 - position, center + size / 2 >= high - 1e-6),
    ):
        if not at_end:
            share = min(max(inside / 0.5 + 0.5, 0.0), 1.0)
            gain *= 0.5 - 0.5 * math.cos(math.pi * share)
    return gain


def mask(place, geometry, hz, seconds):
    """What a region takes at each bin and frame."""
    freq, frame = geometry.freq, geometry.frame
    rows = [(position_of_hz(f, geometry.row_edges_hz) - freq.start) / freq.jump for f in hz]
    columns = [((s - geometry.column_s[0]) / geometry.column_s[1] - frame.start) / frame.jump for s in seconds]
    return plane(place, geometry, rows, columns)


def plane(place, geometry, rows, columns):
    ends = [((-0.5 - a.start) / a.jump, (a.n_inputs - 0.5 - a.start) / a.jump) for a in (geometry.freq, geometry.frame)]
    r = [window(u, place.freq, place.height, *ends[0]) for u in rows]
    c = [window(v, place.frame, place.width, *ends[1]) for v in columns]
    if place.cross:
        return [[1 - (1 - a) * (1 - b) for b in c] for a in r]
    return [[a * b for b in c] for a in r]


def area(place, geometry):
    """The share of the features that a region takes."""
    rows, columns = (
        [(i - axis.start) / axis.jump for i in range(axis.n_inputs)] for axis in (geometry.freq, geometry.frame)
    )
    taken = plane(place, geometry, rows, columns)
    return sum(map(sum, taken)) / (len(rows) * len(columns))


def energy(gains, power):
    return sum(g * g * p for row, line in zip(gains, power, strict=True) for g, p in zip(row, line, strict=True))
