"""FLAC files of 24 bit, and the sounds of prototypes in a folder of their own."""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from jaxtyping import Int32
from torch import Tensor

from ..audio.files import read
from ..audio.waveform import Waveform
from ..classifiers.base import Grid
from ..errors import InputError
from ..evidence import PrototypeEvidence
from ..masking import heard_in
from ..prototypes.bank import Prototype

FULL_SCALE = 1 << 23  # steps of 24 bit from 0 to full scale

Steps = Int32[Tensor, "channel sample"]


def flac_problem(waveform: Waveform) -> str | None:
    """Returns why a sound cannot be a FLAC file, or `None` if it can."""
    if waveform.n_channels > 8:
        return f"it has {waveform.n_channels} channels, and FLAC holds at most 8"
    rate = waveform.sample_rate
    if rate > 655350 or (rate > 65535 and rate % 10):
        return f"its rate is {rate} Hz, and FLAC holds rates up to 65535 Hz, and up to 655350 Hz in steps of 10"
    return None


def check_flac(waveform: Waveform) -> None:
    """Refuses a sound that FLAC cannot hold.

    Raises
    ------
    InputError
        If it has more than 8 channels or a rate beyond the format.
    """
    if problem := flac_problem(waveform):
        raise InputError(
            f"The clip's sound cannot be stored: {problem}. Explain a mix-down, or a copy at another rate."
        )


def to_steps(waveform: Waveform, gain: float = 1.0) -> Steps:
    """Returns the samples times a gain as steps of 24 bit; sound read from files of 16 or 24 bit is kept exactly."""
    steps = (waveform.samples.double() * (gain * FULL_SCALE)).round()
    return steps.clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int32)


def write_flac(path: Path, steps: Steps, sample_rate: int) -> None:
    """Writes steps of 24 bit; what `earmark.audio.files.read` returns is `steps / 2**23`.

    The file is made in memory, for libsndfile cannot tell that a disk is full.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, (steps << 8).T.contiguous().numpy(), sample_rate, subtype="PCM_24", format="FLAC")
    path.write_bytes(buffer.getbuffer())


def save_prototypes(evidence: PrototypeEvidence, grid: Grid, folder: Path) -> None:
    """Writes each shown prototype's clip and region as FLAC, and `index.json`, which says what is there."""
    folder.mkdir()
    shown = [prototype for channel in evidence.channels for prototype in channel.prototypes]
    entries = [_save_prototype(prototype, evidence, grid, folder) for prototype in shown]
    text = json.dumps({"prototypes": entries}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "index.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace", newline="\n")


def _save_prototype(prototype: Prototype, evidence: PrototypeEvidence, grid: Grid, folder: Path) -> dict[str, Any]:
    sound = evidence.find_sound(prototype) if evidence.find_sound else None
    entry = {**prototype.to_dict(), "sound": None, "region_sound": None, "gain": None, "region_gain": None}
    if sound is None:
        return {**entry, "note": "The sound of this training clip was not at hand when this folder was written."}
    if problem := flac_problem(sound):
        return {**entry, "note": f"The sound of this training clip is left out: {problem}."}
    name = f"channel{prototype.channel}-{prototype.sign}{prototype.rank + 1}"
    whole = _save_halved(folder / f"{name}.flac", sound)
    # What is stored is masked, not what was found: so a loaded explanation writes the same file again.
    region = heard_in(prototype.regions, _read_halved(folder / f"{name}.flac", whole), grid)
    part = _save_halved(folder / f"{name}-region.flac", region)
    names = {"sound": f"{name}.flac", "region_sound": f"{name}-region.flac"}
    return {**entry, **names, "gain": whole, "region_gain": part}


def _save_halved(path: Path, sound: Waveform) -> float:
    """Writes a sound, halved until it does not clip, and returns the gain; halving keeps every step."""
    gain = _halvings(sound.peak)
    write_flac(path, to_steps(sound, gain), sound.sample_rate)
    return gain


def _read_halved(path: Path, gain: float) -> Waveform:
    return read(path).scale(1 / gain)


def _halvings(peak: float) -> float:
    """Returns the largest of 1, 1/2, 1/4 ... with which a sound does not clip."""
    return 2.0 ** -max(0, math.ceil(math.log2(peak))) if peak > 1 else 1.0


@dataclass(frozen=True)
class FolderSounds:
    """Finds prototypes' sounds in the folder that `save_prototypes` wrote.

    Parameters
    ----------
    folder
        The one that holds `index.json`.
    """

    folder: Path

    def __call__(self, prototype: Prototype) -> Waveform | None:
        """Returns a prototype's sound, or `None` where it was not stored, or its list is damaged."""
        names = ("channel", "sign", "rank", "sha256")
        try:
            entries = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))["prototypes"]
            wanted = [e for e in entries if all(e[name] == getattr(prototype, name) for name in names) and e["sound"]]
            places = [(self.folder / Path(entry["sound"]).name, float(entry["gain"])) for entry in wanted]
        except (OSError, KeyError, TypeError, ValueError):
            return None
        return _read_halved(*places[0]) if places and places[0][0].is_file() else None
