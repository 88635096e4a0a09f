import csv
import io

import pytest

from earmark.store.tables import RAVEN_COLUMNS, audacity_labels, harmless, raven_table
from earmark.types import Region

REGIONS = [
    Region(0.8200000000000001, 1 / 3 + 1, 480.0, 2300.123456789, 2.31, "dog\tbark\n"),
    Region(0.0, 1e-7, 0.0, 16000.0, -0.5, "=SUM(A1)"),
]


def test_raven_reads_back_to_the_same_numbers():
    rows = list(csv.DictReader(io.StringIO(raven_table(REGIONS)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert tuple(rows[0]) == RAVEN_COLUMNS
    assert [row["Selection"] for row in rows] == ["1", "2"]
    for row, region in zip(rows, REGIONS, strict=True):
        assert float(row["Begin Time (s)"]) == region.start_s
        assert float(row["End Time (s)"]) == region.end_s
        assert float(row["Low Freq (Hz)"]) == region.low_hz
        assert float(row["High Freq (Hz)"]) == region.high_hz
        assert float(row["Weight"]) == region.weight
        assert "e" not in row["End Time (s)"]
    assert [row["Annotation"] for row in rows] == ["dog bark", "'=SUM(A1)"]


def test_audacity_reads_back_to_the_same_numbers():
    lines = audacity_labels(REGIONS).splitlines()
    assert len(lines) == 4
    for i, region in enumerate(REGIONS):
        start, end, label = lines[2 * i].split("\t")
        mark, low, high = lines[2 * i + 1].split("\t")
        assert (float(start), float(end)) == (region.start_s, region.end_s)
        assert (mark, float(low), float(high)) == ("\\", region.low_hz, region.high_hz)
        assert label == harmless(region.label)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\t=1", "\n@x", "\r+1", "＝1", "\x00=1", "\u2028=1"])
def test_no_label_is_a_formula_or_breaks_a_line(text):
    assert harmless(text)[0] == "'"
    assert len(raven_table([Region(0, 1, 0, 1, label=text)]).splitlines()) == 2


def test_harmless_labels_are_left_alone():
    assert harmless("Große Rohrdommel (ruf), 3-4 kHz") == "Große Rohrdommel (ruf), 3-4 kHz"


def test_regions_without_a_label_take_the_target():
    assert raven_table([Region(0, 1, 0, 1)], "dog").splitlines()[1].split("\t")[7] == "dog"
    assert audacity_labels([], "dog") == ""
