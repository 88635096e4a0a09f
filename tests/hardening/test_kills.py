"""A kill at any moment: the same command again goes on, and every file is what an unkilled run writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

N_RANDOM = {"fit": 2, "train": 2, "explain": 2, "older": 0}  # benchmarks/kills.py makes 200


def killed(folder, *arguments):
    script = Path(__file__).with_name("killing.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("EARMARK_DATA", None)
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + (folder / "log.txt").read_text()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", N_RANDOM)
def test_kills_at_random_and_before_each_rename_and_removal_change_no_byte_and_leave_nothing(command, tmp_path):
    said = killed(tmp_path, command, N_RANDOM[command])
    assert said["kills"] == N_RANDOM[command] and said["wholes"] >= (said["kills"] > 0)
    assert said["steps"] >= 8  # else the steps were not seen
    assert said["wrong"] == []
