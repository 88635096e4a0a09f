"""What is said of an ablation: means, paired differences, ratios, classification, and a page."""

import pytest
import torch
from tests.evaluation.ablation import planted

from earmark.evaluation.ablation.classification import weighted_auroc, weighted_precision
from earmark.evaluation.ablation.config import AblationConfig
from earmark.evaluation.ablation.examples import examples_of
from earmark.evaluation.ablation.runner import ablate
from earmark.evaluation.ablation.summary import summarize
from earmark.evaluation.ablation.table import RESULTS, Ablation
from earmark.evaluation.ablation.words import summary_markdown
from earmark.metrics.classification import aurocs, average_precisions
from earmark.render.ablation_page import ablation_page


@pytest.fixture(scope="module")
def model():
    return planted.classifier()


@pytest.fixture(scope="module")
def found(model):
    config = AblationConfig(views=("square",), draws=3, keep_draws=1)
    return ablate(model, planted.clips(), planted.apex(model), config, told={"data": "bursts <b>"})


def part(summary, kept=False):
    return next(table for table in summary["views"] if table["kept"] is kept)


def test_means_and_differences_are_those_of_the_rows(found):
    rows = [r for r in found.table.to_pylist() if not r["kept"]]
    table = part(summarize(found))
    region = {r["clip"]: r["logit_lost"] for r in rows if r["condition"] == "region"}
    control = [r for r in rows if r["condition"] == "random"]
    row = next(r for r in table["rows"] if r["condition"] == "random")
    assert row["n"] == 3 and row["draws"] == 3 and row["unmatched"] == 0
    assert row["metrics"]["logit_lost"]["mean"] == pytest.approx(sum(r["logit_lost"] for r in control) / 9)
    against = next(one["rows"] for one in table["against"] if one["outcome"] == "logit_lost")
    told = next(one for one in against if one["control"] == "random")
    assert told["mean"] == pytest.approx(sum(region[r["clip"]] - r["logit_lost"] for r in control) / 9)
    assert told["n"] == 3 and told["n_pairs"] == 9 and told["n_clusters"] == 3
    assert told["p"] >= 0.25  # three recordings cannot be surer: a sign test
    assert told["p_holm"] >= told["p"]
    own = next(r for r in table["rows"] if r["condition"] == "region")
    per = sum(region.values()) / sum(100 * r["area"] for r in rows if r["condition"] == "region")
    assert own["per_area_percent"]["mean"] == pytest.approx(per)


def test_passes_are_counted_once_for_each_place(found):
    rows = [r for r in found.table.to_pylist() if r["condition"] != "none" and r["failed"] is None]
    places = {(r["clip"], r["kept"], r["freq"], r["frame"], r["height"], r["width"]) for r in rows}
    assert summarize(found)["passes"] == {"whole": 3, "masked": len(places)}


def test_what_is_not_matched_is_counted(found):
    rows = found.table.to_pylist()
    for row in rows:
        if row["clip"] == "clip-1" and row["condition"] == "energy-matched":
            row.update(failed="no region of this area and energy", logit_lost=None, prob=None, flip=None)
    table = part(summarize(Ablation(RESULTS.table_of(rows), found.about)))
    row = next(r for r in table["rows"] if r["condition"] == "energy-matched")
    assert (row["n"], row["unmatched"]) == (2, 1)
    told = next(o for o in table["against"] if o["outcome"] == "flip")["rows"]
    assert next(r for r in told if r["control"] == "energy-matched")["n"] == 2


def test_classification_after_masking(found):
    by = {row["condition"]: row for row in part(summarize(found))["classification"]}
    assert by["none"]["metrics"]["top1"]["mean"] == 1 and by["region"]["metrics"]["top1"]["mean"] == 0
    assert by["random"]["region_minus"]["top1"] == {"mean": -1.0, "low": -1.0, "high": -1.0}


def test_weights_are_repeated_clips():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(12, generator=generator).double()
    present = torch.rand(12, generator=generator) > 0.5
    counts = torch.randint(1, 4, (12,), generator=generator)
    repeated, again = scores.repeat_interleave(counts), present.repeat_interleave(counts)
    auroc = weighted_auroc(scores, present, counts[None].double())
    assert float(auroc[0]) == pytest.approx(float(aurocs(repeated[:, None], again[:, None])[0]))
    ones = torch.ones(1, 12, dtype=torch.float64)
    precision = weighted_precision(scores, present, ones)
    assert float(precision[0]) == pytest.approx(float(average_precisions(scores[:, None], present[:, None])[0]))


def test_words_and_page_say_it_and_escape(model, found):
    summary = summarize(found)
    said = summary_markdown(summary)
    assert "square, fill waveform: APEX's region" in said and "without the region" in said
    assert "compared within a view" in said and "too few recordings (3)" in said
    examples = list(examples_of(found, model, planted.clips(), most=1))
    assert [example.target for example in examples] == ["band 0", "band 0"]
    assert examples[0].probs[1] < 0.5 < examples[0].probs[2]
    lost = examples[0].sounds[0].samples - examples[0].sounds[1].samples
    assert float(lost.square().sum()) > 0.3 * float(examples[0].sounds[0].samples.square().sum())
    page = ablation_page(summary, examples, key="abc", title="bursts <b>")
    assert "bursts &lt;b&gt;" in page and "<b>bursts" not in page and page.count("<audio") == 6
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert 'content="abc"' in page and len(page) < 10_000_000
