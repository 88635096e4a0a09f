"""The page of checks: complete, self-contained, escaped; its charts over names and numbers."""

from xml.etree import ElementTree

import pytest
from tests.render.reading import HOSTILE
from tests.render.reading import check_page as read_page

from earmark.checks.results import Chart, CheckResult, Line, Point, Table
from earmark.checks.run import CheckReport
from earmark.render.check_page import check_page
from earmark.render.line_chart import LEFT, RIGHT, WIDTH, line_chart

EVIL = HOSTILE[0]


def report():
    points = (Point("head", 0.5, 0.4, 0.6), Point(EVIL, None), Point("a layer with a very long name", -0.2, -0.3, 0.1))
    chart = Chart("SSIM", "layer", "similarity", (Line(EVIL, points), Line("none", ())))
    table = Table(EVIL, ("measure", EVIL), (("SSIM", 0.25), ("none", None), ("is", True)))
    results = (
        CheckResult("randomization", False, f"It fails {EVIL}.", (table,), (chart,), {"notes": [EVIL]}),
        CheckResult("completeness", None, "Nothing to judge."),
        CheckResult("of-others", True, "Holds."),
    )
    about = {
        "classifier": EVIL,
        "fingerprint": "f" * 64,
        "task": "multiclass",
        "explainer": {"name": EVIL, "method": "told", "seed": None, "config": {"a": EVIL}},
        "config": {"seeds": [0], "retraining": {"x": 1}},
        "told": {"data": EVIL},
        "versions": {"earmark": "1"},
        "clips": {"n": 4, "scored": 2, "groups": 2, "excluded": {"silent or constant": 1}, "broken": {"x": "y"}},
        "key": "abc",
    }
    maps = [[[0, 128], [255, 3]], [[0, 0], [0, 0]]]
    pictures = {"randomization": [{"clip": EVIL, "label": "dog", "names": ["sound", EVIL], "maps": maps}]}
    return CheckReport(results, about, pictures)


@pytest.fixture(scope="module")
def reader():
    return read_page(check_page(report(), title=EVIL), own_scripts=0)


def test_the_page_says_all_and_needs_nothing_else(reader):
    text = reader.text
    for words in ("Randomized weights: fails", "Completeness: not judged", "of-others: passes", "1 of 2", "2 of 4"):
        assert words in text
    assert "left out: silent or constant 1, broken 1" in text and "retraining" not in text
    assert text.count(EVIL) >= 8  # shown as text wherever it came in
    assert len(reader.all("img")) == 2 and len(reader.of_class("chart")) == 1
    (policy,) = [m["content"] for m in reader.all("meta") if m.get("http-equiv")]
    assert "script" not in policy
    assert [m["content"] for m in reader.all("meta") if m.get("name") == "earmark-check"] == [
        "abc:randomization,completeness,of-others"
    ]


def places(svg):
    """Returns the x of the markers of each line."""
    lines = ElementTree.fromstring(str(svg)).findall(".//polyline")
    return [[float(at.split(",")[0]) for at in line.get("points").split()] for line in lines]


def test_names_stand_side_by_side_and_gaps_stay_gaps():
    chart = report().results[0].charts[0]
    first, none = places(line_chart(chart))
    step = (WIDTH - LEFT - RIGHT) / 3
    assert first == pytest.approx([LEFT + step / 2, LEFT + 2.5 * step], abs=0.1) and none == []
    assert "rotate(-32)" not in line_chart(chart) and EVIL not in line_chart(chart)
    many = tuple(Point(f"layer number {i}", 0.1) for i in range(12))
    assert "rotate(-32)" in line_chart(Chart("t", "x", "y", (Line("a", many),)))


def test_numbers_lie_to_scale():
    points = tuple(Point(x, 0.5) for x in (-10.0, 0.0, 40.0))
    ((low, middle, high),) = places(line_chart(Chart("t", "x", "y", (Line("a", points),))))
    assert (middle - low) / (high - low) == pytest.approx(0.2, abs=0.01)
