"""Child processes that really crash, hang and take too much, by real signals, pipes and limits."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.audio import files
from earmark.audio.files import read
from earmark.audio.isolation import Decoder, DecoderError, Limits, UndecodableError
from earmark.audio.pool import Pool, decoders
from earmark.errors import AudioError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc, and limits of memory")


@pytest.fixture
def path(tmp_path):
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (80000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", values, 16000)
    return tmp_path / "a.flac"


@pytest.fixture
def pool():
    with contextlib.closing(Pool(Limits(seconds=1.0))) as pool:
        yield pool


def expected(path):
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def samples(path):
    def job(decoder):
        header = decoder.open(path, keep=True)
        return decoder.read(0, header.n_samples, header.n_channels)

    return job


def gone(pid):
    """Says whether a process has ended and was waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_one_child_serves_many_files(pool, path):
    for _ in range(5):
        assert np.array_equal(pool.run(samples(path)), expected(path))
    assert len(pool.children) == 1


def test_a_child_that_was_killed_while_idle_is_replaced(pool, path):
    pool.run(samples(path))
    (pid,) = pool.children
    os.kill(pid, signal.SIGKILL)
    assert np.array_equal(pool.run(samples(path)), expected(path))
    assert pool.children != [pid]
    assert gone(pid)


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_child_that_dies_in_the_middle_gives_the_file_a_second_chance(pool, path, signal_name):
    died = []

    def job(decoder):
        header = decoder.open(path, keep=True)
        if not died:
            died.append(decoder.process.pid)
            os.kill(decoder.process.pid, getattr(signal, signal_name))
        return decoder.read(0, header.n_samples, header.n_channels)

    assert np.array_equal(pool.run(job), expected(path))
    assert gone(died[0])


def test_a_file_whose_children_all_die_is_refused_and_the_next_is_read(path, monkeypatch):
    died = []

    def killing(self, *given):
        died.append(self.process.pid)
        os.kill(self.process.pid, signal.SIGSEGV)
        return reading(self, *given)

    with monkeypatch.context() as patch:
        reading = Decoder.read
        patch.setattr(Decoder, "read", killing)
        with pytest.raises(AudioError, match=r"a\.flac makes the decoder crash; it is damaged or malicious"):
            read(path)
    assert len(set(died)) == 2
    assert all(map(gone, died))
    assert torch.equal(read(path).samples, torch.from_numpy(expected(path).T.copy()))


def test_a_child_that_stops_is_given_up(pool, path):
    pool.run(samples(path))
    (pid,) = pool.children
    os.kill(pid, signal.SIGSTOP)
    began = time.perf_counter()
    with pytest.raises(DecoderError, match="time"):
        pool.run(samples(path))
    assert 1.0 <= time.perf_counter() - began < 10  # granted are 1 s and 0.2 s for its size
    assert gone(pid)
    assert np.array_equal(pool.run(samples(path)), expected(path))


