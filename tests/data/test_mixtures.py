import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.audio.files import clip_sha256, load_clip
from earmark.audio.waveform import Waveform
from earmark.data import Recipe, folder, mix, noise_split, parse_mixture, parts_of, recipe
from earmark.data.mixtures import active_snr_db, blend, snr_db
from earmark.data.noises import colored, piece
from earmark.errors import AudioError, DataError
from earmark.types import Clip, Region

RATE = 8000
LEVELS = (-6.0, 0.0, 3.0, 6.0, 12.0, 40.0)


def sound(seed, n=4000, rate=RATE, level=0.05):
    return Waveform(level * np.random.default_rng(seed).standard_normal(n), rate)


def clip(name, label="a", group=None, seed=None, **about):
    made = sound(sum(name.encode()) if seed is None else seed)
    return Clip(name, made, labels=tuple(label.split()), group=group or name, **about)


def energy(waveform):
    return float(waveform.samples.double().square().sum())


def measured_db(parts):
    return 10 * np.log10(energy(parts.source) / energy(parts.contaminant))


@pytest.fixture
def clips():
    return [clip(f"{label}{i}.wav", label, f"g{label}{i // 2}") for label in "abcd" for i in range(4)]


# Levels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_snr_is_exact_in_float64(level):
    rng = np.random.default_rng(3)
    source, other = rng.standard_normal(4000), 17 * rng.standard_normal(4000) ** 3
    a, b = blend(source, other, recipe("ood", level))
    assert 10 * np.log10((a * source @ (a * source)) / (b * other @ (b * other))) == pytest.approx(level, abs=1e-9)
    assert snr_db(a * source, b * other) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("kind", ["white", "pink", "ood"])
@pytest.mark.parametrize("level", LEVELS)
def test_snr_of_what_is_heard_is_exact(kind, level, clips):
    # Samples are float32: 4,000 roundings of 2^-25 on average change an energy by far less than 2.3e-7, i.e. 1e-6 dB.
    parts = parts_of(mix(clips, recipe(kind, level))[0])
    assert measured_db(parts) == pytest.approx(level, abs=1e-6)
    assert parts.snr_db == pytest.approx(level, abs=1e-6)


def test_mixture_is_the_plain_formula(clips):
    made = mix(clips[:1], recipe("ood", 6.0), contaminants=clips[4:5])[0]
    s, n = (c.source.samples[0].double() for c in (clips[0], clips[4]))
    expected = s + n * (s.norm() / n.norm()) * 10 ** (-6 / 20)
    assert torch.allclose(load_clip(made).samples[0].double(), expected, rtol=0, atol=1e-8)  # float32 at levels near .1


@pytest.mark.parametrize("text", ["white:0", "pink:6", "ood:12", "lmac-code"])
def test_parts_add_up_to_the_mixture_bit_for_bit(text, clips):
    for made in mix(clips, text)[::5]:
        parts = parts_of(made)
        assert torch.equal(load_clip(made).samples, parts.source.samples + parts.contaminant.samples)


def test_a_quiet_clip_is_not_touched_and_a_loud_one_is_scaled_with_its_contaminant():
    quiet = parts_of(mix([clip("q")], "white:6")[0])
    assert quiet.scale == 1 and torch.equal(quiet.source.samples, sound(sum(b"q")).samples)
    loud = Clip("l", sound(1, level=0.3), ("a",))
    parts = parts_of(mix([loud], "white:0")[0])
    assert parts.scale < 1 and parts.mixture.peak <= 1
    assert parts.mixture.peak == pytest.approx(1, abs=3e-7)  # a few steps of float32 below full scale at most
    assert parts.source.peak == pytest.approx(parts.scale * loud.source.peak, rel=1e-6)
    assert measured_db(parts) == pytest.approx(0, abs=1e-6)


