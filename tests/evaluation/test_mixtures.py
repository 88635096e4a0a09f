"""Masks of mixtures, applied to both sounds: known answers on toys, and what is left out."""

import pytest
import torch
from tests.evaluation.material import RATE, Told, band_map, sound, tone, toy

from earmark.data.mixtures import mix, parts_of
from earmark.data.recipes import recipe
from earmark.evaluation.runner import evaluate
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import reading, summary_markdown
from earmark.metrics.separation import ideal_ratio_mask
from earmark.types import Clip, Region

FAST = {"areas": (0.05, 0.2), "insertion": False, "batch": 32}


def tones(*bands):
    return [Clip(f"clip-{b}", sound(tone(b, seed=b)), (f"band {b}",), f"group-{b}") for b in bands]


def powers(classifier, clip):
    parts = parts_of(clip)
    return [classifier.stft(classifier.prepare(part)).abs().square() for part in (parts.source, parts.contaminant)]


@pytest.fixture(scope="module")
def made():
    """Three tones with one of another band at 6 dB, and three explainers."""
    classifier, given = toy(), mix(tones(1, 3, 6), "ood:6")
    planes = {clip.labels[0]: powers(classifier, clip) for clip in given}
    ideal = Told(classifier, lambda samples, target, grid: ideal_ratio_mask(*planes[target.label])[0], "ideal")
    explainers = {"ideal": ideal, "band": Told(classifier, band_map), "all-ones": "all-ones", "all-zeros": "all-zeros"}
    return given, planes, evaluate(classifier, given, explainers, **FAST)


def test_the_mask_is_applied_to_both_sounds(made):
    """A slow twin: the sounds masked one after the other, energies summed."""
    given, planes, scores = made
    classifier = toy()
    for clip in given:
        gain = band_map(None, type("T", (), {"index": int(clip.labels[0][-1])}), classifier.grid(1024))
        kept = [float((one[0] * gain**2).sum() / one.sum()) for one in planes[clip.labels[0]]]
        row = {"explainer": "band", "protocol": "soft", "clip": clip.id}
        assert scores.column("source_kept", **row) == pytest.approx([kept[0]], rel=1e-5)  # float32 spectra
        assert scores.column("contaminant_kept", **row) == pytest.approx([kept[1]], rel=1e-5)
        assert scores.column("contrast_db", **row)[0] > 30  # the other tone lies in another band


def test_both_ends_and_the_ideal(made):
    _, _, scores = made
    assert scores.column("contrast_db", explainer="all-ones", protocol="soft") == pytest.approx([0] * 3, abs=1e-9)
    assert scores.column("contrast_db", explainer="all-zeros", protocol="soft") == [None] * 3
    assert scores.column("source_kept", explainer="all-zeros", protocol="soft") == [0] * 3
    assert scores.column("ideal_auc", explainer="ideal", protocol="ideal") == [1] * 3
    assert scores.column("ideal_correlation", explainer="ideal", protocol="ideal") == pytest.approx([1] * 3)
    assert scores.column("ideal_auc", explainer="all-zeros", protocol="ideal") == [0.5] * 3
    matched = scores.column("contrast_db", explainer="ideal", protocol="matched")
    assert len(matched) == 6 and min(matched) > 3
    assert scores.column("mixture", protocol="soft", explainer="band") == ["ood:6"] * 3


def test_a_decision_that_is_not_the_source_has_no_contrast_and_is_counted():
    given = mix(tones(1, 3, 6), recipe("ood", -12.0))  # the contaminant is louder: it is what is decided
    plain = Clip("plain", sound(tone(2)), ("band 2",))
    unlabeled = mix([Clip("mystery", sound(tone(5)))], "white:20")
    scores = evaluate(toy(), [*given[:2], *mix(tones(6), "white:20"), *unlabeled, plain], ["energy"], **FAST)
    told = {row["clip"].partition("+")[0]: row for row in scores.rows(protocol="soft").to_pylist()}
    assert [told[name]["contrast_db"] is None for name in ("clip-1", "clip-3", "clip-6", "mystery", "plain")] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert told["plain"]["mixture"] is None
    assert [row["clip"][:7] for row in scores.rows(protocol="ideal").to_pylist() if row["ideal_auc"]] == ["clip-6+"]
    summary = summarize(scores)
    assert summary["decisions"]["mixtures"] == 4 and summary["decisions"]["of_source"] == 1
    assert any("1 of 4 decisions on mixtures (25.0 %)" in line for line in reading(summary))
    (table,) = [t for t in summary["tables"] if t["protocol"] == "soft"]
    assert table["rows"][0]["metrics"]["contrast_db"]["n_missing"] == 4


def test_known_events_come_before_the_ideal_mask():
    event = Region(0, 1024 / RATE, 500, 1000, label="band 1")
    (given,) = mix([Clip("a", sound(tone(1)), ("band 1",), events=(event,))], "pink:6")
    scores = evaluate(toy(), [given], ["energy"], **FAST)
    assert set(scores.column("protocol")) == {"soft", "matched", "localization"}


def test_contrast_is_in_the_summary_of_mixtures_alone(made):
    _, _, scores = made
    text = summary_markdown(summarize(scores))
    assert "contrast, equal area, dB" in text and "AUC, ideal mask" in text and "3 of 3 decisions on mixtures" in text
    clean = summarize(evaluate(toy(), tones(1, 3), ["energy"], **FAST))
    assert "contrast" not in summary_markdown(clean)
    assert not any(name in row["metrics"] for t in clean["tables"] for row in t["rows"] for name in ("contrast_db",))


def test_a_clip_at_another_rate_is_compared_at_the_classifiers():
    samples = 0.5 * torch.sin(2 * torch.pi * 750 * torch.arange(4096) / 16000)
    from earmark.audio.waveform import Waveform

    (given,) = mix([Clip("a", Waveform(samples[None], 16000), ("band 1",))], "white:0")
    scores = evaluate(toy(), [given], {"band": Told(toy(), band_map)}, **FAST)
    assert scores.column("source_kept", protocol="soft")[0] > 0.95
    assert scores.column("contaminant_kept", protocol="soft")[0] == pytest.approx(1 / 8, abs=0.03)  # one band of eight
