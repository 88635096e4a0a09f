"""Completeness: gaps of known size, methods without the claim, and what fails."""

import pytest
import torch
from tests.checks.trained import clips, trained
from tests.evaluation.material import Told, band_map

from earmark.checks.completeness import check, gap_of, percent
from earmark.checks.config import CheckConfig
from earmark.checks.subject import Subject
from earmark.classifiers.load import load_classifier
from earmark.data.scenes import scenes
from earmark.evidence import Attribution


class Gapped(Told):
    """Reports a gap that depends on the label."""

    gaps = (0.01, 0.02, 0.2)

    def _evidence(self, done, index, target, n_samples):
        grid = self.classifier.grid(n_samples)
        gap = self.gaps[target.index]
        if gap is None:
            raise ValueError("no")
        return Attribution(torch.ones(grid.shape), grid, measured={"gap": gap})


def checked(explainer, n=6, **options):
    return check(Subject(trained(), explainer, options, clips(n), batch=4), CheckConfig())


def test_the_distribution_of_known_gaps():
    result = checked(Gapped(trained(), band_map))
    assert result.passed is False and "do not sum" in result.sentence
    expected = {"n": 6, "median": 0.02, "high": 0.2, "worst": 0.2, "share_above": pytest.approx(1 / 3)}
    assert {name: result.about[name] for name in expected} == expected
    assert dict(result.tables[0].rows)["share above 5 %"] == "33.3 %"


def test_what_fails_counts_as_above():
    explainer = Gapped(trained(), band_map)
    explainer.gaps = (0.0, None, float("nan"))
    result = checked(explainer)
    assert result.about["share_above"] == pytest.approx(2 / 3) and result.about["worst"] is None
    assert "not finite" in dict(result.tables[0].rows)["worst"]


def test_enough_steps_make_integrated_gradients_complete():
    assert checked("integrated-gradients", 3, n_steps=64).about["median"] < 0.05


def test_without_the_claim_there_is_no_verdict():
    assert checked("saliency").passed is None
    assert checked(Told(trained(), band_map)).passed is None


def test_contributions_of_an_apex_sum_to_the_score():
    classifier = load_classifier("scenes-cnn")
    result = check(Subject(classifier, "apex", clips=scenes(2, 3)), CheckConfig())
    assert result.passed is True and result.about["worst"] < 1e-4  # rounding of float32 logits


def test_percent_has_as_many_digits_as_tell():
    assert [percent(x) for x in (0.0, 0.5, 0.0031, 1e-7)] == ["0 %", "50.0 %", "0.31 %", "1.0e-05 %"]
    assert gap_of(Attribution(torch.ones(2, 2), trained().grid(64))) is None
