"""Files that are cut off, damaged, absurd or no sound: each is refused in a sentence, or read as far as it is sound."""

import io
import os
import re
import struct
import time

import numpy as np
import pytest
import soundfile
import torch

from earmark.audio.files import info, read
from earmark.errors import AudioError

RATE = 16000
FORMATS = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
OTHERS = [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "FLOAT"), ("W64", "PCM_16")]


def sound(duration_s=3.0, channels=1):
    n_samples = round(duration_s * RATE)
    tone = 0.4 * np.sin(2 * np.pi * 440 / RATE * np.arange(n_samples))
    return (tone[:, None] + np.random.default_rng(0).normal(0, 0.05, (n_samples, channels))).astype(np.float32)


def encoded(container="WAV", subtype="PCM_16", **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(**options), RATE, subtype, format=container)
    return bytearray(buffer.getvalue())


def written(path, data):
    path.write_bytes(bytes(data))
    return path


def intact_s(error):
    return float(re.search(r"by --end ([\d.]+) \(end_s=\1\)", str(error))[1])


@pytest.mark.parametrize("container, subtype", FORMATS + OTHERS)
def test_whole_files_are_read_as_soundfile_reads_them(tmp_path, container, subtype):
    path = written(tmp_path / "a", encoded(container, subtype, channels=2))
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert torch.equal(read(path).samples, torch.from_numpy(whole.T.copy()))
    part, _ = soundfile.read(path, dtype="float32", always_2d=True, start=8000, stop=24000)
    assert torch.equal(read(path, 0.5, 1.5).samples, torch.from_numpy(part.T.copy()))


