"""Determinism: what depends on global random state or on batch mates is found."""

import torch
from tests.checks.trained import clips, trained
from tests.evaluation.material import Told

from earmark.checks.config import CheckConfig
from earmark.checks.determinism import BATCH_LIMIT, apart, check
from earmark.checks.subject import Subject

CONFIG = CheckConfig(seeds=(0, 1))


def checked(explainer, **options):
    return check(Subject(trained(), explainer, options, clips(3)), CONFIG)


def test_a_method_without_chance_is_the_same_twice():
    result = checked("grad-cam")
    assert result.passed is True and "draws nothing at random" in result.sentence and len(result.tables) == 1


def test_other_seeds_have_a_monte_carlo_error():
    result = checked("random")
    assert result.passed is True and result.about["other_seeds"] == [0, 1]
    rows = dict(result.tables[1].rows)
    assert rows["Spearman, signed"].startswith(("0.00", "0.01")) or rows["Spearman, signed"].startswith("−0.0")


def test_global_chance_is_found():
    with torch.random.fork_rng(devices=[]):
        result = checked(Told(trained(), lambda samples, target, grid: torch.rand(grid.shape)))
    assert result.passed is False and "does not give the same twice" in result.sentence


def test_what_fails_on_every_clip_is_not_called_deterministic():
    def fail(samples, target, grid):
        raise ValueError("on purpose")

    subject = Subject(trained(), Told(trained(), fail), clips=clips(3))
    subject.failures["of another check"] += 2
    result = check(subject, CONFIG)
    assert result.passed is None and "fails on all of 3 clips" in result.sentence
    assert result.about["failures"] == {"ValueError: on purpose": 9}  # twice, and each alone


def test_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    checked("random")
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_mates_that_matter_are_found():
    calls = []

    def say(samples, target, grid):
        calls.append(1)  # three maps, three again, then each alone
        return torch.ones(grid.shape) - 0.01 * (len(calls) > 6)

    result = checked(Told(trained(), say))
    assert (
        result.passed is False and f"above {BATCH_LIMIT:.0e}" in result.sentence and "the same bits" in result.sentence
    )


def test_differences_are_relative_to_the_largest_value():
    known = torch.tensor([[[0.0, 4.0]], [[0.0, 0.0]]])
    assert apart(known + torch.tensor([1.0, 0.0])[:, None, None], known).tolist() == [0.25, 0.0]
