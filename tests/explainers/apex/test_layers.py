"""APEX at blocks of an encoder: one pass for all, resumed after a kill, invariant, and loaded where it was fitted."""

import json
from contextlib import contextmanager

import pytest
import torch
from tests.explainers.apex import encoders

import earmark as em
from earmark.errors import InputError, MismatchError, ModelError
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.fit import fit_apex
from earmark.explainers.apex.invariance import identity_pair, invariance
from earmark.explainers.apex.layers import (
    at_blocks,
    fit_apex_layers,
    layer_config,
    load_apex_layers,
    parse_layers,
)
from earmark.testing.hugging_face import save_tiny
from earmark.types import seeded

SHORT = {"n_stages": 2, "epochs_per_stage": 1, "learning_rate": 1e-2, "batch_size": 64}
SHORT |= {"bank_size": 2, "pictures": False}


def small(config):
    """Halves a tiny model."""
    config.hidden_size = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(kind, root / kind, change=small) for kind in ("wav2vec2", "ast")}


@pytest.fixture(scope="module")
def speech(folders):
    return em.load_classifier(folders["wav2vec2"], probe_s=1.0)


@pytest.fixture(scope="module")
def clips():
    return encoders.clips(12)


@pytest.fixture(scope="module")
def fitted(speech, clips, tmp_path_factory):
    """All three blocks of a wav2vec2, and where they are."""
    out = tmp_path_factory.mktemp("fitted")
    return fit_apex_layers(speech, clips, out=out, view="time", **SHORT), out


def test_every_block_gets_a_basis_and_each_clip_passes_the_model_once(fitted, speech):
    apexes, out = fitted
    assert list(apexes) == [1, 2, 3]
    assert {path.name for path in out.iterdir()} == {"layer-01", "layer-02", "layer-03"}
    for number, apex in apexes.items():
        assert apex.classifier.map_layer == speech.blocks[number - 1]
        assert apex.classifier.module is speech.module
        assert apex.diagnostics["n_backbone_passes"] == 0  # all of it was found in the pass for all layers
        assert apex.config.standardize and apex.diagnostics["layer"] == number
        assert apex.bank.fingerprint == apex.classifier.fingerprint
        assert not (out / f"layer-{number:02d}" / ".resume").exists()
    assert len({apex.bank.fingerprint for apex in apexes.values()}) == 3


def test_a_block_is_fitted_as_it_would_be_alone(fitted, speech, clips):
    alone = fit_apex(speech.at_block(2), clips, layer_config(view="time", **SHORT))
    assert torch.equal(alone.U, fitted[0][2].U)
    assert [p.clip_id for p in alone.bank.prototypes] == [p.clip_id for p in fitted[0][2].bank.prototypes]


def test_outputs_do_not_change(fitted, speech, clips):
    """Tapped: bit for bit. As a pair of convolutions: to rounding, also in the model's own precision."""
    for apex in fitted[0].values():
        told = apex.diagnostics
        assert told["tapped_exactly"] is True
        assert told["identity_pair"] <= told["identity_pair_limit"] == pytest.approx(1e-4 * told["logit_scale"])
        assert told["identity_pair_own_precision"] <= told["identity_pair_limit"]
        samples = speech.prepare(clips[0].source)
        assert torch.equal(apex.classifier.logits(samples), speech.logits(samples))


def test_the_token_grid_of_ast_has_all_four_views_and_its_pair_changes_nothing(folders, clips, tmp_path):
    classifier = em.load_classifier(folders["ast"], probe_s=1.0)
    for i, view in enumerate(("square", "time", "frequency", "time-frequency")):
        (number,) = [1 + i % 2]
        apex = fit_apex_layers(classifier, clips, [number], out=tmp_path / view, view=view, **SHORT)[number]
        assert apex.classifier.map_layer == classifier.blocks[number - 1]
        assert apex.diagnostics["tapped_exactly"]
        assert apex.diagnostics["identity_pair"] <= apex.diagnostics["identity_pair_limit"]
        told = apex.explain(clips[0].source).evidence
        assert told.view == view and told.exact  # attention is held, so that contributions sum to the logit


@pytest.mark.parametrize("double", [False, True])
def test_the_pair_is_an_identity_for_a_basis_far_from_orthogonal(double):
    classifier = encoders.encoder()
    if not double:
        classifier.module.float(), classifier.front_end.float()
    A = torch.randn(6, 6, generator=seeded(5), dtype=torch.double)
    basis = (torch.linalg.matrix_exp(2 * A), torch.linalg.matrix_exp(-2 * A))
    assert float(torch.linalg.cond(basis[0])) > 100
    samples = classifier.prepare(encoders.clips(1)[0].source)
    own = classifier.logits(samples)
    with identity_pair(classifier.at_block(1), *basis):
        changed = classifier.logits(samples)
    assert float((changed - own).abs().max()) <= (1e-9 if double else 1e-4) * float(own.abs().max())
    with identity_pair(classifier.at_block(1), basis[0], 2 * basis[1]):
        assert not torch.allclose(classifier.logits(samples), own)  # it does stand in the way of the signal


def test_the_pair_goes_also_after_an_error(speech):
    sibling = speech.at_block(1)
    eye = torch.eye(8, dtype=torch.double)
    before = len(sibling._layer._forward_hooks)
    with pytest.raises(ZeroDivisionError), identity_pair(sibling, eye, eye):
        assert len(sibling._layer._forward_hooks) == before + 1
        raise ZeroDivisionError
    assert len(sibling._layer._forward_hooks) == before


