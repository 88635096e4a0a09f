"""Tables on disk: what is written is what is read."""

import math

import pytest

from earmark.evaluation.columns import KEYS, METRIC_COLUMNS
from earmark.evaluation.results import write_table
from earmark.evaluation.scores import ARROW_SCHEMA, RESULTS, Scores


def row(clip="a", area=None, **values):
    return {"clip": clip, "target": "t", "explainer": "e", "protocol": "matched", "seed": 0, "area": area, **values}


def test_what_is_not_defined_is_empty():
    table = RESULTS.table_of([row(faithfulness=math.nan, average_drop=1.0)])
    assert table.schema == ARROW_SCHEMA
    assert table["faithfulness"].to_pylist() == [None] and table["complexity"].to_pylist() == [None]
    assert table["average_drop"].to_pylist() == [1.0]


def test_rows_come_in_one_order():
    tables = [RESULTS.table_of([row("b", 0.2), row("b", 0.1)]), RESULTS.table_of([row("a", 0.1)])]
    first, second = RESULTS.ordered(tables), RESULTS.ordered(tables[::-1])
    assert first.equals(second)
    assert [(r["clip"], r["area"]) for r in first.to_pylist()] == [("a", 0.1), ("b", 0.1), ("b", 0.2)]


def test_columns_are_chosen_by_value():
    scores = Scores(RESULTS.table_of([row("a"), row("a", 0.1, faithfulness=0.5), row("b", 0.1, faithfulness=0.7)]), {})
    assert scores.column("faithfulness", area=0.1) == [0.5, 0.7]
    assert scores.column("clip", area=None) == ["a"]
    assert len(scores) == 3 and len(scores.rows(clip="a")) == 2


def test_the_same_table_is_the_same_file(tmp_path):
    table = RESULTS.ordered([RESULTS.table_of([row("a", 0.1, faithfulness=1 / 3)])])
    write_table(table, tmp_path / "one.parquet")
    write_table(table, tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.parquet", "two.parquet"]


def test_metrics_are_neither_keys_nor_facts_of_the_clip():
    assert not set(METRIC_COLUMNS) & {*KEYS, "prob", "logit", "truth_area"}
    assert set(METRIC_COLUMNS) <= set(ARROW_SCHEMA.names) and "average_increase" in METRIC_COLUMNS


@pytest.mark.parametrize("name", METRIC_COLUMNS)
def test_numbers_are_float64(name):
    assert str(ARROW_SCHEMA.field(name).type) == "double"
