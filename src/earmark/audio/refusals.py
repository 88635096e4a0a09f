"""What is said of files that cannot be read: what came, what was expected, what to do."""

import math
import os
import stat
from pathlib import Path

from ..errors import AudioError
from .isolation import DecoderError, Header, Limits
from .names import printable


def existing(path: str | Path) -> Path:
    """Returns the path of a regular file that is not empty; anything else could block, or is no sound.

    Raises
    ------
    AudioError
        If it is anything else, or may not be read.
    """
    path = Path(path)
    try:
        about = os.stat(path)  # noqa: PTH116 (a path of any kind)
    except FileNotFoundError as error:
        raise AudioError(f"{name_of(path, whole=True)} does not exist; check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name_of(path, whole=True)} cannot be opened ({reason}); check the path.") from error
    if stat.S_ISDIR(about.st_mode):
        raise AudioError(f"{name_of(path, whole=True)} is a folder, and a sound file was expected; name a file in it.")
    if not stat.S_ISREG(about.st_mode):
        raise AudioError(
            f"{name_of(path, whole=True)} is a pipe or device, and a sound file was expected; name a file."
        )
    if not os.access(path, os.R_OK):
        raise AudioError(f"{name_of(path, whole=True)} may not be read by you; change its permissions.")
    if about.st_size == 0:
        raise AudioError(f"{name_of(path)} is empty (0 bytes); record or export it again.")
    return path


def name_of(path: Path, *, whole: bool = False) -> str:
    """Returns a file's name (or whole path) for a sentence."""
    text = printable(str(path) if whole else path.name)
    return text if len(text) <= 500 else f"{text[:200]}...{text[-200:]}"


def not_audio(path: Path) -> str:
    """Says that a file is no sound."""
    return (
        f"{name_of(path)} is not a sound file that can be read, or it is damaged; "
        "expected WAV, FLAC, OGG, MP3, Opus or AIFF: export it again."
    )


def damaged(path: Path, intact: int, header: Header) -> str:
    """Says how much of a file can be read, rounded down to milliseconds, and how."""
    intact_s = _seconds(math.floor(1000 * intact / header.sample_rate) / 1000)
    promised = "" if header.promised is None else f" of {_seconds(header.promised / header.sample_rate)} s"
    rest = "" if intact_s == "0" else f", or take the intact part by --end {intact_s} (end_s={intact_s})"
    return (
        f"{name_of(path)} is damaged or breaks off: only {intact_s} s{promised} can be decoded; "
        f"record or export it again{rest}."
    )


def failed(path: Path, failure: DecoderError, limits: Limits) -> str:
    """Says how a child process failed at a file."""
    name = name_of(path)
    return {
        "crash": f"{name} makes the decoder crash; it is damaged or malicious: export it again as WAV or FLAC.",
        "time": f"{name} could not be decoded in {limits.seconds:g} s (a large file has longer); it is damaged, "
        "or its disk does not answer: export or copy it again.",
        "memory": f"{name} takes more than {limits.memory / 2**20:g} MiB beyond its samples to decode; it is damaged "
        "or malicious: export it again as WAV or FLAC.",
        "start": f"{name} could not be read: the child process that decodes sound does not start; check that this "
        "Python can run soundfile and that memory is left.",
    }[failure.reason]


def _seconds(value: float) -> str:
    """Returns seconds to the millisecond, without zeros at the end."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
