"""Reads WAV, FLAC, OGG, MP3, Opus and AIFF; writes WAV and FLAC. Limits are checked on the header."""

import hashlib
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..errors import AudioError
from ..types import Clip
from .waveform import Waveform

#: Endings that a folder scan takes for sound.
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf")

MAX_CHANNELS = 32
MAX_DECODED_BYTES = 2 * 1024**3  # 2 GiB of float32: about 3 h of mono sound at 48 kHz


#: Files by which a folder is known for one that explanations were written to.
EXPLAINED = ("explanation.json", "explanations.json")


def sound_files(root: str | Path) -> list[Path]:
    """Returns the sound files in a folder and its sub-folders, by their endings, sorted.

    Hidden files and folders are left out, and so are folders that hold an explanation: their sounds are derived ones.
    """
    found = []
    for place, folders, names in os.walk(root):
        if any(name in names for name in EXPLAINED):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in AUDIO_ENDINGS and path.is_file())


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says: length in samples, rate in Hz, channels, format name."""

    n_samples: int
    sample_rate: int
    n_channels: int
    format: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def info(path: str | Path) -> AudioInfo:
    """Returns what the header says, without decoding.

    Raises
    ------
    AudioError
        If the file is missing, empty, a folder, or not a sound file.
    """
    path = _existing(path)
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise AudioError(_not_audio(path)) from error
    if header.frames < 1 or header.samplerate < 1 or header.channels < 1:
        raise AudioError(f"{path.name} holds no sound (0 samples); record or export it again.")
    return AudioInfo(header.frames, header.samplerate, header.channels, header.format)


def read(
    path: str | Path,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    max_duration_s: float | None = None,
) -> Waveform:
    """Reads a sound file, or the part from `start_s` to `end_s`, at its own rate and with all channels.

    Parameters
    ----------
    path
        WAV, FLAC, OGG, MP3, Opus or AIFF.
    start_s, end_s
        Seconds from the file's start; `None` is the file's own start or end.
    max_duration_s
        Refuses longer parts before decoding.

    Raises
    ------
    AudioError
        If the file cannot be read, is too long, or holds samples that are not finite.
    """
    path = Path(path)
    header = info(path)
    start, stop = _span(path.name, header.n_samples, header.sample_rate, start_s, end_s)
    _check_size(path, header, stop - start, max_duration_s)
    try:
        samples, rate = soundfile.read(str(path), start=start, stop=stop, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, MemoryError) as error:
        raise AudioError(f"{path.name} could not be decoded ({error}); export it again as WAV or FLAC.") from error
    if len(samples) == 0:
        raise AudioError(f"{path.name} holds no sound in {start_s} s to {end_s} s; choose another part.")
    try:
        return Waveform(samples.T, rate)
    except AudioError as error:
        raise AudioError(f"{path.name}: {error}") from error


def write(path: str | Path, waveform: Waveform, *, bit_depth: int = 24) -> Path:
    """Writes WAV or FLAC (by the ending) at the waveform's own rate; samples beyond full scale are refused.

    Parameters
    ----------
    bit_depth
        16 or 24; 32 writes float WAV, which has no limit of level.
    """
    path = Path(path)
    formats = {".wav": "WAV", ".flac": "FLAC"}
    if path.suffix.lower() not in formats:
        raise AudioError(f"Sound is written as .wav or .flac, got {path.name!r}; change the ending.")
    data = encode(waveform, formats[path.suffix.lower()], bit_depth)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    temporary.replace(path)
    return path


def encode(waveform: Waveform, container: str = "FLAC", bit_depth: int = 24) -> bytes:
    """Returns the bytes of a WAV, FLAC or (lossy, `bit_depth` ignored) OGG file.

    Integer samples are rounded to the nearest of `-1 ... 1 - step` in steps of `2**(1 - bit_depth)`, so what was read
    from a file of that depth, or a lower one, is written back bit for bit.
    """
    subtypes = {("WAV", 16): "PCM_16", ("WAV", 24): "PCM_24", ("WAV", 32): "FLOAT"}
    subtypes |= {("FLAC", 16): "PCM_16", ("FLAC", 24): "PCM_24"}
    subtype = "VORBIS" if container == "OGG" else subtypes.get((container, bit_depth))
    if subtype is None:
        raise AudioError(
            f"{container} is not written with {bit_depth} bits per sample; choose 16 or 24, or 32 for float WAV."
        )
    samples = waveform.samples.T.contiguous().numpy()
    if subtype.startswith("PCM"):
        samples = _integers(waveform, samples, bit_depth)
    buffer, (rate, channels) = io.BytesIO(), (waveform.sample_rate, waveform.n_channels)
    try:
        with soundfile.SoundFile(buffer, "w", rate, channels, subtype, format=container) as file:
            step = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on long single writes
            for start in range(0, len(samples), step):
                file.write(samples[start : start + step])
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{container} cannot hold {channels} channels at {rate} Hz ({error}); mix down or resample first."
        ) from error
    return buffer.getvalue()


def load_clip(clip: Clip) -> Waveform:
    """Returns the sound of a clip: read from its file, taken from memory, or made by its function."""
    if isinstance(clip.source, Path):
        return read(clip.source, clip.start_s, clip.end_s)
    waveform = clip.source if isinstance(clip.source, Waveform) else clip.source()
    start, stop = _span(clip.id, waveform.n_samples, waveform.sample_rate, clip.start_s, clip.end_s)
    return waveform if (start, stop) == (0, waveform.n_samples) else waveform[start:stop]


def file_sha256(path: str | Path) -> str:
    """Returns the hexadecimal sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_sha256(clip: Clip) -> str:
    """Returns the sha256 that identifies a clip's sound.

    For a file it is the hash of its bytes, followed by the cut if there is one; for sound in memory, the hash of
    rate and samples.
    """
    if isinstance(clip.source, Path):
        cut = "" if clip.start_s is None and clip.end_s is None else f":{clip.start_s}:{clip.end_s}"
        return file_sha256(clip.source) + cut
    waveform = load_clip(clip)
    digest = hashlib.sha256(f"{waveform.sample_rate}:{tuple(waveform.samples.shape)}".encode())
    digest.update(waveform.samples.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path} does not exist; check the path.")
    if path.is_dir():
        raise AudioError(f"{path} is a folder, and a sound file was expected; name a file in it.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path.name} is empty (0 bytes); record or export it again.")
    return path


