import hashlib
import pickle
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from earmark.audio.files import load_clip
from earmark.data._ambience import background, convolve, impulse_response
from earmark.data._events import KINDS
from earmark.data.config import BACKGROUNDS, SceneConfig, _range
from earmark.data.scenes import LABELS, render, render_id, scenes
from earmark.errors import DataError

RATE = 32000
N_FFT, HOP = 1024, 320


def power_of(samples, n_fft=N_FFT, hop_length=HOP):
    """The definition of `Scene.support`'s grid, frame by frame."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    padded = np.pad(samples.astype(np.float64), n_fft)
    columns = []
    for frame in range(1 + int(np.ceil(len(samples) / hop_length))):
        start = frame * hop_length + n_fft // 2  # its center is sample frame * hop_length
        columns.append(np.abs(np.fft.rfft(window * padded[start : start + n_fft])) ** 2)
    return np.stack(columns, axis=1)


def decibels(ratio):
    return 10 * np.log10(ratio)


def first_with(label, **changes):
    """The first scene of seed 0 in which a label sounds, and that event."""
    for clip in scenes(1000, min_events=1, max_events=1, **changes):
        if label in clip.labels:
            scene = render(clip.id)
            return scene, scene.events[0]
    raise AssertionError(f"{label} is never drawn")


def sound_of(label, seed=0, **values):
    """A class of event rendered with some values given, and its values."""
    rng = np.random.default_rng(seed)
    drawn = KINDS[label].draw(rng, longest_s=4.0) | values
    time_s = np.arange(round(KINDS[label].length(drawn) * RATE)) / RATE
    return np.asarray(KINDS[label].render(drawn, time_s, rng), np.float64), drawn


def envelope_spectrum(samples):
    """Frequencies in Hz, and the magnitude of the spectrum of the sound's smoothed power."""
    power = np.convolve(samples**2, np.ones(160) / 160, mode="same")
    spectrum = np.abs(np.fft.rfft((power - power.mean()) * np.hanning(len(power)), 1 << 19))
    return np.fft.rfftfreq(1 << 19, 1 / RATE), spectrum


def centroids(samples, n_parts):
    """The spectral centroid in Hz of each of some equal parts."""
    means = []
    for part in np.array_split(samples, n_parts):
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        means.append(power @ np.fft.rfftfreq(len(part), 1 / RATE) / power.sum())
    return np.array(means)


# The set -----------------------------------------------------------------------------------------


def test_labels_are_sorted_snake_case_and_at_least_twelve():
    assert len(LABELS) >= 12 and list(LABELS) == sorted(set(LABELS))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in LABELS)


def test_clip_ids_say_seed_and_index_and_folds_go_round():
    clips = scenes(7, seed=3)
    assert [clip.id for clip in clips] == [f"scenes:3:{i}" for i in range(7)]
    assert [clip.fold for clip in clips] == [1, 2, 3, 4, 5, 1, 2]
    assert all(clip.group == clip.id for clip in clips)


def test_a_set_is_a_sequence():
    clips = scenes(10, seed=1)
    assert len(clips) == 10 and clips[-1].id == "scenes:1:9"
    assert [clip.id for clip in clips[4:8:2]] == ["scenes:1:4", "scenes:1:6"]
    assert clips[2:][3].labels == clips[5].labels
    with pytest.raises(IndexError):
        clips[10]


def test_more_scenes_start_with_the_same_ones():
    short, long = scenes(3, seed=5), scenes(30, seed=5)
    assert [clip.events for clip in short] == [clip.events for clip in long[:3]]


def test_every_label_is_drawn_about_equally_often():
    drawn = Counter(label for clip in scenes(600) for label in clip.labels)
    counts = np.array([drawn[label] for label in LABELS])
    expected = 600 * 2 / len(LABELS)  # 1 to 3 events, 2 on average
    assert counts.sum() == pytest.approx(1200, rel=0.06)
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_labels_and_boxes_are_those_of_the_rendered_scene():
    for clip in scenes(12, seed=2):
        scene = render(clip.id)
        assert clip.events == tuple(event.region for event in scene.events)
        assert clip.labels == scene.labels == tuple(sorted({event.label for event in scene.events}))
        assert 1 <= len(clip.events) <= 3


def test_boxes_lie_inside_the_clip_and_below_the_nyquist_frequency_of_16_khz():
    for clip in scenes(300, seed=11):
        for box in clip.events:
            assert 0 <= box.start_s < box.end_s <= 5
            assert 0 <= box.low_hz < box.high_hz < 8000


