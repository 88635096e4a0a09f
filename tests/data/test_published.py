import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from earmark.audio.files import load_clip
from earmark.classifiers.card import command_line
from earmark.cli.datasets import DataOptions, clips_of, data_name, training_clips
from earmark.cli.fit import own_folds
from earmark.data import PUBLISHED, folder, labels_of, read_published
from earmark.data.published.ljspeech_wavefake import ljspeech_wavefake
from earmark.errors import DataError

RATE = 8000


def put(root, *names, seconds=0.1):
    """Writes sounds of different levels."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.full(round(seconds * RATE), 0.1 * (i + 1)), RATE)


def put_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def facts(clips):
    return [(clip.id, clip.labels, clip.group, clip.fold) for clip in clips]


# ESC-50 and UrbanSound8K -----------------------------------------------------------------------------


@pytest.fixture
def esc50(tmp_path):
    rows = [
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "5-9032-A-0.wav,5,0,dog,True,9032,A",
        "5-9032-B-40.wav,5,40,helicopter,False,9032,B",
    ]
    put_lines(tmp_path / "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take", *rows)
    put(tmp_path, *(f"audio/{row.partition(',')[0]}" for row in rows))
    return tmp_path


def test_esc50(esc50):
    clips = read_published(f"esc50:{esc50}")
    assert facts(clips) == [
        ("audio/1-100032-A-0.wav", ("dog",), "100032", 1),
        ("audio/5-9032-A-0.wav", ("dog",), "9032", 5),
        ("audio/5-9032-B-40.wav", ("helicopter",), "9032", 5),
    ]
    assert load_clip(clips[1]).peak == pytest.approx(0.2, abs=1e-4)


def test_esc10_is_a_part_of_esc50(esc50):
    assert [clip.id for clip in read_published(f"esc10:{esc50}")] == ["audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav"]


def test_a_missing_sound_or_column_is_named(esc50):
    (esc50 / "audio/5-9032-A-0.wav").unlink()
    with pytest.raises(DataError, match=r"names 1 file \(audio/5-9032-A-0.wav\), not found"):
        read_published(f"esc50:{esc50}")
    put_lines(esc50 / "meta/esc50.csv", "filename,fold,target,category", "a.wav,1,0,dog")
    with pytest.raises(DataError, match=r"esc50.csv has no column 'src_file'"):
        read_published(f"esc50:{esc50}")


def test_urbansound8k_keeps_its_folds(tmp_path):
    rows = [
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing",
    ]
    put_lines(
        tmp_path / "metadata/UrbanSound8K.csv", "slice_file_name,fsID,start,end,salience,fold,classID,class", *rows
    )
    put(tmp_path, "audio/fold5/100032-3-0-0.wav", "audio/fold10/100263-2-0-117.wav")
    clips = read_published(f"urbansound8k:{tmp_path}")
    assert facts(clips) == [
        ("audio/fold10/100263-2-0-117.wav", ("children_playing",), "100263", 10),
        ("audio/fold5/100032-3-0-0.wav", ("dog_bark",), "100032", 5),
    ]
    assert load_clip(clips[0]).n_samples == 800  # start and end are those in the recording: slices are cut already
    (tmp_path / "audio/fold5/100032-3-0-0.wav").rename(tmp_path / "audio/fold10/100032-3-0-0.wav")
    with pytest.raises(DataError, match="audio/fold5/100032-3-0-0"):
        read_published(f"urbansound8k:{tmp_path}")


# Noise and speech ------------------------------------------------------------------------------------


def test_wham(tmp_path):
    head = "utterance_id,Noise Band,File ID,L to R Width (cm),Reverberation Level,Location ID,Location Day ID"
    put_lines(
        tmp_path / "metadata/noise_meta_tr.csv",
        head,
        "01aa_1.2_02bb_-1.2.wav,0,12,17 cm,h,3,7",
        "01ab_0.1_02bc_-0.1.wav,3,12,17 cm,h,3,7",
    )
    put_lines(tmp_path / "metadata/noise_meta_tt.csv", head, "050a_1.9_22g_-1.9.wav,1,40,18 cm,l,5,9")
    put(
        tmp_path,
        "tr/01aa_1.2_02bb_-1.2.wav",
        "tr/01ab_0.1_02bc_-0.1.wav",
        "tt/050a_1.9_22g_-1.9.wav",
        "tr/01aa_1.2_02bb_-1.2sp08.wav",
    )
    assert facts(read_published(f"wham:{tmp_path}")) == [
        ("tr/01aa_1.2_02bb_-1.2.wav", (), "12", 1),
        ("tr/01ab_0.1_02bc_-0.1.wav", (), "12", 1),
        ("tt/050a_1.9_22g_-1.9.wav", (), "40", 3),
    ]


def test_speech_commands(tmp_path):
    names = [
        "bed/026290a7_nohash_0.wav",
        "bed/026290a7_nohash_1.wav",
        "yes/0a7c2a8d_nohash_0.wav",
        "no/ffd2ba2f_nohash_4.wav",
    ]
    put(tmp_path, *names, "_background_noise_/white_noise.wav")
    put_lines(tmp_path / "validation_list.txt", names[2])
    put_lines(tmp_path / "testing_list.txt", names[3])
    assert facts(read_published(f"speech-commands:{tmp_path}")) == [
        (names[0], ("bed",), "026290a7", 1),
        (names[1], ("bed",), "026290a7", 1),
        (names[3], ("no",), "ffd2ba2f", 3),
        (names[2], ("yes",), "0a7c2a8d", 2),
    ]
    assert [clip.id for clip in folder(tmp_path / "_background_noise_")] == ["white_noise.wav"]
    put_lines(tmp_path / "testing_list.txt", "cat/0_nohash_0.wav")
    with pytest.raises(DataError, match=r"lacks 1 words of its lists, such as cat/0_nohash_0\.wav"):
        read_published(f"speech-commands:{tmp_path}")


def test_tess(tmp_path):
    names = [
        "OAF_Pleasant_surprise/OAF_back_ps.wav",
        "oaf_neutral/OA_bite_neutral.wav",
        "YAF_pleasant_surprised/YAF_back_ps.wav",
        "YAF_fear/YAF_back_fear.wav",
    ]
    inside = tmp_path / "TESS Toronto emotional speech set data"
    put(tmp_path, *names)
    put(inside, *names)
    assert facts(read_published(f"tess:{tmp_path}")) == [
        (names[0], ("pleasant_surprise",), "OAF", None),
        (names[3], ("fear",), "YAF", None),
        (names[2], ("pleasant_surprise",), "YAF", None),
        (names[1], ("neutral",), "OAF", None),
    ]


@pytest.fixture
def wavefake(tmp_path):
    put_lines(tmp_path / "LJSpeech-1.1/metadata.csv", *(f'LJ001-000{i}|He said "x|He said "x' for i in (3, 1, 2)))
    put(tmp_path / "LJSpeech-1.1/wavs", *(f"LJ001-000{i}.wav" for i in (1, 2, 3)))
    fakes = tmp_path / "generated_audio"
    put(
        fakes,
        "ljspeech_melgan/LJ001-0001_gen.wav",
        "ljspeech_waveglow/LJ001-0003.wav",
        "jsut_parallel_wavegan/BASIC5000_0001_gen.wav",
    )
    return tmp_path


def test_ljspeech_with_wavefake(wavefake):
    assert facts(ljspeech_wavefake(wavefake, n_held=1)) == [
        ("LJSpeech-1.1/wavs/LJ001-0001.wav", ("bona fide",), "LJ001-0001", 3),
        ("LJSpeech-1.1/wavs/LJ001-0002.wav", ("bona fide",), "LJ001-0002", 2),
        ("LJSpeech-1.1/wavs/LJ001-0003.wav", ("bona fide",), "LJ001-0003", 1),
        ("generated_audio/ljspeech_melgan/LJ001-0001_gen.wav", ("fake",), "LJ001-0001", 3),
        ("generated_audio/ljspeech_waveglow/LJ001-0003.wav", ("fake",), "LJ001-0003", 1),
    ]
    assert {clip.fold for clip in read_published(f"ljspeech-wavefake:{wavefake}")} == {3}  # of the first 1,000


def test_a_fake_without_its_sentence_is_refused(wavefake):
    put(wavefake, "generated_audio/ljspeech_melgan/LJ009-0001_gen.wav")
    with pytest.raises(DataError, match=r"LJ009-0001_gen.wav is no copy of a sentence"):
        ljspeech_wavefake(wavefake)
    (wavefake / "LJSpeech-1.1/wavs/LJ001-0002.wav").unlink()
    with pytest.raises(DataError, match=r"1 sentences without sound, such as .*LJ001-0002\.wav"):
        ljspeech_wavefake(wavefake)


# BirdSet ---------------------------------------------------------------------------------------------

SEGMENT = "HSN_001_20150708_061805_000_005.ogg"
LATER = "HSN_001_20150708_061805_005_010.ogg"


def put_table(path, rows, index=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def bird(name, start=None, end=None, **columns):
    row = {"filepath": name, "start_time": start, "end_time": end, "low_freq": None, "high_freq": None}
    return row | {"ebird_code": None, "ebird_code_multilabel": None, "recordist": None, "lat": 1.0} | columns


def test_birdset_as_released(tmp_path):
    train = [
        bird("XC1.ogg", ebird_code="amerob", ebird_code_multilabel=["amerob"], recordist="Ann"),
        bird("XC2.ogg", float("nan"), float("nan"), ebird_code="herthr", recordist="Bob"),
    ]
    put_table(tmp_path / "HSN_metadata_train.parquet", train)
    test = [
        bird(f"HSN/test/{SEGMENT}", 0.0, 5.0, ebird_code_multilabel=["herthr", "amerob"]),
        bird(LATER, 5.0, 10.0, ebird_code_multilabel=[]),
    ]
    put_table(tmp_path / "HSN_metadata_test_5s.parquet", test)
    put(tmp_path / "HSN_train_shard_0001", "XC1.ogg", "XC2.ogg")
    put(tmp_path / "HSN_test5s_shard_0001", SEGMENT, LATER)
    clips = read_published(f"birdset:{tmp_path}")
    recording = "HSN_001_20150708_061805"
    assert facts(clips) == [
        (f"HSN_test5s_shard_0001/{SEGMENT}", ("amerob", "herthr"), recording, 3),
        (f"HSN_test5s_shard_0001/{LATER}", (), recording, 3),
        ("HSN_train_shard_0001/XC1.ogg", ("amerob",), "Ann", 1),
        ("HSN_train_shard_0001/XC2.ogg", ("herthr",), "Bob", 1),
    ]
    assert load_clip(clips[1]).n_samples == 800  # the file is the segment
    (tmp_path / "HSN_train_shard_0001/XC1.ogg").unlink()
    with pytest.raises(DataError, match=r"names 1 sounds not below .*, such as XC1\.ogg"):
        read_published(f"birdset:{tmp_path}")
    (tmp_path / "HSN_train_shard_0001/XC2.ogg").unlink()
    assert {clip.fold for clip in read_published(f"birdset:{tmp_path}")} == {3}  # the archives of train are not here


def test_boxes_of_birdset_are_ground_truth(tmp_path):
    boxes = [
        bird("scape.ogg", 0.1, 0.2, ebird_code="amerob", low_freq=1000, high_freq=3000),
        bird("scape.ogg", 0.15, 0.4, ebird_code="herthr", low_freq=500, high_freq=900),
    ]
    put_table(tmp_path / "HSN_metadata_test.parquet", boxes)
    put(tmp_path / "sounds", "scape.ogg", seconds=0.5)
    clips = read_published(f"birdset-events:{tmp_path}")
    assert facts(clips) == [
        ("sounds/scape.ogg#1", ("amerob",), "scape", 3),
        ("sounds/scape.ogg#2", ("herthr",), "scape", 3),
    ]
    event = clips[1].events[0]
    assert (event.start_s, event.end_s, event.low_hz, event.high_hz, event.label) == (0, 0.25, 500, 900, "herthr")
    assert load_clip(clips[1]).n_samples == 2000
    with pytest.raises(DataError, match="is not a folder of BirdSet"):
        read_published(f"birdset:{tmp_path}")


@pytest.mark.parametrize("several", [{"feature": {"names": ["amerob", "herthr"]}}, [{"names": ["amerob", "herthr"]}]])
def test_birdset_as_saved_by_datasets(tmp_path, several):
    rows = []
    for i in range(20):
        sound = io.BytesIO()
        soundfile.write(sound, np.full(800, i / 40), RATE, format="FLAC")
        row = bird(f"HSN_00{i}_a_000_005.flac", 0.0, 5.0, ebird_code_multilabel=[0, 1] if i else [])
        rows.append(row | {"audio": {"bytes": sound.getvalue(), "path": None}})
    features = {"ebird_code": {"names": ["amerob", "herthr"]}, "ebird_code_multilabel": several}
    table = pa.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data/test_5s-00000-of-00001.parquet", row_group_size=7)
    clips = {clip.id: clip for clip in read_published(f"birdset:{tmp_path}")}
    assert len(clips) == 20
    last = clips["data/test_5s-00000-of-00001.parquet#19"]
    assert (last.labels, last.group, last.fold) == (("amerob", "herthr"), "HSN_0019_a", 3)
    assert clips["data/test_5s-00000-of-00001.parquet#0"].labels == ()
    for i in (0, 15, 16, 19):
        waveform = load_clip(clips[f"data/test_5s-00000-of-00001.parquet#{i}"])
        assert waveform.n_samples == 800 and waveform.peak == pytest.approx(i / 40, abs=1e-4)


def test_a_broken_table_is_refused(tmp_path):
    (tmp_path / "HSN_metadata_test_5s.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="is not a parquet file that can be read"):
        read_published(f"birdset:{tmp_path}")


# All readers -----------------------------------------------------------------------------------------

EXPECTED = {
    "esc50": "meta/esc50.csv",
    "esc10": "meta/esc50.csv",
    "urbansound8k": "metadata/UrbanSound8K.csv",
    "wham": "metadata/noise_meta_tr.csv",
    "ljspeech-wavefake": "LJSpeech-1.1/metadata.csv",
    "birdset": "_metadata_train.parquet",
    "birdset-events": "_metadata_test.parquet",
    "speech-commands": "validation_list.txt",
    "tess": "OAF_angry",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_wrong_folder_is_refused_with_what_was_expected(name, tmp_path):
    put(tmp_path, "audio/a.wav")
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError) as refused:
            read_published(f"{name}:{place}")
        assert EXPECTED[name] in str(refused.value) and "expected" in str(refused.value)


def test_unknown_layouts_are_refused_with_those_that_exist(tmp_path):
    with pytest.raises(DataError, match=r"'esc51' is no published layout; those that can be read are esc50, esc10"):
        clips_of(DataOptions(f"esc51:{tmp_path}"))
    with pytest.raises(DataError, match="named as NAME:PATH"):
        read_published(str(tmp_path))
    (tmp_path / "a:b").mkdir()
    put(tmp_path / "a:b", "x.wav")
    assert len(clips_of(DataOptions(str(tmp_path / "a:b")))) == 1


# The command line ------------------------------------------------------------------------------------


def test_data_names_a_published_set(esc50):
    options = DataOptions(f"esc50:{esc50}")
    assert len(clips_of(options)) == 3 and len(clips_of(options, "5")) == 2
    assert data_name(options.data) == "esc50"
    with pytest.raises(DataError, match="folds 1, 5, asked for 2"):
        clips_of(options, "2")
    with pytest.raises(DataError, match="leave out --label-column"):
        clips_of(DataOptions(options.data, label_column="category"))
    assert own_folds({"data": "esc50", "folds": "1"}, options.data, None) == "1"  # a classifier of the same set
    command = command_line({"data": options.data, "folds": "1"}, "esc50")
    assert command == "earmark train classifier --data esc50:DATA --out MODEL --folds 1"
    split = training_clips(options, "1", "5")
    assert [len(part) for part in (split.training, split.selection, split.test)] == [1, 2, 0]


# Published recordings --------------------------------------------------------------------------------


@pytest.fixture
def data():
    if "EARMARK_DATA" not in os.environ:
        pytest.skip("EARMARK_DATA does not name a folder of real recordings")
    return Path(os.environ["EARMARK_DATA"])


def test_local_sets_are_plain_folders(data):
    words = folder(data / "speech_commands_test", group_column="speaker")
    assert len(words) == 2590 and len(labels_of(words)) == 12
    birds = folder(data / "birds10", group_column="author")
    assert Counter(label for clip in birds for label in clip.labels).most_common(1)[0][1] == 10
    scapes = folder(data / "soundscapes", label_column=None)
    assert len(scapes) == 33 and not labels_of(scapes)
    for clips in (words, birds, scapes):
        assert load_clip(clips[0]).n_samples > 0


def test_real_words_in_their_published_layout(data, tmp_path):
    source = folder(data / "speech_commands_test", group_column="speaker")
    words = [clip for clip in source if "_nohash_" in clip.id and clip.labels != ("unknown",)][:4]
    names = []
    for clip in words:
        word, _, rest = Path(clip.id).stem.partition("-")
        names.append(f"{word}/{rest}.flac")
        (tmp_path / names[-1]).parent.mkdir(exist_ok=True)
        (tmp_path / names[-1]).symlink_to(clip.source.resolve())
    put_lines(tmp_path / "testing_list.txt", *names)
    put_lines(tmp_path / "validation_list.txt")
    found = {clip.id: clip for clip in read_published(f"speech-commands:{tmp_path}")}
    assert [(found[name].labels, found[name].group) for name in names] == [(clip.labels, clip.group) for clip in words]
    assert load_clip(found[names[0]]).sample_rate == 16000
