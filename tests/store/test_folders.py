import pytest

from earmark.errors import InputError
from earmark.store.folders import replacing

OURS = ("marker.json", "data.txt")


def fill(folder, text):
    with replacing(folder, ("marker.json",), OURS) as part:
        (part / "data.txt").write_text(text)
        (part / "marker.json").write_text("{}")


def test_a_folder_appears_whole(tmp_path):
    fill(tmp_path / "deep" / "out", "one")
    assert (tmp_path / "deep" / "out" / "data.txt").read_text() == "one"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", "one")
    assert (tmp_path / "out" / "data.txt").read_text() == "one"


def test_our_folder_is_replaced_and_a_persons_notes_are_kept(tmp_path):
    fill(tmp_path / "out", "one")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "rain").mkdir()
    (tmp_path / "out" / "rain" / "index.html").write_text("page")
    fill(tmp_path / "out", "two")
    assert (tmp_path / "out" / "data.txt").read_text() == "two"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "rain" / "index.html").read_text() == "page"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_after_an_error_all_is_as_it_was(tmp_path):
    fill(tmp_path / "out", "one")
    with pytest.raises(RuntimeError), replacing(tmp_path / "out", ("marker.json",), OURS) as part:
        (part / "data.txt").write_text("half")
        raise RuntimeError
    assert (tmp_path / "out" / "data.txt").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_a_crash_left_is_swept_away(tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "stale.txt").write_text("old")
    fill(tmp_path / "out", "one")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["data.txt", "marker.json"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    fill(tmp_path / "out", "one")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    fill(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out" / "data.txt").read_text() == "two"


def test_foreign_folders_and_files_are_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_text("x")
    for name in ("photos", "file"):
        with pytest.raises(InputError, match="choose"):
            fill(tmp_path / name, "one")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "photos"]


def test_a_kill_before_the_new_folder_is_in_place_loses_nothing(tmp_path):
    fill(tmp_path / "out", "one")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    fill(tmp_path / "out", "two")
    assert (tmp_path / "out" / "data.txt").read_text() == "two"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_kill_before_a_persons_files_are_carried_over_loses_nothing(tmp_path):
    fill(tmp_path / "out", "one")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "marker.json").write_text("{}")
    (tmp_path / "out" / "notes.txt").write_text("newer")
    fill(tmp_path / "out", "three")
    assert (tmp_path / "out" / "data.txt").read_text() == "three"
    assert (tmp_path / "out" / "notes.txt").read_text() == "newer"
    assert (tmp_path / "out" / "notes.txt-2").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
