"""Several explainers on one clip: the numbers are those of the mask that is heard, and failures stay where they are."""

import math

import pytest
import torch
from tests.evaluation.material import Told, band_map, clip, sound, tone, toy

from earmark.errors import InputError, ModelError, TargetError
from earmark.evaluation.compare import compare
from earmark.masking import mask_in
from earmark.types import Clip


@pytest.fixture(scope="module")
def classifier():
    return toy()


def opposite(samples, target, grid):
    """Everything but the band that decides."""
    return 1 - band_map(samples, target, grid)


def breaks(samples, target, grid):
    raise RuntimeError("nothing to say")


def compared(classifier, **says):
    options = {name: says.pop(name) for name in ("target", "area", "progress") if name in says}
    return compare(classifier, [clip(2)], {name: Told(classifier, say) for name, say in says.items()}, **options)[0]


def test_the_numbers_are_those_of_the_mask_that_is_heard(classifier):
    (one,) = compare(classifier, [clip(2)], {"right": Told(classifier, band_map)}, area=0.2)
    (side,) = one.sides
    assert one.target.label == "band 2" and one.area == 0.2
    n_bins = side.gain.numel()
    assert side.gain.sum() == math.floor(0.2 * n_bins)  # 12.5 % of bins are the band; the rest by index
    samples = classifier.prepare(one.waveform)
    kept = mask_in(samples, side.gain[None].to(samples), classifier.stft)
    for sound_of, prob in ((kept, side.prob_inside), (samples - kept, side.prob_outside)):
        logits = classifier.logits(sound_of)
        assert float(logits.softmax(1)[0, 2]) == pytest.approx(prob, abs=1e-9)
    assert side.prob_inside > 0.9 and side.prob_outside < 0.2
    power = classifier.stft(samples).abs().square()[0]
    assert side.energy == pytest.approx(float((power * side.gain).sum() / power.sum()), abs=1e-9)
    heard = one.kept(side)
    assert heard.n_samples == one.waveform.n_samples
    torch.testing.assert_close(heard.samples.double(), kept, rtol=0, atol=1e-6)  # float32 of what was scored


def test_what_is_wrong_scores_worse_and_disagrees(classifier):
    one = compared(classifier, right=band_map, same=band_map, wrong=opposite, area=0.1)
    right, same, wrong = one.sides
    assert right.prob_inside > wrong.prob_inside and right.prob_outside < wrong.prob_outside
    assert right.prob_inside == same.prob_inside
    by_pair = {(pair.first, pair.second): pair for pair in one.agreement}
    assert list(by_pair) == [("right", "same"), ("right", "wrong"), ("same", "wrong")]
    assert (by_pair["right", "same"].rank_correlation, by_pair["right", "same"].iou) == pytest.approx((1, 1))
    assert (by_pair["right", "wrong"].rank_correlation, by_pair["right", "wrong"].iou) == pytest.approx((-1, 0))


def test_all_explain_the_label_that_is_asked_for(classifier):
    one = compared(classifier, right=band_map, target="band 5")
    assert one.target.label == "band 5" and one.prob < 0.5
    assert one.sides[0].explanation.target.label == "band 5"
    assert one.to_dict()["decided"] == ["band 2"]


def test_a_failure_is_told_and_costs_no_other(classifier):
    one = compared(classifier, broken=breaks, right=band_map, flat=lambda s, t, grid: torch.zeros(grid.shape))
    broken, right, flat = one.sides
    assert "nothing to say" in broken.failed and math.isnan(broken.prob_inside) and broken.regions() == []
    assert right.failed is None and right.prob_inside > 0.5
    assert flat.says_nothing and flat.energy == 0
    assert [pair.iou for pair in one.agreement] == [None, None, None]
    assert one.to_dict()["explainers"][0]["prob_inside"] is None


def test_clips_of_several_lengths_and_their_cost_are_told(classifier):
    clips = [clip(0), Clip("long", sound(tone(1, 2048)))]
    seen = []
    found = compare(
        classifier, clips, ["energy", "saliency"], progress=lambda done, total, values=None: seen.append(done)
    )
    assert [one.clip for one in found] == ["clip-00", "long"]
    assert found[1].sides[0].gain.shape[1] > found[0].sides[0].gain.shape[1]
    assert found[0].sides[1].passes == (2, 1)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("explainers", "options", "error", "words"),
    [
        (["energy"], {"target": "band 9"}, TargetError, "did you mean"),
        (["energy"], {"area": 1.0}, InputError, "between 0 and 1"),
        (["no-such"], {}, ModelError, "no-such"),
        (["deeplift", "energy", "energy"], {}, InputError, "twice"),
    ],
)
def test_what_cannot_be_is_refused_before_a_clip_is_read(classifier, explainers, options, error, words):
    def read():
        pytest.fail("a clip was read")

    with pytest.raises(error, match=words):
        compare(classifier, [Clip("a", read)], explainers, **options)
