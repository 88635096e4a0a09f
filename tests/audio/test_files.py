import hashlib
import io
import os
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.audio import files
from earmark.audio.files import clip_sha256, encode, file_sha256, info, load_clip, read, write
from earmark.audio.waveform import Waveform
from earmark.errors import AudioError
from earmark.types import Clip


def noise(n_samples=4001, channels=1, rate=16000, level=0.9):
    generator = np.random.default_rng(n_samples + channels)
    return Waveform(generator.uniform(-level, level, (channels, n_samples)), rate)


def wav_header(n_bytes, rate=8000, channels=1, bits=16):
    block = channels * bits // 8
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * block, block, bits)
    return b"RIFF" + struct.pack("<I", 36 + n_bytes) + b"WAVE" + chunk + b"data" + struct.pack("<I", n_bytes)


@pytest.mark.parametrize("ending", [".wav", ".flac"])
@pytest.mark.parametrize("bit_depth", [16, 24])
@pytest.mark.parametrize("channels, rate", [(1, 8000), (2, 44100), (3, 11025), (1, 12345)])
def test_round_trip_within_half_a_step(tmp_path, ending, bit_depth, channels, rate):
    sound = noise(channels=channels, rate=rate, level=1 - 2.0**-15)
    back = read(write(tmp_path / f"a{ending}", sound, bit_depth=bit_depth))
    assert (back.sample_rate, back.samples.shape) == (rate, sound.samples.shape)
    assert (back.samples.double() - sound.samples.double()).abs().max() <= 2.0 ** (1 - bit_depth) / 2


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_what_was_read_is_written_bit_for_bit(tmp_path, ending):
    sixteen = read(write(tmp_path / "a.wav", noise(level=1.0), bit_depth=16))
    for bit_depth in (16, 24):
        again = read(write(tmp_path / f"b{ending}", sixteen, bit_depth=bit_depth))
        assert torch.equal(again.samples, sixteen.samples)


def test_full_scale_is_written(tmp_path):
    sound = Waveform(np.array([1.0, -1.0, 0.0]), 8000)
    back = read(write(tmp_path / "a.flac", sound, bit_depth=16)).samples[0].tolist()
    assert back == [1 - 2.0**-15, -1.0, 0.0]  # integers end one step below full scale


def test_float_files_have_no_limit_of_level(tmp_path):
    sound = noise(level=40.0)
    assert torch.equal(read(write(tmp_path / "a.wav", sound, bit_depth=32)).samples, sound.samples)


@pytest.mark.parametrize(
    "name, subtype, container",
    [("a.ogg", "VORBIS", "OGG"), ("a.mp3", "MPEG_LAYER_III", "MP3"), ("a.opus", "OPUS", "OGG")],
)
def test_lossy_files_are_read(tmp_path, name, subtype, container):
    rate = 48000
    samples = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / name, samples, rate, subtype, format=container)
    sound = read(tmp_path / name)
    assert abs(sound.n_samples - rate) < 2000  # coders pad to their frames
    spectrum = torch.fft.rfft(sound.samples[0, :rate].double()).abs()
    assert round(float(spectrum.argmax()) * rate / len(sound.samples[0, :rate])) == 1000


def test_encoded_bytes_are_a_file():
    for container, name in (("WAV", "WAV"), ("FLAC", "FLAC"), ("OGG", "OGG")):
        assert soundfile.info(io.BytesIO(encode(noise(300_000), container, 16))).format == name


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_clipping_is_refused(tmp_path, bit_depth):
    with pytest.raises(AudioError, match=r"peak is 1\.001, beyond full scale"):
        write(tmp_path / "a.flac", Waveform(np.array([0.0, -1.001]), 8000), bit_depth=bit_depth)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name, bit_depth", [("a.flac", 32), ("a.wav", 8), ("a.flac", 20)])
def test_depths_that_a_file_cannot_hold_are_refused(tmp_path, name, bit_depth):
    with pytest.raises(AudioError, match=f"not written with {bit_depth} bits"):
        write(tmp_path / name, noise(), bit_depth=bit_depth)


def test_sounds_that_a_file_cannot_hold_are_refused(tmp_path):
    with pytest.raises(AudioError, match="FLAC cannot hold 9 channels"):
        write(tmp_path / "a.flac", noise(channels=9))
    with pytest.raises(AudioError, match=r"written as \.wav or \.flac"):
        write(tmp_path / "a.mp3", noise())
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path):
    path = write(tmp_path / "a.wav", noise())
    with pytest.raises(AudioError):
        write(path, noise(level=2.0))
    assert read(path).n_samples == 4001
    write(path, noise(7))
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert read(path).n_samples == 7


