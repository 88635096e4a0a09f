import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tests.prototypes import tiny
from tests.reference import apex as twin

from earmark.audio.waveform import Waveform
from earmark.data.scenes import scenes
from earmark.errors import MismatchError, ModelError
from earmark.explainers.apex import views
from earmark.explainers.apex.fit import tables_of
from earmark.prototypes.bank import BankRules, Prototype, basis_hash, find_audio, load_bank, save_bank
from earmark.prototypes.build import build_bank
from earmark.prototypes.cache import FeatureCache
from earmark.types import Clip, seeded

VIEWS = ("square", "time", "frequency", "time-frequency")
ALL = {"per_group": None, "near_copy_cosine": None, "candidates": 1}
LENGTHS = (0.8, 0.5)


def random_basis(n=6, seed=4):
    return torch.matrix_exp(torch.randn(n, n, generator=seeded(seed), dtype=torch.float64) / 2)


def bank_of(classifier, clips, folder, U, view="time-frequency", batch_size=16, **rules):
    cache = FeatureCache(classifier, folder, "map" if view == "square" else "marginals", batch_size=batch_size)
    scanned = cache.scan(clips)

    def locate(wanted, least):
        for position, channels in wanted.items():
            tables = tables_of(cache.features(scanned, [position])[0], view)
            n_frames = scanned.entries[position].n_frames
            yield position, views.find_in_tables(tables, -U if least else U, torch.tensor(channels), view, n_frames)

    return build_bank(scanned, U, locate, BankRules(view, **rules), classifier)


def maps_of(classifier, clips):
    with torch.no_grad():
        return [classifier.tap(classifier.prepare(clip.source)).map for clip in clips]


@pytest.fixture(scope="module")
def classifier():
    return tiny.classifier()


@pytest.mark.parametrize("view", VIEWS)
def test_a_bank_equals_the_plain_search(classifier, tmp_path, view):
    clips, U = tiny.clips(14, LENGTHS), random_basis()
    bank = bank_of(classifier, clips, tmp_path, U, view, size=3, **ALL)
    maps = [twin.transform(U, m)[0] for m in maps_of(classifier, clips)]
    assert bank.n_channels == 6 and bank.view == view and bank.n_clips == 14
    for k in range(6):
        scores = torch.stack([m[k].sum() for m in maps])
        order = twin.strongest(scores, 14)
        assert [p.clip_id for p in bank.of(k)] == [clips[i].id for i in order[:3]]
        assert {p.clip_id for p in bank.of(k, positive=False)} == {clips[i].id for i in order[-3:]}
        for prototype in (*bank.of(k), *bank.of(k, positive=False)):
            i = [c.id for c in clips].index(prototype.clip_id)
            seen = -maps[i] if prototype.sign == "negative" else maps[i]  # a negative one is placed where it is lowest
            p = twin.vector(seen, k, view)
            assert (prototype.freq, prototype.frame) == twin.coordinate(seen, k, view)
            assert prototype.score == pytest.approx(float(scores[i]), abs=1e-10)
            assert prototype.purity == pytest.approx(float(twin.purity(p, k)), abs=1e-10)
            torch.testing.assert_close(bank.vector(prototype), p.float(), rtol=1e-5, atol=1e-5)
            assert prototype.label == clips[i].labels[0] and prototype.group == clips[i].group
            geometry = classifier.geometry(clips[i].source.n_samples)
            assert len(prototype.regions) == (2 if view == "time-frequency" else 1)
            assert geometry.box(prototype.freq, prototype.frame).end_s <= prototype.duration_s


def test_least_is_negative_only_below_zero(classifier, tmp_path):
    bank = bank_of(classifier, tiny.clips(14), tmp_path, random_basis(), size=4, **ALL)
    least = [p for p in bank.prototypes if p.sign != "positive"]
    assert {p.sign for p in least} == {"negative", "weakest"}
    assert all((p.score < 0) == (p.sign == "negative") for p in least)
    for k in range(6):
        scores = [p.score for p in bank.of(k, positive=False)]
        assert scores == sorted(scores)
        ranks = {
            sign: [p.rank for p in bank.of(k, positive=False) if p.sign == sign] for sign in ("negative", "weakest")
        }
        assert all(r == list(range(len(r))) for r in ranks.values())


