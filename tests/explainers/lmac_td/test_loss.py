"""The losses: known values, the plain twin, true means."""

import math

import numpy as np
import pytest
import torch
from tests.reference import lmac_td as slow

from earmark.audio.stft import Stft
from earmark.explainers.lmac_td.loss import (
    Decisions,
    Weights,
    apart,
    decision_terms,
    kept_share,
    loudness,
    outside_loss,
    si_snr_db,
)
from earmark.types import seeded


def some(*shape, seed=1):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def total(terms):
    return float(torch.stack(list(terms.values())).sum())


def decided(inside, outside, targets, task="multiclass", counts=None):
    counts = torch.ones(len(inside), dtype=inside.dtype) if counts is None else torch.tensor(counts).to(inside)
    return Decisions(inside, outside, torch.tensor(targets), task, counts)


def test_the_loss_is_the_plain_one():
    inside, outside, masks, targets = some(4, 3), 3 * some(4, 3, seed=2), some(4, 5, 6, seed=3).sigmoid(), [0, 2, 1, 1]
    terms = decision_terms(decided(inside, outside, targets), masks, masks, Weights(4, 0.2, 6), "published")
    expected = slow.loss(inside.numpy(), outside.numpy(), masks.numpy(), targets, (4, 0.2, 6))
    assert total(terms) == pytest.approx(expected, abs=1e-12)


def test_of_several_labels_the_asked_one_alone_counts():
    logits, changed = torch.tensor([[2.0, -30.0, 40.0]]), torch.tensor([[2.0, 50.0, -7.0]])
    weights, mask = Weights(1, 1, 0), torch.ones(1, 2, 2)
    for form in ("published", "absent"):
        terms, other = (
            decision_terms(decided(x, x, [0], "multilabel"), mask, mask, weights, form) for x in (logits, changed)
        )
        assert terms == other
        assert float(terms["inside"]) == pytest.approx(math.log1p(math.exp(-2)))


@pytest.mark.parametrize("form", ["published", "absent"])
@pytest.mark.parametrize(("task", "n"), [("multiclass", 4), ("multilabel", 2)])
def test_what_is_left_out_earns_no_more_than_a_guess(task, n, form):
    outside = torch.tensor([[-50.0, 0.0, 0.0, 0.0]], requires_grad=True)
    found = outside_loss(outside, torch.tensor([0]), task, form)
    bound = -math.log(n) if form == "published" else -math.log(1 - 1 / n)
    assert found.tolist() == pytest.approx([bound], rel=1e-6)
    found.sum().backward()
    assert not bool(outside.grad.any())


def test_a_complement_that_is_certain_has_a_slope_only_as_absent():
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    for form, slope in (("published", 0.0), ("absent", 1.0)):
        (gradient,) = torch.autograd.grad(outside_loss(logits, torch.tensor([0]), "multiclass", form).sum(), logits)
        assert float(gradient[0, 0]) == pytest.approx(slope, abs=1e-6)
    found = outside_loss(logits.detach().double() / 10, torch.tensor([0]), "multiclass", "absent")
    probs = (logits.detach().double() / 10).softmax(1)
    assert found.tolist() == pytest.approx([-math.log(1 - float(probs[0, 0]))])


def test_clips_without_a_decision_do_not_count():
    inside, mask = some(2, 3), torch.ones(2, 1, 1, dtype=torch.float64)
    one = decision_terms(decided(inside, inside, [0, 1], counts=[1.0, 0.0]), mask, mask, Weights(1, 1, 0), "absent")
    alone = decision_terms(decided(inside[:1], inside[:1], [0]), mask[:1], mask[:1], Weights(1, 1, 0), "absent")
    assert total(one) == pytest.approx(total(alone) / 2)


def test_terms_are_means_over_clips():
    inside, outside, masks = some(4, 3), some(4, 3, seed=2), some(4, 5, 6, seed=3).sigmoid()
    codes, weights, targets = some(4, 5, 6, seed=4).abs(), Weights(4, 0.2, 6, 2), [0, 2, 1, 0]
    once = decision_terms(decided(inside, outside, targets), masks, codes, weights, "published")
    inside, outside, masks, codes = (x.repeat(4, *[1] * (x.ndim - 1)) for x in (inside, outside, masks, codes))
    four = decision_terms(decided(inside, outside, 4 * targets), masks, codes, weights, "published")
    assert total(once) == pytest.approx(total(four), abs=1e-12)


def test_si_snr_is_the_plain_one_and_blind_to_gain():
    source, estimate = some(3, 200), some(3, 200) + 0.3 * some(3, 200, seed=9)
    expected = [slow.si_snr_db(e, s) for e, s in zip(estimate.numpy(), source.numpy(), strict=True)]
    assert np.allclose(si_snr_db(estimate, source).numpy(), expected, atol=1e-5)  # 1e-8 is added to energies
    assert torch.allclose(si_snr_db(7 * estimate, source), si_snr_db(estimate, source), atol=1e-5)


def test_how_far_parts_are_from_adding_up():
    samples = torch.ones(2, 10)
    together = torch.stack([0.5 * torch.ones(10), torch.ones(10)])
    assert apart(together, samples, "ratio").tolist() == pytest.approx([0.25, 0.0], abs=1e-6)
    noise = some(1, 100)
    assert float(apart(noise + 0.1 * some(1, 100, seed=4), noise, "si-snr")) < -10
    assert bool(apart(torch.zeros(1, 8), torch.zeros(1, 8), "si-snr").isfinite())


def test_loudness_is_the_mean_of_log1p_magnitude():
    stft = Stft(16, 8)
    samples = some(2, 40)
    expected = [np.log(1 + np.abs(stft(x[None]).numpy())).mean() for x in samples]
    assert loudness(samples, stft).tolist() == pytest.approx(expected)
    assert loudness(torch.zeros(1, 40), stft).tolist() == [0.0]


def test_the_share_kept_is_a_mean_weighted_with_the_code():
    code = torch.tensor([[[3.0, 1.0]], [[30.0, 10.0]], [[0.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    assert kept_share(mask, code).tolist() == pytest.approx([0.75, 0.75, 0.0], abs=1e-6)
