"""CLAP as a classifier of prompts: transformers' own logits, exact entry, any prompt, sentences for what is no use."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark as em
from earmark.classifiers.hugging_face.load import quiet
from earmark.classifiers.layouts import TokenGrid
from earmark.classifiers.load import load_classifier
from earmark.classifiers.zero_shot import TEMPLATE, ZeroShot, checked_prompts
from earmark.errors import ModelError
from earmark.testing.hugging_face import RATE, save_tiny_clap
from earmark.testing.untouched import untouched

PROMPTS = ["dog", "rain", "train"]

#: Features of the twins differ by rounding, some 1e-5 of their scale; networks this small do not amplify it.
ROUNDING = 2e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_clap(tmp_path_factory.mktemp("models") / "tiny-clap")


@pytest.fixture(scope="module")
def clap(folder):
    return load_classifier(folder, prompts=PROMPTS)


def sound(seconds=2.0, seed=0):
    n = round(seconds * RATE)
    return em.Waveform((0.1 * torch.randn(n, generator=torch.Generator().manual_seed(seed)))[None], RATE)


def theirs(folder, clip):
    """Logits in the user's own way: the processor on numpy and text, the model on its output."""
    import transformers

    with quiet():
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.ClapModel.from_pretrained(folder).eval()
    heard = extractor(np.asarray(clip.samples[0]), sampling_rate=RATE, return_tensors="pt")
    text = tokenizer([TEMPLATE.replace("{}", prompt) for prompt in PROMPTS], padding=True, return_tensors="pt")
    short = torch.zeros(1, 1, dtype=torch.bool)  # the extractor calls one clip of each batch longer, by chance
    with torch.no_grad():
        return model(**text, input_features=heard["input_features"], is_longer=short).logits_per_audio[0]


@pytest.mark.parametrize("fusion", [False, True])
def test_logits_are_those_of_transformers(fusion, folder, clap, tmp_path):
    if fusion:
        folder = save_tiny_clap(tmp_path / "m", fusion=True)
        clap = load_classifier(folder, prompts=PROMPTS)
    expected = theirs(folder, sound())
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(clap.predict(sound()).logits, expected, atol=ROUNDING * scale, rtol=0)


def test_labels_are_prompts_and_logits_are_scaled_cosines(clap):
    assert isinstance(clap, ZeroShot) and clap.labels == ("dog", "rain", "train") and clap.task == "multiclass"
    assert clap.prompts[0] == "this is the sound of dog"
    similarity, scale = clap.similarity(sound()), clap.towers.scale()
    assert float(similarity.abs().max()) <= 1
    assert torch.equal((scale * similarity)[0], clap.predict(sound()).logits)
    named = clap.similarity(sound(), list(clap.prompts))
    torch.testing.assert_close(named, similarity, rtol=0, atol=1e-6)
    for embedding in (clap.embed_text(["a dog", "rain"]), clap.embed_audio(sound())):
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(embedding)), rtol=0, atol=1e-6)


def test_text_is_embedded_once(clap):
    with torch.no_grad():
        calls = []
        handle = clap.towers.model.text_model.register_forward_hook(lambda *_: calls.append(1))
        try:
            clap.predict(sound())
            assert calls == []
            more = clap.with_prompts(["siren", "dog"])
            assert calls == [1]  # of these, one is known
        finally:
            handle.remove()
    assert torch.equal(more.module.text[1], clap.module.text[0])


def test_other_prompts_share_the_towers_and_their_fingerprint(clap):
    other = clap.with_prompts(["siren", "dog"])
    assert other.towers is clap.towers and clap.labels == ("dog", "rain", "train")
    assert other.tower_fingerprint == clap.tower_fingerprint
    assert other.fingerprint != clap.fingerprint
    one, two = other.predict(sound()).logits[1], clap.predict(sound()).logits[0]
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    assert clap.with_prompts(PROMPTS, "a {}").prompts == ("a dog", "a rain", "a train")


def test_the_map_is_the_encoders_last_tokens_and_entry_there_is_exact(clap):
    samples = torch.cat([clap.prepare(sound(seed=seed)) for seed in (0, 1)])
    tapped = clap.tap(samples)
    assert tapped.map.shape == (2, 16, 2, 32)  # four parts of a picture of 8 by 8 cells follow each other in time
    with torch.no_grad():
        assert torch.equal(clap.logits(tapped.map, at="map", context=tapped.context), tapped.logits)
    assert all(check.ok is not False for check in em.verify(clap).checks)


