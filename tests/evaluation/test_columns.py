"""Columns: named once, only ever added, and read where an older table lacks them."""

import pyarrow as pa
import pyarrow.parquet as pq
from tests.evaluation.material import clips, toy

from earmark.evaluation import columns
from earmark.evaluation.runner import evaluate, finished
from earmark.evaluation.scores import ARROW_SCHEMA, load_scores
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import summary_markdown
from earmark.metrics import METRICS

N_FIRST = 44  # columns of the first tables


def test_each_column_is_named_once_and_metrics_are_known():
    assert len(set(columns.COLUMNS)) == len(columns.COLUMNS) == len(ARROW_SCHEMA)
    assert ARROW_SCHEMA.names[:2] == ["clip", "group"] and ARROW_SCHEMA.names[N_FIRST - 1] == "truth_area"
    curves = {*columns.STEPS, *columns.STEPS_LOGIT}  # areas of a curve, not functions of a map
    assert set(columns.METRIC_COLUMNS) - curves <= set(METRICS)
    assert set(columns.KEYS) | set(columns.METRIC_COLUMNS) <= set(columns.COLUMNS)


def test_a_table_of_an_older_version_is_read(tmp_path):
    whole = evaluate(toy(), clips(2), ["energy"], folder=tmp_path, areas=(0.1, 0.5), insertion=False, batch=32)
    path = tmp_path / "scores.parquet"
    pq.write_table(whole.table.select(ARROW_SCHEMA.names[:N_FIRST]), path)
    older = load_scores(tmp_path)
    assert older.table.schema == ARROW_SCHEMA and older.column("contrast_db", protocol="soft") == [None] * 2
    assert older.column("faithfulness", protocol="soft") == whole.column("faithfulness", protocol="soft")
    for name in ("wall_s", "normalizes", "parity", "learned_from"):
        del older.about[name]
    assert "Result card" in summary_markdown(summarize(older))
    assert finished(tmp_path, whole.about["key"]) is not None
    assert isinstance(older.table, pa.Table)