# The sound ---------------------------------------------------------------------------------------


def test_sound_is_float32_mono_and_below_full_scale():
    for clip in scenes(20, seed=4):
        waveform = load_clip(clip)
        assert waveform.samples.dtype == torch.float32 and waveform.samples.shape == (1, 5 * RATE)
        assert 10 ** (-18 / 20) * 0.999 < waveform.peak < 1


def test_a_clip_is_made_again_from_its_id_alone():
    for clip in scenes(3, seed=9, max_events=2, snr_db=(0, 10), backgrounds=("pink", "hum")):
        assert torch.equal(render_id(clip.id).samples, clip.source().samples)
        assert torch.equal(pickle.loads(pickle.dumps(clip)).source().samples, clip.source().samples)


def test_another_process_makes_the_same_sound():
    ids = [clip.id for clip in scenes(3, seed=21)]
    code = (
        "import hashlib, sys; from earmark.data.scenes import render_id\n"
        "for i in sys.argv[1:]: print(hashlib.sha256(render_id(i).samples.numpy().tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code, *ids], capture_output=True, text=True, check=True)
    here = [hashlib.sha256(render_id(i).samples.numpy().tobytes()).hexdigest() for i in ids]
    assert there.stdout.split() == here


def test_global_random_states_play_no_part_and_stay():
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    one = render_id("scenes:0:0").samples
    assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(2)
    assert torch.equal(render_id("scenes:0:0").samples, one)


def test_seeds_and_indices_differ():
    sounds = [render_id(f"scenes:{seed}:{index}").samples for seed, index in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for i, one in enumerate(sounds):
        for other in sounds[:i]:
            correlation = torch.corrcoef(torch.cat([one, other]))[0, 1].abs()
            assert correlation < 0.05


def test_dry_scene_is_the_sum_of_its_parts():
    for clip in scenes(6, seed=6, reverberation=0.0):
        scene = render(clip.id)
        total = scene.background + sum(scene.alone(label) for label in scene.labels)
        np.testing.assert_allclose(total, scene.waveform.samples[0].numpy(), atol=1e-6)


def test_snr_is_as_stated_and_in_its_range():
    stated = []
    for clip in scenes(25, seed=7, snr_db=(3.0, 9.0)):
        scene = render(clip.id)
        for event in scene.events:
            dry = scene.alone(event.label)[event.start : event.end].astype(np.float64)
            noise = scene.background[event.start : event.end].astype(np.float64)
            assert decibels(np.mean(dry**2) / np.mean(noise**2)) == pytest.approx(event.snr_db, abs=0.01)
            stated.append(event.snr_db)
    assert 3 <= min(stated) < 4.5 and 7.5 < max(stated) <= 9


def test_dry_event_has_mean_power_1_and_fills_its_box_in_time():
    for label in LABELS:
        scene, event = first_with(label)
        assert np.mean(event.dry.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-4)
        assert event.start == round(event.region.start_s * RATE)
        assert event.end == round(event.region.end_s * RATE)
        placed = scene.alone(label)
        assert not placed[: event.start].any() and not placed[event.end :].any()


def test_a_room_adds_what_it_should():
    scenes_in_rooms = [render(clip.id) for clip in scenes(6, seed=8, reverberation=1.0, rt60_s=(0.3, 0.5))]
    for scene in scenes_in_rooms:
        assert 0.3 <= scene.rt60_s <= 0.5
        dry = sum(scene.alone(label).astype(np.float64) for label in scene.labels)
        added = scene.waveform.samples[0].numpy() - scene.background - dry
        after = max(event.end for event in scene.events)
        assert decibels(np.sum(added**2) / np.sum(dry**2)) < 3
        assert np.sum(added[after : after + 3200] ** 2) > 0 or after > 5 * RATE - 3200
        first = min(event.start for event in scene.events)
        assert np.abs(added[:first]).max(initial=0) < 1e-4  # nothing sounds before its cause


def test_impulse_response_decays_by_60_db_in_its_length():
    tail = impulse_response(16000, -6.0, np.random.default_rng(0)).astype(np.float64)
    assert tail[0] == 1
    assert decibels(np.sum(tail[1:] ** 2)) == pytest.approx(-6, abs=0.1)
    parts = decibels(np.square(tail[1:15601].reshape(-1, 1560)).mean(1))
    slope = np.polyfit(np.arange(len(parts)) * 1560 / 16000, parts, 1)[0]
    assert slope == pytest.approx(-60, abs=2)


def test_convolution_is_the_textbook_sum():
    rng = np.random.default_rng(0)
    samples, response = rng.standard_normal(500), rng.standard_normal(77)
    expected = np.convolve(samples, response)[:500]
    np.testing.assert_allclose(convolve(samples, response), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "slope"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_background_falls_by_its_slope_per_octave(kind, slope):
    samples = background(kind, SceneConfig(), np.random.default_rng(0)).astype(np.float64)
    assert np.mean(samples**2) == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    octaves = np.array([60, 120, 240, 480, 960, 1920, 3840, 7680])
    levels = [decibels(power[(hz >= f) & (hz < 2 * f)].mean()) for f in octaves]
    assert np.polyfit(np.log2(octaves), levels, 1)[0] == pytest.approx(slope, abs=0.2)


def test_hum_sounds_at_harmonics_of_the_mains():
    samples = background("hum", SceneConfig(), np.random.default_rng(0)).astype(np.float64)
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    mains_hz = hz[np.argmax(power)]
    assert mains_hz in (50, 60)
    inside = np.isin(np.round(hz, 3), mains_hz * np.arange(1, 5))
    assert power[inside].sum() / power.sum() == pytest.approx(0.5, abs=0.02)


# Ground truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_support_is_what_its_definition_says(label):
    scene, event = first_with(label)
    power = power_of(event.placed(scene.waveform.n_samples))
    support = scene.support(label, N_FFT, HOP)
    assert support.dtype == bool and support.shape == power.shape == (513, 501)
    clear = np.abs(decibels(np.maximum(power, 1e-30) / power.max()) + 30) > 0.01
    np.testing.assert_array_equal(support[clear], (power >= power.max() / 1000)[clear])


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("n_fft", [512, 1024, 2048])
def test_support_holds_the_energy_inside_the_box(label, n_fft):
    scene, event = first_with(label, reverberation=0.0)
    hop_length = n_fft // 4
    support = scene.support(label, n_fft, hop_length)
    power = power_of(event.placed(scene.waveform.n_samples), n_fft, hop_length)
    assert power[support].sum() > 0.97 * power.sum()
    freqs, frames = np.nonzero(support)
    # A Hann window's main lobe is two bins wide on either side; its length blurs in time.
    blur_hz, blur_s = 2.6 * RATE / n_fft, n_fft / 2 / RATE
    box = event.region
    assert freqs.min() * RATE / n_fft > box.low_hz - blur_hz
    assert freqs.max() * RATE / n_fft < box.high_hz + blur_hz
    assert frames.min() * hop_length / RATE > box.start_s - blur_s
    assert frames.max() * hop_length / RATE < box.end_s + blur_s


@pytest.mark.parametrize("label", LABELS)
def test_box_is_no_larger_than_it_must_be(label):
    scene, event = first_with(label)
    freqs, frames = np.nonzero(scene.support(label, N_FFT, HOP))
    box = event.region
    heard_hz = (freqs.max() - freqs.min() + 1) * RATE / N_FFT
    assert box.high_hz - box.low_hz < heard_hz + 450
    assert abs(frames.min() * HOP / RATE - box.start_s) < 0.06
    assert abs(frames.max() * HOP / RATE - box.end_s) < 0.06


def test_support_of_an_absent_label_is_empty():
    scene = render("scenes:0:0")
    absent = next(label for label in LABELS if label not in scene.labels)
    assert not scene.support(absent, N_FFT, HOP).any() and not scene.alone(absent).any()


def test_support_has_a_frame_more_where_the_last_hop_is_not_full():
    scene = render("scenes:0:0")
    assert scene.support(scene.labels[0], 400, 160).shape == (201, 1001)
    assert scene.support(scene.labels[0], 1024, 300).shape == (513, 535)  # 1 + ceil(533.3)


def test_an_unknown_label_is_refused():
    with pytest.raises(DataError, match=r"no label 'dog'; their labels are am_hum, band_noise"):
        render("scenes:0:0").support("dog", N_FFT, HOP)


# Each class sounds as it is named ------------------------------------------------------------------


@pytest.mark.parametrize(("label", "sign"), [("chirp_up", 1), ("chirp_down", -1)])
def test_chirp_goes_from_end_to_end_of_its_band(label, sign):
    samples, _ = sound_of(label, duration_s=0.8, pitch_hz=600.0, ratio=4.0)
    heard = centroids(samples, 8)[::sign]
    middles = 600 * 4.0 ** ((np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(heard, middles, rtol=0.05)


def test_click_train_has_equal_short_clicks():
    samples, _ = sound_of("click_train", rate_hz=10.0, duration_s=1.0)
    energy = np.square(samples)
    assert len(samples) / RATE == pytest.approx(0.9 + 0.0016, abs=1e-4)
    per_period = energy[: 9 * 3200].reshape(9, 3200)
    np.testing.assert_allclose(per_period.sum(1), per_period[0].sum(), rtol=1e-3)
    assert per_period[:, : int(0.0016 * RATE) + 1].sum() > 0.999 * per_period.sum()


def test_knock_is_low_and_dies_away():
    samples, _ = sound_of("knock", rate_hz=2.0, duration_s=1.5, center_hz=150.0, decay_s=0.03)
    assert centroids(samples, 1)[0] == pytest.approx(150, rel=0.2)
    early, late = np.square(samples[320:1600]).mean(), np.square(samples[4800:6080]).mean()
    # 0.14 s later at a decay of 30 ms: 20 * 0.14 / 0.03 * log10(e) = 40.5 dB
    assert decibels(early / late) == pytest.approx(40.5, abs=2)


def test_harmonic_tone_has_six_harmonics_falling_as_1_over_k():
    samples, _ = sound_of("harmonic_tone", pitch_hz=400.0, depth=1e-6, duration_s=1.5)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    peaks = np.array([spectrum[np.abs(hz - 400 * k) < 20].max() for k in range(1, 8)])
    np.testing.assert_allclose(peaks[:6] / peaks[0], 1 / np.arange(1, 7), rtol=0.02)
    assert peaks[6] < 1e-3 * peaks[0]


@pytest.mark.parametrize("label", ["bird_trill", "siren"])
def test_modulated_tone_sweeps_its_band_at_its_rate(label):
    samples, v = sound_of(label, seed=3)
    if label == "siren":  # its second harmonic is above the sweep of the first
        assert v["rate_hz"] < 3
    else:
        assert v["rate_hz"] > 10
    low, high = KINDS[label].band(v)
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    assert power[(hz >= low) & (hz <= high)].sum() > 0.98 * power.sum()  # Carson's rule
    assert power[hz < low + 0.3 * (high - low)].sum() > 0.1 * power.sum()


def test_am_hum_swells_at_its_rate_and_stays_low():
    samples, _ = sound_of("am_hum", rate_hz=5.0, duration_s=2.0, pitch_hz=120.0)
    hz, spectrum = envelope_spectrum(samples)
    slow = (hz > 2) & (hz < 50)
    assert hz[slow][np.argmax(spectrum[slow])] == pytest.approx(5, abs=0.2)
    assert centroids(samples, 1)[0] < 300


def test_high_beeps_are_one_pure_tone_switched_on_and_off():
    samples, _ = sound_of("high_beeps", pitch_hz=5000.0, rate_hz=4.0, on_s=0.1, duration_s=1.1)
    period = RATE // 4
    assert len(samples) == 4 * period + 3200
    for beep in range(4):
        assert not samples[beep * period + 3201 : (beep + 1) * period - 1].any()
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    assert power[np.abs(hz - 5000) < 100].sum() > 0.99 * power.sum()


def test_filtered_rattle_has_noise_pulses_at_its_rate():
    samples, _ = sound_of("filtered_rattle", rate_hz=12.0, duration_s=1.5)
    hz, spectrum = envelope_spectrum(samples)
    slow = (hz > 4) & (hz < 18)
    assert hz[slow][np.argmax(spectrum[slow])] == pytest.approx(12, abs=0.3)
    assert centroids(samples, 1)[0] > 4000


def test_band_noise_is_flat_in_its_band_and_steady():
    samples, _ = sound_of("band_noise", low_hz=2000.0, width_hz=1000.0, duration_s=2.0)
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    halves = [power[(hz >= a) & (hz < a + 400)].mean() for a in (2100, 2500)]
    assert decibels(halves[0] / halves[1]) == pytest.approx(0, abs=1)
    assert power[(hz >= 2000) & (hz <= 3000)].sum() > 0.999 * power.sum()
    levels = [np.square(part).mean() for part in np.array_split(samples[1600:-1600], 6)]
    assert decibels(max(levels) / min(levels)) < 2


def test_broadband_burst_is_short_wide_and_decays():
    samples, v = sound_of("broadband_burst", duration_s=0.3)
    parts = decibels([np.square(part).mean() for part in np.array_split(samples[200:-200], 6)])
    assert np.polyfit(np.arange(6) / 6 * (len(samples) - 400) / len(samples), parts, 1)[0] == pytest.approx(-30, abs=3)
    low, high = KINDS["broadband_burst"].band(v)
    assert high - low > 5000


def test_noise_differs_between_events_and_tones_do_not_need_it():
    one, other = (sound_of("band_noise", seed, duration_s=0.6, low_hz=1e3, width_hz=1e3)[0] for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.2


# Settings ----------------------------------------------------------------------------------------


def test_other_settings_are_in_the_id_and_are_read_back():
    config = SceneConfig(sample_rate=16000, duration_s=2, snr_db=(0, 12.5), backgrounds=("white", "hum"))
    text = config.changes()
    assert text == "sample_rate=16000,duration_s=2.0,snr_db=0.0..12.5,backgrounds=white+hum"
    assert SceneConfig.from_changes(text) == config
    assert SceneConfig().changes() == "" and SceneConfig.from_changes("") == SceneConfig()
    assert SceneConfig.from_changes("rt60_s=0.1..0.2,peak_db=-30.0..-20.0").peak_db == (-30, -20)


def test_settings_apply():
    clip = scenes(1, sample_rate=16000, duration_s=1.0, min_events=3, backgrounds=("brown",), reverberation=0)[0]
    scene = render(clip.id)
    assert scene.waveform.sample_rate == 16000 and scene.waveform.duration_s == 1.0
    assert len(scene.events) == 3 and scene.background_kind == "brown" and scene.rt60_s == 0
    for box in clip.events:
        assert 0 <= box.start_s < box.end_s <= 1.0


def test_backgrounds_alone_are_scenes_without_labels():
    clips = scenes(8, min_events=0, max_events=0)
    assert all(clip.labels == () and clip.events == () for clip in clips)
    kinds = {render(clip.id).background_kind for clip in scenes(40, min_events=0, max_events=0, duration_s=1.0)}
    assert kinds == set(BACKGROUNDS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sample_rate": 8000}, r"sample_rate is 16000 to 384000 Hz, got 8000"),
        ({"duration_s": 0.2}, r"duration_s is 1 to 600 seconds, got 0.2"),
        ({"min_events": 4}, r"min_events <= max_events <= 12 is expected, got 4 and 3"),
        ({"max_events": 13}, r"min_events <= max_events <= 12 is expected, got 1 and 13"),
        ({"snr_db": (9, 3)}, r"snr_db is \(lowest, highest\), got \(9, 3\)"),
        ({"snr_db": (0, float("inf"))}, r"snr_db is \(lowest, highest\)"),
        ({"peak_db": (-3, 0)}, r"peak_db lies below 0 dB"),
        ({"reverberation": 1.5}, r"reverberation is a probability, got 1.5"),
        ({"rt60_s": (0, 1)}, r"rt60_s is positive, got 0"),
        ({"backgrounds": ("pink", "rain")}, r"backgrounds are some of white, pink, brown, hum, got rain"),
        ({"backgrounds": ()}, r"got none"),
        ({"events": 3}, r"no setting events; their settings are sample_rate, duration_s"),
    ],
)
def test_impossible_settings_are_refused(changes, sentence):
    with pytest.raises(DataError, match=sentence):
        scenes(1, **changes)


@pytest.mark.parametrize("value", [6, "loud", (1, 2, 3)])
def test_a_range_that_is_no_pair_is_refused(value):
    with pytest.raises(DataError, match=r"snr_db is \(lowest, highest\), got"):
        _range("snr_db", value)


@pytest.mark.parametrize(
    ("clip_id", "sentence"),
    [
        ("audio/1.wav", r"'audio/1.wav' is not a scene's id; expected scenes:SEED:INDEX"),
        ("scenes:0:-1", r"is not a scene's id"),
        ("scenes:0", r"is not a scene's id"),
        ("scenes:0:1:volume=3", r"the fields are sample_rate, .* got 'volume'"),
        ("scenes:0:1:max_events=two", r"settings 'max_events=two' cannot be read"),
        ("scenes:0:1:snr_db=6.0", r"settings 'snr_db=6.0' cannot be read"),
        ("scenes:0:1:max_events=99", r"max_events <= 12 is expected, got 1 and 99"),
        (f"scenes:{2**32}:0", r"seed of scenes lies in 0 ... 2\^32 - 1, got 4294967296"),
    ],
)
def test_ids_that_are_no_scenes_are_refused(clip_id, sentence):
    with pytest.raises(DataError, match=sentence):
        render_id(clip_id)


@pytest.mark.parametrize("arguments", [(-1, 0), (1, -1), (1, 2**32)])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(DataError, match=r"of scenes lies in 0 ... 2\^32 - 1"):
        scenes(*arguments)