def test_active_frames_alone_are_counted():
    source, other = np.concatenate([np.ones(160), np.full(480, 1e-3)]), np.full(640, 0.5)
    # A quarter of the frames is active: 10 log10(1 / .25) there; 6 dB less over the whole.
    assert active_snr_db(source, other, 160) == pytest.approx(10 * np.log10(4), abs=1e-9)
    assert snr_db(source, other) == pytest.approx(0, abs=1e-4)
    assert active_snr_db(source, np.concatenate([np.zeros(160), np.ones(480)]), 160) == np.inf


def test_silence_cannot_be_mixed(clips):
    silent = Clip("s", Waveform(np.zeros(4000), RATE), ("z",))
    with pytest.raises(AudioError, match="The clip is silent"):
        load_clip(mix([silent], "white")[0])
    with pytest.raises(AudioError, match="mixed into it is silent"):
        load_clip(mix(clips[:1], "ood", contaminants=[silent])[0])


# Choice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["white:0", "ood", "lmac-code"])
def test_order_plays_no_part(text, clips):
    forward = {made.id: clip_sha256(made) for made in mix(clips, text, seed=5)}
    backward = {made.id: clip_sha256(made) for made in mix(clips[::-1], text, seed=5)}
    assert forward == backward


def test_other_clips_of_the_set_play_no_part_where_the_pool_is_given(clips):
    pool = clips[8:]
    alone = [mix([one], recipe("speech", 0.0), pool, seed=1)[0] for one in clips[:8]]
    assert [made.id for made in alone] == [made.id for made in mix(clips[:8], recipe("speech", 0.0), pool, seed=1)]
    assert [clip_sha256(made) for made in alone] == [
        clip_sha256(made) for made in mix(clips[:8], recipe("speech", 0.0), pool[::-1], seed=1)
    ]


def test_seeds_differ_and_repeat(clips):
    first, again, other = (mix(clips, "white", seed=seed)[0] for seed in (0, 0, 1))
    assert clip_sha256(first) == clip_sha256(again) != clip_sha256(other)
    chosen = {made.source.contaminant.id for seed in range(8) for made in mix(clips[:1], "ood", clips, seed=seed)}
    assert len(chosen) > 3


def test_contaminants_are_of_another_class_and_group():
    rng = np.random.default_rng(0)
    clips = [clip(f"{i}", " ".join(rng.choice([*"abcde"], 1 + i % 2, False)), f"g{i % 7}") for i in range(60)]
    made = mix(clips, Recipe("ood", (1.0, 1.0), n=2))
    assert len(made) == 120 and len({one.id for one in made}) == 120
    for one in made:
        own, other = one.source.clip, one.source.contaminant
        assert not set(own.labels) & set(other.labels) and own.group != other.group


def test_a_clip_without_a_fitting_contaminant_is_named():
    same_group = [clip("x", "a", "g"), clip("y", "b", "g")]
    with pytest.raises(DataError, match=r"1 recordings of another class and group are needed to mix into x, got 0"):
        mix(same_group, "ood")
    with pytest.raises(DataError, match="got 0"):
        mix([clip("x"), replace(clip("y"), labels=())], "ood")
    with pytest.raises(DataError, match=r"A mixture with 'id' needs recordings"):
        mix(same_group, recipe("id"))


def test_labels_group_fold_and_events_are_the_clips_own(clips):
    event = Region(0.1, 0.2, 100, 200, label="a")
    first = replace(clips[0], fold=5, events=(event,), start_s=0.1, end_s=0.3)
    made = mix([first], recipe("ood", 12.0), contaminants=clips)[0]
    assert (made.labels, made.group, made.fold, made.events) == (("a",), "ga0", 5, (event,))
    assert load_clip(made).n_samples == 1600  # the part that is meant
    assert mix([replace(first, group=None)], "white")[0].group == "a0.wav"


