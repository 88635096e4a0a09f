import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
import torch
from tests.render.reading import Reader
from tests.store import examples

from earmark.render.page import explanation_page, index_page


@pytest.fixture(scope="module", params=examples.KINDS)
def page(request):
    explanation = examples.explanation(request.param)
    html = explanation_page(explanation)
    return explanation, html, Reader(html)


def test_a_page_asks_for_nothing_outside_itself(page):
    _, html, reader = page
    assert "http://" not in html and "https://" not in html and "@import" not in html
    for _, attrs in reader.tags:
        assert "srcset" not in attrs and "href" not in attrs
        assert attrs.get("src", "data:").startswith("data:")
    assert all(url.startswith("data:") for url in re.findall(r"url\(\s*[\"']?([^\"')]+)", html))
    assert "link" not in {tag for tag, _ in reader.tags}


def test_a_page_can_be_read_by_all(page):
    _, _, reader = page
    assert reader.all("html")[0]["lang"] == "en"
    assert any(attrs.get("name") == "viewport" for attrs in reader.all("meta"))
    assert all("alt" in attrs for attrs in reader.all("img"))
    assert all("aria-label" in attrs for attrs in reader.all("canvas"))
    assert "This page needs JavaScript" in reader.text
    names = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(names) == len(set(names))


def test_only_the_viewers_own_script_may_run(page):
    _, html, reader = page
    policy = next(a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    code = re.search(r"<script>(.*)</script>", html, re.DOTALL).group(1)
    allowed = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{allowed}'" in policy
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)


def test_the_headline_says_what_was_heard(page):
    _, _, reader = page
    assert "earmark: yard.wav was heard as dog (p = 0.85)" in reader.text
    assert "the logit of dog, 2.60," in reader.text


def data_of(html):
    return json.loads(re.search(r'id="earmark-data">(.*?)</script>', html, re.DOTALL).group(1))


def test_the_viewer_gets_sounds_boxes_and_heat(page):
    explanation, html, reader = page
    data = data_of(html)
    sounds = {"original", "evidence"} | ({"residual"} if "residual" in explanation.sounds() else set())
    assert set(data["clip"]["sounds"]) == sounds  # the complement is their difference
    assert "FLAC, 16 bit, without loss" in reader.text
    boxes = [box for overlay in data["overlays"] for box in overlay["boxes"]]
    wanted = [{k: getattr(r, k) for k in ("start_s", "end_s", "low_hz", "high_hz")} for r in explanation.regions()]
    assert boxes == wanted
    assert all(overlay["heat"] for overlay in data["overlays"])


def test_heat_is_a_table_too():
    explanation = examples.explanation("mask")
    reader = Reader(explanation_page(explanation))
    assert "Heat in numbers" in reader.text
    gain = explanation.evidence.gain
    table = explanation_page(explanation).partition("<caption>")[2].partition("</table>")[0]
    cells = [int(n) for n in re.findall(r"<td>(\d+)</td>", table)]
    assert len(cells) == 8 * 10
    assert max(cells) <= round(100 * float(gain.max())) and min(cells) >= round(100 * float(gain.min()))


def test_regions_and_labels_are_tables_too(page):
    explanation, _, reader = page
    first = explanation.regions()[0]
    assert f"{first.start_s:.3f}" in reader.text and f"{first.end_s:.3f}" in reader.text
    assert all(label in reader.text for label in examples.LABELS)
    assert "from 22050 Hz to 16000 Hz for the classifier; sound above 8000 Hz cannot count" in reader.text
    assert "f" * 64 in reader.text


def test_bars_sum_to_the_score():
    html = explanation_page(examples.explanation("prototypes"))
    values = [float(v.replace("−", "-")) for v in re.findall(r'<td class="value">([^<]+)</td>', html)]
    assert values[:2] == [2.0, 0.75]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.02)
    text = Reader(html).text
    assert "own score is 2.60; the sum differs from it by" in text
    assert "6 other channels (+0.94 and −1.50)" in text
    bars = [
        (float(a), float(b))
        for a, b in re.findall(r'<i class="(?:negative)?" style="left:([\d.]+)%;width:([\d.]+)', html)
    ]
    ends = [left + width for left, width in bars]
    assert bars[1][0] == pytest.approx(ends[0], abs=0.01)  # the second starts where the first ends
    assert ends[2] == pytest.approx(ends[1], abs=0.01)  # the third takes away, so it ends there


