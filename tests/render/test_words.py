import pytest

from earmark.render import words
from earmark.types import Region, Target

EVERYTHING = Region(0.0, 5.0, 50.0, 16000.0)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.97, "p = 0.97"), (0.9999, "p > 0.999"), (0.998, "p = 0.998"), (0.004, "p = 0.004"), (1e-9, "p < 0.001")],
)
def test_probabilities(value, said):
    assert words.prob(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(2.314, "+2.31"), (-0.5, "−0.50"), (0.0, "0.00"), (-0.001, "0.00"), (float("inf"), "+inf")]
)
def test_signed_numbers(value, said):
    assert words.signed(value) == said


def test_three_digits_are_shown():
    assert [words.decimals(x) for x in (58.0, 5.8, 0.058, -0.0058, 0.0)] == [2, 2, 4, 5, 2]


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (Region(0.82, 1.41, 480, 2300), "at 0.82–1.41 s, 480–2300 Hz"),
        (Region(0.82, 1.41, 50, 16000), "at 0.82–1.41 s, at all frequencies"),
        (Region(0, 5, 480, 2300), "in 480–2300 Hz, at all times"),
        (Region(0, 5, 50, 16000), "everywhere"),
        (Region(1.001, 1.003, 480, 2300), "at 1.001–1.003 s, 480–2300 Hz"),
    ],
)
def test_places(region, said):
    assert words.where([region], EVERYTHING) == said


def test_a_cross_is_two_places():
    cross = [Region(0.82, 1.41, 50, 16000), Region(0, 5, 480, 2300)]
    assert words.where(cross, EVERYTHING) == ("at 0.82–1.41 s, at all frequencies and in 480–2300 Hz, at all times")
    assert words.where([], EVERYTHING) == "nowhere"


def test_scores():
    assert words.score_name(Target(0, "dog")) == "the logit of dog"
    contrast = Target(0, "dog", "contrast", 1, "rain")
    assert words.score_name(contrast) == "the logit of dog minus that of rain"
