import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import earmark.classifiers.fit as fit_module
from earmark.audio.waveform import Waveform
from earmark.classifiers.card import write_card, write_whole
from earmark.classifiers.decoded import decode
from earmark.classifiers.fit import fit_classifier, load_small, save_small, score_classifier
from earmark.classifiers.front_ends import LogMel, LogMelConfig
from earmark.classifiers.load import load_classifier
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.errors import DataError, MismatchError, ModelError
from earmark.training.augment import augment_features, augment_samples
from earmark.training.config import AugmentConfig, BackgroundConfig, LoopConfig
from earmark.types import Clip

RATE = 8000
FRONT_END = LogMelConfig(sample_rate=RATE, n_fft=256, hop_length=128, n_mels=16)
HZ = {"low": 400.0, "high": 2500.0}


def clips(n, start=0, labels=("low", "high"), **fields):
    """Half-second tones in noise, low and high in turn."""

    def sound(i):
        generator = np.random.default_rng(start + i)
        tone = np.sin(2 * np.pi * HZ[labels[i % len(labels)]] * np.arange(RATE // 2) / RATE + i)
        return Waveform(0.3 * tone + 0.02 * generator.standard_normal(RATE // 2), RATE)

    return [
        Clip(f"clip-{start + i}", sound(i), (labels[i % len(labels)],), group=f"group-{start + i}", **fields)
        for i in range(n)
    ]


def fit(folder, training=None, selection=None, **options):
    settings = {"clip_s": 0.5, "loop": LoopConfig(2, batch_size=8), "front_end": FRONT_END, **options}
    return fit_classifier(training or clips(24), selection or clips(8, 100), folder, **settings)


def weights(folder):
    return load_small(folder)[0].state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def test_a_trained_folder_is_loaded(tmp_path):
    state = torch.get_rng_state()
    summary = fit(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    assert summary["labels"] == ("high", "low")
    assert [row["epoch"] for row in summary["history"]] == [0, 1]
    best = max(summary["history"], key=lambda row: (row["score"], row["epoch"]))
    assert (summary["epoch"], summary["score"]) == (best["epoch"], best["score"])
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]

    c = load_classifier(tmp_path / "model")
    module, front_end, _ = load_small(tmp_path / "model")
    assert (c.labels, c.sample_rate, c.name, c.head.tier) == (("high", "low"), RATE, "model", "T1")
    samples = torch.stack([clip.source.samples[0] for clip in clips(3, 200)])
    with torch.no_grad():
        assert torch.equal(c.logits(samples), module(front_end(samples)))
    assert torch.equal(load_classifier(str(tmp_path / "model")).logits(samples), c.logits(samples))
    assert load_classifier(tmp_path / "model").fingerprint == c.fingerprint
    assert c.card["training"]["loop"]["epochs"] == 2


def test_it_learns_what_is_there_to_be_learnt(tmp_path):
    summary = fit(tmp_path, loop=LoopConfig(6, batch_size=8), augmentation=AugmentConfig(mixup=0.0, noise_share=0.0))
    assert summary["score"] == 1.0
    assert score_classifier(tmp_path, clips(10, 300), 0.5) == {"n": 10, "accuracy": 1.0}


def test_several_labels(tmp_path):
    training = [*clips(16), *(Clip(f"none-{i}", Waveform(np.zeros(4000), RATE)) for i in range(4))]
    fit(tmp_path, training, task="multilabel")
    c = load_classifier(tmp_path, threshold=0.25)
    assert (c.task, c.threshold) == ("multilabel", 0.25)
    assert set(score_classifier(tmp_path, clips(6, 300), 0.5)) == {"n", "macro_average_precision"}


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(name) + seed)  # whatever the global state is
        fit(tmp_path / name, loop=LoopConfig(1, batch_size=8, seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


class KilledError(Exception):
    pass


def kill_after(steps):
    def progress(done, _all, _values):
        if done == steps:
            raise KilledError

    return progress


# three steps make an epoch: killed before the second is written, and within the third
@pytest.mark.parametrize("steps, first", [(6, 4), (8, 7)])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path, steps, first):
    loop = LoopConfig(4, batch_size=8)
    whole = fit(tmp_path / "whole", loop=loop)
    state = torch.get_rng_state()
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", loop=loop, progress=kill_after(steps))
    assert torch.equal(torch.get_rng_state(), state)
    assert not (tmp_path / "killed" / "config.json").exists()
    seen = []
    resumed = fit(tmp_path / "killed", loop=loop, progress=lambda done, all_, _: seen.append((done, all_)))
    assert seen == [(step, 12) for step in range(first, 13)]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert without_seconds(whole["history"]) == without_seconds(resumed["history"])


@pytest.mark.parametrize(
    "changes",
    [
        {"loop": LoopConfig(5, batch_size=8)},
        {"loop": LoopConfig(4, batch_size=8, seed=1)},
        {"clip_s": 0.4},
        {"augmentation": AugmentConfig(gain_db=0.0)},
        {"task": "multilabel"},
        {"training": clips(24, 1)},
        {"front_end": LogMelConfig(sample_rate=RATE, n_fft=256, hop_length=128, n_mels=16, mean_db=1.0)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_unfinished_training_with_other_settings_is_refused(tmp_path, changes):
    with pytest.raises(KilledError):
        fit(tmp_path, loop=LoopConfig(4, batch_size=8), progress=kill_after(4))
    with pytest.raises(MismatchError, match="unfinished training with other settings"):
        fit(tmp_path, **{"loop": LoopConfig(4, batch_size=8), **changes})


def test_few_clips_are_one_batch(tmp_path):
    """Fewer clips than a batch still make steps: the weights move."""
    summary = fit(tmp_path, clips(6), loop=LoopConfig(1, batch_size=16))
    assert summary["history"][0]["loss"] > 0
    assert load_small(tmp_path)[2]["training"]["loop"]["batch_size"] == 6


def test_unknown_labels_in_the_selection_are_refused(tmp_path):
    HZ["other"] = 1000.0
    with pytest.raises(DataError, match=r"Clip clip-10[01] has labels \['other'\] that no training clip has"):
        fit(tmp_path, selection=clips(4, 100, labels=("low", "other")))


def test_groups_in_both_parts_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"1 groups \(for instance 'group-23'\) are in both"):
        fit(tmp_path, clips(24), clips(5, 23))
    ungrouped = [Clip("x", clip.source, clip.labels) for clip in clips(1)]
    with pytest.raises(DataError, match="'x'"):
        fit(tmp_path, [*clips(8), *ungrouped], ungrouped)


def test_missing_parts_are_refused(tmp_path):
    for training, selection in (([], clips(4)), (clips(4), [])):
        with pytest.raises(DataError, match="clips to learn from and clips to choose"):
            fit_classifier(training, selection, tmp_path)


def test_labels_that_do_not_fit_the_task_are_refused(tmp_path):
    both = Clip("both", Waveform(np.zeros(4000), RATE), ("low", "high"))
    none = Clip("none", Waveform(np.zeros(4000), RATE))
    for clip in (both, none):
        with pytest.raises(DataError, match=f"for instance {clip.id}, with {len(clip.labels)}"):
            fit(tmp_path, [*clips(8), clip])
    with pytest.raises(DataError, match="No clip has a label"):
        fit(tmp_path, [none], [Clip("other", none.source)], task="multilabel")


def test_clips_are_decoded_to_one_rate_and_length(tmp_path):
    seconds = np.arange(44100) / 44100
    stereo = Waveform(np.stack([np.sin(2 * np.pi * 300 * seconds), np.zeros(44100)]), 44100)
    short = Waveform(np.full(100, 0.5), RATE)
    data = decode([Clip("a", stereo, ("x",)), Clip("b", short)], ("x", "y"), RATE, 0.5, tmp_path / "rows")
    assert data.samples.shape == (2, 4000)
    assert data.labels.tolist() == [[1, 0], [0, 0]]
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(4000) / RATE)
    np.testing.assert_allclose(
        data.samples[0][500:], expected[500:], atol=1e-4
    )  # resampled float32, away from the start
    assert data.samples[1].tolist() == [0.5] * 100 + [0.0] * 3900
    samples, labels = data.batch(np.array([1, 0]))
    assert torch.equal(samples, torch.from_numpy(np.array(data.samples[::-1])))
    assert labels.tolist() == [[0, 0], [1, 0]]


# Recordings as background ----------------------------------------------------------------------


@pytest.fixture
def hum(tmp_path):
    """Five recordings of noise, of which one is held out, and what says that they are mixed in."""
    (tmp_path / "hum").mkdir()
    for i in range(5):
        noise = 0.1 * np.random.default_rng(i).standard_normal(3000 + 1000 * i)
        Waveform(noise, RATE).save(tmp_path / "hum" / f"{i}.flac")
    return BackgroundConfig(str(tmp_path / "hum"), background_share=0.5)


def test_without_a_background_nothing_is_drawn_for_one(tmp_path):
    """A training without recordings draws what it always did: the generator stands where augmentation leaves it."""
    recipe = fit_module._Recipe("multiclass", 0.5, LoopConfig(), AugmentConfig(), LogMel(FRONT_END), None, None)
    samples, labels = torch.rand(4, 4000), torch.eye(2)[[0, 1, 0, 1]]
    used, plain = (torch.Generator().manual_seed(0) for _ in range(2))
    fit_module._prepared((samples, labels), recipe, used)
    features = recipe.features(augment_samples(samples, recipe.augmentation, plain))
    augment_features(features, labels, recipe.augmentation, plain)
    assert torch.equal(used.get_state(), plain.get_state())
    fit(tmp_path / "a", loop=LoopConfig(1, batch_size=8))
    fit(tmp_path / "b", loop=LoopConfig(1, batch_size=8), background=BackgroundConfig())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    config = (tmp_path / "a" / "config.json").read_text()
    assert config == (tmp_path / "b" / "config.json").read_text()
    assert json.loads(config)["training"].keys() == {"loop", "augmentation"}


def test_a_training_with_a_background_says_so_and_goes_on_bit_for_bit(tmp_path, hum):
    loop = LoopConfig(3, batch_size=8)
    whole = fit(tmp_path / "whole", loop=loop, background=hum)
    said = {"name": "hum", "snr_db": 0.0, "share": 0.5, "heard": 4, "held_out": 1}
    assert whole["background"] == load_classifier(tmp_path / "whole").card["training"]["background"] == said
    with pytest.raises(KilledError):
        fit(tmp_path / "killed", loop=loop, background=hum, progress=kill_after(4))
    for other in (None, replace(hum, background_snr_db=1.0)):
        with pytest.raises(MismatchError, match="other settings"):
            fit(tmp_path / "killed", loop=loop, background=other)
    resumed = fit(tmp_path / "killed", loop=loop, background=hum)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert without_seconds(whole["history"]) == without_seconds(resumed["history"])
    fit(tmp_path / "clean", loop=loop)
    assert not same(weights(tmp_path / "whole"), weights(tmp_path / "clean"))
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == ["config.json", "model.safetensors"]


def test_clips_that_choose_the_epoch_are_noisy_too(tmp_path, hum):
    """Half of them: at 0 dB the energy of these is about doubled, and the others are as they were."""
    data = decode(clips(40, 100), ("high", "low"), RATE, 0.5, tmp_path / "rows")
    data.samples[:] *= 0.3  # so that no mixture exceeds full scale
    before = np.array(data.samples)
    noise, _ = fit_module._background(hum, RATE, tmp_path / "noise")
    fit_module._mix_in(data, noise, LoopConfig())
    ratio = np.square(data.samples).sum(1) / np.square(before).sum(1)
    changed = ~(data.samples == before).all(1)
    assert 10 <= changed.sum() <= 30  # binomial, 40 of one half: outside with a chance below 0.2 %
    assert (ratio[~changed] == 1).all() and (np.abs(ratio[changed] - 2) < 0.2).all()  # nearly orthogonal sounds


def test_training_starts_from_given_weights(tmp_path):
    fit(tmp_path / "first", loop=LoopConfig(1, batch_size=8))
    still = LoopConfig(1, batch_size=8, learning_rate=0.0)
    fit(tmp_path / "second", loop=still, start=tmp_path / "first")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    learned = [key for key in first if "running" not in key and "batches" not in key]
    assert all(torch.equal(first[key], second[key]) for key in learned)
    with pytest.raises(MismatchError, match="first has another widths"):
        fit(tmp_path / "third", start=tmp_path / "first", channels=(4, 6))


def test_widths_are_those_asked_for(tmp_path):
    fit(tmp_path, channels=(4, 6), loop=LoopConfig(1, batch_size=8))
    assert load_small(tmp_path)[0].config.channels == (4, 6)


# Loading -----------------------------------------------------------------------------------------


def saved(folder):
    folder.mkdir(exist_ok=True)
    module = SmallCnn(SmallCnnConfig(16, 2, (4, 6)))
    save_small(folder, module, LogMel(FRONT_END), ("x", "y"), "multiclass", {})
    return folder


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_loading_touches_no_global_random_state(tmp_path):
    saved(tmp_path)
    state = torch.get_rng_state()
    load_classifier(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"not tensors"),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: change(folder, architecture={"n_mels": 16, "n_labels": 3, "channels": [4, 6]}),
        lambda folder: change(folder, front_end={"kind": "cochlea"}),
        lambda folder: change(folder, front_end={"kind": "log-mel", "n_bands": 3}),
        lambda folder: change(folder, labels=None),
        lambda folder: change(folder, threshold="much"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, damage):
    damage(saved(tmp_path))
    with pytest.raises(ModelError, match="does not hold a classifier that this version reads"):
        load_classifier(tmp_path)


def test_what_does_not_exist_is_refused(tmp_path):
    for name in ("no-such-model", str(tmp_path), tmp_path / "missing"):
        with pytest.raises(ModelError, match="neither an embedded classifier"):
            load_classifier(name)
    with pytest.raises(ModelError, match=r"missing\.py does not exist"):
        load_classifier(f"{tmp_path}/missing.py:build")


PYTHON = """
from __future__ import annotations

from dataclasses import dataclass

from earmark.testing.toys import band_classifier


@dataclass
class Size:
    n_bands: int = 8


def build():
    return band_classifier(n_bands=Size().n_bands)


def wrong():
    return 3
"""


def test_a_function_in_a_file_is_called(tmp_path):
    (tmp_path / "model.py").write_text(PYTHON)
    c = load_classifier(f"{tmp_path}/model.py:build")
    assert (c.name, len(c.labels)) == ("band-energies", 8)
    with pytest.raises(ModelError, match=r"model\.py:wrong gave int, a function that returns"):
        load_classifier(f"{tmp_path}/model.py:wrong")
    with pytest.raises(ModelError, match=r"model\.py:nothing gave nothing callable"):
        load_classifier(f"{tmp_path}/model.py:nothing")


def broken(folder, i, label="low"):
    (folder / f"{i}.wav").write_bytes(b"RIFF but no more")
    return Clip(f"broken-{i}", folder / f"{i}.wav", (label,))


def test_broken_clips_are_skipped_and_named(tmp_path):
    first, second, third = (broken(tmp_path, i) for i in range(3))
    summary = fit(tmp_path / "with", [first, *clips(24)], [*clips(8, 100), second])
    assert summary["skipped"].keys() == {"broken-0", "broken-1"}
    assert "0.wav" in summary["skipped"]["broken-0"]
    fit(tmp_path / "without")
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    scored = score_classifier(tmp_path / "with", [third, *clips(6, 300)], 0.5)
    assert scored.pop("skipped").keys() == {"broken-2"}
    assert scored == score_classifier(tmp_path / "without", clips(6, 300), 0.5)


def test_a_label_of_broken_clips_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="No training clip of third can be read"):
        fit(tmp_path / "model", [*clips(8), broken(tmp_path, 0, "third")])
    with pytest.raises(DataError, match="None of 1 clips can be read"):
        fit(tmp_path / "model", clips(8), [broken(tmp_path, 0)])
    assert list((tmp_path / "model").iterdir()) == []


def test_a_stopped_training_leaves_its_checkpoint_alone(tmp_path):
    with pytest.raises(KilledError):
        fit(tmp_path, loop=LoopConfig(4, batch_size=8), progress=kill_after(4))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_text_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "a.txt", "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a.txt", "two" * 100000 + chr(0xD800))  # half a surrogate pair cannot be encoded
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "one")]


def test_a_card_replaces_files_and_never_writes_into_them(tmp_path):
    summary = {"labels": ("x", "y"), "score": 0.5, "epoch": 1}
    options = {"data": "scenes:9", "multilabel": False, "seed": 0, "folds": None, "select_folds": None}
    options |= {"test_folds": None, "name": "yard"}
    before = (saved(tmp_path / "model") / "config.json").read_text()
    (tmp_path / "link").hardlink_to(tmp_path / "model" / "config.json")
    write_card(tmp_path / "model", summary, options)
    assert (tmp_path / "link").read_text() == before
    assert load_classifier(tmp_path / "model").name == "yard"
