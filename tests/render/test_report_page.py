import re
from urllib.parse import unquote

import pytest
from tests.render.reading import HOSTILE, check_page
from tests.store.examples import noise

from earmark.render.report_page import ROOM, address_of, facts, report_page, spectrogram
from earmark.render.summary import Summary
from earmark.types import Region

WHOLE = Region(0.0, 1.0, 0.0, 8000.0)


def row(i=0, **changes):
    values = {
        "folder": f"clips/{i}",
        "name": f"{i}.wav",
        "target": "dog",
        "prob": 0.75,
        "heard": "dog",
        "heard_prob": 0.75,
        "method": "apex",
        "view": "time-frequency",
        "basis": "apex",
        "classifier": "toy",
        "fingerprint": "f" * 64,
        "covered": 0.4,
        "regions": (Region(0.1, 0.2, 0.0, 8000.0, 1.0, "channel 1"), Region(0.0, 1.0, 500.0, 900.0, 1.0, "channel 1")),
        "whole": WHOLE,
        "duration_s": 1.0,
        "has_page": True,
        "decided": ("dog", True),
        "same": (i, "dog", None),
    }
    return Summary(**values | changes)


def cells(html):
    """Returns the text of each cell of the table, without pictures."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    plain = [
        re.sub(r"<[^>]*>", " ", cell).split() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", body, re.DOTALL)
    ]
    return [" ".join(words) for words in plain]


def test_a_row_says_what_was_explained():
    html = report_page([row(agreement=0.5, truth=("cat",), agrees=False)], {}, title="yard")
    reader = check_page(html, own_scripts=1)
    assert cells(html) == [
        "",
        "0.wav clips/0",
        "dog",
        "0.750",
        "cat",
        "no",
        "0.50",
        "APEX",
        "time-frequency",
        "40",
        "0.10–0.20 s and 500–900 Hz",
    ]
    assert "Agreement of methods" in reader.text and "Agrees with label" in reader.text


def test_columns_without_values_are_left_out():
    html = report_page([row(view="", covered=None, method="integrated-gradients")], {})
    heads = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", html.partition("</thead>")[0])
    assert heads == ["Sound", "Clip", "Target", "Probability", "Method", "First region"]
    assert "integrated gradients" in html and "--labels" in html


@pytest.mark.parametrize("hostile", [*HOSTILE, "javascript:alert(1)", "a folder/ü?#%"])
def test_what_comes_from_data_is_escaped(hostile):
    changes = {"name": hostile, "target": hostile, "heard": hostile, "truth": (hostile,), "method": hostile}
    rows = [row(folder=hostile, view=hostile, **changes)]
    html = report_page(rows, {}, title=hostile, failed=[(hostile, hostile)])
    reader = check_page(html, own_scripts=1)
    assert hostile in reader.text
    (link,) = [a["href"] for a in reader.all("a") if not a["href"].startswith("#")]
    assert unquote(link) == f"{hostile}/index.html" and not re.match("[a-z]+:", link)
    assert re.fullmatch(r"[A-Za-z0-9_.~/%-]*", link)


def test_an_explanation_without_a_page_has_no_link():
    assert check_page(report_page([row(has_page=False)], {}), own_scripts=1).all("a") == []
    assert address_of(".") == "index.html"


def test_headers_that_sort_say_how():
    reader = check_page(report_page([row()], {}), own_scripts=1)
    kinds = [attrs.get("data-sort") for attrs in reader.all("th") if attrs["scope"] == "col"]
    assert kinds[0] is None and kinds.count("number") == 3 and set(kinds[1:]) == {"text", "number"}


def test_what_was_not_heard_is_said():
    other = row(target="rain", heard="dog", prob=0.1)
    assert "rain heard as dog" in cells(report_page([other], {}))
    many = row(target="rain", heard="dog", decided=("rain", True))  # one of several labels that were heard
    assert "rain" in cells(report_page([many], {}))


def test_facts_count_clips_once():
    rows = [row(0, agrees=True), row(1, agrees=False), row(1, target="cat", same=(1, "cat", None), agreement=0.25)]
    assert dict(facts(rows)) == {
        "explanations": "3",
        "clips": "2",
        "target labels": "2",
        "mean probability of the target": "0.75",
        "agree with the label": "1 of 2",
        "mean agreement of methods": "0.25",
    }


def test_two_thousand_explanations_fit_into_ten_megabytes():
    picture = spectrogram(noise(1.0, 16000, 1), 8000.0, (80, 28))  # of noise: the largest there is
    assert 2000 * len(picture) < ROOM
    name = "a rather long name of a recording in a folder/" * 2
    rows = [row(i, folder=f"{name}{i}", name=f"{name}{i}", truth=("dog",), agrees=True) for i in range(1000, 1200)]
    few, many = (report_page(part, {one.folder: picture for one in part}) for part in (rows[:100], rows))
    assert many.count("data:image/png") == 200
    assert len(few.encode()) + 19 * (len(many.encode()) - len(few.encode())) < 10_000_000  # a page grows by the row


def test_banks_are_told_of():
    channel = {"channel": 7, "share": 0.125, "purity": 0.5, "histogram": {HOSTILE[0]: 4}}
    one = {"label": HOSTILE[1], "n_clips": 3, "logit": 2.0, "channels": [channel]}
    bank = {"classifier": "toy", "explainer": "mine", "basis": "apex", "view": "time", "address": "b/index.html"}
    bank |= {"note": "", "n_channels": 8, "n_clips": 3, "dead": [1], "duplicates": [], "classes": [one]}
    reader = check_page(report_page([row()], {}, banks=[bank]), own_scripts=1)
    assert "7 12.5 % purity 0.50; <script>alert(1)</script> 4" in reader.text.replace("\u00a0", " ")
    assert "b/index.html" in [a["href"] for a in reader.all("a")] and "1 dead" in reader.text