def test_no_clip_is_both_strongest_and_weakest(classifier, tmp_path):
    bank = bank_of(classifier, tiny.clips(5), tmp_path, random_basis(), size=4, **ALL)
    for k in range(6):
        ids = [p.clip_id for p in (*bank.of(k), *bank.of(k, positive=False))]
        assert len(ids) == len(set(ids)) == 5
    assert bank.notes["channels_short_of_least"] == 6 and bank.notes["channels_short_of_positive"] == 0


def test_a_recording_counts_once_and_short_channels_are_reported(classifier, tmp_path):
    clips = tiny.clips(16)  # of 8 recordings
    rules = {"near_copy_cosine": None, "candidates": 4}
    bank = bank_of(classifier, clips, tmp_path, random_basis(), size=5, **rules)
    for k in range(6):
        for own in (bank.of(k), bank.of(k, positive=False)):
            assert len({p.group for p in own}) == len(own)
    free = bank_of(classifier, clips, tmp_path, random_basis(), size=5, per_group=None, **rules)
    assert any(len({p.group for p in free.of(k)}) < 5 for k in range(6))
    one = bank_of(classifier, [replace(c, group="one") for c in clips], tmp_path, random_basis(), size=5, **rules)
    assert [len(one.of(k)) for k in range(6)] == [1] * 6
    assert one.notes["channels_short_of_positive"] == 6


def test_files_of_one_name_in_two_folders_are_two_recordings(classifier, tmp_path):
    for label in tiny.LABELS:
        (tmp_path / label).mkdir()
    clips = [
        replace(c, source=c.source.save(tmp_path / c.labels[0] / f"{i // 2}.flac"), group=None)
        for i, c in enumerate(tiny.clips(6))
    ]
    bank = bank_of(classifier, clips, tmp_path / "cache", random_basis(), size=6, near_copy_cosine=None)
    assert [len(bank.of(k)) for k in range(6)] == [6] * 6
    assert {p.group for p in bank.prototypes} == {c.id for c in clips}


def test_near_copies_are_dropped(classifier, tmp_path):
    clips = tiny.clips(10)
    copies = [replace(c, id=f"{c.id}-copy", source=c.source.scale(1.0001), group=None) for c in clips]
    rules = {"per_group": None, "size": 8, "candidates": 3}
    bank = bank_of(classifier, [*clips, *copies], tmp_path, random_basis(), near_copy_cosine=0.999999, **rules)
    for k in range(6):
        kept = [p.clip_id.removesuffix("-copy") for p in bank.of(k)]
        assert len(set(kept)) == len(kept) == 8
    both = bank_of(classifier, [*clips, *copies], tmp_path, random_basis(), near_copy_cosine=None, **rules)
    assert any(p.clip_id.endswith("-copy") for p in both.of(0))
    assert len({p.clip_id.removesuffix("-copy") for p in both.of(0)}) < 8


@pytest.mark.parametrize("batch_size", [7, 64])
def test_the_batch_plays_no_part(classifier, tmp_path, batch_size):
    clips = tiny.clips(20, LENGTHS)
    one = bank_of(classifier, clips, tmp_path / "1", random_basis(), batch_size=1, size=3)
    many = bank_of(classifier, clips[::-1], tmp_path / "n", random_basis(), batch_size=batch_size, size=3)
    numbers = {"score": 0.0, "purity": 0.0}
    assert [replace(p, **numbers) for p in one.prototypes] == [replace(p, **numbers) for p in many.prototypes]
    for name in numbers:
        values = [[getattr(p, name) for p in bank.prototypes] for bank in (one, many)]
        np.testing.assert_allclose(*values, rtol=0, atol=1e-10)


def test_permuted_channels_permute_the_bank(tmp_path):
    plain, permuted = tiny.classifier(), tiny.classifier()
    order = torch.tensor([3, 1, 5, 4, 0, 2])
    with torch.no_grad():
        for name in ("weight", "bias"):
            parameter = getattr(permuted.module.map, name)
            parameter.copy_(parameter[order])
    clips, U = tiny.clips(14), random_basis()
    first = bank_of(plain, clips, tmp_path, U, size=3)
    second = bank_of(permuted, clips, tmp_path, U[order][:, order], size=3)
    for new, old in enumerate(order.tolist()):
        for a, b in zip(first.of(old), second.of(new), strict=True):
            assert (a.clip_id, a.freq, a.frame, a.regions) == (b.clip_id, b.freq, b.frame, b.regions)
            assert a.score == pytest.approx(b.score, abs=1e-10) and a.purity == pytest.approx(b.purity, abs=1e-10)


