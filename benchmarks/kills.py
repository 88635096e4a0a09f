"""Kills long commands at random moments, runs them again until they end, and compares every byte they leave.

python benchmarks/kills.py              200 kills, about ten minutes on two cores
python benchmarks/kills.py --kills 12   a quick look, which writes no table
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import markdown, put

import earmark as em

EARMARK = Path(sys.executable).with_name("earmark")
HEADER = [
    "command",
    "kills",
    "folders brought to the end",
    "runs per folder",
    "files compared",
    "files that differ",
    "leftovers",
    "unkilled, s",
    "median of the last run, s",
]


def commands(root: Path) -> dict[str, list[str]]:
    """Returns the three commands on small data; each takes some seconds, most of them real work."""
    scenes = ["--classifier", "scenes-cnn"]
    return {
        "fit apex": ["fit", "apex", *scenes, "--data", "scenes:24", "--n-stages", "4"],
        "train classifier": [
            "train",
            "classifier",
            "--multilabel",
            "--data",
            "scenes:20",
            "--epochs",
            "5",
            "--clip-s",
            "2",
        ],
        "explain DIR": ["explain", str(root / "clips"), *scenes, "--target", "siren", "--prototypes", "1"],
    }


def run(line: list[str], out: Path, limit_s: float | None = None) -> bool:
    """Runs a command in a process of its own and kills it after a while; says whether it was killed."""
    environment = {key: value for key, value in os.environ.items() if key != "EARMARK_DATA"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([EARMARK, *line, "--out", str(out)], env=environment, text=True, **quiet) as process:
        try:
            _, said = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return process.returncode == -signal.SIGKILL
        if process.returncode:
            raise SystemExit(said)
    return False


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def attack(name: str, line: list[str], root: Path, n_kills: int) -> list[object]:
    """Returns a row of the table."""
    expected, unkilled_s = reference(line, root / "unkilled")
    draw, kills, differing, leftovers, last = random.Random(name), 0, 0, 0, []
    compared = n_runs = 0
    while kills < n_kills:
        place = root / "killed"
        while True:
            n_runs += 1
            spare = draw.uniform(0, unkilled_s) if kills < n_kills else None
            began = time.perf_counter()
            if not run(line, place / "out", spare):
                break
            kills += 1
        last.append(time.perf_counter() - began)
        found = tree(place)
        differing += sum(found.get(key, 0) != value for key, value in expected.items())
        leftovers += len(found.keys() - expected.keys())
        compared += len(expected)
        shutil.rmtree(place)
    shutil.rmtree(root / "unkilled")
    seconds = sorted(last)[len(last) // 2]
    return [name, kills, len(last), f"{n_runs / len(last):.1f}", compared, differing, leftovers, unkilled_s, seconds]


def reference(line: list[str], place: Path) -> tuple[dict[str, bytes | None], float]:
    """Returns what an unkilled run leaves, and how long it takes (the second one, with warm disk caches)."""
    run(line, place / "out")
    shutil.rmtree(place)
    began = time.perf_counter()
    run(line, place / "out")
    return tree(place), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="over the three commands")
    n_kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "clips").mkdir()
        for index, clip in enumerate(em.scenes(8, 11)):
            clip.source().save(root / "clips" / f"{index}.wav")
        lines = commands(root)
        shares = [n_kills // 3 + (index < n_kills % 3) for index in range(3)]
        rows = [attack(*item, root, share) for item, share in zip(lines.items(), shares, strict=True)]
    text = (
        "SIGKILL at moments drawn evenly over the length of an unkilled run; the same command again, killed again, "
        "until a run ends by itself. Every file is then compared with those of an unkilled run, byte by byte; "
        "leftovers are whatever else lies in or beside the output folder.\n\n" + markdown(HEADER, rows)
    )
    print(text) if n_kills < 200 else put("kills", "python benchmarks/kills.py", text)


if __name__ == "__main__":
    main()
