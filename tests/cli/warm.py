"""A server that runs `earmark` in forks of itself: a process for each run, without the seconds that torch takes.

`python warm.py` reads a line of JSON for each run (arguments, environment, files for both outputs, seconds) and answers
with the exit code. What is loaded already are libraries; nothing of earmark is.
"""

import contextlib
import json
import os
import signal
import sys
import time
from importlib import import_module

LIBRARIES = (
    "captum.attr",
    "jinja2",
    "matplotlib.figure",
    "pyarrow.compute",
    "pyarrow.parquet",
    "rich.table",
    "safetensors.torch",
    "soundfile",
    "soxr",
    "torch._dynamo",
    "typer",
    "pydantic.fields",
)


def load():
    """Imports what commands need of others; nothing is computed, so that no thread is started."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            import_module(name)


def run(about):
    """Returns the exit code of one run; a run that takes too long is killed, and has none."""
    child = os.fork()
    if not child:
        begin(about)
    until = time.monotonic() + about["timeout"]
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


def begin(about):
    """Becomes the installed command."""
    for number, name in ((0, os.devnull), (1, about["out"]), (2, about["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(about["environment"])
    os.chdir(about["place"])
    sys.argv = ["earmark", *about["arguments"]]
    code = 1
    try:
        from earmark.cli import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    load()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)
