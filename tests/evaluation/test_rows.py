"""Rows of one explainer on one batch: known answers on a toy, slow twins, and failures that hit one clip only."""

import math

import pytest
import torch
from tests.evaluation.material import RATE, Told, band_map, clip, clips, sound, tone, toy

from earmark.audio.waveform import Waveform
from earmark.evaluation.batches import Batch
from earmark.evaluation.config import EvaluateConfig
from earmark.evaluation.rows import maps_of, rows_of
from earmark.evidence import Resynthesis
from earmark.explainers.load import load_explainer
from earmark.fills import Fill
from earmark.masking import masked_logits
from earmark.metrics.faithfulness import average_drop, faithfulness_prob
from earmark.metrics.insertion import insertion_deletion
from earmark.metrics.matched import matched_curves
from earmark.types import Clip, probabilities

ROUNDING = 2e-6  # of probabilities whose sounds were re-synthesized in float32
CONFIG = EvaluateConfig(areas=(0.05, 0.1, 0.5), batch=128)


def batch_of(classifier, given):
    return Batch.of(classifier, given, torch.cat([classifier.prepare(one.source) for one in given]))


def rows(explainer, given, config=CONFIG, classifier=None):
    return rows_of(batch_of(classifier or explainer.classifier, given), explainer, config, name="it", seed=3)


def of(found, protocol, area=None):
    return [row for row in found if row["protocol"] == protocol and row["area"] == area]


def test_a_mask_of_ones_changes_nothing():
    classifier = toy()
    found = of(rows(load_explainer("all-ones", classifier=classifier), clips()), "soft")
    assert [row["average_drop"] for row in found] == [0.0] * 4
    assert [row["average_increase"] for row in found] == [0.0] * 4
    assert [row["input_fidelity"] for row in found] == [1.0] * 4
    assert [row["mask_mean"] for row in found] == [1.0] * 4
    assert [row["sparseness"] for row in found] == pytest.approx([0.0] * 4, abs=1e-9)
    silence = 1 / 8  # eight equal logits
    for row in found:
        assert row["faithfulness"] == pytest.approx(row["prob"] - silence, abs=ROUNDING)
        assert row["energy_kept"] == pytest.approx(1.0)


def test_a_mask_of_zeros_leaves_silence():
    found = rows(load_explainer("all-zeros", classifier=toy()), clips())
    for row in [*of(found, "soft"), *of(found, "matched", 0.1)]:
        assert row["average_drop"] == pytest.approx(100 * (row["prob"] - 1 / 8) / row["prob"], abs=1e-4)
        assert row["faithfulness"] == pytest.approx(0, abs=ROUNDING)
        assert row["mask_mean"] == row["energy_kept"] == 0
        assert row["map_flags"] == 2
    assert [math.isnan(row["complexity"]) for row in of(found, "soft")] == [True] * 4


def test_the_true_band_keeps_the_decision_and_takes_it_away():
    found = rows(Told(toy(), band_map), clips(8))
    for row in of(found, "soft"):
        assert row["input_fidelity"] == 1 and row["output_fidelity"] in (0, 1)
        assert row["average_drop"] < 1 and row["faithfulness"] > 0.8
    assert min(row["insertion_minus_deletion"] for row in of(found, "curve")) > 0.5


@pytest.mark.parametrize("stage", ["waveform", "stft", "features"])
@pytest.mark.parametrize("fill", ["silence", "mean", "noise"])
def test_scores_are_those_of_masked_logits(stage, fill):
    batch = batch_of(toy(), clips(3))
    gains = torch.rand(2, *batch.grid.shape, generator=torch.Generator().manual_seed(1))
    at = torch.tensor([2, 0])
    expected = masked_logits(batch.classifier, batch.samples[at], gains, stage, fill=Fill(fill))
    assert torch.equal(batch.reentry(stage, Fill(fill))(at, gains), expected)


@pytest.mark.parametrize("smooth", [False, True])
def test_curves_are_those_of_the_metrics(smooth):
    """Steps are shared between equal areas, insertion and deletion; alone, each gives the same."""
    classifier = toy()
    batch, explainer = batch_of(classifier, clips(3)), load_explainer("saliency", classifier=classifier)
    config = EvaluateConfig(areas=(0.03, 0.1, 0.5, 1.0), smooth=smooth, batch=50)
    found = rows_of(batch, explainer, config, name="it", seed=0)
    values, score = maps_of(batch, explainer).values, batch.reentry("waveform", Fill())
    curves = matched_curves(values, score, areas=config.areas, smooth=smooth, batch_size=64)
    passes = curves.passes(batch.whole, batch.target, "multiclass")
    for name, metric in (("average_drop", average_drop), ("faithfulness", faithfulness_prob)):
        numbers = metric(passes).view(3, -1)
        for k, area in enumerate(config.areas):
            told = [row[name] for row in of(found, "matched", area)]
            assert told == pytest.approx(numbers[:, k].tolist(), abs=1e-9)  # float64, other batches
    areas = insertion_deletion(values, score, batch_size=64).areas(batch.target, "multiclass")
    assert [row["deletion"] for row in of(found, "curve")] == pytest.approx(areas[1].tolist(), abs=1e-9)
    assert [row["insertion"] for row in of(found, "curve")] == pytest.approx(areas[0].tolist(), abs=1e-9)


