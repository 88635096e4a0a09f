"""A CLAP of one's own: it learns sounds by words, is loaded as any other, and a killed training goes on bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import earmark as em
from earmark.audio.waveform import Waveform
from earmark.classifiers.clap.config import ClapSize
from earmark.classifiers.clap.model import untrained
from earmark.classifiers.clap.prompts import Prompts
from earmark.classifiers.clap.scores import score_clap
from earmark.classifiers.clap.train import PromptTable, fit_clap, repeated
from earmark.classifiers.load import load_classifier
from earmark.errors import DataError, InputError, MismatchError
from earmark.testing.conformance import check_explainer
from earmark.training.config import AugmentConfig, LoopConfig
from earmark.types import Clip, seeded

RATE = 4000
SIZE = ClapSize(
    rate=RATE,
    clip_s=1,
    n_fft=256,
    hop_length=64,
    n_mels=16,
    spec_size=32,
    patch=4,
    width=8,
    depths="1,1",
    heads="2,2",
    window=4,
    text_width=32,
    text_layers=1,
    dimensions=8,
    vocabulary=200,
    text_steps=60,
    text_rate=3e-3,
    word_size=0.2,
    text_dropout=0.0,
)
LOOP = LoopConfig(epochs=6, batch_size=8, learning_rate=3e-3)
GENTLE = AugmentConfig(noise_share=0.0, mixup=0.0, mel_mask=2, frame_mask=8)
HZ = {"low": 300.0, "high": 1400.0}
PROMPTS = {
    "high": Prompts(("high", "a high tone"), ("the tone is high", "shrill")),
    "low": Prompts(("low", "a low tone"), ("the tone is low",)),
}


def clip(label, i, seconds=1.0):
    t = torch.arange(round(seconds * RATE)) / RATE
    tone = torch.sin(2 * torch.pi * (HZ[label] * (1 + 0.02 * i)) * t)
    noise = 0.05 * torch.randn(len(t), generator=seeded(i, len(label)))
    return Clip(f"{label}-{i}", Waveform((0.3 * tone + noise)[None], RATE), labels=(label,), group=f"{label}-{i}")


def clips(first, n):
    return [clip(label, i) for label in HZ for i in range(first, first + n)]


def fit(folder, *, prompts=None, loop=LOOP, **options):
    return fit_clap(
        clips(0, 8), clips(8, 3), folder, SIZE, loop, augmentation=GENTLE, prompts=prompts or PROMPTS, **options
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "clap"
    return folder, fit(folder)


@pytest.fixture(scope="module")
def loaded(fitted):
    return load_classifier(fitted[0], prompts=["high", "low"])


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_it_learns_sounds_by_words(fitted, loaded, tmp_path):
    summary = fitted[1]
    assert summary["labels"] == ("high", "low") and summary["score"] == 1
    assert (summary["n_training"], summary["n_selection"]) == (16, 6)
    found = score_clap(loaded, clips(20, 4), PROMPTS, SIZE, tmp_path / "decoded")
    assert found["n"] == 8 and found["names"] == {"accuracy": 1.0, "clips": 8, "prompts": 2}
    assert found["other names"]["accuracy"] == 1 and found["seen words"]["prompts"] == 2
    assert found["unseen words"]["clips"] == 4 and found["unseen words"]["prompts"] == 1  # `low` has none
    assert "some unseen words" not in found and not list(tmp_path.iterdir())


def test_its_folder_is_that_of_a_published_model(fitted, loaded):
    """What transformers itself says of clip and texts, read from the folder, is what was trained and what is loaded."""
    import transformers

    folder = fitted[0]
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= {
        file.name for file in folder.iterdir()
    }
    assert not list(folder.glob(".*")) and not (folder / "texts").exists()
    model = transformers.ClapModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    sound = clip("low", 30).source
    heard = extractor(np.asarray(sound.samples[0]), sampling_rate=RATE, return_tensors="pt")["input_features"]
    text = tokenizer(list(loaded.prompts), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**text, input_features=heard).logits_per_audio[0]
    torch.testing.assert_close(loaded.predict(sound).logits, expected, rtol=0, atol=1e-3)  # features of two makers


def test_a_killed_training_goes_on_bit_for_bit(fitted, tmp_path):
    class KilledError(Exception):
        pass

    def kill(done, total, values):
        if done == 5:
            raise KilledError

    loop = replace(LOOP, checkpoint_s=0.0)
    with pytest.raises(KilledError):
        fit(tmp_path / "m", loop=loop, resume_dir=tmp_path / "resume", progress=kill)
    seen = []
    again = {"resume_dir": tmp_path / "resume", "progress": lambda done, total, values: seen.append(done)}
    summary = fit(tmp_path / "m", loop=loop, **again)
    assert seen[0] == 6  # the step was done and written before the kill
    assert same(weights(fitted[0]), weights(tmp_path / "m"))
    assert [row["loss"] for row in summary["history"]] == [row["loss"] for row in fitted[1]["history"]]
    other = {**PROMPTS, "low": Prompts(("low", "a deep tone"))}
    with pytest.raises(MismatchError, match="an unfinished training with other settings"):
        fit(tmp_path / "m", prompts=other, **again)


def test_held_out_prompts_are_never_learned_from(fitted, tmp_path):
    """With other ones, or none, every weight is the same, and so is the tokenizer."""
    without = {label: Prompts(own.train) for label, own in PROMPTS.items()}
    fit(tmp_path / "m", prompts=without)
    assert same(weights(fitted[0]), weights(tmp_path / "m"))
    assert (fitted[0] / "tokenizer.json").read_bytes() == (tmp_path / "m" / "tokenizer.json").read_bytes()


def test_texts_in_a_batch_are_embedded_as_alone():
    texts = [text for own in PROMPTS.values() for text in own.texts]
    clap = untrained(SIZE, texts, 0)
    clap.model.eval()
    tokens = clap.tokens(["low", "this is the sound of a high tone"])
    with torch.no_grad():
        together, alone = clap.text(tokens), clap.text(clap.tokens(["low"]))
    assert tokens.shape[1] > clap.tokens(["low"]).shape[1]
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)  # sums in another order
    assert clap.tokenizer.unk_token_id not in clap.tokens(["Zebra_crossing, 9 o'clock"])
    with pytest.raises(InputError, match="unknown; at most 32"):
        clap.tokens(["\u96e8"])


def test_texts_are_drawn_among_those_of_each_label():
    clap = untrained(SIZE, [text for own in PROMPTS.values() for text in own.texts], 0)
    table = PromptTable.of(clap, PROMPTS)
    drawn = torch.stack([table.draw(seeded(0, i)) for i in range(200)])
    assert drawn.shape == (200, 2, 2)
    for label in range(2):
        assert set(drawn[:, label].flatten().tolist()) == set(
            range(10 * label, 10 * label + 10)
        )  # 2 words, 5 sentences


def test_short_sounds_are_repeated_as_the_extractor_repeats_them(fitted):
    import transformers

    extractor = transformers.AutoFeatureExtractor.from_pretrained(fitted[0])
    sound = clip("high", 1, seconds=0.4).source
    assert repeated(sound, 4000).n_samples == 4000
    assert torch.equal(repeated(sound, 4000).samples[0, 1600:3200], sound.samples[0])
    short, long = (
        extractor(np.asarray(one.samples[0]), sampling_rate=RATE)["input_features"][0]
        for one in (sound, repeated(sound, 4000))
    )
    np.testing.assert_allclose(short, long, atol=1e-4)


def test_methods_keep_their_promises_on_it(loaded):
    cheap = {"rounding": 1e-4, "n_explanations": 5}
    check_explainer("grad-cam", loaded, **cheap, without=("planted-oracle", "linear-oracle")).raise_if_failed()
    assert em.load_explainer("grad-cam", classifier=loaded).explain(clip("low", 1).source, "a deep tone").evidence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 0}, "width is 1 or more, got 0"),
        ({"depths": "1,x"}, "depths are whole numbers of 1 or more"),
        ({"heads": "2"}, "depths name 2 stages and heads 1"),
        ({"heads": "3,2"}, r"heads divide the width of their stage, and \[3\] does not"),
        ({"text_width": 18}, "text_width is a multiple of 4"),
        ({"spec_size": 40}, "spec_size is a multiple of n_mels"),
        ({"depths": "1,1,1,1", "heads": "2,2,2,2"}, "spec_size is a multiple of 64 here, got 32"),
        ({"clip_s": 2}, "2 s are 126 frames, and the picture holds 64"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        replace(SIZE, **changes)


@pytest.mark.parametrize(
    ("training", "selection", "said"),
    [
        ([], [clip("low", 0)], "got 0 and 1"),
        ([clip("low", 0)], [clip("low", 1)], "'low' as their only label"),
        (
            [clip("low", 0), clip("high", 0)],
            [replace(clip("low", 1), labels=("hum",))],
            "No training clip has the label 'hum'",
        ),
        ([replace(clip("low", 0), labels=("low", "high"))], [clip("low", 1)], "low-0, with 2"),
    ],
)
def test_clips_of_no_use_are_refused(tmp_path, training, selection, said):
    with pytest.raises(DataError, match=said):
        fit_clap(training, selection, tmp_path, SIZE, LOOP)
    with pytest.raises(InputError, match="A vocabulary has at least"):
        fit_clap(clips(0, 1), clips(8, 1), tmp_path, replace(SIZE, vocabulary=10), LOOP)