def test_a_file_that_hangs_the_child_is_given_up(pool, path, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")  # opening it waits for a writer that never comes
    with pytest.raises(DecoderError, match="time"):
        pool.run(lambda decoder: decoder.open(tmp_path / "pipe.wav"))
    monkeypatch.setattr(files, "decoders", lambda: pool)
    monkeypatch.setattr(files, "existing", Path)  # as if it had become a pipe after it was looked at
    with pytest.raises(AudioError, match=r"pipe\.wav could not be decoded in 1 s"):
        read(tmp_path / "pipe.wav")
    assert read(path).n_samples == 80000


@LINUX
def test_a_child_cannot_take_more_memory_than_granted(pool, path):
    def job(decoder):
        header = decoder.open(path, keep=True)
        request = {"do": "read", "start": 0, "n_samples": 1 << 31, "n_bytes": 0}
        return decoder._ask(request, 5.0, 1 << 40), header  # 16 GiB, and none of it granted

    with pytest.raises(DecoderError, match="memory"):
        pool.run(job)
    assert np.array_equal(pool.run(samples(path)), expected(path))


@LINUX
def test_tiny_limits_of_memory_are_kept(path, monkeypatch):
    with contextlib.closing(Pool(Limits(memory=-(32 << 20)))) as pool:  # less than the child has already
        monkeypatch.setattr(files, "decoders", lambda: pool)
        with pytest.raises(AudioError, match=r"a\.flac takes more than -32 MiB beyond"):
            read(path)


@LINUX
def test_what_a_child_may_do_is_limited(pool, path):
    pool.run(samples(path))
    (pid,) = pool.children
    limits = Path(f"/proc/{pid}/limits").read_text()
    soft = {line[:25].strip(): line[25:].split()[0] for line in limits.splitlines()[1:]}
    assert int(soft["Max address space"]) < 2 << 30
    assert int(soft["Max cpu time"]) < 60
    assert soft["Max core file size"] == soft["Max file size"] == "0"


def test_more_samples_than_asked_for_are_not_taken(pool, path):
    def job(decoder):
        decoder.open(path, keep=True)
        return decoder._ask({"do": "read", "start": 0, "n_samples": 100, "n_bytes": 800}, 5.0, 799)

    with pytest.raises(DecoderError, match="crash"):
        pool.run(job)


def test_a_refused_file_costs_no_child(pool, path, tmp_path):
    (tmp_path / "text.wav").write_text("no sound" * 99)
    pool.run(samples(path))
    before = pool.children
    with pytest.raises(UndecodableError):
        pool.run(samples(tmp_path / "text.wav"))
    assert pool.children == before


def test_an_interrupt_leaves_no_answer_for_the_next(pool, path, tmp_path):
    soundfile.write(tmp_path / "b.flac", np.zeros(1000), 8000)

    def job(decoder):
        decoder._send({"do": "open", "path": os.fsencode(path).hex(), "keep": True, "seconds": 5})
        decoder.busy = True  # as in the middle of a request
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run(job)
    assert pool.run(samples(tmp_path / "b.flac")).shape == (1000, 1)


def test_threads_have_a_child_each(path, tmp_path):
    paths = []
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", np.full(40000, i / 8), 8000, "FLOAT")
        paths.append(tmp_path / f"{i}.wav")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(read, paths * 25))
    for i, sound in enumerate(found):
        assert torch.equal(sound.samples, torch.full((1, 40000), (i % 4) / 8))
    assert 1 <= len(decoders().children) <= 4


@LINUX
def test_nothing_is_leaked(path):
    def state():
        gc.collect()
        mine = [Path(f"/proc/{p}/stat").read_text().split()[3] for p in os.listdir("/proc") if _is_child(p)]
        return len(os.listdir("/proc/self/fd")), len(mine), threading.active_count()

    def round_trip():
        with contextlib.closing(Pool(Limits(seconds=0.5))) as pool:
            pool.run(samples(path))
            os.kill(pool.children[0], signal.SIGSTOP)
            with pytest.raises(DecoderError):
                pool.run(samples(path))
            pool.run(samples(path))

    round_trip()
    before = state()
    for _ in range(2):
        round_trip()
    assert state() == before


def _is_child(pid):
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{int(pid)}/stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid()
    return False


READ = """
import os, signal, sys
from pathlib import Path
from earmark.audio.pool import decoders

def read():
    def job(decoder):
        header = decoder.open(Path(sys.argv[1]), keep=True)
        return decoder.read(0, header.n_samples, header.n_channels).tolist()
    return decoders().run(job)

found = read()
(mine,) = decoders().children
assert "torch" not in sys.modules
"""

FORK = """
pid = os.fork()
if pid == 0:
    assert decoders().children == []
    assert read() == found
    assert mine not in decoders().children
    sys.exit(7)  # ends its own children, not the parent's
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert read() == found
assert decoders().children == [mine]
print(mine)
"""


def test_a_fork_has_children_of_its_own_and_nothing_outlives_the_program(path):
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", READ + FORK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")  # no ResourceWarning either
    assert gone(int(done.stdout))


KILLED = """
print(mine, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_children_end_with_a_parent_that_is_killed(path):
    done = subprocess.run([sys.executable, "-c", READ + KILLED, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not _over(int(done.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _over(pid):
    """Says whether a process ended, if only its parent's parent has not asked yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return gone(pid)


def test_a_child_that_cannot_start_is_said_to_be_at_fault(path, monkeypatch):
    with contextlib.closing(Pool()) as pool:
        monkeypatch.setattr(files, "decoders", lambda: pool)
        for program in ("/nowhere/python", "/bin/false"):
            monkeypatch.setattr(sys, "executable", program)
            with pytest.raises(AudioError, match="the child process that decodes sound does not start"):
                read(path)


def test_the_decoder_needs_neither_this_package_nor_torch(pool, path):
    pool.run(samples(path))
    (pid,) = pool.children
    if not Path(f"/proc/{pid}/maps").exists():
        pytest.skip("no /proc")
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "sndfile" in maps
    assert "torch" not in maps


def test_the_working_folder_may_change(path, tmp_path, monkeypatch):
    read(path)
    monkeypatch.chdir(tmp_path)
    assert read("a.flac").n_samples == 80000
