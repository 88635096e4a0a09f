"""A kill of `earmark evaluate` at any moment: the same command again goes on to the table of an unkilled run."""

import json
import os
import subprocess
import sys
from pathlib import Path

N_KILLS = 3


def test_random_kills_lose_and_double_no_row_and_leave_nothing(tmp_path):
    script = Path(__file__).with_name("killing_evaluate.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("EARMARK_DATA", None)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(N_KILLS)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    said = json.loads(done.stdout)
    assert said["kills"] == N_KILLS and said["wholes"] >= 1
    assert said["wrong"] == []  # scores.parquet byte for byte, and no file more
    assert said["rows"] == said["different"] == 6 * 4 * (1 + 2)  # clips, entrants, soft and areas
    files = {"evaluation.json", "index.html", "run.json", "scores.parquet", "summary.json", "summary.md"}
    assert {name.removeprefix("out/") for name in said["names"]} == {"out", *files}
