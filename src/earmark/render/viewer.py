"""What the viewer of a page gets: the spectrogram, overlays and sounds of one explanation, as plain JSON values.

The viewer itself is the plain JavaScript in `viewer/`: short files that make one module, `script()`. It draws the
classifier's own STFT on true axes, plays the sounds in step, and filters boxes out of them; it asks for nothing outside
the page. The types of these values are written down in the scripts.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..audio.waveform import Waveform
from ..evidence import Attribution, PrototypeEvidence
from ..explanation import Explanation
from . import words
from .figures import COLORS, heat_of
from .raster import Axes

SCRIPTS = (
    "sound",
    "wav",
    "picture",
    "boxes",
    "player",
    "controls",
    "reading",
    "input",
    "viewer",
    "gallery",
    "comparison",
)

COLOR_MAPS = ("magma", "viridis", "cividis", "gray")  # uniform, and safe for any color vision
HEAT_ROWS, HEAT_COLUMNS = 96, 320  # of a map
FINE_ROWS, FINE_COLUMNS = 192, 600  # of values on the STFT grid
MOST_FRAMES = 4000  # of a spectrogram; beyond that, neighbors share their maximum
STEP_DB = 0.5  # of a byte
FRAMES_AT_ONCE = 1024  # of the part beyond the classifier's band


@lru_cache(maxsize=1)
def script() -> str:
    """Returns the viewer's module as one script, which leaves `earmark` behind."""
    folder = files("earmark.render").joinpath("viewer")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return (
        '"use strict";\nconst earmark = (() => {\n'
        + "\n".join(parts)
        + "\nreturn { Viewer, Gallery, openPage, openComparison };\n})();\n"
    )


@lru_cache(maxsize=1)
def style() -> str:
    """Returns the viewer's style sheet."""
    return files("earmark.render").joinpath("viewer/viewer.css").read_text(encoding="utf-8")


def viewer_data(explanation: Explanation) -> dict[str, Any]:
    """Returns what the viewer shows of an explanation; the page adds the sounds."""
    top_hz = explanation.waveform.sample_rate / 2
    return {
        "name": explanation.name,
        "top_hz": top_hz,
        "heard_hz": min(explanation.grid.sample_rate / 2, top_hz),
        "spectrogram": spectrogram(explanation),
        "overlays": overlays(explanation),
        "show_heat": not isinstance(explanation.evidence, PrototypeEvidence),
        "colors": {name: color_bytes(name) for name in COLOR_MAPS},
    }


