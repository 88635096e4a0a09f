import math

import pytest
import torch
from tests.reference import metrics as twin

from earmark.errors import InputError
from earmark.metrics import faithfulness as metric
from earmark.metrics.faithfulness import Passes, PassFlag, decided_rows, flags_of

NAMES = (
    "average_increase",
    "average_drop",
    "average_drop_legacy",
    "average_gain",
    "faithfulness_prob",
    "faithfulness_logit",
    "input_fidelity",
    "output_fidelity",
)


def of(name, passes):
    return getattr(metric, name)(passes)


def of_probs(whole, inside, outside=None, target=None, **options):
    """Passes whose probabilities are the given ones."""
    logits = [torch.tensor(p, dtype=torch.float64).log() for p in (whole, inside, outside or inside)]
    target = torch.tensor([0] * len(whole) if target is None else target)
    return Passes(logits[0], target, logits[1], logits[2], **options)


def example():
    """The worked example of the protocol: 3 labels, 4 clips."""
    p = [[0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05], [0.4, 0.35, 0.25]]
    p_in = [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.9, 0.06, 0.04], [0.3, 0.4, 0.3]]
    p_out = [[q, (1 - q) / 2, (1 - q) / 2] for q in (0.2, 0.5, 0.3, 0.1)]
    return of_probs(p, p_in, p_out)


def test_the_worked_example_to_the_printed_digits():
    printed = {
        "average_increase": 25,
        "average_drop": 11.25,
        "average_drop_legacy": 4.8947,
        "average_gain": 12.5,
        "faithfulness_prob": 0.325,
        "input_fidelity": 0.5,
    }
    for name, value in printed.items():
        digits = 4 if name == "average_drop_legacy" else 9
        assert round(float(of(name, example()).mean()), digits) == value, name
    assert of("average_increase", example()).tolist() == [100, 0, 0, 0]
    assert of("input_fidelity", example()).tolist() == [1, 0, 1, 0]
    assert of("output_fidelity", example()).tolist() == [0, 1, 0, 0]


def random_passes(seed, n=40, labels=4, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, n, labels, generator=generator, dtype=torch.float64)
    return Passes(logits[0], logits[0].argmax(1), logits[1], logits[2])


def test_every_number_equals_the_plain_twin():
    passes = random_passes(1)
    for i in range(40):
        rows = [logits[i].tolist() for logits in (passes.whole, passes.inside, passes.outside)]
        for name, value in twin.faithfulness_row(*rows, int(passes.target[i])).items():
            assert float(of(name, passes)[i]) == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_identities_hold_for_every_clip(seed, spread):
    passes = random_passes(seed, n=200, spread=spread)
    numbers = {name: of(name, passes) for name in NAMES}
    p = passes.whole.softmax(1).amax(1)
    assert (numbers["average_gain"] <= numbers["average_increase"] + 1e-9).all()
    assert (numbers["average_drop"] <= 100 - numbers["average_increase"] + 1e-9).all()
    assert (numbers["average_drop_legacy"] <= 100 * (1 - math.exp(-1)) + 1e-9).all()
    assert (numbers["faithfulness_prob"] <= p + 1e-12).all()
    assert set(numbers["input_fidelity"].tolist()) <= {0.0, 1.0}


def test_a_mask_of_ones_drops_and_adds_nothing_even_after_rounding():
    whole = random_passes(2).whole.float()
    rounded = whole * (1 + 1e-7)  # what a re-synthesis in float32 does
    passes = Passes(whole, whole.argmax(1), rounded, rounded)
    for name in ("average_increase", "average_drop", "average_gain"):
        assert of(name, passes).tolist() == [0] * 40
    assert of("input_fidelity", passes).mean() == 1


def test_the_table_of_masks_of_one_and_zero():
    """With M = 0 nothing is left out: faithfulness is 0 and Fid-Out 1; the ceiling of M = 1 is p minus silence's."""
    passes = random_passes(3)
    nothing = Passes(passes.whole, passes.target, passes.inside, passes.whole)
    assert of("faithfulness_prob", nothing).abs().max() == 0
    assert of("faithfulness_logit", nothing).abs().max() == 0
    assert of("output_fidelity", nothing).mean() == 1


def test_degenerate_rows_have_their_value_and_flag():
    probs = [[1 - 1e-8, 1e-8], [1e-8, 1 - 1e-8], [0.5, 0.5]]
    passes = of_probs(probs, [[0.5, 0.5], [0.5, 0.5], [0.6, 0.4]])
    assert flags_of(passes).tolist() == [PassFlag.CERTAIN, PassFlag.IMPOSSIBLE, 0]
    assert of("average_gain", passes)[0] == 0
    assert of("average_drop", passes).isnan().tolist() == [False, True, False]
    certain = of_probs([[1 - 1e-8, 1e-8]], [[1.0, 1e-30]])
    assert of("average_gain", certain).tolist() == [0]


def test_logits_that_are_not_numbers_give_no_number():
    passes = random_passes(4, n=3)
    passes.inside[1, 2] = passes.outside[1, 2] = torch.nan
    for name in NAMES:
        expected = [False, name != "faithfulness_logit", False]
        assert of(name, passes).isnan().tolist() == expected, name
    assert flags_of(passes).tolist() == [0, PassFlag.NOT_FINITE, 0]


def test_multilabel_uses_sigmoids_and_asks_whether_the_label_is_still_there():
    whole = torch.tensor([[2.0, 1.0, -3.0], [-1.0, -0.5, -2.0]])
    clip, label, fallback = decided_rows(whole, "multilabel")
    assert (clip.tolist(), label.tolist(), fallback.tolist()) == ([0, 0, 1], [0, 1, 1], [False, False, True])
    inside = torch.tensor([[0.1, -0.1, 5.0], [0.1, -0.1, 5.0], [-4.0, -3.0, -5.0]])
    passes = Passes(whole[clip], label, inside, inside, "multilabel")
    assert of("input_fidelity", passes).tolist() == [1, 0, 1]  # the last by its top label
    assert flags_of(passes).tolist() == [0, 0, PassFlag.UNDECIDED]
    expected = whole[clip].sigmoid().gather(1, label[:, None])[:, 0] - inside.sigmoid().gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(of("faithfulness_prob", passes), expected.double(), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="needs a multiclass classifier"):
        of("average_drop_legacy", passes)


def test_multiclass_rows_are_the_top_labels():
    passes = random_passes(5)
    clip, label, fallback = decided_rows(passes.whole, "multiclass")
    assert clip.tolist() == list(range(40))
    assert torch.equal(label, passes.target)
    assert not fallback.any()


def test_a_pass_that_was_not_made_is_named():
    passes = random_passes(6)
    alone = Passes(passes.whole, passes.target, passes.inside)
    assert of("average_drop", alone).isfinite().all()
    with pytest.raises(InputError, match="give Passes inside= or outside="):
        of("faithfulness_prob", alone)
