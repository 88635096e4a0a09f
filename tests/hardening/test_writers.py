"""Two writers and one folder: the second waits or is refused, and a lock dies with its process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.hardening import killing
from tests.store import examples
from typer.testing import CliRunner

from earmark.cli.root import app
from earmark.locks import locked
from earmark.store.explanations import load_explanation, save_explanation

HOLD = """
import sys
from pathlib import Path
from earmark.store.filling import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys
from pathlib import Path
from earmark.locks import locked
folder = Path(sys.argv[1])
for _ in range(200):
    with locked(folder / ".lock"):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""
REPLACE = """
import sys
from pathlib import Path
from earmark.store.folders import replacing
folder, name = Path(sys.argv[1]), sys.argv[2]
for i in range(60):
    with replacing(folder, ("a",), ("a", "b", "c")) as part:
        for file in ("a", "b", "c"):
            (part / file).write_text(f"{name}{i}")
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def together(script, *argument_lists):
    running = [subprocess.Popen([sys.executable, "-c", script, *map(str, given)]) for given in argument_lists]
    assert [process.wait(timeout=60) for process in running] == [0] * len(running)


@pytest.mark.parametrize("command", ["fit", "train", "explain"])
def test_a_second_command_is_refused_until_the_first_is_dead(command, tmp_path):
    killing.make_material(tmp_path)
    line = killing.arguments(command, tmp_path, tmp_path / "out")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        refused = run(*line)
        holder.kill()
    assert refused.exit_code == 2
    assert "Another earmark is writing to" in refused.stderr and "another --out" in refused.stderr
    assert not (tmp_path / "out").exists()
    if command == "explain":
        assert run(*killing.arguments("fit", tmp_path, tmp_path / "apex")).exit_code == 0
    assert run(*line).exit_code == 0  # the file of the dead process's lock is still there, and no longer locked
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_processes_take_turns(tmp_path):
    (tmp_path / "number").write_text("0")
    together(COUNT, [tmp_path], [tmp_path], [tmp_path])
    assert (tmp_path / "number").read_text() == "600"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_a_lock_that_is_held_is_refused_at_once_or_waited_for(tmp_path):
    with locked(tmp_path / ".lock"), pytest.raises(BlockingIOError), locked(tmp_path / ".lock", wait=False):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), locked(tmp_path / ".lock"):
        raise KeyError
    with locked(tmp_path / ".lock", wait=False):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_processes_that_replace_one_folder_leave_one_whole(tmp_path):
    together(REPLACE, [tmp_path / "out", "x"], [tmp_path / "out", "y"], [tmp_path / "out", "z"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    texts = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert texts.keys() == {"a", "b", "c"} and len(set(texts.values())) == 1


def test_threads_that_save_one_explanation_leave_one_whole(tmp_path):
    sound = examples.noise(0.3, 16000, 1)
    made = [examples.explanation("mask", sound, name=f"{index}.wav") for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda explanation: save_explanation(explanation, tmp_path / "out", page=False), made))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    name = load_explanation(tmp_path / "out").name
    alone = save_explanation(made[int(name[0])], tmp_path / "alone", page=False)
    assert killing.tree(alone) == killing.tree(tmp_path / "out")
