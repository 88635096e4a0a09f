"""What a reader is warned of, and what cannot be known."""

import pytest
import torch
from tests.classifiers import networks
from tests.evaluation.material import Told, clips, toy

from earmark.evaluation.runner import evaluate
from earmark.evaluation.summary import summarize
from earmark.evaluation.warnings import warnings_of
from earmark.evaluation.words import card_lines, summary_markdown
from earmark.explainers.load import load_explainer

BOTH = {name: [{"method": name}] for name in ("all-ones", "all-zeros")}


def row(clip="a", fold=None, gap=None, explainer="it"):
    return {"clip": clip, "fold": fold, "explainer": explainer, "target": "t", "seed": 0, "completeness_gap": gap}


def warned(rows, scored="esc10", **learned):
    about = {"classifier": "net", "explainers": BOTH, "told": {"data": scored}, "learned_from": learned}
    return warnings_of(about, rows)


@pytest.mark.parametrize("data, expected", [("esc10", 2), ("esc50", 2), ("birds", 0)])
def test_clips_of_training_folds_are_counted(data, expected):
    rows = [row("a", 1), row("b", 3), row("b", 3), row("c", 5), row("d", None)]
    found = warned(rows, data, data="esc10", folds="1,2,3")
    assert [f"{expected} of 4 clips are of the training folds (1,2,3) of net" in line for line in found] == [
        True
    ] * len(found)
    assert len(found) == bool(expected)


def test_what_cannot_be_known_is_not_said():
    assert warned([row("a", 5)], data="esc10", folds="1,2,3") == []
    assert warned([row("a", 1)], data="esc10", folds=None) == []
    assert warned([row("a", 1)]) == []
    assert warnings_of({"classifier": "net", "explainers": BOTH}, [row("a", 1)]) == []


def test_scenes_of_a_training_are_known_by_their_seed_and_number():
    clips_ = [row("scenes:0:0"), row("scenes:0:99+white:6+seed=0"), row("scenes:0:100"), row("scenes:2:0")]
    (found,) = warned(clips_, "scenes:200", data="scenes:100", seed=0)
    assert "2 of 4 clips are of the training scenes" in found
    assert warned(clips_, "scenes:200", data="scenes:100", seed=None) == []


def test_values_that_miss_their_sum_are_counted_and_flagged():
    (found,) = warned([row("a", gap=0.06), row("a", gap=0.06), row("b", gap=0.05), row("c")])
    assert "1 of 2 maps of it are flagged" in found


def test_missing_ends_are_suggested():
    about = {"classifier": "net", "explainers": {"a": [{"method": "all-ones"}]}}
    (found,) = warnings_of(about, [])
    assert "The all-zeros row is missing" in found


def test_a_run_says_what_it_must():
    """Integrated gradients through a logarithm are far from complete with one step."""
    classifier = networks.wrapped(networks.gap_linear)
    explainers = {
        "few": load_explainer("integrated-gradients", classifier=classifier, n_steps=1),
        "told": Told(classifier, lambda samples, target, grid: torch.ones(grid.shape)),
    }
    scores = evaluate(classifier, clips(1), explainers, areas=(0.1,), insertion=False, batch=32)
    gaps = {name: scores.column("completeness_gap", explainer=name, protocol="soft") for name in explainers}
    assert gaps["told"] == [None]
    summary = summarize(scores)
    n_missed = sum(gap > 0.05 for gap in gaps["few"])
    told = [line for line in summary["warnings"] if "maps of few" in line]
    assert n_missed and f"{n_missed} of 1" in told[0]
    flagged = {r["explainer"]: r["flagged"] for t in summary["tables"] if t["protocol"] == "matched" for r in t["rows"]}
    assert flagged == {"few": n_missed, "told": 1}
    text = summary_markdown(summary)
    assert all(line in text for line in summary["warnings"]) and "all-ones and all-zeros rows are missing" in text


def test_the_card_says_how_it_was_made():
    scores = evaluate(toy(), clips(2), ["energy"], areas=(0.1,), insertion=False, batch=32)
    card = dict(card_lines(summarize(scores)))
    assert card["normalizes"] == "no" and card["parity of the front end"] == "own front end"
    assert card["mask"] == "linear gain on the STFT magnitude" and card["fill"] == "silence"
    assert float(card["mean confidence on silence"]) == pytest.approx(1 / 8)  # eight equal logits
    assert card["wall time"].endswith(f"energy {scores.about['wall_s']['energy']:.4g}")
    assert scores.column("silence_prob", protocol="soft") == pytest.approx([1 / 8] * 2)
    assert torch.tensor(list(scores.about["wall_s"].values())).gt(0).all()
