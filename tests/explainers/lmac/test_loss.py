"""The losses of L-MAC beside formulas written out by hand, and what they promise of batches and areas."""

import math

import pytest
import torch

from earmark.explainers.lmac.apart import gains
from earmark.explainers.lmac.loss import (
    Weights,
    apart_loss,
    areas_between,
    bounded,
    decision_loss,
    guidance_loss,
    guided,
    likeness,
    lmac_loss,
    thresholds,
    top_mask,
)

W = Weights(4.0, 0.2, 6.4, 0.1)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(inside, outside, mask, target):
    """Returns eq. 2 of the paper, clip by clip, in plain Python."""
    total = 0.0
    for z_in, z_out, m, c in zip(inside.tolist(), outside.tolist(), mask.tolist(), target.tolist(), strict=True):
        ce_in = math.log(sum(math.exp(z) for z in z_in)) - z_in[c]
        ce_out = math.log(sum(math.exp(z) for z in z_out)) - z_out[c]
        rows, columns = len(m), len(m[0])
        mean = sum(map(sum, m)) / (rows * columns)
        down = [abs(m[i + 1][j] - m[i][j]) for i in range(rows - 1) for j in range(columns)]
        right = [abs(m[i][j + 1] - m[i][j]) for i in range(rows) for j in range(columns - 1)]
        tv = sum(down) / len(down) + sum(right) / len(right)
        total += 4 * ce_in - 0.2 * min(ce_out, math.log(len(z_out))) + 6.4 * mean + 0.1 * tv
    return total / len(inside)


def test_the_loss_is_the_paper_s():
    inside, outside, mask = random(5, 3), random(5, 3, seed=1), random(5, 4, 6, seed=2).sigmoid()
    target = torch.tensor([0, 1, 2, 0, 1])
    found = sum(lmac_loss(inside, outside, mask, target, "multiclass", W).values())
    assert float(found) == pytest.approx(by_hand(inside, outside, mask, target), rel=1e-12)


def test_the_gradient_does_not_depend_on_the_batch_size():
    mix, values, target = random(3, 24), random(16, 4, 6), torch.arange(16) % 3

    def gradient(size):
        x = values.clone().requires_grad_()
        for rows in torch.arange(16).split(size):
            mask = x[rows].sigmoid()
            inside, outside = mask.flatten(1) @ mix.T, (1 - mask).flatten(1) @ mix.T
            terms = lmac_loss(inside, outside, mask, target[rows], "multiclass", W)
            (sum(terms.values()) * size / 16).backward()
        return x.grad

    torch.testing.assert_close(gradient(16), gradient(4), rtol=1e-10, atol=1e-14)  # float64; sums in another order


def test_of_several_labels_only_the_asked_one_counts():
    logits = random(4, 3)
    target = torch.tensor([0, 1, 2, 2])
    found = decision_loss(logits, target, "multilabel")
    expected = [-math.log(1 / (1 + math.exp(-logits[i, c]))) for i, c in enumerate(target.tolist())]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_what_is_left_out_need_not_be_worse_than_a_guess():
    assert bounded(torch.tensor([0.5, 9.0]), 10).tolist() == pytest.approx([0.5, math.log(10)])
    x = torch.tensor([9.0], requires_grad=True)
    bounded(x, 10).sum().backward()
    assert x.grad.tolist() == [0.0]


def test_areas_are_met_and_masks_are_nested():
    logits = random(3, 64, 100).float()
    small, large = (top_mask(logits, torch.full((3,), area), 1.0) for area in (0.05, 0.3))
    for mask, area in ((small, 0.05), (large, 0.3)):
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        # the threshold is that of 800 of 6,400 bins: 4 standard deviations of a share among these
        assert mask.mean((1, 2)).sub(area).abs().max() < 4 * math.sqrt(area * (1 - area) / 800)
    assert (small <= large).all()


