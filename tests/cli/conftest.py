import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EARMARK = Path(sys.executable).with_name("earmark")


@pytest.fixture
def run():
    """Runs the installed command in a process of its own, as a user does."""

    def call(*arguments, code=0, data=None, timeout=120):
        environment = {k: v for k, v in os.environ.items() if k != "EARMARK_DATA"}
        if data:
            environment["EARMARK_DATA"] = str(data)
        done = subprocess.run(
            [str(EARMARK), *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=timeout
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def run_json(run):
    """Runs a command with `--json` and returns the object that it prints."""
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)