def test_exactly_the_area_is_kept():
    found = rows(load_explainer("random", classifier=toy()), clips(2))
    n_freq, n_frames = batch_of(toy(), clips(1)).grid.shape
    for area in CONFIG.areas:
        kept = [row["mask_mean"] for row in of(found, "matched", area)]
        assert kept == pytest.approx([math.floor(area * n_freq * n_frames) / (n_freq * n_frames)] * 2, abs=1e-12)


def test_every_protocol_has_one_row_for_each_clip():
    found = rows(
        load_explainer("energy", classifier=toy()),
        clips(2),
        EvaluateConfig(areas=(0.1,), reentry=("waveform", "stft"), batch=64),
    )
    keys = [(row["clip"], row["target"], row["protocol"], row["area"], row["reentry"]) for row in found]
    expected = [("soft", None), ("matched", 0.1), ("curve", None)]
    assert len(keys) == len(set(keys)) == 2 * 2 * len(expected)
    assert {row["explainer"] for row in found} == {"it"} and {row["seed"] for row in found} == {3}


def test_a_multilabel_clip_has_a_row_for_each_label_above_the_threshold():
    classifier = toy(task="multilabel", bias=torch.full((8,), -2.0, dtype=torch.float64))
    both = Clip("both", sound(tone(1) + tone(4)), ("band 1", "band 4"))
    none = Clip("none", sound(1e-3 * tone(2)), ("band 2",))
    found = of(rows(Told(classifier, band_map), [both, none]), "soft")
    assert [(row["clip"], row["target"], row["undecided"]) for row in found] == [
        ("both", "band 1", False),
        ("both", "band 4", False),
        ("none", "band 2", True),
    ]
    assert found[0]["group"] == "both" and "average_drop_legacy" not in found[0]
    assert found[0]["input_fidelity"] == 1 and found[0]["average_drop"] < 1
    expected = probabilities(batch_of(classifier, [both]).whole, "multilabel")[0, 1]
    assert found[0]["prob"] == pytest.approx(float(expected))


def test_localization_is_told_of_clips_with_events_only():
    mixed = [clip(0, truth=True), clip(1), clip(2, truth=True)]
    found = of(rows(Told(toy(), band_map), mixed), "localization")
    assert [row["clip"] for row in found] == ["clip-00", "clip-02"]
    assert min(row["localization_auc"] for row in found) > 0.95
    assert [row["pointing"] for row in found] == [1.0, 1.0]


def failing(samples, target, grid):
    if target.index == 1:
        raise ValueError("on purpose")
    if target.index == 2:
        return torch.full(grid.shape, float("nan"))
    return band_map(samples, target, grid)


def test_a_failure_hits_the_clip_that_fails():
    classifier = toy()
    broken, sound_ones = rows(Told(classifier, failing), clips()), rows(Told(classifier, band_map), clips())
    for row, whole in zip(broken, sound_ones, strict=True):
        if row["target"] == "band 1":
            assert row["failed"] == "ValueError: on purpose" and row["map_flags"] & 2
        elif row["target"] == "band 2":
            assert row["failed"] is None and row["map_flags"] & 1
        else:
            assert row["failed"] is None
            assert row.get("faithfulness", 0) == pytest.approx(whole.get("faithfulness", 0), abs=1e-9)
    zero = next(row for row in of(broken, "soft") if row["target"] == "band 1")
    assert zero["faithfulness"] == pytest.approx(0, abs=ROUNDING)
    empty = [row["mask_mean"] for row in of(broken, "matched", 0.1) if row["target"] in ("band 1", "band 2")]
    assert empty == [0.0, 0.0]


def test_maps_of_another_shape_are_a_failure():
    explainer = Told(toy(), lambda samples, target, grid: torch.ones(3, 4))
    maps = maps_of(batch_of(explainer.classifier, clips(2)), explainer)
    assert all("shape" in failed for failed in maps.failed) and not maps.gains.any()


def test_a_person_who_stops_it_is_heard():
    def stop(samples, target, grid):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows(Told(toy(), stop), clips(1))


class Sounding(Told):
    """Says a sound that is no mask of the clip: the clip at half its level, and a tone that was not in it."""

    def _evidence(self, done, index, target, n_samples):
        grid = self.classifier.grid(n_samples)
        kept = 0.5 * done.state[index] + tone(7, n_samples, 5).to(done.state)
        whole = Waveform(done.state[index][None].float(), RATE)
        heard = Waveform(kept[None].float(), RATE)
        return Resynthesis(heard, Waveform(whole.samples - heard.samples, RATE), torch.ones(grid.shape), grid)


def test_evidence_that_is_a_sound_is_scored_as_it_is_heard():
    classifier = toy()
    found = of(rows(Sounding(classifier, None), clips()), "soft")
    for row, one in zip(found, clips(), strict=True):
        samples = classifier.prepare(one.source)
        kept = (0.5 * samples + tone(7, 1024, 5).to(samples)).float().to(samples)
        at = classifier.labels.index(row["target"])
        whole, inside, rest = (
            probabilities(classifier.logits(x), "multiclass")[0, at] for x in (samples, kept, samples - kept)
        )
        assert row["average_drop"] == pytest.approx(100 * float((whole - inside).clamp_min(0) / whole), abs=1e-3)
        assert row["faithfulness"] == pytest.approx(float(whole - rest), abs=ROUNDING)
        assert row["mask_mean"] == 1  # of the derived mask, which would have changed nothing
    assert max(row["average_drop"] for row in found) > 10