def test_the_gradient_of_a_hard_mask_is_that_of_the_soft_one():
    logits = random(2, 8, 16).requires_grad_()
    weight = random(2, 8, 16, seed=5)
    areas = torch.tensor([0.1, 0.5], dtype=torch.float64)
    (top_mask(logits, areas, 0.7) * weight).sum().backward()
    at = thresholds(logits.detach(), areas)[:, None, None]
    soft = logits.detach().clone().requires_grad_()
    ((((soft - at) / 0.7).sigmoid()) * weight).sum().backward()
    torch.testing.assert_close(logits.grad, soft.grad, rtol=1e-12, atol=1e-15)


def test_areas_are_log_uniform():
    areas = areas_between(torch.tensor([0.0, 0.5, 1.0]), 0.01, 0.25)
    assert areas.tolist() == pytest.approx([0.01, 0.05, 0.25])


def test_likeness_is_a_cosine_and_decides_who_is_guided():
    source = random(3, 4, 5).abs()
    noise = random(3, 4, 5, seed=3).abs()
    mask = torch.ones(3, 4, 5, dtype=torch.float64)
    mixture = torch.stack([source[0], source[1] + 9 * noise[1], noise[2]])
    found = likeness(mask, mixture, source)
    by_hand = (mixture * source).sum((1, 2)) / (mixture.norm(dim=(1, 2)) * source.norm(dim=(1, 2)))
    torch.testing.assert_close(found, by_hand)
    assert found[0] == pytest.approx(1)
    assert guided(mask, mixture, source, 0.99).tolist() == [True, False, False]
    assert guided(mask, mixture, source, 0.0).all()


def test_guidance_is_least_where_the_mask_marks_the_source():
    source = torch.zeros(1, 6, 8)
    source[0, 2] = 1
    mixture = source + 0.2
    right, wrong = torch.full((1, 6, 8), -9.0), torch.full((1, 6, 8), -9.0)
    right[0, 2], wrong[0, 4] = 9, 9
    for form in ("code", "paper"):
        assert guidance_loss(right, mixture, source, form) < guidance_loss(wrong, mixture, source, form)
    assert float(guidance_loss(right, mixture, source, "code")) == pytest.approx(
        math.log1p(math.exp(-9)), rel=1e-2
    )  # float32 near 1


def test_telling_apart_is_a_weighted_cross_entropy_to_the_ratio_of_energies():
    logits, own, other = random(2, 3, 4), random(2, 3, 4, seed=1).abs(), random(2, 3, 4, seed=2).abs()
    for z, s, n, found in zip(
        logits.tolist(), own.tolist(), other.tolist(), apart_loss(logits, own, other), strict=True
    ):
        bins = [(z[i][j], s[i][j], n[i][j]) for i in range(3) for j in range(4)]
        shares = [a * a / (a * a + b * b) for _, a, b in bins]
        costs = [
            t * math.log(1 + math.exp(-y)) + (1 - t) * math.log(1 + math.exp(y))
            for (y, *_), t in zip(bins, shares, strict=True)
        ]
        loud = [max(a, b) for _, a, b in bins]
        mean = sum(w * c for w, c in zip(loud, costs, strict=True)) / sum(loud)
        assert float(found) == pytest.approx(mean, rel=1e-12)
    silence = torch.zeros_like(own)
    assert apart_loss(logits, silence, silence).tolist() == [0, 0]


def test_the_other_clip_is_within_6_db_either_way():
    samples = random(3, 4000) * torch.tensor([[1.0], [0.1], [5.0]], dtype=torch.float64)
    for chance, db in ((0.0, 6.0), (0.5, 0.0), (1.0, -6.0)):
        other = gains(samples, torch.full((3,), chance)) * samples.roll(1, 0)
        ratio = 10 * torch.log10(other.square().mean(1) / samples.square().mean(1))
        torch.testing.assert_close(ratio, torch.full_like(ratio, db), rtol=0, atol=1e-9)
    samples[1] = 0
    assert torch.isfinite(gains(samples, torch.rand(3, generator=torch.Generator().manual_seed(0)))).all()
