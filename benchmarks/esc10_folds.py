"""Rotates the `esc10-cnn` recipe over the five folds: train on three, choose on the next, test on the fifth.

    python benchmarks/esc10_folds.py [--out runs/esc10] [--only 1]

Each rotation is one `earmark train classifier` command; finished ones are not run again. The first is the embedded
model's own.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

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
    mean = sum(accuracies.values()) / len(accuracies)
    print(json.dumps({"accuracy by test fold": accuracies, "mean": mean}, indent=2))


if __name__ == "__main__":
    main()
