"""The subject of a check: its clips, its failures, and the same explainer elsewhere."""

import pytest
import torch
from tests.checks.trained import clips, trained
from tests.evaluation.material import Told, band_map, sound

from earmark.checks.memory import Memory
from earmark.checks.rebinding import draws, on_classifier, with_seed
from earmark.checks.redraw import copied
from earmark.checks.subject import Subject, spaced
from earmark.classifiers.load import load_classifier
from earmark.errors import DataError, InputError
from earmark.explainers.load import load_explainer
from earmark.testing.toys import band_classifier
from earmark.types import Clip, Target


def test_clips_of_one_length_stand_together_and_silent_ones_are_counted():
    short = Clip("a", sound(torch.rand(900, generator=torch.Generator().manual_seed(0))))
    silent, torn = Clip("b", sound(torch.zeros(1024))), Clip("c", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _ = Subject(trained(), "energy", clips=[torn]).scored  # an error that is not of reading a sound
    subject = Subject(trained(), "energy", clips=[*clips(5), silent, short], batch=2)
    assert [len(batch) for batch, _ in subject.batches()] == [1, 2, 2, 1]
    assert {tuple(samples.shape) for _, samples in subject.batches()} == {(1, 900), (2, 1024), (1, 1024)}
    told = subject.coverage()
    assert (told["n"], told["scored"], told["excluded"]) == (7, 6, {"silent or constant": 1})
    with pytest.raises(DataError, match="None of 1 clips can be used: silent"):
        _ = Subject(trained(), "energy", clips=[silent]).scored


def test_more_clips_than_wanted_are_evenly_spaced():
    subject = Subject(trained(), "energy", clips=clips(9), most=3)
    assert [clip.id for clip in subject.scored] == ["clip-00", "clip-03", "clip-06"] and len(subject.clips) == 9
    assert spaced((1, 2), 5) == spaced([1, 2], None) == (1, 2) and subject.coverage()["n"] == 3
    with pytest.raises(DataError, match="'clip-00' is there twice"):
        Subject(trained(), "energy", clips=[*clips(1), *clips(1)])


def test_what_fails_is_zeros_and_counted():
    def say(samples, target, grid):
        if target.index == 0:
            raise ValueError("no")
        return torch.full(grid.shape, float("nan") if target.index == 1 else 0.5)

    subject = Subject(trained(), Told(trained(), say), clips=clips(3))
    ((_, samples),) = subject.batches()
    targets = [Target(i, f"band {i}") for i in range(3)]
    maps = subject.maps(subject.explainer, samples, targets)
    assert maps.flatten(1).amax(1).tolist() == [0, 0, 0.5]
    assert subject.failures == {"ValueError: no": 1, "NaN or infinite in the map": 1}
    maps = subject.maps(subject.explainer, samples, targets, failed=torch.nan)
    assert maps.isnan().flatten(1).all(1).tolist() == [True, True, False]


def test_explainers_belong_to_their_classifier():
    other = Told(band_classifier(), band_map)
    with pytest.raises(InputError, match="make it for this one"):
        Subject(trained(), other, clips=clips(1))
    with pytest.raises(InputError, match="made already"):
        Subject(trained(), Told(trained(), band_map), {"n_steps": 3}, clips(1))


def test_another_seed_changes_what_is_drawn_and_nothing_else():
    rise = load_explainer("rise", classifier=trained(), n_samples=8)
    assert draws(rise) and with_seed(rise, 5).config.seed == 5 and rise.config.seed == 42
    saliency = load_explainer("saliency", classifier=trained())
    assert not draws(saliency) and with_seed(saliency, 5).config == saliency.config
    smooth = load_explainer("smoothgrad", classifier=trained(), of="rise")
    assert with_seed(smooth, 5).explainer.config.seed == 5


def test_a_copy_elsewhere_forgets_what_it_computed():
    other, samples = copied(trained()), torch.stack([clip.source.samples[0] for clip in clips(2)])
    with torch.no_grad():
        other.module.head.weight.neg_()
    targets = [Target(0, "band 0")] * 2
    for name, options in (("rise", {"n_samples": 8}), ("smoothgrad", {"n_samples": 2}), ("deeplift", {})):
        own = load_explainer(name, classifier=trained(), **options)
        subject = Subject(trained(), own, clips=clips(2))
        before = subject.maps(own, samples, targets)
        moved = subject.maps(subject.on(other), samples, targets)
        assert torch.equal(moved, subject.maps(load_explainer(name, classifier=other, **options), samples, targets))
        assert not torch.equal(before, moved) and own.classifier is trained()


def test_an_apex_keeps_its_basis_elsewhere():
    classifier = load_classifier("scenes-cnn")
    apex = load_explainer("apex", classifier=classifier)
    other = copied(classifier)
    moved = on_classifier(apex, other)
    assert moved.U is apex.U and moved.bank is apex.bank and moved.classifier is other
    assert not draws(apex) and with_seed(apex, 9).config == apex.config


def test_parts_are_kept_by_name(tmp_path):
    memory, made = Memory(tmp_path, "k"), []
    for _ in range(2):
        told = memory.json("a/b", lambda: made.append(1) or {"x": [1.5, float("inf")]})
        tensors = memory.tensors("t", lambda: made.append(2) or {"y": torch.ones(2)})
        assert told == {"x": [1.5, float("inf")]} and torch.equal(tensors["y"], torch.ones(2))
    assert made == [1, 2]
    (tmp_path / ".parts-k" / "t.safetensors").write_bytes(b"torn")
    assert torch.equal(memory.tensors("t", lambda: {"y": torch.zeros(2)})["y"], torch.zeros(2))
    memory.clear()
    assert not list(tmp_path.iterdir())
