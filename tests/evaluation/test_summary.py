"""Summaries: means of the table's own numbers, clusters, comparisons, and what they are said to mean."""

import json

import pytest
import torch
from tests.evaluation.material import Told, band_map, clip, clips, sound, toy

from earmark.evaluation.against import compared, difference, least_p, too_few, verdicts
from earmark.evaluation.runner import evaluate
from earmark.evaluation.scores import RESULTS, Scores
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import cell, headline_table, summary_markdown, tables_of
from earmark.metrics.matched import area_under
from earmark.types import Clip

AREAS = (0.02, 0.1, 0.5)


@pytest.fixture(scope="module")
def scores():
    """Eight clips of four recordings; the last one is silent."""
    classifier = toy()
    given = [clip(i, group=f"recording {i // 2}", truth=True) for i in range(8)]
    given.append(Clip("silent", sound(torch.zeros(1024))))
    explainers = {
        "true": Told(classifier, band_map),
        **{name: name for name in ("energy", "random", "all-ones", "all-zeros")},
    }
    return evaluate(classifier, given, explainers, areas=AREAS, seeds=(0, 1), batch=128, told={"data": "tones"})


@pytest.fixture(scope="module")
def summary(scores):
    return summarize(scores)


def found(tables, name, **where):
    (table,) = [t for t in tables if all(t[key] == value for key, value in where.items())]
    return next(row for row in table["rows"] if row["explainer"] == name)


def test_means_are_those_of_the_table(scores, summary):
    values = scores.column("average_drop", explainer="random", protocol="matched", area=0.1)
    told = found(summary["tables"], "random", protocol="matched", area=0.1)
    assert told["n"] == len(values) == 16
    assert told["metrics"]["average_drop"]["mean"] == pytest.approx(sum(values) / 16)
    assert told["metrics"]["average_drop"]["n_clusters"] == 4 and told["metrics"]["average_drop"]["n_runs"] == 2


def test_areas_under_curves_are_means_over_clips(scores, summary):
    heights = [scores.column("faithfulness", explainer="true", protocol="matched", area=area) for area in AREAS]
    expected = area_under(torch.tensor(heights, dtype=torch.float64).T, AREAS).mean()
    told = found(summary["curves"], "true", reentry="waveform")
    assert told["metrics"]["faithfulness"]["mean"] == pytest.approx(float(expected))


def test_what_was_scored_is_counted(summary):
    assert summary["clips"]["n"] == 9 and summary["clips"]["scored"] == 8
    assert summary["decisions"]["n"] == 8 and summary["decisions"]["accuracy"] == 1.0
    assert found(summary["tables"], "all-zeros", protocol="soft")["flagged"] == 8
    assert found(summary["tables"], "energy", protocol="matched", area=0.1)["flagged"] == 0
    complexity = found(summary["tables"], "all-zeros", protocol="soft")["metrics"].get("complexity")
    assert complexity is None  # undefined for every clip


def test_tables_satisfy_the_identities(scores, summary):
    assert summary["broken_identities"] == []
    rows = scores.table.to_pylist()
    wrong = [{**row, "average_gain": 50.0 if row["average_gain"] is not None else None} for row in rows]
    told = summarize(Scores(RESULTS.table_of(wrong), scores.about))["broken_identities"]
    assert any("average_gain" in sentence and "true" in sentence for sentence in told)
    assert "contradicts itself" in summary_markdown(summarize(Scores(RESULTS.table_of(wrong), scores.about)))


def test_the_card_says_under_what_all_was_made(summary):
    card = summary["card"]
    assert card["classifier"] == "band-energies" and len(card["fingerprint"]) == 64
    assert card["reentry"] == ["waveform"] and card["fill"] == "silence" and card["seeds"] == [0, 1]
    assert card["areas"] == list(AREAS) and card["data"] == "tones" and card["inverse_db"] < -90
    assert set(card["versions"]) >= {"earmark", "torch"}
    json.dumps(summary, allow_nan=False)


def values(by_group):
    return {(group, f"{group}-{i}", "t", 0): v for group, vs in by_group.items() for i, v in enumerate(vs)}


def test_differences_are_paired_over_recordings_and_corrected():
    groups = [f"g{i}" for i in range(10)]
    control = values({g: [0.1 * i, 0.1 * i] for i, g in enumerate(groups)})
    better = {key: v + 0.2 for key, v in control.items()}
    same = {key: v + (0.1 if int(key[0][1:]) % 2 else -0.1) for key, v in control.items()}
    methods = {"energy": "energy", "better": "lime", "same": "rise", "ones": "all-ones"}
    (told,) = compared({"energy": control, "better": better, "same": same, "ones": control}, methods)
    rows = {row["explainer"]: row for row in told["rows"]}
    assert set(rows) == {"better", "same"}  # a mask of ones competes with nobody
    assert rows["better"]["mean"] == pytest.approx(0.2) and rows["better"]["n_clusters"] == 10
    assert rows["better"]["p_holm"] == pytest.approx(2 * least_p(10))  # every recording says the same
    assert rows["same"]["p_holm"] > 0.3


