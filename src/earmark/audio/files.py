"""Reads WAV, FLAC, OGG, MP3, Opus and AIFF; writes WAV and FLAC. Limits are checked on the header.

Files are read in a child process with limits of memory and time (`isolation.py`, `pool.py`): whatever a file holds,
reading it gives finite samples or an `AudioError`. Writing happens in this process, since what is written is ours.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from ..errors import AudioError
from ..types import Clip
from .isolation import Decoder, DecoderError, Header, UndecodableError
from .ogg import with_serial
from .pool import decoders
from .refusals import damaged, existing, failed, name_of, not_audio
from .waveform import Waveform

T = TypeVar("T")

#: Endings that a folder scan takes for sound.
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf")

MAX_CHANNELS = 32
MAX_DECODED_BYTES = 2 * 1024**3  # 2 GiB of float32: about 3 h of mono sound at 48 kHz
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 50, 10_000_000  # Hz: from infrasound to ultrasound, with room

#: Files by which a folder is known for one that explanations were written to.
EXPLAINED = ("explanation.json", "explanations.json")


def sound_files(root: str | Path) -> list[Path]:
    """Returns the sound files in a folder and its sub-folders, by their endings, sorted.

    Hidden files and folders are left out, and so are folders that hold an explanation: their sounds are derived ones.
    Left out as well are links to folders (they may run in circles), folders that cannot be opened, and whatever is not
    a regular file.
    """
    found = []
    for place, folders, names in os.walk(root):
        if any(name in names for name in EXPLAINED):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in AUDIO_ENDINGS and os.path.isfile(path))  # noqa: PTH113 (Path.is_file raises where entering is forbidden)


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

    Of a damaged file this is what can be read, as far as that is known without decoding. A FLAC stream of unknown
    length is decoded once to count its samples.

    Raises
    ------
    AudioError
        If the file is missing, empty, a folder, or not a sound file.
    """
    path = existing(path)
    return _about(path, _decoded(path, lambda decoder: decoder.open(path)))


def read(
    path: str | Path,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    max_duration_s: float | None = None,
) -> Waveform:
    """Reads a sound file, or the part from `start_s` to `end_s`, at its own rate and with all channels.

    A file that breaks off or is damaged is refused, with a sentence that says how much of it can be read, and the
    part before the damage is read when `end_s` asks for no more than that. A WAV file whose recorder left its length
    open (0, or the largest number) is read to its end. A cut that leaves no trace in the file goes unnoticed: that of
    an MP3 without a Xing or Info frame. Samples of float files are returned at any finite level.

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
        If the file cannot be read, is damaged or too long, or holds samples that are not finite; or if decoding it
        crashes, or takes more time or memory than its size accounts for.
    """
    path = existing(path)
    samples, rate = _decoded(path, lambda decoder: _part(decoder, path, (start_s, end_s), max_duration_s))
    if len(samples) == 0:
        raise AudioError(f"{name_of(path)} holds no sound in {start_s} s to {end_s} s; choose another part.")
    try:
        return Waveform(samples.T, rate)
    except AudioError as error:
        raise AudioError(f"{name_of(path)}: {error}") from error


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
    return with_serial(buffer.getvalue()) if container == "OGG" else buffer.getvalue()


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


def _part(
    decoder: Decoder, path: Path, span_s: tuple[float | None, float | None], max_duration_s: float | None
) -> tuple[np.ndarray, int]:
    """Returns the samples `[sample, channel]` of a part, and the rate; every limit is checked before decoding."""
    header = decoder.open(path, keep=True)
    about = _about(path, header)
    _check_intact(path, header, span_s[1])
    start, stop = _span(name_of(path), about.n_samples, about.sample_rate, *span_s)
    _check_size(path, about, stop - start, max_duration_s)
    try:
        return decoder.read(start, stop - start, about.n_channels), about.sample_rate
    except UndecodableError as error:
        intact = start + error.intact if error.intact else 0
        raise AudioError(damaged(path, intact, header)) from error


def _decoded(path: Path, job: Callable[[Decoder], T]) -> T:
    """Returns what a job makes of a file in a child process, whose failures become sentences."""
    try:
        return decoders().run(job)
    except UndecodableError as error:
        raise AudioError(not_audio(path)) from error
    except OSError as error:
        raise AudioError(f"{name_of(path)} cannot be read ({error.strerror}); check the path.") from error
    except DecoderError as failure:
        raise AudioError(failed(path, failure, decoders().limits)) from failure


def _about(path: Path, header: Header) -> AudioInfo:
    """Returns what a header says if that can be true of a sound."""
    if header.n_samples < 1 or header.n_channels < 1:
        raise AudioError(f"{name_of(path)} holds no sound (0 samples); record or export it again.")
    if not MIN_SAMPLE_RATE <= header.sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name_of(path)} says that its sample rate is {header.sample_rate} Hz, and {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz are read; correct its header, or export it again."
        )
    return AudioInfo(header.n_samples, header.sample_rate, header.n_channels, header.format)


def _check_intact(path: Path, header: Header, end_s: float | None) -> None:
    """Refuses a part that reaches to an end that the file has lost."""
    wanted = math.inf if end_s is None else end_s * header.sample_rate
    if header.promised != header.n_samples and not wanted <= header.n_samples:
        raise AudioError(damaged(path, header.n_samples, header))


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
            f"{name_of(path)} has {header.n_channels} channels, at most {MAX_CHANNELS} are read; mix it down first."
        )
    duration_s = n_samples / header.sample_rate
    if max_duration_s is not None and duration_s > max_duration_s:
        raise AudioError(
            f"{name_of(path)} lasts {duration_s:.1f} s, and clips of up to {max_duration_s:g} s are explained; "
            "choose a part with --start and --end (in seconds)."
        )
    if n_samples * header.n_channels * 4 > MAX_DECODED_BYTES:
        raise AudioError(
            f"{name_of(path)} would take {n_samples * header.n_channels * 4 / 2**30:.1f} GiB decoded, "
            "the limit is 2 GiB; read a part with start_s and end_s."
        )
