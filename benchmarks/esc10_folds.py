"""Rotates the `esc10-cnn` recipe over the five folds: train on three, choose on the next, test on the fifth.

    python benchmarks/esc10_folds.py [--out runs/esc10] [--only 1]

Each rotation is one `earmark train classifier` command; finished ones are not run again. The first is the embedded
model's own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tables import markdown, put

from earmark.classifiers.load import load_classifier

ROTATIONS = {
    1: ("1,2,3", "4", "5"),
    2: ("2,3,4", "5", "1"),
    3: ("3,4,5", "1", "2"),
    4: ("4,5,1", "2", "3"),
    5: ("5,1,2", "3", "4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/esc10"))
    parser.add_argument("--only", type=str, default="1,2,3,4,5")
    options = parser.parse_args()
    data = Path(os.environ["EARMARK_DATA"]) / "esc10"
    accuracies = {}
    for number in map(int, options.only.split(",")):
        learn, choose, test = ROTATIONS[number]
        out = options.out / f"rotation-{number}"
        if not (out / "README.md").exists():
            command = [
                Path(sys.executable).with_name("earmark"),
                "train",
                "classifier",
                "--data",
                data,
                "--out",
                out,
            ]
            command += [
                "--folds",
                learn,
                "--select-folds",
                choose,
                "--test-folds",
                test,
                "--name",
                "esc10-cnn",
            ]
            subprocess.run([str(part) for part in command], check=True)
        accuracies[test] = json.loads((out / "config.json").read_text())["card"]["test"]["accuracy"]
        print(f"fold {test}: {accuracies[test]:.4f}", flush=True)
    if len(accuracies) == len(ROTATIONS):
        put("esc10_folds", "python benchmarks/esc10_folds.py", _table(accuracies))


def _table(accuracies: dict[str, float]) -> str:
    """Returns accuracy by test fold, and for the embedded scenes model what its card says."""
    scenes = load_classifier("scenes-cnn").card
    rows = [[fold, f"{100 * value:.2f} %"] for fold, value in sorted(accuracies.items())]
    mean = sum(accuracies.values()) / len(accuracies)
    spread = statistics.stdev(accuracies.values())
    rows.append(["mean (standard deviation over folds)", f"{100 * mean:.2f} % ({100 * spread:.2f})"])
    text = "`esc10-cnn` recipe, accuracy, seed 0; the embedded model is the one tested on fold 5:\n\n"
    text += markdown(["test fold", "accuracy"], rows)
    test = scenes["test"]
    return text + (
        f"\n\n`scenes-cnn`, macro average precision on {test['n']} fresh scenes (its card): "
        f"{test['macro_average_precision']:.4f}"
    )


if __name__ == "__main__":
    main()
