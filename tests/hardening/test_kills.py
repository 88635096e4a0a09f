"""A kill at any moment: the same command again goes on, and every file is what an unkilled run writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("fit", "train", "explain")
N_RANDOM = 18  # for each command: 54 in all


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


@pytest.mark.parametrize("command", COMMANDS)
def test_random_kills_change_no_byte_and_leave_nothing(command, tmp_path):
    said = killed(tmp_path, command, "random", N_RANDOM)
    assert said["kills"] == N_RANDOM and said["wholes"] >= 1
    assert said["wrong"] == []


@pytest.mark.parametrize("command", (*COMMANDS, "older"))
def test_a_kill_before_each_rename_and_removal_changes_no_byte(command, tmp_path):
    said = killed(tmp_path, command, "steps")
    assert said["kills"] >= 8  # else the steps were not seen
    assert said["wrong"] == []
