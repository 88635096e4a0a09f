import pytest
import torch
from tests.store import examples

from earmark.render.bars import bars_of


def evidence(**changes):
    return examples.prototypes(examples.noise(), **changes)


def test_each_bar_starts_where_the_last_one_ends():
    bars = bars_of(evidence())
    names = [row["name"] for row in bars["rows"]]
    assert names == ["Channel 0", "Channel 1", "6 other channels", "Offset"]
    # 2 + 0.75 - 0.5625 + 0.4125 = 2.6; the highest place, 2.75, is the right border and 0 the left one
    per_unit = 100 / 2.75
    places = [(0, 2), (2, 0.75), (2.1875, 0.5625), (2.1875, 0.4125)]
    for row, (left, width) in zip(bars["rows"], places, strict=True):
        assert (row["left"], row["width"]) == (pytest.approx(left * per_unit), pytest.approx(width * per_unit))
    assert [row["negative"] for row in bars["rows"]] == [False, False, True, False]
    assert bars["total"]["value"] == "+2.60" and bars["total"]["width"] == pytest.approx(2.6 * per_unit)
    assert bars["rows"][2]["note"] == "(+0.94 and −1.50)"


def test_without_other_channels_there_is_no_bar_for_them():
    bars = bars_of(evidence(n_channels=8))
    assert [row["name"] for row in bars["rows"]] == [*(f"Channel {k}" for k in range(8)), "Offset"]


def test_one_other_channel_is_one():
    assert bars_of(evidence(n_channels=7))["rows"][-2]["name"] == "1 other channel"


def test_a_sum_below_zero_starts_at_the_right():
    contributions = torch.tensor([-2.0, -1.0])
    bars = bars_of(evidence(contributions=contributions, channels=(), offset=1.0, score=-2.0))
    assert bars["zero"] == pytest.approx(100) and bars["total"]["left"] == pytest.approx(100 / 3)
    assert bars["total"]["negative"]


def test_nothing_at_all_has_no_width():
    bars = bars_of(evidence(contributions=torch.zeros(2), channels=(), offset=0.0, score=0.0))
    assert {row["width"] for row in bars["rows"]} == {0.0} and bars["zero"] == 0
