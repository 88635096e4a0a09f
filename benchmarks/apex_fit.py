"""Seconds of an APEX fit against the paper's plain loop, and purity of both from whole runs of a small case.

    python benchmarks/apex_fit.py esc10|purity|widths

The plain loop is the published procedure: for every (clip, channel) pair of every minibatch the clip passes the
backbone, its whole map is transformed, `matrix_exp` is differentiated at each step, and each stage selects anew by
a pass over all clips. It is timed on a stated number of pairs and scaled by pairs. `widths` takes
about ten minutes.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from tables import markdown, put

import earmark as em
from earmark.explainers.apex import views
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.disentangle import (
    TrainingClips,
    basis,
    mean_purity,
    minibatches,
    select_pairs,
    train_basis,
)
from earmark.types import seeded

TIMED_PAIRS = 512  # one minibatch of the published size
WIDTHS = ["D (300 planted clips, `paper`)", "steps", "selection, s", "optimizer, s"]


def tables_of(maps, view):
    """Returns the optimizer's clips for maps in memory."""
    return TrainingClips(
        maps.mean((2, 3)),
        torch.full((len(maps),), maps[0, 0].numel()),
        lambda positions: [views.tables_of(maps[p], view) for p in positions],
    )


def plain_steps(maps_of, n_channels, config, batches):
    """Runs the published step on given minibatches of pairs; returns A."""
    A = torch.zeros(n_channels, n_channels, requires_grad=True)
    adam = torch.optim.Adam([A], config.learning_rate, config.betas, config.eps, config.weight_decay)
    for batch in batches(A):
        U = torch.matrix_exp(A)
        maps = views.transform(U, maps_of(batch[:, 0]))
        rows = torch.arange(len(batch))
        freq, frame = views.cells(maps.detach()[rows, batch[:, 1]][:, None], config.view)
        vectors = views.vectors_at(maps, freq, frame, config.view)[:, 0]
        loss = -views.purity(vectors[:, None], batch[:, 1:]).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return A.detach()


def esc10(config):
    """Fits on ESC-10 and times the plain loop on a few pairs."""
    classifier = em.load_classifier("esc10-cnn")
    clips = em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10", folds=(1, 2, 3))
    began = time.perf_counter()
    apex = em.fit_apex(classifier, clips, config)
    ours = time.perf_counter() - began
    seconds = apex.diagnostics["seconds"]
    n_clips, n_channels = apex.diagnostics["n_clips"], len(apex.U)
    waveforms = [em.read(clip.source) for clip in clips[:16]]
    samples = torch.cat([classifier.prepare(w.fit(5 * w.sample_rate)) for w in waveforms])

    def maps_of(index):
        with torch.no_grad():
            return torch.cat([classifier.tap(samples[part % 16]).map for part in index.split(16)])

    pairs = torch.stack([torch.arange(TIMED_PAIRS) % 16, torch.arange(TIMED_PAIRS) % n_channels], 1)
    plain_steps(maps_of, n_channels, config, lambda _: [pairs[:16]])
    began = time.perf_counter()
    plain_steps(maps_of, n_channels, config, lambda _: [pairs])
    per_pair = (time.perf_counter() - began) / TIMED_PAIRS
    began = time.perf_counter()
    maps_of(torch.arange(16))
    per_clip = (time.perf_counter() - began) / 16
    n_pairs = config.epochs_per_stage * sum(min(n, n_clips) * n_channels for n in config.prototypes_per_stage)
    plain = n_pairs * per_pair + config.n_stages * n_clips * per_clip
    rows = [
        ["clips, channels, pairs", f"{n_clips}, {n_channels}, {n_pairs}"],
        ["whole fit, s", ours],
        *[[f"of it {name}, s", float(value)] for name, value in seconds.items()],
        [f"plain loop, s ({TIMED_PAIRS} pairs timed, scaled)", plain],
        ["ratio plain / whole fit", plain / ours],
    ]
    return markdown(["ESC-10, `esc10-cnn`, time-frequency, `paper`", ""], rows)


def small_case(config):
    """Runs both loops to the end on planted maps and compares held-out purity."""
    maps = planted(24, 360)
    train, held_out = maps[:240], maps[240:]
    fast = train_basis(tables_of(train, config.view), config)
    pooled = tables_of(train, config.view)

    def batches(A):
        for stage, n in enumerate(config.prototypes_per_stage):
            pairs = select_pairs(pooled, torch.matrix_exp(A.detach()), n, config)
            for epoch in range(config.epochs_per_stage):
                yield from minibatches(pairs, stage, epoch, config)

    plain = plain_steps(lambda index: train[index], 24, config, batches)
    rows = []
    for name, U in (
        ("ours", basis(fast.A.detach(), config.form)),
        ("plain loop", torch.matrix_exp(plain)),
        ("U = I", torch.eye(24)),
    ):
        values = [float(mean_purity(tables_of(part, config.view), U, config).mean()) for part in (train, held_out)]
        rows.append([name, *values])
    return markdown(["planted maps, D = 24, 240 + 120 clips, lr 1e-2", "purity, training", "purity, held out"], rows)


def planted(n_channels, n_clips, seed=0):
    """Returns float32 maps [clip, channel, 4, 10] of sparse sources under a random mixing."""
    generator = seeded(seed, n_channels)
    active = torch.rand(n_clips, n_channels, 4, 10, generator=generator) < 0.05 / 40
    sources = active * (1 + torch.rand(active.shape, generator=generator))
    mixing = torch.randn(n_channels, n_channels, generator=generator) / n_channels**0.5 + 0.5 * torch.eye(n_channels)
    maps = views.transform(mixing, sources)
    return maps + 0.05 * torch.randn(maps.shape, generator=generator)


def optimizer_seconds(n_channels, config, n_clips=300):
    """Returns steps and seconds of the optimizer on planted maps of a width."""
    state = train_basis(tables_of(planted(n_channels, n_clips), config.view), config)
    return [n_channels, state.n_steps, float(state.seconds["selection"]), float(state.seconds["optimizer"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["esc10", "purity", "widths"])
    part = parser.parse_args().part
    config = ApexConfig()
    if part == "esc10":
        text = esc10(config)
    elif part == "purity":
        text = small_case(replace(config, learning_rate=1e-2))
    else:
        text = markdown(WIDTHS, [optimizer_seconds(width, config) for width in (256, 1024)])
    put(f"apex_fit_{part}", f"python benchmarks/apex_fit.py {part}", text)


if __name__ == "__main__":
    main()
