"""Planted sources with a known basis: purity and the share of sources that get a channel of their own.

    python benchmarks/planted.py [--seeds 3]

D = 128 sources, a 4 x 10 map, 3,000 clips (two thirds for training); each source is active with probability .05 at
one random cell with amplitude U(1, 2), and half of one in the next frame; mixing random orthogonal or
`randn/sqrt(D) + I/2`; noise .05. A source is found if some channel's row of U M (M the mixing) has it as its
largest entry.
"""

import argparse
import time

import torch
from apex_fit import tables_of
from tables import markdown, put

from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.disentangle import basis, mean_purity, train_basis
from earmark.types import seeded

D, CLIPS, SHAPE = 128, 3000, (4, 10)
SETTINGS = [
    ("orthogonal", "orthogonal", 1e-3, "square"),
    ("orthogonal", "general", 1e-3, "square"),
    ("orthogonal", "orthogonal", 1e-2, "square"),
    ("orthogonal", "general", 1e-2, "square"),
    ("random", "general", 1e-3, "square"),
    ("random", "general", 1e-2, "square"),
    ("random", "orthogonal", 1e-2, "square"),
    ("random", "general", 1e-2, "time"),
    ("random", "general", 1e-2, "frequency"),
    ("random", "general", 1e-2, "time-frequency"),
]


def planted_maps(mixing, seed):
    """Returns maps [clip, channel, freq, frame] of sparse sources under a mixing."""
    generator = seeded(seed, 1)
    active = torch.rand(CLIPS, D, generator=generator) < 0.05
    cell = torch.randint(SHAPE[0] * SHAPE[1], (CLIPS, D), generator=generator)
    amplitude = active * (1 + torch.rand(CLIPS, D, generator=generator))
    sources = torch.zeros(CLIPS, D, SHAPE[0] * SHAPE[1]).scatter_(2, cell[..., None], amplitude[..., None])
    sources = sources.unflatten(2, SHAPE)
    sources[..., 1:] += 0.5 * (sources[..., :-1] > 0)
    maps = torch.einsum("ij,bjft->bift", mixing, sources)
    return maps + 0.05 * torch.randn(maps.shape, generator=generator)


def run(kind, form, learning_rate, view, seed):
    """Returns purity in training, held out and at U = I, sources not found, cond(U) and seconds."""
    generator = seeded(seed, 2)
    gaussian = torch.randn(D, D, generator=generator)
    mixing = torch.linalg.qr(gaussian)[0] if kind == "orthogonal" else gaussian / D**0.5 + 0.5 * torch.eye(D)
    maps = planted_maps(mixing, seed)
    config = ApexConfig(view=view, form=form, learning_rate=learning_rate, seed=seed)
    train, held_out = (tables_of(part, view) for part in (maps[: 2 * CLIPS // 3], maps[2 * CLIPS // 3 :]))
    began = time.perf_counter()
    U = basis(train_basis(train, config).A.detach(), form)
    seconds = time.perf_counter() - began
    found = len(set((U @ mixing).argmax(1).tolist()))
    purity = [float(mean_purity(p, basis_, config).mean()) for basis_ in (torch.eye(D), U) for p in (train, held_out)]
    return [*purity, D - found, float(torch.linalg.cond(U)), seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    table = []
    for setting in SETTINGS:
        runs = torch.tensor([run(*setting, seed) for seed in seeds])
        mixing, form, rate, view = setting
        cells = [
            f"{m:.3g} ({lo:.3g} to {hi:.3g})"
            for m, lo, hi in zip(runs.mean(0), runs.amin(0), runs.amax(0), strict=True)
        ]
        table.append([mixing, form, rate, view, *cells])
        print(table[-1], flush=True)
    header = ["mixing", "form", "lr", "view", "purity U = I, training", "held out", "purity, training", "held out"]
    header += [f"of {D} sources without a channel", "cond(U)", "seconds"]
    text = f"Mean (least to most) over {len(seeds)} seeds.\n\n" + markdown(header, table)
    put("planted", f"python benchmarks/planted.py --seeds {len(seeds)}", text)


if __name__ == "__main__":
    main()