def test_what_was_mixed_is_told_and_stored(clips):
    made = mix(clips, "ood:12", seed=3)[0]
    other = made.source.contaminant.id
    assert made.id == f"a0.wav+ood:12:{other}+seed=3"
    record = json.loads(json.dumps(made.source.record()))
    parts = parts_of(made)
    assert record["clip"] == "a0.wav" and record["contaminant"] == other and record["seed"] == 3
    assert (
        record["gain"]
        == parts.gain
        == pytest.approx(10 ** (-12 / 20) * np.sqrt(energy(clips[0].source) / energy(made.source.contaminant.source)))
    )
    assert record["snr_db"] == pytest.approx(12, abs=1e-6) and record["active_snr_db"] == parts.active_snr_db
    with pytest.raises(DataError, match=r"b1\.wav is not a mixture"):
        parts_of(clip("b1.wav"))


# Recordings ----------------------------------------------------------------------------------------


def test_recordings_are_resampled_and_mixed_down():
    time_s = np.arange(16000) / 16000
    tone = Clip("tone", Waveform(np.stack([np.sin(2000 * np.pi * time_s), np.zeros(16000)]), 16000), ("b",))
    parts = parts_of(mix([clip("x")], "ood:0", contaminants=[tone])[0])
    assert parts.contaminant.sample_rate == RATE and parts.contaminant.n_channels == 1
    spectrum = parts.contaminant.samples[0].double().numpy()
    assert np.abs(np.fft.rfft(spectrum)).argmax() * RATE / 4000 == pytest.approx(1000, abs=RATE / 4000)
    stereo = Clip("s", Waveform(np.stack([np.ones(4000), np.zeros(4000)]) / 4, RATE), ("a",))
    assert parts_of(mix([stereo], "white")[0]).source.samples.unique().tolist() == [0.125]


def test_short_recordings_are_repeated_and_never_padded():
    short = Clip("short", Waveform(np.arange(1, 101) / 200, RATE))
    parts = parts_of(mix([clip("x")], recipe("speech"), contaminants=[short])[0])
    samples = parts.contaminant.samples[0]
    assert bool((samples > 0).all())
    assert torch.equal(samples[100:], samples[:-100])
    assert piece(short, 250, RATE, place=0.3)[:3].tolist() == pytest.approx([31 / 200, 32 / 200, 33 / 200])


def test_a_piece_of_a_long_file_is_read_from_a_random_place(tmp_path):
    ramp = np.arange(5 * RATE) / (5 * RATE)
    soundfile.write(tmp_path / "long.wav", ramp, RATE, subtype="DOUBLE")
    long = Clip("long", tmp_path / "long.wav", start_s=1.0, end_s=4.0)
    found = [piece(long, 800, RATE, place) for place in (0.0, 0.5, 0.999)]
    for samples in found:
        assert np.allclose(np.diff(samples), 1 / (5 * RATE), atol=1e-6)  # float32
    starts = [samples[0] * 5 for samples in found]
    assert starts == pytest.approx([1.0, 1.0 + 0.5 * (3 - 0.11), 1.0 + 0.999 * (3 - 0.11)], abs=2e-4)
    places = {
        parts_of(made).contaminant.peak for made in mix([clip(f"x{i}") for i in range(6)], recipe("scene"), [long])
    }
    assert len(places) == 6


def test_silent_places_are_passed_over():
    samples = np.zeros(40 * RATE)
    samples[::40000] = 1.0  # a click every 5 s; a piece of .5 s holds one in a tenth of all places
    sparse = Clip("sparse", Waveform(samples, RATE))
    found = [mix([clip(f"x{i}")], recipe("id"), contaminants=[sparse])[0] for i in range(20)]
    heard = 0
    for made in found:
        try:
            heard += parts_of(made).contaminant.peak > 0
        except AudioError:
            continue
    assert heard >= 6  # of 20: one draw would give 2, eight give 11


