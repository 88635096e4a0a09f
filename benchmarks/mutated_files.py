"""Reads damaged sound files, and measures what reading in a child process costs.

python benchmarks/mutated_files.py [number of files] [--print]
"""

import os
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from tables import markdown, put

from earmark.audio.files import read
from earmark.audio.pool import decoders
from earmark.audio.waveform import Waveform
from earmark.errors import AudioError
from earmark.testing.hostile import FORMATS, mutants

NAME, COMMAND = "mutated_files", "python benchmarks/mutated_files.py"
ROUNDS = 7


def main(n_files: int = 10_000, store: bool = True) -> None:
    text = f"{mutated(n_files)}\n\n{cost()}"
    if store:
        put(NAME, COMMAND, text)
    else:
        print(text)


def mutated(n_files: int) -> str:
    counts, slowest_s, peaks = defaultdict(Counter), Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for mutant in mutants(n_files, seed=10):
            path = Path(folder, f"mutant{mutant.ending}")
            path.write_bytes(mutant.data)
            began = time.perf_counter()
            counts[mutant.format][outcome(path)] += 1
            slowest_s[mutant.format] = max(slowest_s[mutant.format], time.perf_counter() - began)
            peaks[mutant.format] = max([peaks[mutant.format], *map(peak_mb, decoders().children)])
    header = ["format", "files", "read", "refused", "child crashes", "timeouts", "slowest, ms", "peak child memory, MB"]
    kinds = ("read", "refused", "crash", "time")
    rows = [
        [kind, counts[kind].total(), *(counts[kind][k] for k in kinds), 1000 * slowest_s[kind], peaks[kind]]
        for kind, *_ in FORMATS
    ]
    return f"{n_files} files, seed 10; one to three mutations each; the child serves all formats:\n\n" + markdown(
        header, rows
    )


def outcome(path: Path) -> str:
    """Returns `read`, `refused`, or how the child failed."""
    try:
        sound = read(path)
    except AudioError as error:
        return "crash" if "decoder crash" in str(error) else "time" if "decoded in" in str(error) else "refused"
    assert torch.isfinite(sound.samples).all()
    return "read"


def peak_mb(pid: int) -> float:
    """Returns the largest resident memory that a process has had; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def cost() -> str:
    sounds = Path(os.environ["EARMARK_DATA"]) / "esc10" / "audio"
    paths = sorted(sounds.glob("5-*.ogg"))
    with tempfile.TemporaryDirectory() as folder:
        as_wav = [Path(folder, f"{path.stem}.wav") for path in paths]
        for path, copy in zip(paths, as_wav, strict=True):
            samples, rate = soundfile.read(path)
            soundfile.write(copy, samples, rate, "PCM_16")
        rows = [["OGG", *compared(paths)], ["the same as WAV", *compared(as_wav)]]
    header = ["files", "in this process, ms", "in a child, ms", "ratio", "more per clip, ms", "samples equal"]
    about = (
        f"Reading the {len(paths)} clips of ESC-10's fold 5 (5 s at 44.1 kHz), mean of each clip's best of {ROUNDS}:"
    )
    return f"{about}\n\n{markdown(header, rows)}"


def compared(paths: list[Path]) -> list[object]:
    best = np.full((2, len(paths)), np.inf)
    for _ in range(ROUNDS):
        for i, path in enumerate(paths):
            for j, function in enumerate((plain, read)):
                began = time.perf_counter()
                function(path)
                best[j, i] = min(best[j, i], time.perf_counter() - began)
    here, child = 1000 * best.mean(1)
    equal = all(torch.equal(plain(path).samples, read(path).samples) for path in paths)
    return [float(here), float(child), float(child / here), float(child - here), equal]


def plain(path: Path) -> Waveform:
    n_samples = soundfile.info(path).frames
    samples, rate = soundfile.read(path, start=0, stop=n_samples, dtype="float32", always_2d=True)
    return Waveform(samples.T, rate)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    main(*numbers[:1], store="--print" not in sys.argv)
