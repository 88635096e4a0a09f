"""The page of several methods, read as a browser would."""

import json

import pytest
import torch
from tests.evaluation.material import Told, band_map, clip, sound, tone, toy
from tests.render.reading import HOSTILE, check_page

from earmark.evaluation.compare import compare
from earmark.render.compare_page import compare_page, outline
from earmark.types import Clip


@pytest.fixture(scope="module")
def classifier():
    return toy()


def breaks(samples, target, grid):
    raise RuntimeError(HOSTILE[0])


def pages(classifier, clips, **says):
    explainers = {name: Told(classifier, say, name) for name, say in says.items()} | {"energy": "energy"}
    return compare(classifier, clips, explainers)


def test_a_page_is_whole_offline_and_says_its_numbers(classifier):
    compared = pages(classifier, [clip(1), clip(3)], right=band_map)
    html = compare_page(compared)
    reader = check_page(html, own_scripts=2)
    assert "right and energy on 2 clips" in reader.text
    assert "exactly 10 % of all time-frequency bins" in reader.text
    data = json.loads(reader.scripts[0])
    assert [[overlay["name"] for overlay in one["overlays"]] for one in data] == [["right", "energy"]] * 2
    assert set(data[0]["evidence"]) == {"m0", "m1"} and set(data[0]["clip"]["sounds"]) == {"original"}
    assert len(reader.of_class("over")) == 4 and len(reader.of_class("sound")) == 6
    for pair in compared[0].agreement:
        assert f"{pair.rank_correlation:.2f}".replace("-", "−") in reader.text and f"{pair.iou:.2f}" in reader.text
    assert "By chance: 0, and 0.05" in reader.text


def test_hostile_names_and_failures_are_shown_as_text(classifier):
    compared = pages(classifier, [Clip(HOSTILE[1], sound(tone(1)))], broken=breaks, **{HOSTILE[3]: band_map})
    reader = check_page(compare_page(compared), own_scripts=2)
    assert HOSTILE[1] in reader.text and HOSTILE[3] in reader.text
    assert f"failed: RuntimeError: {HOSTILE[0]}" in reader.text
    assert set(json.loads(reader.scripts[0])[0]["evidence"]) == {"m1", "m2"}


def test_a_page_without_room_says_that_its_sounds_are_left_out(classifier):
    reader = check_page(compare_page(pages(classifier, [clip(1)]), most_characters=0), own_scripts=2)
    assert "too long for its sounds" in reader.text
    assert not [tag for tag, attrs in reader.tags if "data-hear" in attrs]


def test_an_outline_lies_on_the_border_of_what_is_kept():
    shares = torch.zeros(20, 30)
    shares[5:15, 10:20] = 1
    line, rim = outline(shares)
    assert line[5, 15] and rim[4, 15] and line[10, 10] and rim[10, 9]  # corners are rounded, sides stay where they are
    assert not bool((line & rim).any()) and not bool((line & (shares == 0)).any())
    assert not bool((line | rim)[7:13, 12:18].any()) and not bool((line | rim)[:4].any())
    assert not bool(outline(torch.zeros(20, 30))[0].any())
