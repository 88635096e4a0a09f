"""Full and unwritable disks: one sentence, exit code 2, nothing half-written, and what was done before stays."""

import errno
import json
import os
import subprocess

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tests.hardening import killing
from typer.testing import CliRunner

from earmark import disk
from earmark.cli.root import app
from earmark.store.explanations import load_explanation


def run(line):
    done = CliRunner().invoke(app, [str(argument) for argument in line])
    assert done.exit_code in (0, 2), (done.stderr, done.exception)
    return done


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def small(tmp_path):
    """A disk of its own, `resize(kilobytes)` to make it larger or smaller; 0 makes it read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    done = mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")

    def resize(kilobytes):
        how = f"remount,size={kilobytes}k" if kilobytes else "remount,ro"
        assert mount("-o", how, place).returncode == 0

    yield place, resize
    subprocess.run(["umount", "-l", place], check=True)  # lazily: features may still be memory-mapped


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Sounds, a classifier, and what the commands write where there is room."""
    root = tmp_path_factory.mktemp("material")
    killing.make_material(root)
    assert run(killing.arguments("fit", root, root / "apex")).exit_code == 0
    for command in ("fit", "train", "explain"):
        assert run(killing.arguments(command, root, root / "ample" / command / "out")).exit_code == 0
    return root


def hidden(folder):
    return {path.name for path in folder.rglob(".*")}


@pytest.mark.parametrize("command", ["fit", "train"])
def test_a_full_disk_ends_a_command_with_a_sentence_and_the_rerun_finishes(command, small, material):
    place, resize = small
    line = killing.arguments(command, material, place / "out")
    needed = {"fit": (4, 8, 16, 28, 44, 64, 84), "train": (4, 64, 400, 3000, 9000)}[command]
    codes = []
    for kilobytes in needed:
        resize(kilobytes)
        done = run(line)
        codes.append(done.exit_code)
        assert hidden(place) <= {".resume", ".cache"} | {p.name for p in place.glob("out/.cache/*/*/.*")}
        assert not [name for name in hidden(place) if name.endswith(".part") or name.startswith(".tmp")]
        if done.exit_code:
            assert "no space left on device" in done.stderr and "free some space" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr and not (place / "out" / "config.json").exists()
    assert codes[0] == 2
    resize(100_000)
    assert run(line).exit_code == 0
    assert killing.differences(killing.tree(place), killing.tree(material / "ample" / command)) == []


def test_a_full_disk_stops_explain_and_keeps_what_is_done(small, material):
    place, resize = small
    line = killing.arguments("explain", material, place / "out")
    ample = killing.tree(material / "ample" / "explain")
    one = sum(len(content) for name, content in ample.items() if content and name.startswith("out/a/0/"))
    resize(one * 5 // 2 // 1000)
    done = run([*line, "--json"])
    assert done.exit_code == 2
    said = json.loads(done.stdout)["error"]
    assert "no space left on device" in said and "of 4 clips were explained; these are kept" in said
    n_done = int(said.split("So far, ")[1][0])
    folders = [path.parent for path in place.rglob("explanation.json")]
    assert 1 <= n_done == len(folders) < 4
    assert all(load_explanation(folder).name for folder in folders)
    assert hidden(place) == set()
    resize(100_000)
    again = run([*line, "--json"])
    assert f"{n_done} of 4 were there already" in again.stderr
    assert len(json.loads(again.stdout)["explained"]) == 4
    assert killing.differences(killing.tree(place), ample) == []


@pytest.mark.parametrize("command", ["fit", "train", "explain"])
def test_a_read_only_disk_is_said_so_before_anything_is_computed(command, small, material):
    place, resize = small
    resize(0)
    done = run(killing.arguments(command, material, place / "out"))
    assert done.exit_code == 2
    assert "read-only file system" in done.stderr and "choose a place that you may write to" in done.stderr
    assert list(place.iterdir()) == []


def test_every_library_says_the_same_of_a_full_disk(small):
    import pyarrow
    import pyarrow.parquet

    from earmark.data import arrays
    from earmark.store.sounds import write_flac

    place, _ = small
    large = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    writers = (
        lambda path: path.write_bytes(large.numpy().tobytes()),
        lambda path: save_file({"large": large}, path),
        lambda path: write_flac(path, (large * 1e6).int()[None], 44100),
        lambda path: pyarrow.parquet.write_table(pyarrow.table({"large": large.numpy()}), path),
        lambda path: arrays.create(path, (1000, 1000)),
    )
    for write in writers:
        with pytest.raises((OSError, SafetensorError)) as caught:
            write(place / "file")
        assert "no space left on device" in disk.problem(caught.value)
        for path in place.iterdir():
            path.unlink()


def test_what_a_disk_refuses_is_told_from_other_errors():
    def error(number):
        return OSError(number, os.strerror(number), "/there/file")

    for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG):
        said = disk.problem(error(number))
        assert said.startswith("/there/file cannot be") and os.strerror(number).lower() in said
    for other in (error(errno.ENOENT), ValueError("No space left"), OSError("no number"), KeyError(28)):
        assert disk.problem(other) is None