def test_parts_are_cut_in_seconds(tmp_path):
    sound = noise(16000, channels=2)
    path = write(tmp_path / "a.wav", sound, bit_depth=32)
    assert torch.equal(read(path, 0.25, 0.5).samples, sound.samples[:, 4000:8000])
    assert torch.equal(read(path, 0.9).samples, sound.samples[:, 14400:])
    assert torch.equal(read(path, end_s=0.1).samples, sound.samples[:, :1600])
    assert read(path, 0.5, 99.0).n_samples == 8000


@pytest.mark.parametrize(
    "start_s, end_s", [(1.0, None), (0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (None, -1.0), (float("nan"), None), (0.0, 0.0)]
)
def test_parts_outside_the_sound_are_refused(tmp_path, start_s, end_s):
    sound = noise(16000)
    path = write(tmp_path / "a.wav", sound)
    with pytest.raises(AudioError, match=r"of a\.wav is empty: it lasts 1\.00 s"):
        read(path, start_s, end_s)
    for source in (sound, lambda: sound):
        with pytest.raises(AudioError, match=r"of clip 7 is empty: it lasts 1\.00 s"):
            load_clip(Clip("clip 7", source, start_s=start_s, end_s=end_s))


def test_what_the_header_says(tmp_path):
    path = write(tmp_path / "a.flac", noise(22050, channels=2, rate=22050))
    about = info(path)
    assert (about.n_samples, about.sample_rate, about.n_channels, about.format) == (22050, 22050, 2, "FLAC")
    assert about.duration_s == 1.0


def test_long_sounds_are_refused(tmp_path):
    path = write(tmp_path / "a.wav", noise(16000))
    assert read(path, max_duration_s=1.0).n_samples == 16000
    with pytest.raises(AudioError, match=r"lasts 1\.0 s, and clips of up to 0\.5 s"):
        read(path, max_duration_s=0.5)
    assert read(path, 0.2, 0.6, max_duration_s=0.5).n_samples == 6400


def test_huge_sounds_are_refused_before_they_are_decoded(tmp_path):
    path = tmp_path / "huge.wav"
    n_bytes = 3 * 1024**3  # sparse on disk, 6 GiB as float32
    with path.open("wb") as file:
        file.write(wav_header(n_bytes))
        file.truncate(44 + n_bytes)
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(AudioError, match=r"would take 6\.0 GiB decoded, the limit is 2 GiB"):
        read(path)
    with pytest.raises(AudioError, match=r"clips of up to 30 s"):
        read(path, max_duration_s=30.0)
    assert tracemalloc.get_traced_memory()[1] < 10 * 1024**2
    tracemalloc.stop()
    assert time.perf_counter() - began < 5  # decoding takes longer; the header takes milliseconds
    assert read(path, 60.0, 61.0).n_samples == 8000


def test_many_channels_are_refused(tmp_path):
    path = tmp_path / "wide.wav"
    path.write_bytes(wav_header(33 * 2 * 4, channels=33) + bytes(33 * 2 * 4))
    with pytest.raises(AudioError, match="33 channels, at most 32"):
        read(path)


def test_broken_files_are_said_to_be_broken(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is a shopping list\n" * 40)
    (tmp_path / "text.mp3").write_text("this is a shopping list\n" * 40)
    (tmp_path / "raw.raw").write_bytes(bytes(1000))
    (tmp_path / "silent.wav").write_bytes(wav_header(0))
    (tmp_path / "header.wav").write_bytes(wav_header(1000)[:30])
    whole = write(tmp_path / "whole.flac", noise(40000)).read_bytes()
    (tmp_path / "half.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "start.flac").write_bytes(whole[:20])
    (tmp_path / "folder.wav").mkdir()
    sentences = {
        "missing.wav": "does not exist; check the path",
        "empty.wav": r"is empty \(0 bytes\)",
        "text.wav": "not a sound file",
        "text.mp3": "not a sound file",
        "raw.raw": "not a sound file",
        "silent.wav": r"holds no sound \(0 samples\)",
        "header.wav": "not a sound file",
        "half.flac": r"breaks off: only 1\.\d+ s of 2\.5 s can be decoded",
        "start.flac": "not a sound file",
        "folder.wav": "is a folder",
    }
    for name, sentence in sentences.items():
        with pytest.raises(AudioError, match=sentence) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    soundfile.write(tmp_path / "odd.wav", np.array([0.0, value, 0.0]), 8000, "FLOAT")
    with pytest.raises(AudioError, match=r"odd\.wav: The sound holds NaN or infinite samples"):
        read(tmp_path / "odd.wav")


def test_float_files_are_read_at_any_finite_level(tmp_path):
    values = np.array([1e30, -3.4e38, 1e-38], dtype=np.float32)
    soundfile.write(tmp_path / "loud.wav", values, 8000, "FLOAT")
    assert read(tmp_path / "loud.wav").samples[0].tolist() == values.tolist()
    soundfile.write(tmp_path / "double.wav", np.array([1e300]), 8000, "DOUBLE")  # no float32
    with pytest.raises(AudioError, match="NaN or infinite"):
        read(tmp_path / "double.wav")


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_one_sample_is_a_sound(tmp_path, ending):
    path = write(tmp_path / f"one{ending}", Waveform(np.array([0.5]), 8000), bit_depth=16)
    assert read(path).samples.tolist() == [[0.5]]


def test_silence_is_a_sound(tmp_path):
    path = write(tmp_path / "silence.wav", Waveform(np.zeros(800), 8000))
    assert torch.equal(read(path).samples, torch.zeros(1, 800))


def test_clips_are_loaded_from_files_memory_and_functions(tmp_path):
    sound = noise(16000)
    path = write(tmp_path / "a.wav", sound, bit_depth=32)
    for source in (path, sound, lambda: sound):
        assert torch.equal(load_clip(Clip("a", source)).samples, sound.samples)
        part = load_clip(Clip("a", source, start_s=0.25, end_s=0.75))
        assert torch.equal(part.samples, sound.samples[:, 4000:12000])


def test_hashes_of_files(tmp_path):
    path = write(tmp_path / "a.wav", noise())
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == clip_sha256(Clip("a", path)) == clip_sha256(Clip("b", path, labels=("x",))) == expected
    parts = {clip_sha256(Clip("a", path, start_s=s, end_s=e)) for s, e in ((0.1, None), (0.1, 0.2), (None, 0.2))}
    assert len(parts | {expected}) == 4
    assert all(part.startswith(expected) for part in parts)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert clip_sha256(Clip("a", path)) != expected


def test_hashes_of_sounds_in_memory():
    values = np.linspace(-0.5, 0.5, 12, dtype=np.float32)
    sound = Waveform(values, 8000)
    known = hashlib.sha256(b"8000:(1, 12)" + values.tobytes()).hexdigest()
    assert clip_sha256(Clip("a", sound)) == clip_sha256(Clip("b", lambda: Waveform(values, 8000))) == known
    changed = values.copy()
    changed[3] = np.nextafter(changed[3], np.float32(1))
    others = [
        Clip("a", Waveform(values, 8001)),
        Clip("a", Waveform(values.reshape(2, 6), 8000)),
        Clip("a", Waveform(changed, 8000)),
        Clip("a", sound, start_s=0.0, end_s=11 / 8000),
    ]
    assert len({known, *map(clip_sha256, others)}) == 5


def test_endings_of_a_scan_are_lower_case():
    assert all(e == e.lower() and e.startswith(".") for e in files.AUDIO_ENDINGS)
    assert Path("A.WAV").suffix.lower() in files.AUDIO_ENDINGS


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_odd_names_are_scanned_read_and_printed(tmp_path, capsys):
    sound = encode(noise(), "WAV", 16)
    odd = [b"two\nlines.wav", b"not utf-8 \xff\xfe.wav", "right\u202eleft.wav".encode(), b"-x.wav", b"<b>&'.wav"]
    for name in odd:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(sound)
    found = files.sound_files(tmp_path)
    assert sorted(os.fsencode(path.name) for path in found) == sorted(odd)
    assert all(read(path).n_samples == 4001 for path in found)
    for path in found:
        path.write_bytes(b"")
        with pytest.raises(AudioError, match="is empty") as caught:
            read(path)
        print(str(caught.value))  # strict UTF-8
        assert "\n" not in str(caught.value)
    assert "two\\nlines.wav is empty" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_scans_end_and_leave_out_what_is_no_file(tmp_path):
    write(tmp_path / "a.wav", noise())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.wav").symlink_to(tmp_path / "self.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.wav")
    assert files.sound_files(tmp_path) == [tmp_path / "a.wav"]
    assert files.sound_files(tmp_path / "nowhere") == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may open everything")
def test_scans_pass_by_folders_that_cannot_be_opened(tmp_path):
    write(tmp_path / "a.wav", noise())
    for name, mode in (("shut", 0o000), ("listed", 0o444)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "b.wav", noise())
        (tmp_path / name).chmod(mode)
    try:
        assert files.sound_files(tmp_path) == [tmp_path / "a.wav"]
        with pytest.raises(AudioError, match="cannot be opened"):
            read(tmp_path / "shut" / "b.wav")
    finally:
        for name in ("shut", "listed"):
            (tmp_path / name).chmod(0o755)