def test_channels_are_told_in_words_with_their_training_clips():
    reader = Reader(explanation_page(examples.explanation("prototypes")))
    assert "Channel 0 adds +2.00 of 2.60; found at 0.15" in reader.text
    assert reader.text.count("dog, bark") == 4
    assert "similarity 0.90 · score 12.50 · purity 0.70" in reader.text
    labels = [attrs.get("aria-label", "") for attrs in reader.all("button")]
    for what in ("Compare with", "Region of", "Whole clip"):
        assert sum(label.startswith(what) for label in labels) == 4


def test_missing_sound_is_said_and_what_is_known_is_shown():
    reader = Reader(explanation_page(examples.explanation("prototypes", find_sound=None)))
    assert reader.text.count("The sound of this training clip is not at hand") == 4
    assert "its box lies at 0.10–0.20 s, 0–4000 Hz" in reader.text
    assert "audio/dog-1.ogg" in reader.text


def test_a_small_picture_stands_in_for_missing_sound():
    picture = torch.zeros(64, 40, dtype=torch.uint8)
    pictures = {examples.prototype(0, 1).sha256: picture}
    reader = Reader(explanation_page(examples.explanation("prototypes", find_sound=None, pictures=pictures)))
    assert reader.text.count("so the picture is coarse") == 1
    assert sum("training clip" in attrs["alt"] for attrs in reader.all("img")) == 1


def test_a_training_clip_that_is_the_clip_itself_is_called_so():
    clip = examples.noise()
    reader = Reader(explanation_page(examples.explanation("prototypes", clip, find_sound=lambda p: clip)))
    assert "This is the explained clip itself" in reader.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"basis": "identity"}, "the model's own basis, before APEX"),
        ({"exact": False, "mode": "paper"}, "need not sum to the score"),
        ({"exact": False, "mode": "signed"}, "what the score loses without that channel"),
    ],
)
def test_what_is_special_is_said(changes, said):
    assert said in Reader(explanation_page(examples.explanation("prototypes", **changes))).text


def test_another_target_is_said_to_be_one():
    text = Reader(explanation_page(examples.explanation("mask", target=1))).text
    assert "was heard as dog (p = 0.85)" in text
    assert "It was not heard as rain (p = 0.13)" in text


def test_several_labels_are_named():
    text = Reader(explanation_page(examples.explanation("mask", task="multilabel"))).text
    assert "was heard as dog (p = 0.93), rain (p = 0.67)" in text
    assert "from a probability of 0.5 on" in text


def test_everything_is_escaped():
    nasty = '<script>alert("x")</script>&"\''
    explanation = examples.explanation("prototypes", name=nasty, labels=(nasty, "b", "c"))
    explanation = replace(
        explanation, provenance=replace(explanation.provenance, config={nasty: nasty}, classifier=nasty, method=nasty)
    )
    html = explanation_page(explanation)
    assert "<script>alert" not in html
    assert html.count("<script") == 2
    assert nasty in Reader(html).text
    assert data_of(html)["name"] == nasty


def test_a_long_loud_clip_with_many_prototypes_stays_below_10_mb():
    clip = examples.noise(30.0, 48000, 2)
    training = examples.noise(5.0, 44100, 2, seed=3)
    explanation = examples.explanation(
        "prototypes", clip, n_channels=4, n_prototypes=4, find_sound=lambda prototype: training
    )
    html = explanation_page(explanation)
    assert len(html.encode()) < 10_000_000
    assert "To keep this page small" in html and "lossy" in html


def test_the_index_leads_to_each_label():
    html = index_page("a & b.wav", [("dog", 0.9, "dog"), ("<rain>", 0.7, "_rain_ 50%")])
    reader = Reader(html)
    assert [attrs["href"] for attrs in reader.all("a")] == ["dog/index.html", "_rain_%2050%25/index.html"]
    assert "a & b.wav was heard as 2 labels" in reader.text and "<rain>" in reader.text
    assert "http" not in html.replace("http-equiv", "")
