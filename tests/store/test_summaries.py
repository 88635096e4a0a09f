import json
from dataclasses import replace

import pytest
import torch
from tests.store import examples

from earmark.errors import DataError, InputError
from earmark.masking import region_mask
from earmark.render.summary import Summary
from earmark.store.explanations import save_explanation, save_explanations
from earmark.store.summaries import find_folders, overlap_of, read_truth, refuse_empty, summaries, with_agreement


def save(folder, kind="prototypes", waveform=None, **changes):
    explanation = examples.explanation(kind, waveform, find_sound=None) if kind == "prototypes" else None
    explanation = explanation or examples.explanation(kind, waveform)
    return save_explanation(replace(explanation, **changes), folder, page=False)


def rows_of(root, truth=None):
    return [row for row in summaries(root, truth) if isinstance(row, Summary)]


def test_a_summary_is_what_the_explanation_says(tmp_path):
    save(tmp_path / "yard")
    (row,) = rows_of(tmp_path)
    explanation = examples.explanation("prototypes")
    assert (row.folder, row.name, row.target, row.method) == ("yard", "yard.wav", "dog", "apex")
    assert row.prob == pytest.approx(float(explanation.prediction.probs[0]))
    assert row.regions == tuple(explanation.regions())
    assert row.covered == pytest.approx(explanation.evidence.covered)
    assert row.whole == replace(row.whole, start_s=0.0, end_s=1.0, low_hz=0.0, high_hz=8000.0)
    assert (row.view, row.basis, row.has_page, row.agrees, row.agreement) == (
        "time-frequency",
        "apex",
        False,
        None,
        None,
    )
    json.dumps(row.to_dict(), allow_nan=False)


def test_folders_are_found_at_any_depth_but_not_inside_one_another(tmp_path):
    many = replace(examples.explanation("mask", task="multilabel"), name="scene")
    both = [many, examples.explanation("mask", target=1, task="multilabel")]
    save_explanations(both, tmp_path / "deep" / "scene", page=False)
    save(tmp_path / "yard")
    (tmp_path / "yard" / "prototypes" / "explanation.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "explanation.json").write_text("{}")
    found = [path.relative_to(tmp_path).as_posix() for path in find_folders(tmp_path)]
    assert found == ["deep/scene", "deep/scene/dog", "deep/scene/rain", "yard"]
    assert [row.folder for row in rows_of(tmp_path)] == ["deep/scene/dog", "deep/scene/rain", "yard"]
    assert [row.folder for row in rows_of(tmp_path / "yard")] == ["."]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 99}', "\x00"])
def test_a_broken_folder_is_named_and_not_fatal(tmp_path, text):
    save(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "explanation.json").write_text(text)
    found = list(summaries(tmp_path))
    assert [row.folder for row in found if isinstance(row, Summary)] == ["good"]
    assert [one[0] for one in found if not isinstance(one, Summary)] == ["bad"]


def test_a_listed_folder_that_is_missing_is_named(tmp_path):
    (tmp_path / "explanations.json").write_text('{"schema": 1, "folders": ["dog"]}')
    assert list(summaries(tmp_path)) == [("./dog", "it is listed, and missing")]
    with pytest.raises(InputError, match="no explanation"):
        refuse_empty(tmp_path, [], [])


def test_a_target_beyond_the_top_labels_has_its_probability(tmp_path):
    labels = tuple(f"label {i}" for i in range(9))
    explanation = examples.explanation("mask", labels=labels, target=8)
    save_explanation(explanation, tmp_path / "x", page=False)
    (row,) = rows_of(tmp_path)
    assert row.prob == pytest.approx(float(explanation.prediction.probs[8]), rel=1e-6)


# -- agreement ------------------------------------------------------------------------------------------------------


def test_agreement_is_the_intersection_over_union_of_areas(tmp_path):
    for kind in ("prototypes", "mask", "attribution"):
        save(tmp_path / kind, kind)
    rows = {row.folder: row for row in with_agreement(rows_of(tmp_path), tmp_path)}
    masks = {name: region_mask(row.regions, row.grid).bool() for name, row in rows.items()}
    for name, row in rows.items():
        others = [other for other in masks if other != name]
        plain = [float((masks[name] & masks[o]).sum()) / float((masks[name] | masks[o]).sum()) for o in others]
        assert row.agreement == pytest.approx(sum(plain) / 2)
    assert 0 < rows["mask"].agreement < 1


def test_repeats_other_clips_and_other_targets_are_not_compared(tmp_path):
    save(tmp_path / "first")
    save(tmp_path / "again")  # an exact repeat
    save(tmp_path / "clip", "mask", examples.noise(seed=6))  # another sound with the same name
    save_explanation(examples.explanation("mask", target=1), tmp_path / "target", page=False)
    mask = examples.explanation("mask")
    other = replace(mask.provenance, fingerprint="e" * 64)
    save_explanation(replace(mask, provenance=other), tmp_path / "classifier", page=False)
    assert [row.agreement for row in with_agreement(rows_of(tmp_path), tmp_path)] == [None] * 5
    save(tmp_path / "mask", "mask")
    found = {row.folder: row.agreement for row in with_agreement(rows_of(tmp_path), tmp_path)}
    assert {name for name, value in found.items() if value is not None} == {"first", "again", "mask"}


def test_areas_without_a_bin():
    empty, full = torch.zeros(2, 2), torch.ones(2, 2)
    assert overlap_of(full, full) == 1 and overlap_of(empty, full) == 0
    assert overlap_of(empty, empty) != overlap_of(empty, empty)  # NaN: they tell nothing of each other


# -- labels ---------------------------------------------------------------------------------------------------------


def table(tmp_path, *lines):
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join(["file_name,label", *lines]) + "\n")
    return path


def test_labels_are_found_by_path_and_by_name(tmp_path):
    truth = read_truth(table(tmp_path, "a/1.wav,dog", "b/1.wav,rain", "c/2.wav,rain;dog", "d/yard.wav,rooster"))
    assert truth["a/1"] == ("dog",) and truth["c/2"] == ("dog", "rain") and truth["2.wav"] == ("dog", "rain")
    assert "1.wav" not in truth  # two clips of that name
    save(tmp_path / "out" / "b" / "1", name="1.wav")
    save(tmp_path / "out" / "yard")
    found = {row.folder: (row.truth, row.agrees) for row in rows_of(tmp_path / "out", truth)}
    assert found == {"b/1": (("rain",), False), "yard": (("rooster",), False)}
    with pytest.raises(DataError, match="species"):
        read_truth(tmp_path / "metadata.csv", "species")


def test_a_multi_label_classifier_agrees_target_by_target(tmp_path):
    for target, name in ((0, "dog"), (2, "rooster")):  # the first counts as heard, the last does not
        explanation = examples.explanation("mask", target=target, task="multilabel")
        save_explanation(explanation, tmp_path / name, page=False)
    cases = ((("dog",), [True, True]), (("rooster",), [False, False]), (("dog", "rooster"), [True, False]))
    for truth, agrees in cases:
        assert [row.agrees for row in rows_of(tmp_path, {"yard.wav": truth})] == agrees
