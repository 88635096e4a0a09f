"""Runs commands in children of one warm process, kills them, and says what the reruns left behind.

`python killing.py FOLDER COMMAND N` kills a command N times at random moments, each time in a run that goes on from
where the last one was killed. Then it goes on from what a kill before each of the renames and removals would leave: one
run copies its folder before every step, and every eighth copy is compared with what a run that is killed there leaves.
Every child runs what `earmark` runs, in a process of its own that ends by SIGKILL; it only inherits what is imported
already, and, where it is not to be killed, children of the parent's that decode sound. Prints one JSON object.
"""

import contextlib
import gc
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

import earmark.audio.pool
from earmark.audio.isolation import Decoder, Limits

TOY = """
from torch import nn

import earmark
from earmark.classifiers.front_ends import LogMel
from earmark.training.loop import seeded_globals


def build():
    with seeded_globals(3):
        module = nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
        )
    features = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=16)
    return earmark.wrap(module.eval(), features, ("high", "low"), map_layer="4", name="toy", probe_s=0.3)
"""
STEPS = ("rename", "replace", "unlink", "rmdir")
REAL = 16  # of so many steps one is the end of a run that is killed there
N_DECODERS = 2  # as many as a run uses at once


def make_material(root):
    """Writes sixteen sounds of 0.3 s, four more to explain, and a classifier of eight channels."""
    draw, time_s = np.random.default_rng(0), np.arange(2400) / 8000
    for label, hz in (("low", 300), ("high", 2500)):
        for index in range(8):
            tone = 0.3 * np.sin(2 * np.pi * (hz + 17 * index) * time_s) * (time_s > 0.02 * index)
            path = root / "data" / label / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone + 0.01 * draw.standard_normal(2400), 8000)
    for index in range(4):
        path = root / "clips" / ("a" if index < 2 else "b") / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / "data" / ("low", "high")[index % 2] / f"{index}.wav", path)
    (root / "toy.py").write_text(TOY)


def arguments(command, root, out):
    """Returns the command line of a small run of a long command; `older` finds an older explanation in its place."""
    toy, data = f"{root / 'toy.py'}:build", str(root / "data")
    lines = {
        "fit": ["fit", "apex", "--classifier", toy, "--data", data, "--n-stages", 2, "--epochs-per-stage", 1],
        "train": [
            "train",
            "classifier",
            "--data",
            data,
            "--epochs",
            3,
            "--clip-s",
            0.3,
            "--batch-size",
            6,
            "--no-logs",
        ],
        "explain": ["explain", root / "clips", "--classifier", toy, "--explainer", root / "apex", "--top", 1],
    }
    lines["explain"] += ["--prototypes", 1, "--bank-audio", data]
    lines["older"] = [*lines["explain"], "--against", "low", "--target", "high"]
    lines["older"][1] = root / "clips" / "a" / "0.wav"
    return [*map(str, lines[command]), "--out", str(out)]


def make_older(root):
    """Makes what `older` replaces: an explanation of another label, and a person's notes in it."""
    line = arguments("older", root, root / "before" / "out")
    line[line.index("--against") : line.index("--against") + 4] = ["--target", "low"]
    assert not finish(start(line, root / "log.txt"))
    (root / "before" / "out" / "notes.txt").write_text("mine")
    (root / "before" / "out" / "mine").mkdir()
    (root / "before" / "out" / "mine" / "more.txt").write_text("mine too")


def warm_up():
    import accelerate  # noqa: F401
    import matplotlib  # noqa: F401
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401
    import torch._dynamo  # noqa: F401 (the first optimizer imports it)

    import earmark.classifiers.fit
    import earmark.classifiers.load
    import earmark.explainers.apex.explainer
    import earmark.explainers.apex.files
    import earmark.explainers.apex.fit
    import earmark.explainers.load
    import earmark.run.known
    import earmark.store.filling  # noqa: F401
    from earmark.cli.root import app
    from earmark.render.page import _template

    with contextlib.redirect_stdout(io.StringIO()):
        app(["info", "scenes-cnn"], standalone_mode=False)  # reading a command line imports more
    _template("page.html.j2")  # kept, as in a long run


def lend(decoders):
    """Lets this process use children of its parent's; they answer one process after another."""
    pool = earmark.audio.pool.decoders()
    pool.forget()
    pool._all, pool._idle = set(decoders), list(decoders)


