import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.files import load_clip
from earmark.data import folder, labels_of, parse_folds, split_by_group, table
from earmark.errors import DataError
from earmark.types import Clip


def put_sound(path, level=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(80, level), 8000)


def put_table(root, text, names=("audio/a.wav", "audio/b.wav", "audio/c.wav"), **how):
    for name in names:
        put_sound(root / name)
    (root / "metadata.csv").write_text(text, **{"encoding": "utf-8", **how})
    return root


def rows(*lines):
    return "\n".join(lines) + "\n"


# Layouts -----------------------------------------------------------------------------------------


def test_table_gives_labels_groups_and_folds(tmp_path):
    text = rows(
        "file_name,label,fold,group",
        "audio/c.wav,wind; rain;wind,2,r1",
        "audio/a.wav,dog,1,r2",
        "audio/b.wav,,,",
    )
    clips = folder(put_table(tmp_path, text))
    assert [clip.id for clip in clips] == ["audio/a.wav", "audio/b.wav", "audio/c.wav"]
    assert [clip.labels for clip in clips] == [("dog",), (), ("rain", "wind")]
    assert [clip.group for clip in clips] == ["r2", "audio/b.wav", "r1"]
    assert [clip.fold for clip in clips] == [1, None, 2]
    assert clips[0].source == tmp_path / "audio/a.wav"
    assert labels_of(clips) == ("dog", "rain", "wind")


def test_sound_is_read_when_it_is_used(tmp_path):
    clips = folder(put_table(tmp_path, rows("file_name,label", "audio/a.wav,dog"), names=["audio/a.wav"]))
    put_sound(tmp_path / "audio/a.wav", level=0.25)
    waveform = load_clip(clips[0])
    assert waveform.sample_rate == 8000 and waveform.peak == pytest.approx(0.25, abs=1e-4)
    (tmp_path / "audio/a.wav").unlink()
    assert clips[0].labels == ("dog",)


def test_columns_can_be_named(tmp_path):
    text = rows("file_name,species,recordist,speaker", "audio/a.wav,wren,ann,x", "audio/b.wav,robin,ann,y")
    root = put_table(tmp_path, text)
    clips = folder(root, label_column="species", group_column="recordist")
    assert [(clip.labels, clip.group) for clip in clips] == [(("wren",), "ann"), (("robin",), "ann")]


def test_no_other_column_is_taken_for_a_group(tmp_path):
    text = rows("file_name,label,source,speaker,author,recordist,freesound_id", "audio/a.wav,x,s,s,s,s,1")
    assert folder(put_table(tmp_path, text))[0].group == "audio/a.wav"


def test_table_without_labels_is_read_on_request(tmp_path):
    root = put_table(tmp_path, rows("file_name,duration_s", "audio/a.wav,1.0"))
    assert folder(root, label_column=None)[0].labels == ()
    with pytest.raises(DataError, match=r"label_column=None reads a table without labels"):
        folder(root)


def test_byte_order_mark_line_ends_quotes_and_spaces_are_read(tmp_path):
    text = 'file_name, label\r\n"audio/a.wav","dog, big"\r\n\r\naudio/b.wav , cat\r\n'
    clips = folder(put_table(tmp_path, text, encoding="utf-8-sig", newline=""))
    assert [clip.labels for clip in clips] == [("dog, big",), ("cat",)]


def test_table_elsewhere(tmp_path):
    put_sound(tmp_path / "sounds/x.wav")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.csv").write_text("file_name,label\nx.wav,dog\n")
    clips = table(tmp_path / "lists/train.csv", tmp_path / "sounds")
    assert clips[0].id == "x.wav" and clips[0].source == tmp_path / "sounds/x.wav"


def test_names_are_brought_to_one_form(tmp_path):
    root = put_table(tmp_path, rows("file_name,label", "./audio/../audio//a.wav,dog"))
    assert folder(root)[0].id == "audio/a.wav"


