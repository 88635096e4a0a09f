from itertools import pairwise

import pytest
import torch

from earmark.errors import InputError
from earmark.masking import masked_logits
from earmark.masks import MapFlag, mask_of
from earmark.metrics.faithfulness import average_drop, faithfulness_prob
from earmark.metrics.insertion import insertion_deletion
from earmark.metrics.matched import AREAS, area_under, matched_curves
from earmark.testing.toys import band_classifier


class Scorer:
    """Scores the sum of what a mask keeps of known evidence, and remembers how it was called."""

    def __init__(self, evidence):
        self.evidence, self.calls = evidence, []

    def __call__(self, clips, gains):
        self.calls.append(len(clips))
        kept = (self.evidence[clips] * gains).sum((1, 2))
        return torch.stack([kept, 0 * kept], 1)


def evidence(n=3, freq=10, frame=20):
    return torch.rand(n, freq, frame, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_curves_are_the_scores_of_masks_of_equal_area():
    values = evidence()
    score = Scorer(values)
    curves = matched_curves(values, score, batch_size=7)
    assert max(score.calls) == 7
    assert sum(score.calls) == 2 * 3 * len(AREAS)
    for k, area in enumerate(AREAS):
        gain = mask_of(values, "area", area).gain
        torch.testing.assert_close(curves.inside[:, k, 0], (values * gain).sum((1, 2)))
        torch.testing.assert_close(curves.outside[:, k, 0], (values * (1 - gain)).sum((1, 2)))
        assert curves.area_kept[:, k].tolist() == pytest.approx([int(area * 200) / 200] * 3)


def test_rows_of_passes_are_clip_by_clip():
    values = evidence()
    curves = matched_curves(values, Scorer(values))
    whole = torch.stack([values.sum((1, 2)), torch.zeros(3)], 1)
    target = torch.zeros(3, dtype=torch.long)
    drops = faithfulness_prob(curves.passes(whole, target, "multiclass")).view(3, len(AREAS))
    expected = whole.softmax(1)[1, 0] - curves.outside[1, 4].softmax(0)[0]
    assert drops[1, 4].item() == pytest.approx(expected.item())
    assert (drops.diff(dim=1) >= 0).all()  # more is left out


def test_maps_that_say_nothing_are_scored_as_silence_and_flagged():
    values = evidence()
    truth = values.clone()
    values[0], values[1, 2, 3] = 0, torch.nan
    curves = matched_curves(values, Scorer(truth))
    assert curves.inside[:2].abs().max() == 0
    assert curves.area_kept[:2].max() == 0
    assert curves.flags.tolist() == [MapFlag.ZERO, MapFlag.NOT_FINITE, 0]
    ways = insertion_deletion(values, Scorer(truth), n_steps=5)
    assert (ways.inserted[:2, :, 0].diff(dim=1) > 0).all()  # in a random order, but on to everything


def test_soft_edges_are_part_of_what_is_scored():
    values = evidence()
    hard, soft = (matched_curves(values, Scorer(values), smooth=smooth).inside for smooth in (False, True))
    assert (hard - soft).abs().max() > 1


def test_the_area_under_a_curve_is_its_mean_height():
    assert area_under(torch.full((2, 11), 0.7)).tolist() == pytest.approx([0.7, 0.7])
    grid = torch.tensor(AREAS, dtype=torch.float64)
    assert area_under(grid[None]).item() == pytest.approx((0.5**2 - 0.01**2) / 2 / 0.49)  # exact for a line
    by_hand = sum((b - a) * (b**2 + a**2) / 2 for a, b in pairwise(AREAS)) / 0.49
    assert area_under(grid**2).item() == pytest.approx(by_hand)
    for areas in ((0.1,), (0.5, 0.1), (0.1, 0.2, 0.5)):
        with pytest.raises(InputError, match="needs as many rising areas"):
            area_under(torch.zeros(2), areas)


def test_insertion_and_deletion_of_a_line_are_one_half():
    """A score that grows with every bin alike is a straight line, whatever the order; the difference is 0."""
    values = evidence()
    flat = torch.full_like(values, 1e-3)
    ways = insertion_deletion(values, Scorer(flat))
    assert ways.inserted.shape == ways.deleted.shape == (3, 21, 2)
    for area, expected in zip(ways.areas(torch.zeros(3).long(), "multiclass", of="logit"), (0.5, 0.5, 0), strict=True):
        assert area.tolist() == pytest.approx([expected] * 3, abs=1e-9)


def test_the_best_order_inserts_early_and_deletes_early():
    truth = torch.zeros(1, 10, 20, dtype=torch.float64)
    truth[0, 3, :10] = 1.0  # the first twentieth of the bins holds everything
    score, target = Scorer(truth), torch.zeros(1).long()
    best = insertion_deletion(truth, score).areas(target, "multiclass", of="logit")
    assert best[0].item() == pytest.approx(1 - 1 / 40)  # the first step rises from 0 to 1
    assert best[1].item() == pytest.approx(1 / 40)
    assert best[2].item() == pytest.approx(1 - 1 / 20)
    worst = insertion_deletion(-truth, score).areas(target, "multiclass", of="logit")
    assert worst[2].item() == pytest.approx(-(1 - 1 / 20))


def test_the_ends_are_shared_and_curves_that_cannot_be_rescaled_are_nan():
    values = evidence()
    score = Scorer(values)
    ways = insertion_deletion(values, score, n_steps=20)
    assert sum(score.calls) == 3 * 40
    assert torch.equal(ways.deleted[:, 0], ways.inserted[:, -1])
    flat = insertion_deletion(values, Scorer(0 * values)).areas(torch.zeros(3).long(), "multiclass")
    assert all(area.isnan().all() for area in flat)


def test_a_real_classifier_finds_its_band_again():
    """Planted evidence: label 3 hears bins 48 to 63 alone, so a map of these drops nothing where it fits."""
    c = band_classifier()
    noise = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = 8 * noise
    values = torch.zeros(2, *c.grid(4000).shape, dtype=torch.float64)
    values[:, 48:64] = 1

    def score(clips, gains):
        return masked_logits(c, samples[clips], gains, at="stft")

    curves = matched_curves(values, score, areas=(0.05, 0.125, 0.3))
    whole, target = c.logits(samples), torch.tensor([3, 3])
    drops = average_drop(curves.passes(whole, target, "multiclass")).view(2, 3)
    assert drops[:, 1:].max() == 0  # an eighth of the bins holds the band: other labels only lose
    kept = curves.inside[..., 3] / whole[:, 3:4]
    torch.testing.assert_close(kept[:, 1:], torch.ones(2, 2, dtype=torch.float64))
    assert kept[:, 0].max() < 0.8
    assert (curves.outside[:, 1:, 3] == 0).all()