def _not_audio(path: Path) -> str:
    return (
        f"{path.name} is not a sound file that can be read, or it is damaged; "
        "expected WAV, FLAC, OGG, MP3, Opus or AIFF: export it again."
    )


def _span(name: str, n_samples: int, sample_rate: int, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Returns first and last sample (exclusive) of a part given in seconds."""
    duration_s = n_samples / sample_rate
    start_s, end_s = 0.0 if start_s is None else start_s, duration_s if end_s is None else end_s
    start, stop = (round(min(s, duration_s) * sample_rate) if math.isfinite(s) else -1 for s in (start_s, end_s))
    if start < 0 or stop <= start:
        raise AudioError(
            f"The part {start_s:g} s to {end_s:g} s of {name} is empty: it lasts {duration_s:.2f} s; "
            "choose a start and an end inside it."
        )
    return start, stop


def _integers(waveform: Waveform, samples: np.ndarray, bit_depth: int) -> np.ndarray:
    """Returns samples as int32 with the value in the upper `bit_depth` bits, as libsndfile wants them.

    Its own conversion scales by `2**(bit_depth - 1) - 1` in writing and divides by one more in reading.
    """
    if waveform.peak > 1.0:
        raise AudioError(
            f"The sound's peak is {waveform.peak:.3f}, beyond full scale 1; scale it first, or write float WAV."
        )
    full = 2 ** (bit_depth - 1)
    return np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype(np.int32) << (32 - bit_depth)


def _check_size(path: Path, header: AudioInfo, n_samples: int, max_duration_s: float | None) -> None:
    if header.n_channels > MAX_CHANNELS:
        raise AudioError(
            f"{path.name} has {header.n_channels} channels, at most {MAX_CHANNELS} are read; mix it down first."
        )
    duration_s = n_samples / header.sample_rate
    if max_duration_s is not None and duration_s > max_duration_s:
        raise AudioError(
            f"{path.name} lasts {duration_s:.1f} s, and clips of up to {max_duration_s:g} s are explained; "
            "choose a part with --start and --end (in seconds)."
        )
    if n_samples * header.n_channels * 4 > MAX_DECODED_BYTES:
        raise AudioError(
            f"{path.name} would take {n_samples * header.n_channels * 4 / 2**30:.1f} GiB decoded, "
            "the limit is 2 GiB; read a part with start_s and end_s."
        )