def test_padding_never_enters_a_bank(classifier, tmp_path):
    """With maps of level below zero, cells of padding (zeros) would win everywhere."""
    with torch.no_grad():
        classifier = tiny.classifier()
        classifier.module.map.weight.mul_(0.01)
        classifier.module.map.bias.fill_(-5.0)
    clips = tiny.clips(12, (0.4, 1.2))
    bank = bank_of(classifier, clips, tmp_path, torch.eye(6, dtype=torch.float64), size=6, **ALL)
    n_frames = {c.id: m.shape[3] for c, m in zip(clips, maps_of(classifier, clips), strict=True)}
    assert len(set(n_frames.values())) == 2
    for prototype in bank.prototypes:
        assert prototype.frame is not None and prototype.frame < n_frames[prototype.clip_id]
        assert all(region.end_s <= prototype.duration_s for region in prototype.regions)
        assert prototype.score < 0


def test_a_tone_is_found_in_its_band_and_a_click_at_its_time(tmp_path):
    classifier = tiny.classifier()
    with torch.no_grad():
        classifier.module.map.weight.fill_(1 / 16)  # every channel is the mean level of its cell
    time = np.arange(6400) / tiny.RATE
    tone = Waveform(0.5 * np.sin(2 * np.pi * 2000 * time)[None], tiny.RATE)
    noise = np.random.default_rng(0).standard_normal(6400)
    click = Waveform((noise * (0.001 + 0.3 * ((time > 0.5) & (time < 0.53))))[None], tiny.RATE)
    for sound, view in ((tone, "frequency"), (click, "time")):
        bank = bank_of(classifier, [Clip(view, sound)], tmp_path, torch.eye(6, dtype=torch.float64), view)
        (region,) = bank.of(0)[0].regions
        if view == "frequency":
            assert region.low_hz <= 2000 <= region.high_hz and region.high_hz - region.low_hz < 2000
            assert (region.start_s, region.end_s) == (0.0, 0.8)
        else:
            assert region.start_s <= 0.52 and region.end_s >= 0.5 and region.end_s - region.start_s < 0.05
            assert region.high_hz - region.low_hz > 3800


def test_classes_and_dead_channels_are_summarized(tmp_path):
    classifier = tiny.classifier()
    with torch.no_grad():
        classifier.module.map.weight[2:4].mul_(0)
        classifier.module.map.bias[2] = 1e-3  # far below the other channels: impure
        classifier.module.map.bias[3] = -1.0  # excited by no clip
    clips = tiny.clips(12)
    clips[0] = replace(clips[0], labels=("click", "tone"))
    bank = bank_of(classifier, clips, tmp_path, torch.eye(6, dtype=torch.float64), size=3, **ALL)
    assert {2, 3} <= set(bank.dead)
    labels = {c.id: c.labels for c in clips}
    for k in range(6):
        counts = [sum(label in labels[p.clip_id] for p in bank.of(k)) for label in tiny.LABELS]
        assert bank.class_histograms[k] == {n: c for n, c in zip(tiny.LABELS, counts, strict=True) if c}
        assert bank.class_purity[k] == max(counts) / 3
        assert bank.purity[k] == pytest.approx(np.mean([p.purity for p in bank.of(k)]))
    assert any(p.label == "click;tone" for p in bank.prototypes)


# -- on disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bank(classifier, tmp_path):
    clips = [*tiny.files(tmp_path / "secret" / "data", 10), *tiny.clips(4, seed=50)[2:]]
    return bank_of(classifier, clips, tmp_path / "cache", random_basis(), size=2, **ALL)


def test_a_saved_bank_is_the_same_and_says_nothing_of_this_machine(bank, classifier, tmp_path):
    folder = save_bank(bank, tmp_path / "bank")
    loaded = load_bank(folder, classifier)
    assert loaded.prototypes == bank.prototypes and loaded.rules == bank.rules
    assert torch.equal(loaded.vectors, bank.vectors)
    for name in ("fingerprint", "basis_sha256", "n_channels", "n_clips", "class_histograms", "class_purity"):
        assert getattr(loaded, name) == getattr(bank, name)
    for name in ("purity", "dead", "duplicates", "notes"):
        assert getattr(loaded, name) == getattr(bank, name)
    assert sorted(p.name for p in folder.iterdir()) == ["bank.json", "prototypes.parquet", "tensors.safetensors"]
    assert not any(b"secret" in p.read_bytes() for p in folder.iterdir())
    assert Prototype.from_dict(json.loads(json.dumps(asdict(bank.prototypes[0])))) == bank.prototypes[0]


