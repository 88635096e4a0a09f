"""What a training hears is never what `id` mixtures of an evaluation consist of."""

import numpy as np
import pytest

from earmark.audio.waveform import Waveform
from earmark.data import mix
from earmark.data.backgrounds import background_recordings
from earmark.errors import DataError
from earmark.types import Clip


@pytest.fixture
def clips():
    return [Clip(f"clip-{i}", Waveform(np.ones(100) / 2, 8000)) for i in range(60)]


def recordings(folder, folds=None):
    """Writes eleven recordings, with a table if there are folds."""
    folder.mkdir()
    names = [f"{i:02}.wav" for i in range(11)]
    for i, name in enumerate(names):
        Waveform(np.full(200, (i + 1) / 20), 8000).save(folder / name)
    if folds:
        rows = [f"{name},{fold}" for name, fold in zip(names, folds, strict=True)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,fold", *rows]))
    return folder


@pytest.mark.parametrize("folds", [None, [1] * 4 + [2] * 4 + [3] * 3], ids=["by recording", "by fold"])
def test_an_evaluation_mixes_exactly_what_was_held_out(tmp_path, clips, folds):
    folder = recordings(tmp_path / "noise", folds)
    heard, held = background_recordings(str(folder))
    mixed = {clip.source.contaminant.id for clip in mix(clips, f"id:0:{folder}")}
    assert mixed == {clip.id for clip in held}  # 60 clips meet each of two or three
    assert not mixed & {clip.id for clip in heard}
    assert len(heard) + len(held) == (11 if folds is None else 7)
    assert len(held) == (2 if folds is None else 3)


def test_named_folds_are_heard_and_no_others(tmp_path, clips):
    folder = recordings(tmp_path / "noise", [1] * 5 + [2] * 5 + [7])
    heard, held = background_recordings(f"{folder}#1,7")
    assert [clip.id for clip in heard] == ["00.wav", "01.wav", "02.wav", "03.wav", "04.wav", "10.wav"]
    assert {clip.source.contaminant.id for clip in mix(clips, f"id:0:{folder}#2")} == {clip.id for clip in held}
    with pytest.raises(DataError, match="no recording of these folds"):
        background_recordings(f"{folder}#4")


def test_one_recording_cannot_be_divided(tmp_path):
    (tmp_path / "noise").mkdir()
    Waveform(np.ones(10), 8000).save(tmp_path / "noise" / "a.wav")
    with pytest.raises(DataError, match="two groups"):
        background_recordings(str(tmp_path / "noise"))
