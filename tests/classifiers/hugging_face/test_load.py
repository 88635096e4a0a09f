"""Models of transformers, from the folders that `save_pretrained` writes: the same logits, every gradient, no trace."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import earmark as em
from earmark.classifiers.hugging_face.load import quiet
from earmark.classifiers.hugging_face.places import find_place
from earmark.classifiers.load import load_classifier, split_options
from earmark.errors import ModelError
from earmark.testing.hugging_face import KINDS, LABELS, RATE, save_tiny

AUDIO = [kind for kind, front_end in KINDS.items() if front_end is None]
PICTURES = [kind for kind, front_end in KINDS.items() if front_end is not None]

#: Features of the twins differ by rounding, some 1e-5 of their scale; networks this small do not amplify it.
ROUNDING = 2e-3


def sound(seconds=2.0, rate=RATE, seed=0):
    """Noise that swells, as a waveform."""
    n = round(seconds * rate)
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return em.Waveform((0.1 * noise * torch.linspace(0.2, 1, n))[None], rate)


@pytest.mark.parametrize("kind", AUDIO)
def test_logits_are_those_of_transformers(kind, folders, loaded):
    """The user's own way: the preprocessor on numpy, the model on its output."""
    import transformers

    with quiet():
        processor = transformers.AutoFeatureExtractor.from_pretrained(folders(kind))
        model = transformers.AutoModelForAudioClassification.from_pretrained(folders(kind)).eval()
    clip = sound()
    batch = processor(np.asarray(clip.samples[0]), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**{model.main_input_name: batch[model.main_input_name]}).logits[0]
    ours = loaded(kind).predict(clip).logits
    scale = max(1.0, float(theirs.abs().max()))
    torch.testing.assert_close(ours, theirs, atol=ROUNDING * scale, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_part_of_the_waveform(kind, loaded):
    classifier = loaded(kind)
    samples = classifier.prepare(sound()).clone().requires_grad_()
    logits = classifier.logits(samples)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), samples)
    assert bool(torch.isfinite(gradient).all())
    quarters = gradient[0].abs().reshape(4, -1).sum(1)
    assert bool((quarters > 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_clips(kind, loaded):
    classifier = loaded(kind)
    clips = torch.cat([classifier.prepare(sound(seed=seed)) for seed in range(3)])
    with torch.no_grad():
        together = classifier.logits(clips)
        alone = torch.cat([classifier.logits(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)  # convolutions of a batch add up in another order


@pytest.mark.parametrize(
    ("kind", "shape"), [("ast", (5, 19)), ("wav2vec2", (1, 99)), ("whisper", (1, 100)), ("convnext", (4, 6))]
)
def test_maps_have_the_shape_of_their_network(kind, shape, loaded):
    classifier = loaded(kind)
    assert classifier.tap(classifier._noise()).map.shape[2:] == shape


def test_a_frame_of_wav2vec2_lies_where_its_convolutions_look(loaded):
    """Kernels 10, 8, 8 and strides 5, 8, 8: the center of frame 0 is 4.5 + 5 * 3.5 + 40 * 3.5, a step 320 samples."""
    frame = loaded("wav2vec2").geometry(RATE).frame
    assert (frame.start, frame.jump) == (162.0, 320.0)


def test_patches_of_ast_overlap(loaded):
    """Patches of 16 every 10 rows and columns: cell i is centered at 7.5 + 10 i on both axes."""
    geometry = loaded("ast").geometry(2 * RATE)
    for axis in (geometry.freq, geometry.frame):
        assert (axis.start, axis.jump) == (7.5, 10.0)


@pytest.mark.parametrize("kind", ["ast", "wavlm", "wav2vec2-weighted", "whisper", "sew-d"])
def test_every_block_can_be_entered(kind, loaded):
    """Also where layers beside the map see the clip: sums over layers, relative positions, special tokens."""
    classifier = loaded(kind)
    samples = torch.cat([classifier.prepare(sound(seed=seed)) for seed in range(2)])
    for index in range(1, len(classifier.blocks) + 1):
        other = classifier.at_block(index)
        with torch.no_grad():
            tapped = other.tap(samples)
            again = other.logits(tapped.map, at="map", context=tapped.context)
        torch.testing.assert_close(again, tapped.logits, atol=1e-4, rtol=1e-4)


def test_a_classifier_without_blocks_says_so(loaded):
    with pytest.raises(ModelError, match="no blocks that are known, got 1"):
        loaded("convnext").at_block(1)
    with pytest.raises(ModelError, match="has blocks 1 to 3, got 4"):
        loaded("wav2vec2").at_block(4)


def test_labels_and_task_come_from_the_configuration(loaded):
    classifier = loaded("wav2vec2")
    assert classifier.labels == LABELS
    assert classifier.task == "multiclass"
    assert classifier.sample_rate == RATE
    assert classifier.card["architecture"] == "Wav2Vec2ForSequenceClassification"


def test_an_unsaid_task_is_inferred_and_said(tmp_path):
    folder = changed("wav2vec2", tmp_path / "m", problem_type=None)
    with pytest.warns(UserWarning, match=r"no problem_type; it is taken as multiclass.*task='multilabel'"):
        assert load_classifier(folder, probe_s=1.0).task == "multiclass"
    assert load_classifier(folder, probe_s=1.0, task="multilabel").task == "multilabel"


def test_unnamed_labels_are_said_and_can_be_given(tmp_path):
    folder = changed("wav2vec2", tmp_path / "m", id2label={str(i): f"LABEL_{i}" for i in range(3)})
    with pytest.warns(UserWarning, match=r"names no labels.*pass labels="):
        load_classifier(folder, probe_s=1.0)
    names = tmp_path / "names.txt"
    names.write_text("eins\nzwei\ndrei\n")
    assert load_classifier(folder, probe_s=1.0, labels=str(names)).labels == ("eins", "zwei", "drei")
    with pytest.raises(ModelError, match="2 labels were given for the 3 logits"):
        load_classifier(folder, labels=["a", "b"])


def test_options_follow_the_name(folders):
    text = f"{folders('convnext')}?front-end=birdset&task=multilabel&threshold=0.25&probe_s=2"
    classifier = load_classifier(text)
    assert (classifier.task, classifier.threshold, classifier.sample_rate) == ("multilabel", 0.25, 32000)
    assert split_options("a/b?trust_remote_code=true&revision=main") == (
        "a/b",
        {"trust_remote_code": True, "revision": "main"},
    )
    with pytest.raises(ModelError, match="'task' is no option; write name=value"):
        load_classifier("folder?task")
    with pytest.raises(ModelError, match="has no option color"):
        load_classifier(f"{folders('convnext')}?color=red")


def test_a_model_without_a_head_is_refused(tmp_path):
    import transformers

    folder = save_tiny("wav2vec2", tmp_path / "m")
    with quiet():
        model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
        model.wav2vec2.save_pretrained(folder)
    with pytest.raises(ModelError, match="Wav2Vec2Model, which has no classification head"):
        load_classifier(folder)


def test_missing_weights_are_refused(tmp_path):
    """A head that would be drawn at random is no model to explain."""
    from safetensors.torch import load_file, save_file

    folder = save_tiny("wav2vec2", tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    del state["classifier.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights that its network needs \(classifier.weight\)"):
        load_classifier(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_tiny("wav2vec2", tmp_path / "m")
    state = load_file(folder / "model.safetensors")
    state["classifier.bias"][0] = torch.nan
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="hold NaN or infinity"):
        load_classifier(folder)


def test_a_missing_preprocessor_is_named(tmp_path):
    folder = save_tiny("wav2vec2", tmp_path / "m")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"no preprocessor that could be read.*or pass front_end="):
        load_classifier(folder)


def test_pictures_need_a_spectrogram(folders):
    with pytest.raises(ModelError, match=r"takes pictures.*pass front_end="):
        load_classifier(folders("convnext"))


def test_without_network_and_cache(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'nobody/nothing' was not found.*could not be reached"):
        load_classifier("nobody/nothing")


def test_a_kind_that_is_not_known_asks_to_be_told():
    model = torch.nn.Module()
    model.config = SimpleNamespace(model_type="something-new")
    with pytest.raises(ModelError, match=r"'something-new' model lies is not known to this version.*name map_layer="):
        find_place(model, 64)


def test_the_place_of_a_map_can_be_told(folders):
    """An earlier stage of a ConvNeXt, by its name in the model."""
    classifier = load_classifier(
        folders("convnext"),
        front_end="birdset",
        map_layer="convnext.encoder.stages.1",
        map_axes="FT",
        feature_axes="CFT",
        probe_s=2.0,
    )
    assert classifier.tap(classifier._noise()).map.shape == (1, 8, 16, 25)


def test_the_model_is_left_as_it_was(folders, loaded):
    """Same weights, modes and hooks after every kind of entry; nothing of transformers' settings is changed."""
    import transformers

    told = transformers.utils.logging
    before = (told.get_verbosity(), told.is_progress_bar_enabled(), torch.get_rng_state().sum())
    classifier = load_classifier(folders("wav2vec2"), probe_s=1.0)
    weights = {key: value.clone() for key, value in classifier.module.state_dict().items()}
    explainer = em.load_explainer("grad-cam", classifier=classifier)
    explainer.explain(sound())
    assert (told.get_verbosity(), told.is_progress_bar_enabled(), torch.get_rng_state().sum()) == before
    assert all(torch.equal(value, weights[key]) for key, value in classifier.module.state_dict().items())
    hooks = [hook for part in classifier.module.modules() for hook in part._forward_hooks.values()]
    assert not any(hook.__module__.startswith("earmark") for hook in hooks)  # transformers leaves some of its own


@pytest.mark.parametrize("rate", [8000, 44100])
def test_any_rate_and_stereo(rate, loaded):
    classifier = loaded("wav2vec2")
    clip = sound(rate=rate)
    stereo = em.Waveform(clip.samples.repeat(2, 1), rate)
    torch.testing.assert_close(classifier.predict(stereo).logits, classifier.predict(clip).logits)


def test_a_clip_shorter_than_the_receptive_field(loaded):
    with pytest.raises(ModelError, match="too short for the model"):
        loaded("wav2vec2").predict(em.Waveform(torch.randn(1, 100), RATE))


def changed(kind, folder, **values):
    """A tiny model whose configuration on disk says other things."""
    save_tiny(kind, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder
