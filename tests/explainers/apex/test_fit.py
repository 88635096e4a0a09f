import json
from dataclasses import replace

import pytest
import torch
from tests.prototypes import tiny
from tests.reference import apex as twin
from torch import nn

from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.data.folders import split_by_group
from earmark.errors import DataError, InputError, MismatchError, ModelError
from earmark.explainers.apex import disentangle, views
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.fit import fit_apex

VIEWS = ("square", "time", "frequency", "time-frequency")
SHORT = {"n_stages": 2, "learning_rate": 1e-2, "batch_size": 32, "bank_size": 2}


@pytest.fixture(scope="module")
def classifier():
    return tiny.classifier()


@pytest.fixture(scope="module")
def clips():
    return tiny.clips(32)


@pytest.mark.parametrize(("view", "form"), [*((view, "general") for view in VIEWS), ("time", "orthogonal")])
def test_fit_equals_the_plain_loop_on_the_training_clips(classifier, clips, view, form):
    apex = fit_apex(classifier, clips, view=view, form=form, **SHORT)
    train, held = split_by_group(clips, 0.2, 42)
    with torch.no_grad():
        maps = torch.cat([classifier.tap(classifier.prepare(c.source)).map for c in train])
    A, losses = twin.train(maps, view, form, (100, 5), epochs=2, batch_size=32, lr=1e-2, weight_decay=1e-5, seed=42)
    torch.testing.assert_close(apex.U, twin.matrix(A, form), rtol=0, atol=1e-10)
    torch.testing.assert_close(apex.U @ apex.U_inv, torch.eye(6).double(), rtol=0, atol=1e-12)
    found = apex.diagnostics
    assert (found["n_clips"], found["n_held_out"], found["n_steps"]) == (len(train), len(held), len(losses))
    assert found["purity_per_epoch"][1] > found["purity_per_epoch"][0]
    assert found["cond"] == pytest.approx(1.0 if form == "orthogonal" else float(torch.linalg.cond(apex.U)))
    assert found["folded"] < 1e-10
    assert {p.clip_id for p in apex.bank.prototypes} <= {c.id for c in train}
    assert apex.bank.view == view and apex.identity_bank.n_channels == 6
    json.dumps(found)


def test_the_bank_lies_in_the_basis_and_the_identity_bank_in_the_models_own(classifier, clips):
    apex = fit_apex(classifier, clips, view="time-frequency", **SHORT)
    by_id = {c.id: c for c in clips}
    for bank, U in ((apex.bank, apex.U), (apex.identity_bank, torch.eye(6).double())):
        bank.check(classifier, U)
        prototype = bank.of(3)[0]
        maps = classifier.tap(classifier.prepare(by_id[prototype.clip_id].source)).map.detach()
        found = views.find_full(maps, U, torch.tensor([3]), "time-frequency")
        assert (prototype.freq, prototype.frame) == (found.freq.item(), found.frame.item())
        assert prototype.purity == pytest.approx(found.purity.item(), abs=1e-10)


def test_features_are_computed_once_for_all_fits(classifier, clips, tmp_path):
    first = fit_apex(classifier, clips, cache_dir=tmp_path, view="square", **SHORT)
    second = fit_apex(classifier, clips, cache_dir=tmp_path, view="square", **SHORT)
    other = fit_apex(classifier, clips, cache_dir=tmp_path, view="time", **SHORT)
    passes = [a.diagnostics["n_backbone_passes"] for a in (first, second, other)]
    assert passes == [32, 0, 0]
    assert torch.equal(first.U, second.U)


def test_without_room_for_maps_the_result_is_the_same(classifier, clips, tmp_path):
    roomy = fit_apex(classifier, clips, view="time", **SHORT)
    tight = fit_apex(classifier, clips, view="time", cache_gb=0.0, **SHORT)
    torch.testing.assert_close(tight.U, roomy.U, rtol=0, atol=1e-10)
    assert 32 == roomy.diagnostics["n_backbone_passes"] < tight.diagnostics["n_backbone_passes"] <= 2 * 32
    assert [p.clip_id for p in tight.bank.prototypes] == [p.clip_id for p in roomy.bank.prototypes]


def test_selected_clips_are_kept_by_a_later_fit_with_room(classifier, clips, tmp_path):
    fits = [fit_apex(classifier, clips, view="square", cache_dir=tmp_path, cache_gb=gb, **SHORT) for gb in (0, 1, 1)]
    passes = [apex.diagnostics["n_backbone_passes"] for apex in fits]
    assert passes == [32 + passes[1], passes[1], 0] and 0 < passes[1] <= 32
    for apex in fits[1:]:
        torch.testing.assert_close(apex.U, fits[0].U, rtol=0, atol=1e-10)
    assert not list(tmp_path.glob(".beyond-*"))


def test_pictures_are_kept_of_positive_and_negative_prototypes(classifier, clips):
    apex = fit_apex(classifier, clips, pictures=True, **SHORT)
    every = [p for bank in (apex.bank, apex.identity_bank) for p in bank.prototypes]
    assert {"positive", "negative"} <= {p.sign for p in every}
    assert set(apex.pictures) == {p.sha256 for p in every if p.sign != "weakest"}


