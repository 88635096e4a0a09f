"""Explanations of every kind, made by hand: their numbers are known, and no classifier is needed."""

import math

import torch

from earmark.audio.mel import band_edges_hz
from earmark.audio.stft import Stft
from earmark.audio.waveform import Waveform
from earmark.classifiers.base import Grid
from earmark.classifiers.geometry import Axis, Geometry
from earmark.data.scenes import scenes
from earmark.evidence import Attribution, ChannelEvidence, Mask, PrototypeEvidence, Resynthesis
from earmark.explanation import Explanation, Provenance
from earmark.prototypes.bank import Prototype
from earmark.types import Prediction, Region, Target

RATE = 16000  # Hz, of the pretended classifier
LABELS = ("dog", "rain", "rooster")
KINDS = ("attribution", "mask", "prototypes", "resynthesis")


def noise(duration_s=1.0, rate=22050, n_channels=2, seed=5, peak=0.8):
    samples = torch.randn(n_channels, round(duration_s * rate), generator=torch.Generator().manual_seed(seed))
    return Waveform(samples * (peak / samples.abs().max()), rate)


def scene(index=3):
    return scenes(index + 1, seed=2, max_events=2)[index].source()


def explanation(kind, waveform=None, *, name="yard.wav", labels=LABELS, task="multiclass", target=0, **changes):
    waveform = waveform or noise()
    grid = Grid(RATE, waveform.resample(RATE).n_samples, Stft(512, 160))
    logits = torch.linspace(2.5, -1.25, len(labels)) + 0.1
    return Explanation(
        waveform,
        Target(target, labels[target]),
        Prediction(logits, labels, task),
        _evidence(kind, waveform, grid, **changes),
        grid,
        Provenance(
            "apex" if kind == "prototypes" else "saliency",
            {"top": 2, "betas": (0.9, 0.999), "note": "plain"},
            "toy",
            "f" * 64,
            seed=7,
            resampled_from=waveform.sample_rate,
            forward_passes=1,
        ),
        name,
    )


def _evidence(kind, waveform, grid, **changes):
    values = torch.randn(grid.shape, generator=torch.Generator().manual_seed(8))
    blob = ((grid.hz[:, None] - 1500).abs() < 400) & ((grid.seconds[None] - 0.5 * grid.duration_s).abs() < 0.1)
    if kind == "attribution":
        return Attribution(0.01 * values + blob, grid)
    if kind == "mask":
        return Mask(0.1 * values.sigmoid() + 0.8 * blob, grid)
    if kind == "resynthesis":
        kept = waveform.scale(0.6)
        return Resynthesis(kept, waveform.scale(0.1), 0.6 * blob.float(), grid)
    return prototypes(waveform, **changes)


def geometry(duration_s):
    n_columns = 1 + math.ceil(duration_s * 100)
    edges = tuple(band_edges_hz(64, 0.0, RATE / 2).tolist())
    return Geometry(
        Axis(8, 64, 3.5, 8.0, 8.0), Axis(n_columns // 8, n_columns, 3.5, 8.0, 8.0), edges, (0.0, 0.01), duration_s
    )


def prototypes(waveform, n_channels=2, n_prototypes=2, find_sound=lambda prototype: noise(0.5, 8000, 1), **changes):
    own = geometry(waveform.duration_s)
    generator = torch.Generator().manual_seed(9)
    maps = torch.randn(n_channels, own.freq.n_cells, own.frame.n_cells, generator=generator)
    contributions = torch.tensor([2.0, 0.75, 0.5, 0.25, -1.0, 0.125, 0.0625, -0.5])
    shown = tuple(_channel(k, float(contributions[k]), own, n_prototypes) for k in range(n_channels))
    return PrototypeEvidence(
        **{
            "view": "time-frequency",
            "mode": "signed",
            "basis": "apex",
            "channels": shown,
            "maps": maps,
            "contributions": contributions,
            "offset": 0.4125,
            "score": 2.6,
            "geometry": own,
            "find_sound": find_sound,
            "pictures": {prototype(0, 0).sha256: torch.arange(64 * 40).reshape(64, 40).to(torch.uint8)},
        }
        | changes
    )


def _channel(k, contribution, own, n_prototypes):
    boxes = (own.box(None, 2 + k), own.box(1 + k, None))
    regions = tuple(Region(b.start_s, b.end_s, b.low_hz, b.high_hz, contribution, f"channel {k}") for b in boxes)
    return ChannelEvidence(
        k,
        contribution,
        0.5,
        regions,
        tuple(prototype(k, rank) for rank in range(n_prototypes)),
        tuple(0.9 - 0.1 * rank for rank in range(n_prototypes)),
        0.8,
    )


def prototype(channel, rank):
    return Prototype(
        channel=channel,
        rank=rank,
        sign="positive",
        clip_id=f"audio/dog-{rank}.ogg",
        path=f"audio/dog-{rank}.ogg",
        sha256=f"{channel:02d}{rank:02d}" * 16,
        start_s=None,
        end_s=None,
        duration_s=0.5,
        freq=2,
        frame=3,
        regions=(Region(0.1, 0.2, 0.0, 4000.0), Region(0.0, 0.5, 500.0, 900.0)),
        score=12.5 - rank,
        purity=0.7,
        label="dog;bark",
        group="yard",
    )