@pytest.mark.parametrize("container, subtype", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_breaks_off_is_refused_and_its_intact_part_is_read(tmp_path, container, subtype, share):
    data = encoded(container, subtype)
    whole = written(tmp_path / "whole", data)
    cut = written(tmp_path / "cut", data[: round(share * len(data))])
    with pytest.raises(AudioError, match=r"cut is damaged or breaks off: only [\d.]+ s") as caught:
        read(cut)
    end_s = intact_s(caught.value)
    assert share * 3 - 0.9 < end_s < share * 3 + 0.1  # an OGG page of this file holds up to 0.8 s
    part = read(cut, end_s=end_s).samples
    assert part.shape == (1, round(end_s * RATE))
    common = round((end_s - 0.1) * RATE)  # the last frame of a lossy coder lacks its successor's overlap
    assert torch.equal(part[:, :common], read(whole).samples[:, :common])
    with pytest.raises(AudioError, match="breaks off"):
        read(cut, 0.1)
    with pytest.raises(AudioError, match="breaks off"):
        read(cut, 0.1, 2.9)
    assert info(cut).n_channels == 1


@pytest.mark.parametrize("container, subtype", [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("WAV", "IMA_ADPCM")])
def test_other_files_that_break_off_are_refused(tmp_path, container, subtype):
    data = encoded(container, subtype)
    cut = written(tmp_path / "cut", data[: len(data) // 2])
    with pytest.raises(AudioError, match="breaks off") as caught:
        read(cut)
    assert read(cut, end_s=intact_s(caught.value)).duration_s == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("riff", [0, 8, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_recorders_that_cannot_go_back_leave_the_length_open(tmp_path, riff, length):
    data = encoded()
    expected = read(written(tmp_path / "whole.wav", data)).samples
    struct.pack_into("<I", data, 4, riff)
    struct.pack_into("<I", data, 40, length)
    path = written(tmp_path / "stream.wav", data)
    assert torch.equal(read(path).samples, expected)
    assert torch.equal(read(path, 1.0, 2.0).samples, expected[:, RATE : 2 * RATE])


def test_a_finished_wav_without_sound_holds_none(tmp_path):
    data = encoded()[:44]
    struct.pack_into("<I", data, 40, 0)
    data += b"LIST" + struct.pack("<I", 400) + bytes(400)  # not to be taken for sound
    struct.pack_into("<I", data, 4, len(data) - 8)
    with pytest.raises(AudioError, match=r"holds no sound \(0 samples\)"):
        read(written(tmp_path / "a.wav", data))


def test_a_header_counted_as_sound_is_no_damage(tmp_path):
    data = encoded()
    expected = read(written(tmp_path / "whole.wav", data)).samples
    struct.pack_into("<I", data, 40, len(data))
    assert torch.equal(read(written(tmp_path / "a.wav", data)).samples, expected)


def test_the_length_of_a_flac_stream_is_counted(tmp_path):
    data = encoded("FLAC")
    expected = read(written(tmp_path / "whole.flac", data)).samples
    data[21] &= 0xF0  # 36 bits: the number of samples
    data[22:26] = bytes(4)
    path = written(tmp_path / "stream.flac", data)
    assert info(path).n_samples == 3 * RATE
    assert torch.equal(read(path).samples, expected)
    assert torch.equal(read(path, 1.0, 2.0).samples, expected[:, RATE : 2 * RATE])


def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path):
    buffer = io.BytesIO()
    quiet_then_loud = np.concatenate([np.zeros(10 * RATE), np.random.default_rng(0).normal(0, 0.3, 3 * RATE)])
    with soundfile.SoundFile(buffer, "w", RATE, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE") as file:
        file.write(quiet_then_loud)
    data = buffer.getvalue()
    path = written(tmp_path / "a.mp3", data[data.index(data[:2], data.index(b"Xing")) :])
    assert info(path).duration_s > 14  # a guess from the first frames
    assert 13.0 <= read(path).duration_s < 13.2


def test_damage_in_the_middle_is_found(tmp_path):
    data = encoded("FLAC")
    data[len(data) // 2] ^= 0xFF
    path = written(tmp_path / "a.flac", data)
    with pytest.raises(AudioError, match=r"only 1\.\d+ s of 3 s") as caught:
        read(path)
    assert read(path, end_s=intact_s(caught.value)).duration_s > 1


def header(n_bytes, rate=RATE, channels=1):
    block = 2 * channels & 0xFFFF
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, 16)
    return b"RIFF" + struct.pack("<I", 36 + n_bytes) + b"WAVE" + chunk + b"data" + struct.pack("<I", n_bytes)


@pytest.mark.parametrize("rate", [1, 49, 10_000_001, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path, rate):
    path = written(tmp_path / "a.wav", header(400, rate) + bytes(400))
    for function in (info, read):
        with pytest.raises(AudioError, match=rf"a\.wav says that its sample rate is {rate} Hz, and 50 to 10000000 Hz"):
            function(path)


@pytest.mark.parametrize("rate", [0, 2**31, 2**32 - 1])
def test_rates_that_are_no_number_are_refused(tmp_path, rate):
    with pytest.raises(AudioError, match="not a sound file"):
        read(written(tmp_path / "a.wav", header(400, rate) + bytes(400)))


@pytest.mark.parametrize(
    "channels, sentence", [(0, "not a sound file"), (33, "33 channels, at most 32"), (64, "64 channels, at most 32")]
)
def test_odd_numbers_of_channels_are_refused(tmp_path, channels, sentence):
    data = header(64 * 64 * 2, channels=channels) + bytes(64 * 64 * 2)
    with pytest.raises(AudioError, match=sentence):
        read(written(tmp_path / "a.wav", data))


def test_more_samples_than_the_file_has_are_refused_quickly(tmp_path):
    data = encoded("FLAC")
    began = time.perf_counter()
    for n_samples in (3 * RATE + 1, 2**28, 2**36 - 1):
        data[21] = data[21] & 0xF0 | n_samples >> 32
        data[22:26] = (n_samples & 0xFFFFFFFF).to_bytes(4, "big")
        with pytest.raises(AudioError, match=r"breaks off|would take"):
            read(written(tmp_path / "a.flac", data))
    assert time.perf_counter() - began < 5  # it takes milliseconds; decoding 2**36 samples takes an hour


def test_ten_hours_are_refused_and_a_part_of_them_is_read(tmp_path):
    path = tmp_path / "night.wav"
    n_bytes = 10 * 3600 * RATE * 2
    with path.open("wb") as file:
        file.write(header(n_bytes))
        file.truncate(44 + n_bytes)  # sparse: no room on disk
        file.seek(44 + 9 * 3600 * RATE * 2)
        file.write(struct.pack("<h", 16384))
    began = time.perf_counter()
    assert info(path).duration_s == 36000
    with pytest.raises(AudioError, match=r"lasts 36000\.0 s, and clips of up to 600 s"):
        read(path, max_duration_s=600)
    with pytest.raises(AudioError, match=r"would take 2\.1 GiB decoded"):
        read(path)
    part = read(path, 9 * 3600, 9 * 3600 + 1).samples
    assert (part[0, 0], part.shape) == (0.5, (1, RATE))
    assert time.perf_counter() - began < 5  # it takes milliseconds


def no_sounds():
    draw = np.random.default_rng(0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 13, b"IHDR") + draw.bytes(600)
    return {
        "text.wav": b"a shopping list\n" * 100,
        "page.mp3": b"<!DOCTYPE html><html><body>" + b"<p>Not found</p>" * 60,
        "image.flac": png,
        "random.ogg": draw.bytes(5000),
        "zeros.mp3": bytes(5000),
        "magic.wav": b"RIFF",
        "magic.flac": b"fLaC",
        "magic.ogg": b"OggS",
        "byte.wav": b"R",
        "archive.wav": b"PK\x03\x04" + draw.bytes(500),
    }


@pytest.mark.parametrize("name", no_sounds())
def test_what_is_no_sound_is_refused(tmp_path, name):
    path = written(tmp_path / name, no_sounds()[name])
    for function in (info, read):
        with pytest.raises(AudioError, match=rf"^{re.escape(name)} is not a sound file"):
            function(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_pipes_and_devices_are_refused_and_block_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", "/dev/zero", "/dev/stdin"):
        if not os.path.isfile(path):  # standard input may be one
            with pytest.raises(AudioError, match="is a pipe or device"):
                read(path)


@pytest.mark.parametrize("name", ["a" * 5000, "nul\0byte.wav", "x/" * 3000])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    with pytest.raises(AudioError, match="cannot be opened") as caught:
        read(tmp_path / name)
    assert len(str(caught.value)) < 700