def test_a_wrong_inverse_is_found(fitted, clips):
    apex = fitted[0][1].using()
    apex.U_inv = apex.U_inv * 1.5
    assert not invariance(apex, clips).holds and invariance(fitted[0][1], clips).holds


def test_it_is_loaded_at_its_own_layer(fitted, folders, clips):
    apexes, out = fitted
    fresh = em.load_classifier(folders["wav2vec2"], probe_s=1.0)
    loaded = em.load_explainer(out / "layer-02", classifier=fresh)
    assert loaded.classifier.map_layer == fresh.blocks[1] != fresh.map_layer
    told, expected = (apex.explain(clips[3].source).evidence for apex in (loaded, apexes[2]))
    assert torch.equal(told.contributions, expected.contributions) and told.exact
    every = load_apex_layers(out, fresh)
    assert [apex.config for apex in every.values()] == [apex.config for apex in apexes.values()]


def test_another_classifier_is_refused(fitted, folders, tmp_path):
    _, out = fitted
    for other in (save_tiny("wav2vec2", tmp_path / "other", seed=9, change=small), folders["ast"]):
        with pytest.raises(MismatchError, match="was fitted to wav2vec2"):
            em.load_explainer(out / "layer-02", classifier=em.load_classifier(other, probe_s=1.0))
    with pytest.raises(ModelError, match="no layers"):
        load_apex_layers(tmp_path, em.load_classifier(folders["ast"], probe_s=1.0))


def test_finished_layers_are_skipped_and_a_killed_one_goes_on(fitted, speech, clips, tmp_path):
    class KilledError(Exception):
        pass

    begun = []

    @contextmanager
    def report(name):
        begun.append(name)

        def progress(done, total, values):
            if kill and name == "layer 2" and "purity" in values and done == total - 1:
                raise KilledError

        yield progress

    changes = {"view": "time", "report": report, **SHORT, "batch_size": 16}
    kill = True
    with pytest.raises(KilledError):
        fit_apex_layers(speech, clips, [1, 2], out=tmp_path / "killed", **changes)
    assert (tmp_path / "killed" / ".cache").is_dir() and (tmp_path / "killed" / "layer-02" / ".resume").is_dir()
    kill, begun[:] = False, []
    resumed = fit_apex_layers(speech, clips, [1, 2], out=tmp_path / "killed", **changes)
    assert begun == ["layer 2"]
    assert not (tmp_path / "killed" / ".cache").exists()
    whole = fit_apex_layers(speech, clips, [2], out=tmp_path / "whole", **changes)
    assert torch.equal(resumed[2].U, whole[2].U)
    begun.clear()
    again = fit_apex_layers(speech, clips, [1, 2], out=tmp_path / "killed", **changes)
    assert begun == [] and torch.equal(again[2].U, resumed[2].U)
    fit_apex_layers(speech, encoders.clips(12, seed=50), [1], out=tmp_path / "killed", **changes)
    assert "layer 1" in begun  # other clips, another fit


def test_what_is_no_layer_is_refused_in_a_sentence(speech, clips, tmp_path):
    with pytest.raises(ModelError, match="blocks 1 to 3, got 99"):
        fit_apex_layers(speech, clips, [1, 99], out=tmp_path, view="time")
    with pytest.raises(ModelError, match="no blocks that are known"):
        fit_apex_layers(em.load_classifier("scenes-cnn"), clips, out=tmp_path)
    with pytest.raises(ModelError, match="'frequency' needs a map with a frequency axis"):
        fit_apex_layers(speech, clips, [1], out=tmp_path, view="frequency")
    with pytest.raises(InputError, match="numbers"):
        parse_layers("deep")
    with pytest.raises(InputError, match="no setting"):
        layer_config(stages=3)
    assert list(tmp_path.iterdir()) == []
    assert list(at_blocks(speech, parse_layers("3, 1"))) == [1, 3] and parse_layers("all") == "all"


def test_channels_are_standardized_unless_that_is_switched_off():
    assert layer_config().standardize is True and layer_config(standardize=False).standardize is False
    assert layer_config(ApexConfig(standardize=False)).standardize is False


def test_every_label_above_the_threshold_is_told_in_one_pass(clips, tmp_path):
    """A multi-label model: each label present has an explanation that sums to its own logit; the clip is heard once."""

    def many(config):
        small(config)
        config.problem_type = "multi_label_classification"

    folder = save_tiny("wav2vec2", tmp_path / "many", change=many)
    classifier = em.load_classifier(folder, probe_s=1.0)
    assert classifier.task == "multilabel"
    probs = classifier.predict(clips[0].source).probs.sort().values
    classifier.threshold = float(probs[:2].mean())  # two of three are above it
    apex = fit_apex_layers(classifier, clips, [2], out=tmp_path / "layers", view="time", **SHORT)[2]
    passes = []
    handle = classifier.front_end.register_forward_hook(lambda *_: passes.append(1))
    told = apex.explain_all(clips[0].source)
    handle.remove()
    prediction = classifier.predict(clips[0].source)
    assert [one.target.label for one in told] == list(prediction.decided) and len(told) == 2
    assert len(passes) == 1
    for one in told:
        assert one.evidence.exact and one.evidence.score == float(prediction.logits[one.target.index])
    assert not torch.equal(told[0].evidence.contributions, told[1].evidence.contributions)


def test_the_folder_tells_its_layer(fitted):
    about = json.loads((fitted[1] / "layer-03" / "config.json").read_text())
    assert about["map_layer"] == "model.wav2vec2.encoder.layers.2" and about["map_axes"] == "TC"
    assert "encoder.layers.2" in (fitted[1] / "layer-03" / "README.md").read_text()