def test_a_killed_fit_resumes_to_the_same_result(classifier, clips, tmp_path):
    class KilledError(Exception):
        pass

    def kill(done, total, values):
        if "purity" in values and done == total - 1:
            raise KilledError

    folders = {"cache_dir": tmp_path / "cache", "resume_dir": tmp_path / "resume"}
    with pytest.raises(KilledError):
        fit_apex(classifier, clips, **folders, progress=kill, **SHORT)
    steps = []
    resumed = fit_apex(
        classifier, clips, **folders, progress=lambda d, t, v: steps.append(d) if "purity" in v else None, **SHORT
    )
    whole = fit_apex(classifier, clips, **SHORT)
    assert 0 < len(steps) < whole.diagnostics["n_steps"] == resumed.diagnostics["n_steps"]
    assert torch.equal(resumed.U, whole.U)
    with pytest.raises(MismatchError, match="unfinished fit"):
        fit_apex(classifier, clips, **folders, **{**SHORT, "learning_rate": 1e-3})


def test_given_held_out_clips_are_not_learned_from(classifier, clips):
    apex = fit_apex(classifier, clips, held_out=tiny.clips(6, seed=100), **SHORT)
    assert (apex.diagnostics["n_clips"], apex.diagnostics["n_held_out"]) == (32, 6)
    none = fit_apex(classifier, clips, held_out=[], **SHORT)
    assert none.diagnostics["purity_held_out"] is None
    assert torch.equal(none.U, apex.U)


def test_the_model_and_the_random_state_are_left_alone(clips):
    classifier = tiny.classifier()
    classifier.module.train()
    before = {k: v.clone() for k, v in classifier.module.state_dict().items()}
    state = torch.random.get_rng_state()
    fit_apex(classifier, clips, **SHORT)
    assert all(torch.equal(v, before[k]) for k, v in classifier.module.state_dict().items())
    assert classifier.module.training and all(p.requires_grad for p in classifier.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_clips_of_several_lengths_and_float32(tmp_path):
    clips = tiny.clips(32, (0.8, 0.5, 1.1))
    apex = fit_apex(tiny.classifier(double=False), clips, selection="mean", **SHORT)
    assert apex.U.dtype == torch.float64
    assert apex.diagnostics["folded"] < 1e-5
    assert len({p.duration_s for p in apex.bank.prototypes}) == 3


class MaxHead(nn.Module):
    """Has a head that cannot be folded (tier T3)."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(1, 5, 4, stride=4)
        self.linear = nn.Linear(5, 2)

    def forward(self, features):
        return self.linear(self.map(features[:, None]).amax((2, 3)))


class RowHead(nn.Module):
    """Has a map with one row, which does not depend on the sound where `constant`."""

    def __init__(self, constant=False):
        super().__init__()
        self.map = nn.Conv1d(16, 5, 4, stride=4)
        self.linear = nn.Linear(5, 2)
        if constant:
            nn.init.zeros_(self.map.weight)

    def forward(self, features):
        return self.linear(self.map(features).mean(2))


def wrapped(module, **options):
    front_end = LogMel(sample_rate=tiny.RATE, n_fft=256, hop_length=80, n_mels=16)
    return wrap(module, front_end, tiny.LABELS, map_layer="map", probe_s=1.0, **options)


def test_a_head_that_cannot_be_folded_is_fitted_too(clips):
    apex = fit_apex(wrapped(MaxHead()), clips, **SHORT)
    assert apex.classifier.head.tier == "T3" and apex.diagnostics["folded"] is None


def test_a_map_with_one_row_has_the_time_view_only(clips):
    classifier = wrapped(RowHead(), map_axes="T")
    with pytest.raises(ModelError, match="frequency axis"):
        fit_apex(classifier, clips, view="time-frequency", **SHORT)
    assert fit_apex(classifier, clips, **SHORT).config.view == "time"  # in place of the default, which has no rows
    time, square = (fit_apex(classifier, clips, view=view, **SHORT) for view in ("time", "square"))
    torch.testing.assert_close(time.U, square.U, rtol=0, atol=1e-5)


def test_useless_clips_are_refused(clips):
    with pytest.raises(ModelError, match="same for all"):
        fit_apex(wrapped(RowHead(constant=True), map_axes="T"), clips, view="time", **SHORT)


def test_too_few_clips_are_refused(classifier, clips, tmp_path):
    with pytest.raises(DataError, match=r"5 clips are left .* at least 10"):
        fit_apex(classifier, clips[:5], held_out=[], **SHORT)
    (tmp_path / "bad.wav").write_text("no sound")
    broken = [replace(c, source=tmp_path / "bad.wav") for c in clips[:25]]
    with pytest.raises(DataError, match=r"\(25 broken\).*bad.wav is not a sound"):
        fit_apex(classifier, [*broken, *clips[25:]], held_out=[], **SHORT)
    with pytest.raises(DataError, match="groups"):
        fit_apex(classifier, [replace(c, group="one") for c in clips], **SHORT)


def test_broken_clips_are_reported(classifier, clips, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    apex = fit_apex(
        classifier, [*clips, replace(clips[0], id="bad", source=tmp_path / "bad.wav")], held_out=[], **SHORT
    )
    assert list(apex.diagnostics["broken"]) == ["bad"] == apex.bank.notes["broken"]


def test_an_unknown_setting_is_named(classifier, clips):
    with pytest.raises(InputError, match="no setting stages; its settings are view"):
        fit_apex(classifier, clips, ApexConfig(), stages=3)


def test_progress_counts_clips_then_steps(classifier, clips):
    seen = []
    fit_apex(classifier, clips, progress=lambda *report: seen.append(report), **SHORT)
    n_steps = disentangle.n_steps(len(split_by_group(clips, 0.2, 42)[0]), 6, ApexConfig(**SHORT))
    assert [done for done, _, values in seen if not values] == list(range(1, 33))
    assert [(done, total) for done, total, values in seen if values] == [(i + 1, n_steps) for i in range(n_steps)]
