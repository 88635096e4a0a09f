"""Masks beside explanations: what is measured of them, what they cost, and that they cost nothing else."""

from dataclasses import replace

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.errors import ModelError, TargetError
from earmark.evidence import Mask
from earmark.explainers.beside import embedded_masker, masks_beside, measured
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.decoder import Masker
from earmark.explainers.lmac.explainer import Lmac
from earmark.explainers.load import load_explainer
from earmark.testing.toys import band_classifier

RATE = 8000


def untrained(classifier, **changes):
    masker = Masker.untrained(classifier, LmacConfig(width=4, **changes))
    return Lmac(classifier, masker.config, masker.taps, masker.decoder)


def sound(seed=0):
    return Waveform(0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(seed)), RATE)


def hears_all():
    """Returns a classifier to which every label counts as present."""
    return band_classifier(n_bands=4, bias=torch.ones(4), task="multilabel")


def energy(classifier):
    return load_explainer("energy", classifier=classifier)


def beside(masker, explanations):
    wrong = []
    return masks_beside(masker, explanations, lambda *said: wrong.append(said)), wrong


def test_it_is_judged_by_what_is_heard():
    """The slow way: the sounds themselves are predicted again, one after the other."""
    classifier = band_classifier()
    explanation = energy(classifier).explain(sound(), name="a.wav").of_part(1.0, 2.0)
    (mask,), wrong = beside(untrained(classifier), [explanation])
    assert wrong == [] and mask.target == explanation.target
    assert (mask.name, mask.provenance.start_s, mask.provenance.end_s) == ("a.wav", 1.0, 2.0)
    numbers, index = mask.evidence.measured, mask.target.index
    for name, heard in (("prob_inside", mask.listen()), ("prob_outside", mask.complement())):
        slow = float(classifier.predict(heard).probs[index])
        assert numbers[name] == pytest.approx(slow, abs=1e-5)  # float32, batches of another size
    gain = mask.evidence.gain.double()
    power = classifier.stft(mask.waveform.samples)[0].abs().double().square()
    assert numbers["mask_mean"] == pytest.approx(float(gain.mean()), rel=1e-6)
    assert numbers["energy_kept"] == pytest.approx(float((gain.square() * power).sum() / power.sum()), rel=1e-6)


def test_a_mask_of_ones_keeps_all_and_leaves_silence():
    classifier = band_classifier()
    made = energy(classifier).explain(sound())
    numbers = measured(
        replace(made, evidence=Mask(torch.ones(made.grid.shape), made.grid)), classifier
    ).evidence.measured
    whole = float(made.prediction.probs[made.target.index])
    silence = float(classifier.predict(sound().scale(0.0)).probs[made.target.index])
    assert numbers["prob_inside"] == pytest.approx(whole, abs=1e-5)  # one analysis and synthesis in float32
    assert numbers["prob_outside"] == pytest.approx(silence, abs=1e-5)
    assert (numbers["energy_kept"], numbers["mask_mean"]) == (1.0, 1.0)


def test_the_stated_passes_are_those_that_were_run():
    classifier = band_classifier()
    explanation, masker = energy(classifier).explain(sound()), untrained(classifier)
    passed = []
    handle = classifier.module.register_forward_hook(lambda module, args, out: passed.append(len(out)))
    (mask,), _ = beside(masker, [explanation])
    handle.remove()
    assert sum(passed) == mask.provenance.forward_passes == 3


def test_all_labels_that_were_heard_share_a_pass():
    classifier = hears_all()
    explanations = energy(classifier).explain_all(sound())
    masker = untrained(classifier)
    passed = []
    handle = classifier.module.register_forward_hook(lambda module, args, out: passed.append(len(out)))
    masks, wrong = beside(masker, explanations)
    handle.remove()
    assert [m.target.label for m in masks] == [e.target.label for e in explanations] and len(masks) > 1
    assert wrong == [] and sum(passed) == 1 + 2 * len(masks)


def test_what_goes_wrong_is_told_and_costs_that_label_alone():
    """A decoder that knows the first label only draws it, and refuses the others."""
    classifier = hears_all()
    explanations = energy(classifier).explain_all(sound())
    masks, wrong = beside(untrained(classifier, conditioned=False), explanations)
    first = explanations[0].prediction.label
    assert [mask is not None for mask in masks] == [e.target.label == first for e in explanations]
    assert [label for label, _ in wrong] == [e.target.label for e in explanations if e.target.label != first]
    assert all(isinstance(error, TargetError) for _, error in wrong)


def test_values_that_are_not_finite_are_no_mask():
    classifier = band_classifier()
    made = energy(classifier).explain(sound())
    with pytest.raises(ModelError, match="finite"):
        measured(replace(made, evidence=Mask(torch.full(made.grid.shape, torch.nan), made.grid)), classifier)


def test_a_classifier_of_ones_own_has_no_embedded_mask():
    assert embedded_masker(band_classifier()) is None