def clip_data(explanation: Explanation, sounds: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the clip's sounds, how long it is, and about how long the classifier's analysis window is."""
    window_s = explanation.grid.stft.n_fft / explanation.grid.sample_rate
    return {"sounds": dict(sounds), "duration_s": explanation.waveform.duration_s, "window_s": window_s}


def script_json(value: Any) -> str:
    """Returns JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# -- the spectrogram ------------------------------------------------------------------------------------------------


def spectrogram(explanation: Explanation) -> dict[str, Any]:
    """Returns the power of the classifier's own STFT of the clip's channel mean, in half decibels below its maximum.

    Where the clip reaches beyond the classifier's band, rows for the rest follow: the same window and hop in seconds,
    taken at the clip's own rate.
    """
    grid, waveform = explanation.grid, explanation.waveform
    mono = waveform.mono()
    inside = mono.resample(grid.sample_rate)
    power = grid.stft(inside.samples)[0].abs().square()
    beyond = _power_beyond(mono, explanation, power.shape[1])
    power = torch.cat([power[: _rows_below(waveform, explanation)], beyond])
    power = _pooled(power, math.ceil(power.shape[1] / MOST_FRAMES))
    step_s = grid.stft.hop_length / grid.sample_rate
    about = {"hz_step": grid.sample_rate / grid.stft.n_fft, "step_s": step_s * math.ceil(grid.shape[1] / MOST_FRAMES)}
    return {**packed(half_decibels(power)), **about}


def half_decibels(power: Float[Tensor, "freq frame"]) -> UInt8[Tensor, "freq frame"]:
    """Returns power as bytes: 255 is the maximum, each step below it half a decibel."""
    db = 10 * (power / power.max().clamp_min(1e-30)).clamp_min(1e-13).log10()
    return (255 + db / STEP_DB).round().clamp(0, 255).to(torch.uint8)


def _rows_below(waveform: Waveform, explanation: Explanation) -> int:
    """Returns how many bins of the classifier's STFT lie within the clip's own band."""
    grid = explanation.grid
    return min(grid.stft.n_freq, math.floor(waveform.sample_rate / 2 / (grid.sample_rate / grid.stft.n_fft)) + 1)


def _power_beyond(mono: Waveform, explanation: Explanation, n_frames: int) -> Float[Tensor, "freq frame"]:
    """Returns the rows above the classifier's band, none where the clip has nothing there."""
    grid = explanation.grid
    ratio = mono.sample_rate / grid.sample_rate
    if ratio <= 1:
        return torch.zeros(0, n_frames)
    n_fft = max(2, round(grid.stft.n_fft * ratio))
    hop = grid.stft.hop_length * ratio
    padded = torch.nn.functional.pad(mono.samples[0], (n_fft // 2, n_fft + math.ceil(hop)))
    starts = (torch.arange(n_frames) * hop).round().long().clamp_max(len(padded) - n_fft)
    frames, window = padded.unfold(0, n_fft, 1), torch.hann_window(n_fft)
    # part by part: all frames of a long clip, each `n_fft` samples long, would be many times the clip
    spectra = (torch.fft.rfft(frames[part] * window)[:, grid.stft.n_freq :] for part in starts.split(FRAMES_AT_ONCE))
    return torch.cat([spectrum.abs().square() for spectrum in spectra]).T / ratio**2


def _pooled(power: Float[Tensor, "freq frame"], by: int) -> Float[Tensor, "freq column"]:
    """Returns the maximum of every `by` frames."""
    return power if by == 1 else torch.nn.functional.max_pool1d(power[None], by, ceil_mode=True)[0]


# -- overlays -------------------------------------------------------------------------------------------------------


def overlays(explanation: Explanation) -> list[dict[str, Any]]:
    """Returns what is switched over the spectrogram: one entry for each shown channel, or one for the method."""
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence):
        return [_method_overlay(explanation)]
    places = words.decimals(evidence.score, *(c.contribution for c in evidence.channels))
    return [
        {
            "id": f"channel-{i}",
            "name": f"channel {channel.channel}",
            "tag": str(channel.channel),
            "note": words.signed(channel.contribution, places),
            "color": COLORS[i % len(COLORS)],
            "boxes": _boxes(channel.regions),
            "heat": heat_data(explanation, i),
        }
        for i, channel in enumerate(evidence.channels)
    ]


def _method_overlay(explanation: Explanation) -> dict[str, Any]:
    name = words.method_name(explanation.provenance.method)
    return {
        "id": "method",
        "name": name,
        "tag": "",
        "note": "",
        "color": COLORS[4],
        "boxes": _boxes(explanation.regions()),
        "heat": heat_data(explanation),
    }


def _boxes(regions: Sequence[Any]) -> list[dict[str, float]]:
    return [{name: getattr(r, name) for name in ("start_s", "end_s", "low_hz", "high_hz")} for r in regions]


def heat_data(explanation: Explanation, shown: int = 0) -> dict[str, Any]:
    """Returns the heat of a channel or of the whole evidence as bytes; rows are evenly spaced in mels."""
    fine = not isinstance(explanation.evidence, PrototypeEvidence)
    rows, columns = (FINE_ROWS, FINE_COLUMNS) if fine else (HEAT_ROWS, HEAT_COLUMNS)
    axes = Axes.of(explanation.waveform)
    values = heat_of(explanation, shown)(axes, columns, rows)
    signed = isinstance(explanation.evidence, Attribution)
    steps = (values.clamp(-1, 1) + 1) * 127.5 if signed else values.clamp(0, 1) * 255
    return {**packed(steps.round().to(torch.uint8)), "top_hz": axes.top_hz, "signed": signed}


def packed(values: UInt8[Tensor, "row column"]) -> dict[str, Any]:
    """Returns bytes as base64 of what zlib made of them, with their size."""
    data = zlib.compress(values.contiguous().numpy().tobytes(), 6)
    return {"rows": values.shape[0], "columns": values.shape[1], "data": base64.b64encode(data).decode("ascii")}


@lru_cache(maxsize=8)
def color_bytes(name: str) -> str:
    """Returns the 256 steps of a matplotlib color map as base64 of red, green, blue."""
    from matplotlib import colormaps

    steps = colormaps[name].resampled(256)(range(256), bytes=True)[:, :3]
    return base64.b64encode(steps.tobytes()).decode("ascii")