def test_noise_for_tests_is_of_other_recordings_than_noise_for_training(tmp_path):
    for i in range(10):
        soundfile.write(tmp_path / f"n{i}.wav", sound(i).samples[0].numpy(), RATE)
    noise = folder(tmp_path)
    training, test = noise_split(noise)
    assert len(test) == 2 and len(training) == 8 and not {c.id for c in training} & {c.id for c in test}
    made = mix([clip(f"x{i}") for i in range(12)], f"id:0:{tmp_path}")
    assert {one.source.contaminant.id for one in made} <= {c.id for c in test}
    folds = [replace(c, fold=1 + i % 3) for i, c in enumerate(noise)]
    assert [{c.fold for c in part} for part in noise_split(folds)] == [{1}, {3}]
    with pytest.raises(DataError, match="All noise is of fold 1"):
        noise_split(folds[:1])


def test_folds_of_recordings_are_chosen_behind_the_path(tmp_path):
    rows = [f"{i}.wav,{'ab'[i % 2]},{1 + i // 4}" for i in range(8)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,fold", *rows]))
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", sound(i).samples[0].numpy(), RATE)
    made = mix([clip("x", "a")], f"ood:6:{tmp_path}#2")
    assert made[0].source.contaminant.id in ("5.wav", "7.wav")
    with pytest.raises(DataError, match="no recording of these folds"):
        mix([clip("x", "a")], f"ood:6:{tmp_path}#7")


# Noise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("color", "slope"), [("white", 3.01), ("pink", 0.0)])
def test_octaves_of_noise(color, slope):
    # White noise has 3.01 dB more power in each octave, pink noise (3.01 dB less per Hz) the same in all.
    # The lowest octave holds 4,096 bins of 2^18 samples at 8 kHz, a standard deviation of 4.34 / 64 = .07 dB.
    power = np.abs(np.fft.rfft(colored(color, 1 << 18, RATE, np.random.default_rng(2)))) ** 2
    hz = np.fft.rfftfreq(1 << 18, 1 / RATE)
    octaves = [10 * np.log10(power[(hz >= f) & (hz < 2 * f)].sum()) for f in (125, 250, 500, 1000, 2000)]
    assert np.polyfit(range(5), octaves, 1)[0] == pytest.approx(slope, abs=0.1)
    if color == "pink":
        assert power[hz < 19].sum() < 1e-20 * power.sum()


def test_pink_noise_of_a_few_samples_is_not_silent():
    assert all(np.square(colored("pink", n, RATE, np.random.default_rng(0))).sum() > 0 for n in (1, 2, 3, 50))


# Recipes -------------------------------------------------------------------------------------------


def test_presets_have_the_weights_of_the_published_code(clips):
    made = mix(clips[:8], "lmac-code", seed=10)
    kinds = {name: [parts_of(one) for one in made if f"+{name}" in one.id] for name in ("ood:12.04", "white:6.02")}
    assert [len(found) for found in kinds.values()] == [16, 8]
    for parts in kinds["ood:12.04"]:
        assert energy(parts.source) == pytest.approx(0.8**2, rel=1e-6)  # l2 norms, in float32
        assert energy(parts.contaminant) == pytest.approx(0.2**2, rel=1e-6)
        assert measured_db(parts) == pytest.approx(20 * np.log10(4), abs=1e-6)  # 12.0412 dB
    for parts in kinds["white:6.02"]:
        assert parts.scale == 1 and energy(parts.contaminant) == pytest.approx(0.25 * energy(parts.source), rel=1e-6)
        assert measured_db(parts) == pytest.approx(20 * np.log10(2), abs=1e-6)  # 6.0206 dB


def test_presets_take_recordings(tmp_path, clips):
    for i in range(5):
        soundfile.write(tmp_path / f"n{i}.wav", sound(i, n=1000).samples[0].numpy(), RATE)
    made = mix(clips[:1], f"lmac-code:speech={tmp_path},noise={tmp_path}", contaminants=clips[4:])
    assert [one.source.recipe.kind for one in made] == ["ood", "ood", "white", "speech", "id"]
    assert {one.source.contaminant in clips[4:] for one in made[:2]} == {True}
    assert made[3].source.contaminant.id.startswith("n")
    noisy = mix(clips[:1], parse_mixture(f"lmac-code:noise={tmp_path}")[-1])[0]
    parts = parts_of(noisy)
    assert parts.mixture.peak == pytest.approx(1, abs=3e-7) and measured_db(parts) == pytest.approx(0, abs=1e-6)
    assert not parts.contaminant.samples[0, 1000:].any() and parts.contaminant.samples[0, :1000].any()  # as published
    paper = parse_mixture(f"lmac-paper:speech={tmp_path}")
    assert [(one.kind, round(one.snr_db, 9), one.padded) for one in paper] == [
        ("white", 3, False),
        ("speech", 3, False),
    ]
    assert measured_db(parts_of(mix(clips[:1], paper[1])[0])) == pytest.approx(3, abs=1e-6)


def test_spellings():
    def read(text):
        return [(one.kind, round(one.snr_db, 6), one.source) for one in parse_mixture(text)]

    assert read("ood") == [("ood", 6, None)]
    assert read("white:-6,0,6,0") == [("white", -6, None), ("white", 0, None), ("white", 6, None)]
    assert read("speech:3:/a:b") == [("speech", 3, "/a:b")]
    assert read("id::wham:/noise#1") == [("id", 0, "wham:/noise#1")]
    assert [one.name for one in parse_mixture("lmac-code:speech=/a,b,noise=/c=d")] == [
        "ood:12.04,l2,padded",
        "white:6.02",
        "speech:12.04,l2,padded",
        "id:0,peak,padded",
    ]
    assert parse_mixture("lmac-code:speech=/a,b,noise=/c=d")[2].source == "/a,b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loud", r"'loud' is unknown; write one of id, ood, white, pink, speech, scene, lmac-code, lmac-paper"),
        ("white:six", "is 'six', and dB were expected"),
        ("white:1e9", "at most 200 either way"),
        ("white:nan", "at most 200 either way"),
        ("white:6:/noise", "white noise has none"),
        ("speech:3", r"needs recordings; write speech:6:PATH"),
        ("lmac-code:/noise", r"speech=PATH,noise=PATH, got '/noise'"),
        ("lmac-code:voice=/a", "speech=PATH,noise=PATH"),
    ],
)
def test_what_means_no_mixture_is_refused_in_one_sentence(text, words):
    with pytest.raises(DataError, match=words):
        parse_mixture(text)