def start(command_line, log, before=lambda: None):
    """Starts a child that runs a command; returns its process id."""
    gc.freeze()  # a child then copies fewer pages
    child = os.fork()
    if child:
        return child
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        before()
        from earmark.cli.root import app

        app(command_line)
    except SystemExit as stop:
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    except BaseException:
        traceback.print_exc()
    os._exit(70)


def finish(child):
    """Waits for a child that must succeed or be killed, and says whether it was killed."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, f"a child ended with status {status}"
    return False


def tree(folder):
    """Returns every file and folder below a folder, hidden ones too, with its content."""
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def differences(found, expected):
    """Returns the names that are in one only, or differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name, 0) != expected.get(name, 0))


class Victim:
    """One command, what it writes unkilled, and how long that takes."""

    def __init__(self, command, root):
        self.command, self.root, self.log = command, root, root / "log.txt"
        began = time.perf_counter()
        self.place = root / "unkilled"
        assert not finish(self.start())
        self.seconds, self.expected = time.perf_counter() - began, tree(self.place)
        self.place = root / "killed"
        self.wrong = []
        self.n_wholes = 0

    def start(self, before=lambda: None):
        if self.command == "older" and not self.place.exists():
            shutil.copytree(self.root / "before", self.place)
        return start(arguments(self.command, self.root, self.place / "out"), self.log, before)

    def compare(self):
        """Compares what is there after a run that ended by itself, and clears the place."""
        self.wrong += differences(tree(self.place), self.expected)
        self.n_wholes += 1
        shutil.rmtree(self.place)

    def random_kills(self, n, seed):
        """Kills runs into one folder at moments drawn over the length of an unkilled run, until n have died."""
        draw, n_kills = random.Random(seed), 0
        while n_kills < n:
            child = self.start()
            time.sleep(draw.uniform(0, self.seconds))
            os.kill(child, signal.SIGKILL)  # nothing happens to one that has ended
            if finish(child):
                n_kills += 1
            else:
                self.compare()
        assert not finish(self.start())
        self.compare()
        return n_kills

    def kills_at_every_step(self):
        """Finishes what a kill before each rename and removal leaves; returns how many there are."""
        copies = self.root / "copies"
        assert not finish(self.start(partial(at_steps, partial(copy_to, self.place, copies))))
        self.compare()
        n_steps = len(list(copies.iterdir()))
        decoders = [Decoder(Limits()) for _ in range(N_DECODERS)]
        for step in range(n_steps):
            if step % REAL == 0:
                assert finish(self.start(partial(at_steps, partial(kill_at, step))))
                self.wrong += differences(names(self.place), names(copies / str(step)))
                shutil.rmtree(self.place)
            shutil.move(copies / str(step), self.place)
            assert not finish(self.start(partial(lend, decoders)))
            self.compare()
        return n_steps


def names(folder):
    """Returns what lies below a folder, random parts of names left out."""
    return {re.sub(r"\.beyond-\w+", ".beyond", name): None for name in tree(folder)}


def copy_to(place, copies, n):
    """Copies a folder, as it is before the n-th step (counted from 0)."""
    place.mkdir(exist_ok=True)
    shutil.copytree(place, copies / str(n), symlinks=True)


def kill_at(last, n):
    """Kills this process before one step."""
    if n == last:
        os.kill(os.getpid(), signal.SIGKILL)


def at_steps(do):
    """Makes this process call `do(n)` before its n-th step; of removals in a row, two are steps."""
    n = in_a_row = 0

    def counting(function, is_removal):
        def step(*args, **options):
            nonlocal n, in_a_row
            in_a_row = in_a_row + 1 if is_removal else 0
            if in_a_row <= 2:
                do(n)
                n += 1
            return function(*args, **options)

        return step

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name), name in ("unlink", "rmdir")))


def main(root, command, n):
    warm_up()
    make_material(root)
    if command in ("explain", "older"):
        assert not finish(start(arguments("fit", root, root / "apex"), root / "log.txt"))
    if command == "older":
        make_older(root)
    victim = Victim(command, root)
    n_kills = victim.random_kills(n, command) if n else 0
    n_wholes = victim.n_wholes
    n_steps = victim.kills_at_every_step()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "kills": n_kills,
        "wholes": n_wholes,
        "steps": n_steps,
        "wrong": victim.wrong,
        "files": len(victim.expected),
        "unkilled_s": round(victim.seconds, 2),
        "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in usage), 1),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
