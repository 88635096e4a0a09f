import json

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.errors import AudioError, EarmarkError, InputError, TargetError
from earmark.types import Clip, Prediction, Region, Target, label_index, probabilities, resolve_target, seeded

LABELS = ("dog", "rain", "siren", "clock")
LOGITS = torch.tensor([1.0, -2.0, 3.0, 0.5])


def prediction(task="multiclass", logits=LOGITS, threshold=0.5):
    return Prediction(logits, LABELS, task, threshold)


# Predictions -------------------------------------------------------------------------------------


def test_a_prediction_of_one_label():
    p = prediction()
    assert (p.index, p.label, p.decided) == (2, "siren", ("siren",))
    torch.testing.assert_close(p.probs, LOGITS.exp() / LOGITS.exp().sum())


def test_a_prediction_of_several_labels():
    p = prediction("multilabel")
    torch.testing.assert_close(p.probs, 1 / (1 + (-LOGITS).exp()))
    assert p.decided == ("dog", "siren", "clock")
    assert prediction("multilabel", threshold=0.74).decided == ("siren",)
    assert prediction("multilabel", logits=LOGITS - 9).decided == ("siren",)  # nothing above: the top one


def test_the_most_probable_labels():
    top = prediction().top(3)
    assert [row["label"] for row in top] == ["siren", "dog", "clock"]
    assert [row["logit"] for row in top] == [3.0, 1.0, 0.5]
    assert sum(row["prob"] for row in prediction().top(99)) == pytest.approx(1)
    json.dumps(top)


def test_of_equal_logits_the_first_label_comes_first():
    assert [row["label"] for row in prediction(logits=torch.zeros(4)).top(4)] == list(LABELS)


def test_probabilities_are_derived_once():
    """Softmax of logits, never of probabilities: shifting all logits changes nothing."""
    torch.testing.assert_close(probabilities(LOGITS + 7, "multiclass"), probabilities(LOGITS, "multiclass"))


# Targets -----------------------------------------------------------------------------------------


def test_scores_of_a_target():
    logits, other = LOGITS.expand(2, -1).clone(), 1.0
    logits[1] += torch.tensor([0.0, other, 0.0, 0.0])
    assert Target(1, "rain").of(logits, "multiclass").tolist() == [-2.0, -1.0]
    assert Target(1, "rain", "contrast", 2, "siren").of(logits, "multiclass").tolist() == [-5.0, -4.0]
    for task in ("multiclass", "multilabel"):
        probs = probabilities(logits, task)[:, 1]
        torch.testing.assert_close(Target(1, "rain", "prob").of(logits, task), probs)
        torch.testing.assert_close(Target(1, "rain", "log_prob").of(logits, task), probs.log())


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_log_probabilities_of_the_impossible_are_finite_and_have_a_gradient(task):
    logits = torch.tensor([[-300.0, 0.0, 0.0, 0.0]], requires_grad=True)
    score = Target(0, "dog", "log_prob").of(logits, task)
    assert score.tolist() == pytest.approx([-300], abs=1.2)
    score.sum().backward()
    assert float(logits.grad[0, 0]) == pytest.approx(1.0)


def test_a_target_is_meant_by_name_position_or_nothing():
    p = prediction()
    assert resolve_target(None, p) == Target(2, "siren")
    assert resolve_target("rain", p) == resolve_target(1, p) == Target(1, "rain")
    assert resolve_target("rain", p, against="dog") == Target(1, "rain", "contrast", 0, "dog")
    own = Target(3, "clock", "prob")
    assert resolve_target(own, p) is own


def test_labels_that_do_not_exist_are_refused():
    with pytest.raises(TargetError, match=r"'sirene' is unknown.*did you mean 'siren'"):
        label_index("sirene", LABELS)
    with pytest.raises(TargetError, match=r"'xyz' is unknown.*'dog', 'rain', 'siren', 'clock'"):
        label_index("xyz", LABELS)
    for index in (-1, 4):
        with pytest.raises(TargetError, match="has labels 0 to 3"):
            label_index(index, LABELS)
    with pytest.raises(TargetError, match="two different labels, got 'dog' twice"):
        resolve_target("dog", prediction(), against="dog")


# Clips, regions, seeds, errors -------------------------------------------------------------------


def test_regions_are_plain():
    region = Region(0.5, 1.0, 100.0, 200.0, 0.3, "bark")
    keys = ["start_s", "end_s", "low_hz", "high_hz", "weight", "label"]
    assert list(region.to_dict()) == keys
    assert Region(**region.to_dict()) == region


def test_clips_and_regions_are_frozen():
    clip = Clip("a", Waveform(torch.zeros(4), 8000))
    for thing, name in (
        (clip, "id"),
        (Region(0, 1, 0, 1), "start_s"),
        (Target(0, "a"), "index"),
        (prediction(), "task"),
    ):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)


def test_seeds_are_reproducible_and_told_apart():
    def draw(*parts):
        return float(torch.rand((), generator=seeded(*parts), dtype=torch.float64))

    state = torch.get_rng_state()
    assert draw(3, 1, 4) == draw(3, 1, 4)
    drawn = {draw(seed, part, step) for seed in range(4) for part in range(4) for step in range(4)}
    assert len(drawn) == 64
    assert draw(2**40, 1) != draw(2**40 + 1, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_give_the_same_numbers_for_ever():
    """What was published with a seed can be made again: these numbers must never change."""
    assert seeded(0).initial_seed() == 6375474603054492659
    assert seeded(7, 1, 2).initial_seed() == 3725288598500675013


def test_errors_are_one_family():
    for kind in (InputError, AudioError, TargetError):
        assert issubclass(kind, EarmarkError)
        assert issubclass(kind, ValueError)
        assert kind("x").exit_code == 2
    assert EarmarkError("x").exit_code == 1
