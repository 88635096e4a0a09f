import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EARMARK = Path(sys.executable).with_name("earmark")


@pytest.fixture(scope="session")
def server():
    """A process that has loaded torch and runs commands in forks of itself; without forks there is none."""
    if not hasattr(os, "fork"):
        yield None
        return
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(Path(__file__).with_name("warm.py"))], **pipes) as process:
        yield process
        process.stdin.close()


def environment(data=None):
    """Returns the environment of a command, with data only if they are given."""
    kept = {k: v for k, v in os.environ.items() if k != "EARMARK_DATA"}
    return {**kept, "EARMARK_DATA": str(data)} if data else kept


def checked(done, code):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def cold():
    """Runs the installed command in a process of its own, as a user does."""

    def call(*arguments, code=0, data=None, timeout=120):
        line = [str(EARMARK), *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, env=environment(data), timeout=timeout)
        return checked(done, code)

    return call


@pytest.fixture
def run(server, cold, tmp_path_factory):
    """Runs the command in a process of its own, which need not load torch; see `warm.py`."""

    def call(*arguments, code=0, data=None, timeout=120):
        place = tmp_path_factory.mktemp("run")
        files = {name: str(place / name) for name in ("out", "err")}
        about = {"arguments": list(map(str, arguments)), "environment": environment(data), "timeout": timeout}
        server.stdin.write(json.dumps({**about, **files, "place": str(Path.cwd())}) + "\n")
        server.stdin.flush()
        ended = json.loads(server.stdout.readline())
        out, err = (Path(path).read_text(encoding="utf-8") for path in files.values())
        return checked(subprocess.CompletedProcess(list(arguments), ended, out, err), code)

    return cold if server is None else call


@pytest.fixture
def run_json(run):
    """Runs a command with `--json` and returns the object that it prints."""
    return lambda *arguments, **options: json.loads(run(*arguments, "--json", **options).stdout)
