"""Sparseness, complexity and the ranking of maps against slow twins, on masks of 513 x 431 bins.

python benchmarks/metrics_speed.py [--masks 1000] [--dry]

Two twins: the published formula as one plain loop over the bins, and the formula as metric libraries run it, mask by
mask in numpy (float64, one sort, one sum). The twins are timed on fewer masks of the same kind, between the others.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from tables import markdown, put

from earmark.masks import descending
from earmark.metrics.complexity import complexity, sparseness

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.reference import metrics as twin

SHAPE = (513, 431)
CHUNK = 50  # masks at a time: 44 MB


def masks(n: int, seed: int) -> torch.Tensor:
    """Returns soft masks, most of them nearly empty, as explainers make them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *SHAPE, generator=generator) ** (1 + 4 * torch.rand(n, 1, 1, generator=generator))


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def each(function, items) -> list[float]:
    return [float(function(item)) for item in items]


def ranked_by_torch(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).argsort(dim=1, descending=True, stable=True)


CASES = {
    "sparseness": (sparseness, twin.sparseness_numpy, twin.sparseness),
    "complexity": (complexity, twin.complexity_numpy, twin.complexity),
    "ranking": (lambda values: descending(values.flatten(1)), lambda value: ranked_by_torch(value[None])[0, 0], None),
}


def measured(name: str, n_masks: int) -> list[object]:
    """Returns a row: ms per mask of the batch, of both twins (medians over chunks), ratios, largest difference."""
    fast, library, plain = CASES[name]
    times: dict[str, list[float]] = {"fast": [], "library": [], "plain": []}
    largest = 0.0
    for chunk in range(max(1, n_masks // CHUNK)):
        some = masks(min(CHUNK, n_masks), chunk)
        times["fast"].append(seconds(fast, some) / len(some))
        few = list(some[:3].numpy()) if plain else list(some[:3])
        times["library"].append(seconds(each, library, few) / 3)
        if plain and chunk % 5 == 0:
            times["plain"].append(seconds(plain, few[0]))
            largest = max(largest, abs(plain(few[0]) - float(fast(some[:1])[0])))
    ms = {key: 1000 * statistics.median(value) if value else float("nan") for key, value in times.items()}
    ratios = [ms["library"] / ms["fast"], ms["plain"] / ms["fast"]] if plain else [ms["library"] / ms["fast"], "-"]
    return [name, *ms.values(), *ratios, largest] if plain else [name, ms["fast"], ms["library"], "-", *ratios, "-"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--dry", action="store_true", help="print the table and leave the README alone")
    options = parser.parse_args()
    header = ["metric", "ms per mask", "numpy twin, ms", "plain loop, ms", "numpy twin / ours", "plain loop / ours"]
    table = markdown([*header, "largest difference"], [measured(name, options.masks) for name in CASES])
    text = f"{options.masks} soft masks of {SHAPE[0]} x {SHAPE[1]}; the ranking's twin is torch's argsort.\n\n"
    if options.dry:
        print(text + table)
    else:
        put("metrics_speed", f"python benchmarks/metrics_speed.py --masks {options.masks}", text + table)


if __name__ == "__main__":
    main()
