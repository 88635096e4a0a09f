"""What was learned tells two explainers of one method and one setting apart."""

from tests.evaluation.material import Told, band_map, clips, toy
from torch import nn

from earmark.classifiers.load import load_classifier
from earmark.evaluation.runner import evaluate
from earmark.explainers.gradient import SmoothGrad
from earmark.explainers.load import load_explainer

FAST = {"areas": (0.5,), "insertion": False}


def decoded(weight):
    """An explainer with a decoder of one weight."""
    explainer = Told(toy(), band_map)
    explainer.decoder = nn.Linear(1, 1, bias=False)
    nn.init.constant_(explainer.decoder.weight, weight)
    return explainer


def test_decoders_are_told_apart_and_what_is_not_fitted_has_learned_nothing():
    assert decoded(1.0)._learned() == decoded(1.0)._learned() != decoded(2.0)._learned()
    for name in ("saliency", "rise", "occlusion", "random", "grad-cam"):
        explainer = load_explainer(name, classifier=toy())
        explainer.explain(clips(1)[0])
        assert explainer._learned() == ""


def test_a_wrapper_passes_on_what_is_wrapped():
    one, two = (SmoothGrad(decoded(weight), n_samples=2)._learned() for weight in (1.0, 2.0))
    assert one != two and "" not in (one, two)
    assert SmoothGrad(load_explainer("saliency", classifier=toy()))._learned() == ""


def test_an_apex_is_known_by_its_basis():
    apex = load_explainer("apex", classifier=load_classifier("scenes-cnn"))
    assert apex._learned() == apex.bank.basis_sha256


def test_scores_of_another_decoder_are_not_taken_for_these(tmp_path):
    keys = [
        evaluate(toy(), clips(2), {"own": decoded(weight)}, folder=tmp_path, **FAST).about["key"]
        for weight in (1.0, 1.0, 2.0)
    ]
    assert keys[0] == keys[1] != keys[2]
