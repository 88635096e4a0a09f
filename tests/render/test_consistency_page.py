"""The page, the Markdown and the picture of layers: whole, escaped, and with what chance gives beside each number."""

import io
from dataclasses import replace

import matplotlib.image
import pytest
import torch
from tests.render.reading import HOSTILE
from tests.render.reading import check_page as read_page

from earmark.explainers.apex.matchings import Consistency, Matching
from earmark.render.consistency_page import consistency_markdown, consistency_page, consistency_png


def matching(layer, other, overlap):
    columns = torch.arange(3)
    return Matching(
        layer=layer,
        other=other,
        channels=columns,
        others=columns.flip(0),
        correlations=torch.tensor([0.91, -0.5, 0.2], dtype=torch.double),
        overlaps=torch.full((3,), overlap, dtype=torch.double),
        ious=torch.full((3,), torch.nan, dtype=torch.double),
        correlation_chance=0.123,
        overlap_chance=0.05,
        overlap_shuffled=0.077,
        p_value=0.001,
        n_shared=0,
    )


@pytest.fixture(scope="module")
def found():
    matchings = (matching(2, 5, 0.1), matching(2, 9, 0.2), matching(5, 9, 0.6))
    return Consistency(HOSTILE[0], "time", (2, 5, 9), matchings, 12, 0.25, 0)


def test_the_page_says_all_and_needs_nothing_else(found):
    reader = read_page(consistency_page(found), own_scripts=0)
    for told in ("Layer 5 is the first", "0.60", "shuffled pairs 0.08", "0.123", "2 → 0 → 2", "so few", HOSTILE[0]):
        assert told in reader.text
    assert len(reader.of_class("chart")) == 2 and len(reader.of_class("heat")) == 3


def test_without_an_earlier_layer_it_says_so(found):
    assert "begins there" in read_page(consistency_page(replace(found, threshold=0.7)), own_scripts=0).text


def test_markdown_has_the_same_tables(found):
    text = consistency_markdown(replace(found, classifier="a|b"))
    assert "# Layers of a\\|b" in text and "| 5 and 9 | 0.537 | 0.123 | 0.6 | 0.05 | 0.077 | 0.001 | – | 0 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2 + 3


def test_the_picture_is_drawn_and_not_blank(found):
    picture = matplotlib.image.imread(io.BytesIO(consistency_png(found)))
    assert picture.shape[:2] == (390, 1200)
    thirds = (picture[:, :400], picture[:, 400:800], picture[:, 800:])
    assert all(float(part[..., :3].std()) > 0.02 for part in thirds)