def test_each_part_of_the_picture_is_a_part_of_the_clip(clap):
    """A change of the last eighth of the features moves the last eighth of the first stage's cells most."""
    stage = clap.at_block(1)
    features = clap.at(sound(), "features")
    moved = features.clone()
    moved[..., -30:] += 20.0
    with torch.no_grad():
        change = (stage.map_of_features(moved) - stage.map_of_features(features)).abs().mean((0, 1, 2))
    assert int(change.argmax()) >= 28


def test_cells_lie_evenly_and_stages_have_their_own_grid():
    """A square picture of 16 by 16 tokens in four parts: 4 rows by 64 frames; the map layer has 8 by 8."""
    grid = TokenGrid(2, folds=4, square=True)
    assert (grid.rows(64), grid.rows(256)) == (2, 4)
    assert grid.holds(64) and grid.holds(256) and not grid.holds(128) and not grid.holds(4)


def test_geometry_of_a_square_picture_is_known(clap):
    geometry = clap.geometry(2 * RATE)
    frame = geometry.frame
    assert (frame.n_cells, frame.jump, frame.start) == (32, 251 / 32, (251 / 32 - 1) / 2)


@pytest.mark.parametrize(("method", "options"), [("integrated-gradients", {"n_steps": 2}), ("grad-cam", {})])
def test_methods_that_need_logits_explain_any_prompt(method, options, clap):
    explainer = em.load_explainer(method, classifier=clap, **options)
    told = explainer.explain(sound(0.5), "siren")
    assert told.target.label == "siren" and told.prediction.labels == (*clap.labels, "siren")
    assert float(told.evidence.ranking(told.grid).abs().max()) > 0
    assert explainer.classifier is clap


def test_the_model_is_left_as_it_was(clap):
    with untouched(clap.module):
        clap.predict(sound())
        clap.embed_text(["a dog"])
        clap.with_prompts(["siren"])


def test_options_follow_the_name(folder, tmp_path):
    told = load_classifier(f"{folder}?prompts=dog, rain,siren&template=the sound of a {{}}")
    assert told.labels == ("dog", "rain", "siren") and told.prompts[2] == "the sound of a siren"
    names = tmp_path / "names.txt"
    names.write_text("a dog barking\n\nrain\n")
    assert load_classifier(folder, prompts=names).labels == ("a dog barking", "rain")


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        (None, r"labels are prompts; pass prompts=\['dog', 'rain', ...\], or on the command line"),
        ([], "No prompt was given"),
        (["dog", " "], "Prompt 2 of 2 is empty"),
        (["dog", "rain", "dog "], "more than once: 'dog'"),
        (["a " * 30], "has 37 tokens, and the text tower takes 20"),
        (["Hund"], "has 1 of 8 tokens that this model's tokenizer does not know"),
    ],
)
def test_prompts_of_no_use_are_refused(folder, prompts, said):
    with pytest.raises(ModelError, match=said):
        load_classifier(folder, prompts=prompts)


def test_prompts_are_texts():
    with pytest.raises(ModelError, match=r"Prompts are a list of texts, got '3\.0'"):
        checked_prompts(3.0)  # what `?prompts=3` on the command line means
    with pytest.raises(ModelError, match="Prompts are a list of texts, got 'dog'"):
        checked_prompts("dog")


def test_the_how_to_runs_as_it_stands(folder, tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "zero-shot.md").read_text()
    (tmp_path / "clap").symlink_to(folder)
    sound().save(tmp_path / "yard.wav")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(block, "zero-shot.md", "exec"), {})


def test_a_template_has_a_place_for_words(folder):
    with pytest.raises(ModelError, match=r"A template has one \{\} where"):
        load_classifier(folder, prompts=["dog"], template="the sound of")


def test_a_missing_tokenizer_and_prompts_for_other_models_are_refused(clap, tmp_path):
    from earmark.testing.hugging_face import save_tiny

    folder = save_tiny_clap(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer that could be read \(tokenizer.json\)"):
        load_classifier(folder, prompts=["dog"])
    with pytest.raises(ModelError, match="has no option prompts"):
        load_classifier(save_tiny("ast", tmp_path / "ast"), prompts=["dog"])
    with pytest.raises(ModelError, match="A CLAP model has no option threshold"):
        load_classifier(folder, prompts=["dog"], threshold=0.2)