def test_few_recordings_are_never_sure():
    control = values({"a": [0.0] * 50, "b": [0.0] * 50})
    better = dict.fromkeys(control, 1.0)
    (told,) = compared({"energy": control, "better": better}, {"energy": "energy", "better": "lime"})
    assert told["rows"][0]["p_holm"] == 0.5


def test_undefined_values_take_no_part():
    control = values({f"g{i}": [0.0] for i in range(8)})
    nothing = {key: float("nan") for key in control}
    better = dict.fromkeys(control, 1.0)
    names = {"energy": "energy", "a": "lime", "b": "rise"}
    (told,) = compared({"energy": control, "a": nothing, "b": better}, names)
    assert told["rows"][0]["p_holm"] is None and told["rows"][1]["p_holm"] == least_p(8)


def said(*rows, controls=("energy", "random")):
    against = [
        {
            "control": c,
            "metric": "area under faithfulness",
            "reentry": "stft",
            "rows": [one for k, one in rows if k == c],
        }
        for c in controls
    ]
    explainers = {name: [{"method": name}] for name in (*controls, "it")}
    return {"card": {"reentry": ["stft"]}, "against": against, "explainers": explainers}


def against(control, mean, p):
    interval = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "p": p, "p_holm": p, "n_clusters": 20}
    return control, {"explainer": "it", **interval}


def test_verdicts_say_what_was_beaten():
    (both,) = verdicts(said(against("energy", 0.3, 0.001), against("random", 0.3, 0.049)))
    assert both["beats"] == ["energy", "random"] and both["fails"] == [] and "nothing" not in both["sentence"]
    (one,) = verdicts(said(against("energy", 0.3, 0.05), against("random", 0.3, 0.01)))
    assert one["fails"] == ["energy"] and "it has shown nothing here" in one["sentence"]
    (worse,) = verdicts(said(against("energy", -0.3, 0.001), against("random", 0.3, 0.001)))
    assert "is worse than energy" in worse["sentence"] and worse["fails"] == ["energy"]
    (alone,) = verdicts(said(against("energy", 0.3, 0.001), controls=("energy",)))
    assert "random was not scored" in alone["sentence"]


def test_the_summary_begins_with_what_it_means(summary):
    text = summary_markdown(summary)
    assert text.index("- true ") < text.index("## Result card") < text.index("## At a glance")
    assert "8 of 9 clips scored (coverage 88.9 %)" in text and "1 silent or constant" in text
    assert too_few(summary) in text  # four recordings
    assert "| all-ones |" in text and "| random |" in text
    head, *rows = headline_table(summary)
    assert len(rows) == 5 and all(len(row) == len(head) for row in rows) and "localization AUC" in head


def test_failures_stand_beside_the_name():
    def fails(samples, target, grid):
        raise RuntimeError("no")

    classifier = toy()
    scores = evaluate(classifier, clips(2), [Told(classifier, fails)], areas=(0.1,), insertion=False, batch=64)
    assert "told (2 failed, 2 flagged)" in summary_markdown(summarize(scores))
    assert "No explainer was compared" in summary_markdown(summarize(scores))


def test_re_entry_stages_stand_side_by_side():
    """On the same clips: the mean of each stage's difference is the difference of the means."""
    classifier = toy()
    explainers = {"true": Told(classifier, band_map), "energy": "energy"}
    stages = ("waveform", "stft", "features")
    scores = evaluate(
        classifier, clips(3), explainers, areas=(0.02, 0.5), reentry=stages, soft=False, insertion=False, batch=128
    )
    summary = summarize(scores)
    pairs = [(table["stage"], table["first"]) for table in summary["stages"]]
    assert pairs == [("stft", "waveform"), ("features", "waveform")]
    for stage, table in zip(stages[1:], summary["stages"], strict=True):
        for name in explainers:
            means = [found(summary["curves"], name, reentry=s)["metrics"]["faithfulness"]["mean"] for s in stages]
            told = next(row for row in table["rows"] if row["explainer"] == name)["metrics"]["faithfulness"]
            assert told["mean"] == pytest.approx(means[stages.index(stage)] - means[0])
            assert told["low"] <= told["mean"] <= told["high"]
    head, *rows = next(t for title, t in tables_of(summary) if title.startswith("Re-entry stages"))
    assert head == ["explainer", "N", *stages] and len(rows) == 2 and all("[" in text for text in rows[0][2:])
    text = summary_markdown(summary)
    assert "## Re-entry stages side by side" in text and "## Re-entry `features` minus `waveform`" in text


def test_a_value_without_an_interval_is_not_printed():
    assert cell({"mean": 0.5, "low": None, "high": None, "n_missing": 0}) == "no interval"
    assert cell({"mean": 0.5, "low": 0.25, "high": 0.75, "n_missing": 1}) == "0.500 [0.250, 0.750] (1 undefined)"
    row = {"mean": 0.5, "low": None, "high": None, "p_holm": None}
    assert difference(row) == "no interval"


def test_what_is_needed_beside_every_table_is_printed(summary):
    text = summary_markdown(summary)
    assert "8 explained decisions" in text and "coverage 88.9 %" in text
    assert f"mean confidence {summary['decisions']['mean_prob']:.3f}, accuracy 100.0 %" in text
    for line in text.splitlines():
        if line.startswith("| explainer"):
            assert line.split(" | ")[1] == "N"
