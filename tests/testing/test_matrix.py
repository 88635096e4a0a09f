"""Every explainer on every family of models: it works, or says in a sentence why it does not apply.

docs/models.md is what comes of it: `EARMARK_WRITE_MODELS=1 pytest tests/testing/test_matrix.py` writes it.
"""

import os
from functools import cache
from pathlib import Path

import pytest
from tests.testing import matrix, models_page

from earmark.testing.families import FAMILIES, PRETRAINED

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
WRITES = bool(os.environ.get("EARMARK_WRITE_MODELS"))


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Builds a family when it is first asked for; classifiers are never changed."""
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda name: matrix.build(name, folder))


@pytest.fixture(scope="module")
def rows(classifiers):
    """Works out a family's row of the matrix when it is first asked for."""
    return cache(lambda name: matrix.row(name, classifiers(name), whole=WRITES))


@pytest.mark.parametrize("name", matrix.NAMES)
def test_every_explainer_works_or_says_why_it_does_not_apply(name, rows):
    assert not rows(name).broken


@pytest.mark.parametrize("name", matrix.NAMES)
def test_verify_finds_no_broken_promise_and_the_tier(name, rows):
    report = rows(name).report
    assert not [f"{check.name}: {check.value}, {check.limit}" for check in report.checks if check.ok is False]
    assert report.tier == {**FAMILIES, **{f"{matrix.HUB}{k}": v for k, v in PRETRAINED.items()}}[name].tier


@pytest.mark.parametrize("stage", ["features", "waveform"])
@pytest.mark.parametrize("name", [name for name in matrix.KINDS if name != "swin"])
def test_gradients_at_features_and_samples_reach_the_grid(name, stage, classifiers):
    """Values of samples, and of coefficients that hear the whole band, say when and not at which pitch."""
    classifier = classifiers(name)
    told = matrix.made("input-x-gradient", classifier, stage=stage).explain(matrix.sound(classifier.sample_rate))
    values, front_end = told.evidence.ranking(told.grid), classifier.front_end
    assert values.isfinite().all() and values.abs().max() > 0
    bands = stage == "features" and front_end.rows_are_hz and len(front_end.row_edges_hz()) > 2
    heard = values[values.abs().sum(1) > 0]
    assert bool((heard - heard[:1]).abs().max() > 1e-6 * heard.abs().max()) == bands


def test_the_page_of_models_is_what_these_tests_found(rows):
    found = [rows(name) for name in matrix.NAMES]
    text = models_page.written(found)
    if WRITES:
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "write it again with EARMARK_WRITE_MODELS=1"