def test_impossible_recipes_are_refused():
    for values in (("loud", (1.0, 1.0)), ("white", (1.0, 0.0)), ("white", (float("nan"), 1.0))):
        with pytest.raises(DataError):
            Recipe(*values)
    with pytest.raises(DataError, match="at least one mixture"):
        Recipe("white", (1.0, 1.0), n=0)


# Published recordings ------------------------------------------------------------------------------


@pytest.fixture
def data():
    if "EARMARK_DATA" not in os.environ:
        pytest.skip("EARMARK_DATA does not name a folder of real recordings")
    return Path(os.environ["EARMARK_DATA"])


def test_real_clips_with_clips_backgrounds_and_words(data):
    test = folder(data / "esc10", group_column="freesound_id", folds=[5])
    few = test[::20]
    for text in ("ood:6", f"scene:0:{data / 'soundscapes'}", f"speech:12:{data / 'speech_commands_test'}"):
        made = mix(few, text, contaminants=test if text == "ood:6" else None)[0]
        parts = parts_of(made)
        assert parts.contaminant.n_samples == parts.source.n_samples and parts.source.sample_rate == 44100
        assert measured_db(parts) == pytest.approx(made.source.recipe.snr_db, abs=1e-6)
        assert parts.mixture.peak <= 1
        assert parts.active_snr_db >= made.source.recipe.snr_db - 3