def test_subfolders_are_labels(tmp_path):
    for name in ("wren/2.flac", "wren/1.wav", "robin/deep/3.WAV", ".hidden/4.wav", "robin/.5.wav", "wren/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clips = folder(tmp_path)
    assert [(clip.id, clip.labels) for clip in clips] == [
        ("robin/deep/3.WAV", ("robin",)),
        ("wren/1.wav", ("wren",)),
        ("wren/2.flac", ("wren",)),
    ]
    assert all(clip.group == clip.id and clip.fold is None for clip in clips)


def test_flat_folder_has_no_labels(tmp_path):
    endings = ["wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "w64", "caf"]
    for ending in [*endings, "txt", "csv"]:
        (tmp_path / f"x.{ending}").touch()
    clips = folder(tmp_path)
    assert [clip.id for clip in clips] == sorted(f"x.{ending}" for ending in endings)
    assert labels_of(clips) == ()


def test_clips_are_a_sequence(tmp_path):
    for name in "edcba":
        (tmp_path / f"{name}.wav").touch()
    clips = folder(str(tmp_path))
    assert len(clips) == 5 and clips[-1].id == "e.wav"
    assert [clip.id for clip in clips[1:3]] == ["b.wav", "c.wav"] and clips[1:3].root == tmp_path
    assert clips.index(clips[3]) == 3 and clips == folder(tmp_path)


# Folds -------------------------------------------------------------------------------------------

FOLDS = rows("file_name,label,fold", "audio/a.wav,x,1", "audio/b.wav,x,2", "audio/c.wav,x,4")


def test_folds_select(tmp_path):
    root = put_table(tmp_path, FOLDS)
    assert [clip.fold for clip in folder(root, folds=(4, 1))] == [1, 4]
    assert [clip.fold for clip in folder(root, folds=parse_folds("2"))] == [2]


def test_files_of_other_folds_may_be_absent(tmp_path):
    root = put_table(tmp_path, FOLDS, names=["audio/a.wav"])
    assert len(folder(root, folds=(1,))) == 1


def test_a_fold_that_does_not_exist_is_refused(tmp_path):
    root = put_table(tmp_path, FOLDS)
    with pytest.raises(DataError, match=r"has the folds 1, 2, 4, asked for 3, 5; choose among"):
        folder(root, folds=(1, 3, 5))
    with pytest.raises(DataError, match=r"has the folds 1, 2, 4, asked for none"):
        folder(root, folds=())


def test_folds_need_a_column(tmp_path):
    root = put_table(tmp_path, rows("file_name,label", "audio/a.wav,x"))
    with pytest.raises(DataError, match=r"no column 'fold'; its columns are file_name, label\."):
        folder(root, folds=(1,))
    put_sound(tmp_path / "flat/a.wav")
    with pytest.raises(DataError, match=r"flat has no metadata.csv, so it has neither folds nor groups"):
        folder(tmp_path / "flat", folds=(1,))


@pytest.mark.parametrize(("text", "folds"), [("1,2,3", (1, 2, 3)), (" 3 , 1,3", (3, 1)), ("7", (7,))])
def test_parse_folds(text, folds):
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "1,,2", "1-3", "one"])
def test_parse_folds_refuses_what_is_no_list(text):
    with pytest.raises(DataError, match=r"Folds are integers separated by commas, such as 1,2,3; got"):
        parse_folds(text)


# Refusals ----------------------------------------------------------------------------------------


def test_missing_folders_and_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist; name a folder of sounds\."):
        folder(tmp_path / "nowhere")
    (tmp_path / "a.wav").touch()
    with pytest.raises(DataError, match=r"a\.wav is a file, and a folder was expected"):
        folder(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"The table .*nothing\.csv does not exist; check the path\."):
        table(tmp_path / "nothing.csv")


def test_folders_without_sounds_are_refused(tmp_path):
    (tmp_path / "a.txt").touch()
    (tmp_path / ".a.wav").touch()
    with pytest.raises(DataError, match=r"holds no sounds \(\.wav, \.flac, .*name another folder"):
        folder(tmp_path)


