"""Numbers that cannot be are refused; presets have the published ones."""

import pytest

from earmark.errors import InputError
from earmark.explainers.lmac_td.config import LmacTdConfig


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 1.5},
        {"window_s": 0.0},
        {"channels": 0},
        {"lambda_sum": 1.0},
        {"filters": 8},
        {"mask_net": "dual-path", "chunk": 25},
        {"mask_net": "dual-path", "heads": 3},
    ],
)
def test_impossible_numbers_are_refused_with_a_sentence(changes):
    with pytest.raises(InputError, match=r"\.$"):
        LmacTdConfig(**changes)


def test_the_paper_preset_has_the_sizes_of_the_sheet():
    paper = LmacTdConfig.of_preset("paper", alpha=1.0)
    sizes = paper.blocks, paper.chunk, paper.channels, paper.intra, paper.inter, paper.heads, paper.feed_forward
    assert sizes == (2, 250, 256, 8, 2, 8, 256)
    assert (paper.lambda_in, paper.lambda_out, paper.lambda_spec, paper.lambda_sum) == (4, 0.2, 0.4, 0)
    assert (paper.batch_size, paper.epochs, paper.learning_rate, paper.alpha) == (2, 200, 2e-4, 1.0)
    assert not paper.projection and paper.preset == "paper"


def test_settings_come_back_from_json():
    config = LmacTdConfig(alpha=1.0, taps="a,b")
    assert LmacTdConfig.from_dict({**config.to_dict(), "gone": 1}) == config
