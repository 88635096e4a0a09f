"""The page of an evaluation: complete, self-contained, escaped, within its size."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.evaluation.material import Told, band_map, clips, toy

from earmark.evaluation.examples import chosen_clips, examples_of
from earmark.evaluation.runner import evaluate
from earmark.evaluation.summary import summarize
from earmark.render.charts import Series, curve_chart, dot_chart, nice_ticks
from earmark.render.evaluation_page import Gallery, evaluation_page

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def made():
    """Scores of three clips, and their examples."""
    classifier = toy()
    explainers = {EVIL: Told(classifier, band_map), "energy": "energy", "all-ones": "all-ones"}
    scores = evaluate(classifier, clips(3), explainers, areas=(0.05, 0.5), insertion=False, batch=128)
    return scores, list(examples_of(scores, classifier, clips(3), explainers))


@pytest.fixture(scope="module")
def page(made):
    scores, examples = made
    return evaluation_page(summarize(scores), examples, key="abc", title="tones")


def test_best_and_worst_clips_are_shown(made):
    scores, examples = made
    shown = [(example.explainer, example.best) for example in examples]
    assert shown[:4] == [(EVIL, True), (EVIL, False), ("energy", True), ("energy", False)]
    assert shown[4:] == [(EVIL, True), ("energy", True)]
    values = {name: [one[3] for one in chosen_clips(scores) if one[0] == name] for name in (EVIL, "energy")}
    for found in values.values():
        assert found[0] >= found[2] >= found[1]  # best, second best, worst
    kept = examples[0].gain
    assert int(kept.sum()) == math.floor(0.1 * kept.numel())
    assert examples[0].kept.n_samples == examples[0].sound.n_samples
    assert examples[0].kept.samples.abs().sum() < examples[0].sound.samples.abs().sum()


def test_the_page_needs_nothing_else(page):
    assert "default-src 'none'" in page and 'content="abc"' in page
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)|url\(([^)]+)\)""", page)
    assert addresses and all((a or b).startswith("data:") for a, b in addresses)
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", page)
    assert len(page.encode()) < 10_000_000


def test_names_are_escaped(page):
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_every_chart_has_axes_a_name_and_a_table(page):
    charts = re.findall(r'<svg class="chart".*?</svg>', page, re.S)
    assert len(charts) == 4 + 2  # four curves, two rows of dots
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img" and root.get("aria-label")
        texts = [text.text for text in root.iter("text")]
        assert len(texts) >= 5
    assert page.count("In numbers") == len(charts)
    assert all(title in page for title in ("Average drop", "Faithfulness", "Input fidelity", "Energy kept"))
    assert page.count('class="key"') == 3


def test_pictures_and_sounds_are_there_once(page):
    names = re.findall(r'"(s\d+|k\d+)": "data:audio/ogg', page)
    assert len(names) == len(set(names)) == 3 + 6  # three clips, six masked
    assert len(re.findall(r"\.p\d+ \{ background-image", page)) == 3
    used = set(re.findall(r'data-sound="(\w+)"', page))
    assert used == set(names)


def test_what_has_no_room_is_left_out_and_counted(made):
    _, examples = made
    gallery = Gallery(room=40_000)
    for example in examples * 3:
        gallery.add(replace(example, clip=f"{example.clip}-{len(gallery._shown)}"))
    assert gallery.left_out > 0
    size = sum(map(len, [*gallery.images.values(), *gallery.sounds.values()]))
    assert size <= 40_000
    shown = gallery.by_explainer([EVIL])[0]["best"]
    assert shown[0]["sound"] and not shown[-1]["sound"]


def test_a_page_without_curves_or_clips_says_so(made):
    scores, _ = made
    summary = summarize(scores)
    bare = {**summary, "curves": [], "against": [], "tables": [t for t in summary["tables"] if t["protocol"] == "soft"]}
    page = evaluation_page(bare, [])
    assert "No explainer was compared" in page and '<svg class="chart"' not in page and "Best and worst" not in page


def test_curves_leave_gaps_where_nothing_is_known():
    series = Series("a", ((1, 0.5, 0.4, 0.6), (10, None, None, None), (50, 1.0, 0.9, 1.0)))
    chart = str(curve_chart([series], title="T", x_name="x", y_name="y"))
    line = re.search(r'<polyline points="([^"]*)"', chart)[1].split()
    assert len(line) == 2
    left, right = (float(point.split(",")[0]) for point in line)
    assert left == 62 and right == 560 - 14
    top = min(float(point.split(",")[1]) for point in line)
    assert top == 12  # 1 is the uppermost tick


def test_dots_lie_where_their_numbers_are():
    rows = [("a", 0.0, -0.5, 0.5, 0), ("b", 1.0, 1.0, 1.0, 1), (EVIL, None, None, None, 2)]
    chart = str(dot_chart(rows, title="T", x_name="x"))
    root = ElementTree.fromstring(chart)
    assert EVIL not in chart and len([p for p in root.iter("path") if p.get("class") == "dot"]) == 2
    ticks = {t.text: float(t.get("x")) for t in root.iter("text") if t.get("class") == "tick"}
    whisker = re.search(r"M([\d.]+) 25H([\d.]+)", chart)
    assert ticks["−0.5"] == pytest.approx(float(whisker[1]), abs=0.1)


@pytest.mark.parametrize("low, high", [(0, 1), (-0.03, 0.2), (0, 63.2), (0, 1e-9), (-5, -1), (0, 0)])
def test_ticks_span_the_range_in_few_round_steps(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