def test_a_mixture_of_layouts_is_refused(tmp_path):
    put_sound(tmp_path / "a.wav")
    put_sound(tmp_path / "dog/b.wav")
    with pytest.raises(DataError, match=r"both directly and in sub-folders \(dog/b\.wav\)"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (rows("file,label", "audio/a.wav,x"), r"no column 'file_name'; its columns are file, label\."),
        (rows("file_name,class", "audio/a.wav,x"), r"no column 'label'; its columns are file_name, class \("),
        (rows("file_name,label,label", "audio/a.wav,x,y"), r"more than one column 'label'"),
        (rows("file_name;label", "audio/a.wav;x"), r"no column 'file_name'; its columns are file_name;label\."),
        (rows("file_name,label"), r"has no rows; expected a line of column names"),
        ("", r"has no rows"),
        (rows("file_name,label", "audio/a.wav"), r"Line 2 of .* has 1 values for 2 columns; put values"),
        (rows("file_name,label", "audio/a.wav,x", "audio/b.wav,x,y"), r"Line 3 of .* has 3 values for 2"),
        (rows("file_name,label", '"audio/a.wav,x'), r"is not a CSV table in UTF-8 \(unexpected end of data\)"),
        (rows("file_name,label,fold", "audio/a.wav,x,one"), r"fold of audio/a\.wav is 'one', and an integer"),
        (rows("file_name,label", "audio/a.wav,x", "audio/./a.wav,y"), r"names 1 file \(audio/a\.wav\) more than once"),
        (rows("file_name,label", "audio/d.wav,x"), r"names 1 file \(audio/d\.wav\), not found in"),
        (
            rows("file_name,label", *(f"audio/{i}.wav,x" for i in range(5)), "audio/a.wav,x"),
            r"names 5 files \(audio/0\.wav, audio/1\.wav, audio/2\.wav, \.\.\.\), not found in .*; add the files",
        ),
        (rows("file_name,label", "/etc/a.wav,x"), r"is a path inside of .*, got '/etc/a\.wav'; write it"),
        (rows("file_name,label", "../a.wav,x"), r"got '\.\./a\.wav'"),
        (rows("file_name,label", "audio/../../a.wav,x"), r"got 'audio/\.\./\.\./a\.wav'"),
        (rows("file_name,label", "C:\\a.wav,x"), r"is a path inside of"),
        (rows("file_name,label", ",x"), r"is a path inside of .*, got ''"),
        (rows("file_name,label", "..,x"), r"is a path inside of .*, got '\.\.'"),
    ],
)
def test_tables_at_fault_are_refused(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        folder(put_table(tmp_path, text))


def test_clips_of_no_group_are_groups_of_their_own(tmp_path):
    root = put_table(
        tmp_path, rows("file_name,label,speaker", "audio/a.wav,x,none", "audio/b.wav,x,", "audio/c.wav,x,s1")
    )
    assert [clip.group for clip in folder(root, group_column="speaker")] == ["audio/a.wav", "audio/b.wav", "s1"]


def test_a_group_column_that_does_not_exist_is_refused(tmp_path):
    root = put_table(tmp_path, rows("file_name,label", "audio/a.wav,x"))
    with pytest.raises(DataError, match=r"no column 'recordist'; its columns are file_name, label\."):
        folder(root, group_column="recordist")


def test_tables_in_another_encoding_are_refused(tmp_path):
    root = put_table(tmp_path, rows("file_name,label", "audio/a.wav,Grünfink"), encoding="latin-1")
    with pytest.raises(DataError, match=r"is not a CSV table in UTF-8"):
        folder(root)


# Splits ------------------------------------------------------------------------------------------


def clips_of(groups):
    """Clips `g0/0`, `g0/1`, ... from lists of labels, one list for each group."""
    return [
        Clip(f"g{i}/{j}", Path("x.wav"), labels=(label,), group=f"g{i}")
        for i, labels in enumerate(groups)
        for j, label in enumerate(labels)
    ]


def birds(seed=0):
    """About 400 clips of 6 labels by 60 recordists, of whom each records two labels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 14, 60)
    return clips_of([[f"bird{rng.choice([i % 6, (i + 1) % 6])}" for _ in range(n)] for i, n in enumerate(sizes)])


def test_split_keeps_groups_whole_and_loses_nothing():
    clips = birds()
    rest, held_out = split_by_group(clips, 0.2)
    assert not {clip.group for clip in rest} & {clip.group for clip in held_out}
    assert sorted(clip.id for clip in rest + held_out) == sorted(clip.id for clip in clips)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_split_is_stratified_as_well_as_groups_allow(seed, share):
    clips = birds()
    _, held_out = split_by_group(clips, share, seed)
    assert len(held_out) / len(clips) == pytest.approx(share, abs=0.03)
    total, held = (Counter(clip.labels[0] for clip in part) for part in (clips, held_out))
    for label, n in total.items():
        assert held[label] / n == pytest.approx(share, abs=0.08)


def test_split_is_exact_where_each_clip_is_a_group():
    clips = clips_of([[label] for label in "abcd" for _ in range(40)])
    _, held_out = split_by_group(clips, 0.2)
    assert Counter(clip.labels[0] for clip in held_out) == dict.fromkeys("abcd", 8)


def test_split_depends_on_the_seed_and_not_on_the_order():
    clips = birds()
    shuffled = [clips[i] for i in np.random.default_rng(1).permutation(len(clips))]
    assert split_by_group(clips, seed=3) == split_by_group(shuffled, seed=3)
    assert split_by_group(clips, seed=3) != split_by_group(clips, seed=4)


def test_split_of_clips_without_groups_or_labels():
    clips = [Clip(str(i), Path("x.wav")) for i in range(50)]
    rest, held_out = split_by_group(clips, 0.2)
    assert (len(rest), len(held_out)) == (40, 10)


def test_split_holds_out_rare_labels_together_where_none_can_be_alone():
    clips = clips_of([[f"label{i}"] for i in range(10) for _ in range(2)])
    _, held_out = split_by_group(clips, 0.2)
    assert 2 <= len(held_out) <= 4


def test_neither_part_is_empty():
    small, large = clips_of([["a"] * 2, ["a"] * 20]), clips_of([["a"], ["a"], ["a"]])
    for share in (0.01, 0.99):
        for clips in (small, large):
            assert all(split_by_group(clips, share))


def test_splits_that_cannot_be_are_refused():
    with pytest.raises(DataError, match=r"At least two groups are needed to hold one out, got 1"):
        split_by_group(clips_of([["a", "b", "c"]]))
    with pytest.raises(DataError, match=r"lies between 0 and 1, got 1\.5"):
        split_by_group(birds(), share=1.5)


# Published recordings ------------------------------------------------------------------------------


@pytest.fixture
def data():
    if "EARMARK_DATA" not in os.environ:
        pytest.skip("EARMARK_DATA does not name a folder of real recordings")
    return Path(os.environ["EARMARK_DATA"])


def test_esc10(data):
    clips = folder(data / "esc10")
    assert len(clips) == 398 and len(labels_of(clips)) == 10
    assert Counter(clip.fold for clip in clips) == {1: 79, 2: 79, 3: 80, 4: 80, 5: 80}
    assert load_clip(clips[0]).sample_rate == 44100
    assert len(folder(data / "esc10", folds=parse_folds("1,2"))) == 158


def test_birds_by_recordist(data):
    clips = folder(data / "birds10", group_column="author")
    rest, held_out = split_by_group(clips, 0.25)
    assert not {clip.group for clip in rest} & {clip.group for clip in held_out}
    assert len(held_out) / len(clips) == pytest.approx(0.25, abs=0.06)


def test_explanations_among_sounds_are_no_clips(tmp_path):
    for name in (
        "dog/1.wav",
        "out/a/explanation.json",
        "out/a/evidence.flac",
        "out/b/explanations.json",
        "out/b/x/1.wav",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [clip.id for clip in folder(tmp_path)] == ["dog/1.wav"]