def test_saving_twice_writes_the_same_bytes(bank, tmp_path):
    first, second = save_bank(bank, tmp_path / "a"), save_bank(bank, tmp_path / "b")
    assert all((second / p.name).read_bytes() == p.read_bytes() for p in first.iterdir())


def test_a_bank_refuses_another_classifier_and_another_basis(bank, classifier, tmp_path):
    folder = save_bank(bank, tmp_path / "bank")
    with pytest.raises(MismatchError, match="fit APEX to this classifier"):
        load_bank(folder, tiny.classifier(seed=1))
    bank.check(classifier, random_basis())
    assert basis_hash(random_basis()) == bank.basis_sha256
    with pytest.raises(MismatchError, match="basis U"):
        bank.check(classifier, random_basis(seed=5))


def test_damage_and_the_future_are_named(bank, tmp_path):
    folder = save_bank(bank, tmp_path / "bank")
    about = json.loads((folder / "bank.json").read_text())
    (folder / "bank.json").write_text(json.dumps({**about, "schema": 99}))
    with pytest.raises(MismatchError, match="newer earmark"):
        load_bank(folder)
    (folder / "bank.json").write_text(json.dumps(about))
    (folder / "prototypes.parquet").write_bytes(b"PAR1")
    with pytest.raises(ModelError, match="no readable prototype bank"):
        load_bank(folder)
    with pytest.raises(ModelError, match="no readable prototype bank"):
        load_bank(tmp_path / "nowhere")


# -- finding sounds -------------------------------------------------------------------------------------------------


def of_files(classifier, clips, tmp_path):
    return bank_of(classifier, clips, tmp_path / "cache", random_basis(), size=2, **ALL).of(0)[0]


def test_sound_is_found_by_path_name_and_hash(classifier, tmp_path):
    data = tmp_path / "data"
    clips = tiny.files(data, 10)
    prototype = of_files(classifier, clips, tmp_path)
    assert prototype.path == f"{prototype.clip_id}.flac"
    expected = next(c for c in tiny.clips(10) if c.id == prototype.clip_id).source.samples
    found = find_audio(prototype, [tmp_path / "nowhere", data])
    torch.testing.assert_close(found.samples, expected, rtol=0, atol=1e-6)
    assert find_audio(prototype, [tmp_path]) is not None, "by name, deeper"
    assert find_audio(prototype, []) is None
    (data / prototype.path).rename(data / "renamed.flac")
    tiny.sound(99, "tone").save(data / prototype.path)
    torch.testing.assert_close(find_audio(prototype, [data]).samples, expected, rtol=0, atol=1e-6)
    (data / "renamed.flac").unlink()
    assert find_audio(prototype, [data]) is None, "another sound under its name is not taken for it"


def test_a_path_never_leads_out_of_the_folder(classifier, tmp_path):
    clips = tiny.files(tmp_path / "data", 10)
    prototype = of_files(classifier, clips, tmp_path)
    (tmp_path / "inside").mkdir()
    outside = replace(prototype, path=f"../data/{prototype.path}")
    assert find_audio(outside, [tmp_path / "inside"]) is None


def test_a_cut_clip_is_cut_again(classifier, tmp_path):
    clips = [replace(c, start_s=0.2, end_s=0.6) for c in tiny.files(tmp_path / "data", 10)]
    prototype = of_files(classifier, clips, tmp_path)
    assert (prototype.start_s, prototype.end_s, prototype.duration_s) == (0.2, 0.6, 0.4)
    assert find_audio(prototype, [tmp_path / "data"]).n_samples == 3200
    assert all(region.end_s <= 0.4 for region in prototype.regions)


def test_scenes_are_rendered_and_other_sounds_in_memory_are_not_at_hand(classifier, tmp_path):
    prototype = of_files(classifier, list(scenes(3, duration_s=1.0)), tmp_path)
    scene = next(c for c in scenes(3, duration_s=1.0) if c.id == prototype.clip_id)
    assert prototype.path is None
    assert torch.equal(find_audio(prototype, []).samples, scene.source().samples)
    assert find_audio(replace(prototype, clip_id="scenes:nonsense"), []) is None
    assert find_audio(of_files(classifier, tiny.clips(4), tmp_path), [tmp_path]) is None
