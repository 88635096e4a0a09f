"""Classifiers of latents: the network, their training on latents that were computed once, their folder."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from earmark.audio.waveform import Waveform
from earmark.checks.verify import verify
from earmark.classifiers.codec.fit import LatentRecipe, fit_latent_classifier, score_latent_classifier
from earmark.classifiers.codec.front_end import CodecFrontEnd
from earmark.classifiers.codec.lapped import LappedCodec
from earmark.classifiers.codec.latent import LatentConfig, LatentTransformer, sinusoids
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.load import load_classifier
from earmark.errors import InputError, MismatchError, ModelError
from earmark.testing.hugging_face import save_tiny_encodec
from earmark.testing.untouched import untouched
from earmark.training.config import LatentAugmentConfig, LoopConfig
from earmark.types import Clip, seeded

SMALL = LatentConfig(width=16, n_layers=1, n_heads=2, feed_forward=16, dropout=0.0)


def clip(i):
    """Low or high noise."""
    noise = torch.randn(3200, generator=seeded(i)) * 0.1
    smooth = torch.nn.functional.avg_pool1d(noise[None, None], 9, 1, 4)[0]
    sound = 6 * smooth if i % 2 else 0.2 * (noise[None] - smooth)
    return Clip(f"{i:02}", Waveform(sound, 16000), ("low" if i % 2 else "high",), group=str(i))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("latent")
    folder = save_tiny_encodec(root / "tiny")
    codec = load_codec(folder)
    loop, some = LoopConfig(batch_size=6, learning_rate=1e-2), LatentAugmentConfig(mixup=0, n_masks=0)
    recipe = LatentRecipe(clip_s=0.2, loop=loop, size=SMALL, steps=24, augmentation=some)
    with untouched(codec):
        summary = fit_latent_classifier(
            [clip(i) for i in range(12)],
            [clip(i) for i in range(12, 18)],
            root / "g",
            codec,
            recipe,
            codec_folder=folder,
        )
    return root, codec, summary


def test_it_learns_and_is_loaded_as_any_classifier(trained):
    root, codec, summary = trained
    assert summary["labels"] == ("high", "low") and len(summary["history"]) == 12  # 24 steps, two in an epoch
    classifier = load_classifier(root / "g")
    assert classifier.front_end.codec.fingerprint == codec.fingerprint
    assert score_latent_classifier(root / "g", [clip(i) for i in range(12, 18)], 0.2, codec) == {
        "n": 6,
        "accuracy": summary["score"],
    }
    assert summary["score"] >= 0.8  # chance is one half
    config = json.loads((root / "g" / "config.json").read_text())
    assert config["kind"] == "latent-transformer" and config["codec"]["folder"] == "tiny"


def test_stage_latents(trained):
    root, codec, _ = trained
    classifier = load_classifier(root / "g")
    x = torch.cat([clip(i).source.samples for i in range(3)])
    z = classifier.at(x, "latents")
    assert torch.equal(z, codec.encode(x)) and torch.equal(z, classifier.at(x, "features"))
    assert torch.equal(classifier.logits(z, at="latents"), classifier.logits(x))
    torch.testing.assert_close(classifier.logits(classifier.at(x, "map"), at="map"), classifier.logits(x))
    assert classifier.head.tier == "T1"
    with pytest.raises(ModelError, match="has no stage 'latents'"):
        load_classifier("words-cnn").at(x, "latents")


def test_it_keeps_a_classifiers_promises(trained):
    report = verify(load_classifier(trained[0] / "g"))
    assert report.ok, [check for check in report.checks if check.ok is False]


def test_the_codec_may_move_but_not_change(trained, tmp_path):
    root, _, _ = trained
    other = save_tiny_encodec(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match="g decides on latents of another codec than other"):
        load_classifier(root / "g", codec=other)
    moved = (root / "g").rename(tmp_path / "g")
    with pytest.raises(ModelError, match=r"codec of g is not at hand.*Name its folder with codec="):
        load_classifier(moved)
    assert load_classifier(moved, codec=root / "tiny").labels == ("high", "low")
    moved.rename(root / "g")


@pytest.mark.parametrize(
    ("key", "value"), [("schema", 9), ("labels", ["a"]), ("architecture", {}), ("task", "none"), ("codec", None)]
)
def test_a_damaged_folder_is_refused(trained, tmp_path, key, value):
    root, _, _ = trained
    (tmp_path / "g").mkdir()
    config = json.loads((root / "g" / "config.json").read_text())
    (tmp_path / "g" / "config.json").write_text(json.dumps({**config, key: value}))
    (tmp_path / "g" / "model.safetensors").write_bytes((root / "g" / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="g does not hold a classifier of latents that this version reads"):
        load_classifier(tmp_path / "g")


def test_channels_are_scaled_by_what_was_learned_from(trained):
    root, codec, _ = trained
    weights = load_file(root / "g" / "model.safetensors")
    latents = torch.cat([codec.encode(clip(i).source.samples) for i in range(12)])
    torch.testing.assert_close(weights["mean"][:, 0], latents.mean((0, 2)))


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_any_length_has_positions(positions):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = LatentTransformer(LatentConfig(16, 1, 2, 16, positions=positions, max_frames=20), 4, 3).eval()
    for n_frames in (1, 20, 33):
        assert module(torch.ones(2, 4, n_frames)).shape == (2, 3)
    if positions == "learned":
        stretched = module._places(torch.ones(1, 39, 16))
        torch.testing.assert_close(stretched[::2], module.positions.detach())  # 19 steps become 38


def test_order_of_frames_counts():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = LatentTransformer(SMALL, 4, 3).eval()
    z = torch.randn(1, 4, 30, generator=seeded(0))
    assert float((module(z) - module(z.flip(2))).detach().abs().max()) > 1e-4
    assert sinusoids(3, 4)[0].tolist() == [0, 1, 0, 1]


def test_levels_are_those_of_squared_latents():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = LatentTransformer(replace(SMALL, levels=True), 4, 3).eval()
    z = torch.randn(1, 4, 30, generator=seeded(0))
    assert float((module(z) - module(-z)).detach().abs().max()) > 1e-4  # signs count too
    with torch.no_grad():
        module.embed.weight[:, :4] = 0
    torch.testing.assert_close(module(z), module(-z), rtol=0, atol=0)


def test_sizes_out_of_range_are_refused():
    with pytest.raises(InputError, match="even multiple of n_heads, got 30 and 8"):
        LatentConfig(width=30)
    with pytest.raises(InputError, match="n_layers is a whole number from 1 to 64, got 0"):
        LatentConfig(n_layers=0)


def test_the_lapped_codec_needs_no_folder(tmp_path):
    recipe = LatentRecipe(clip_s=0.2, loop=LoopConfig(batch_size=4), size=SMALL, steps=1)
    fit_latent_classifier([clip(i) for i in range(4)], [clip(5), clip(6)], tmp_path / "g", LappedCodec(16000), recipe)
    loaded = load_classifier(f"{tmp_path / 'g'}?threshold=0.5")
    assert isinstance(loaded.front_end, CodecFrontEnd) and loaded.front_end.codec.name == "lapped"
