"""The page in a real browser: what is heard is what is said, at its time."""

import io
import math
import re

import numpy as np
import pytest
import soundfile
import torch
from tests.browser.pages import PLAYER, RATE, level_db, page_of, rendered, set_box, state
from tests.reference.boxes import kept_in_boxes
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.page import explanation_page


def test_the_playhead_moves_with_the_sound(opened):
    """A sweep tells by its pitch which instant is heard."""
    seconds = torch.arange(4 * RATE) / RATE
    sweep = Waveform((0.5 * torch.sin(2 * math.pi * (500 * seconds + 500 * seconds**2)))[None], RATE)  # 500 + 1000 t Hz
    page = opened(page_of("mask", sweep))
    page.click(".em-play")
    page.wait_for_function("() => earmark.viewer.player.position > 0.2")
    seen = page.evaluate(
        """async () => {
        const player = earmark.viewer.player, context = player.context;
        const analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
        player.output.connect(analyser);
        const bins = new Float32Array(analyser.frequencyBinCount), seen = [];
        for (let i = 0; i < 8; i++) {
          await new Promise((resolve) => setTimeout(resolve, 200 + 37 * i));
          await new Promise(requestAnimationFrame);  // the playhead is drawn in this frame
          analyser.getFloatFrequencyData(bins);
          const hz = bins.indexOf(Math.max(...bins)) * context.sampleRate / 4096;
          const late = context.outputLatency || context.baseLatency || 0;
          const head = parseFloat(document.querySelector(".em-playhead").style.left) / 100 * 4;
          seen.push([(hz - 500) / 1000, player.position + late - 2048 / context.sampleRate, head, player.position]);
        }
        return seen; }"""
    )
    for sounding, expected, head, position in seen:
        # The analyser hears blocks of 128 samples some time before JavaScript asks: 50 ms is more than was ever seen.
        assert sounding == pytest.approx(expected, abs=0.05)
        assert head == pytest.approx(position, abs=0.1)  # read in the frame in which it was drawn
    assert seen[-1][3] - seen[0][3] > 1.4
    page.click(".em-play")
    stopped = state(page, "viewer.player.position")
    page.wait_for_timeout(150)
    assert state(page, "viewer.player.position") == stopped


def test_a_box_plays_only_its_band_and_time(opened):
    clip = examples.noise(1.5, RATE, 2)
    page = opened(page_of("mask", clip))
    set_box(page, 0.5, 1.0, 2000, 4000)
    page.click("[data-do=box]")
    assert page.locator("[data-source=box]").get_attribute("aria-checked") == "true"
    span = state(page, "viewer.player.span")
    assert span == [pytest.approx(0.325), pytest.approx(1.175)]  # with soft edges and 50 ms
    page.click("[data-source=box]")
    state(page, "(viewer.player.pause(), viewer.player.range = null, 1)")
    box, rest, whole = (rendered(page, name) for name in ("box", "rest", "original"))
    assert box.shape == whole.shape == tuple(clip.samples.shape)
    np.testing.assert_allclose(box + rest, whole, atol=1e-6)  # float32
    middle = slice(round(0.65 * RATE), round(0.85 * RATE))
    for channel in range(2):
        inside, outside = box[channel, middle], whole[channel, middle]
        assert level_db(inside, RATE, 2600, 3400) == pytest.approx(level_db(outside, RATE, 2600, 3400), abs=0.1)
        for band in ((0, 1350), (4650, 11000)):  # beyond the soft edges, which are 1000 Hz wide
            assert level_db(inside, RATE, *band) < level_db(outside, RATE, *band) - 60
    assert np.abs(box[:, : round(0.3 * RATE)]).max() == 0 and np.abs(box[:, round(1.2 * RATE) :]).max() == 0
    boxes = [{"start_s": 0.5, "end_s": 1.0, "low_hz": 2000, "high_hz": 4000}]
    twin = kept_in_boxes(whole, RATE, boxes, 1.5, n_fft=512)
    np.testing.assert_allclose(box, twin, atol=2e-6)  # float32 beside float64


def test_the_sounds_are_those_of_the_explanation(opened):
    explanation = examples.explanation("mask")
    page = opened(explanation_page(explanation))
    sounds = explanation.sounds()
    for name in ("original", "evidence", "complement"):
        heard = rendered(page, name)
        wanted = sounds[name].samples.numpy()
        np.testing.assert_allclose(heard, wanted, atol=2.1 / 2**15)  # 16 bit each, and their difference


def test_switching_keeps_the_instant_and_gains_are_said(opened):
    clip = examples.noise(3.0, RATE, 1)
    page = opened(page_of("mask", clip))
    page.click(".em-play")
    page.wait_for_function("() => earmark.viewer.player.position > 0.1")
    jumps = page.evaluate(
        f"""async () => {{ const player = {PLAYER}, jumps = [];
        for (const key of ["b", "c", "a", "b"]) {{
          const before = player.position;
          document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
          await new Promise((resolve) => setTimeout(resolve, 60));
          jumps.push([player.source, player.running.get(player.source).gain.gain.value, player.position - before]);
        }}
        return jumps; }}"""
    )
    assert [name for name, _, _ in jumps] == ["evidence", "complement", "original", "evidence"]
    for _, gain, moved in jumps:
        assert gain > 0.9  # faded in within 60 ms
        assert 0 <= moved < 0.5  # no start from the beginning: it plays on while we wait
    page.keyboard.press("m")
    said = page.inner_text(".em-gain")
    sounds = examples.explanation("mask", clip).sounds()
    ratio = sounds["original"].rms_db - sounds["evidence"].rms_db
    gain = 20 * math.log10(state(page, "viewer.player.gainOf('evidence').gain"))
    short = float(re.search(r", ([\d.]+) dB short", said).group(1)) if "short" in said else 0.0
    assert said.startswith(f"+{gain:.1f} dB")
    assert gain + short == pytest.approx(ratio, abs=0.2)  # the page's evidence has 16 bit


def test_speed_and_loop(opened):
    page = opened(page_of("mask", examples.noise(2.0, RATE, 1)))
    page.select_option(".em-transport select", "0.5")
    page.keyboard.press("l")
    set_box(page, 0.5, 0.8, 100, 5000)
    page.click("[data-do=box]")
    page.wait_for_function("() => earmark.viewer.player.playing")
    positions = page.evaluate(
        f"""async () => {{ const player = {PLAYER}, seen = [];
        for (let i = 0; i < 12; i++) {{
          await new Promise((resolve) => setTimeout(resolve, 120));
          const late = player.context.outputLatency || player.context.baseLatency || 0;
          seen.push([player.context.currentTime - late - player.began.at, player.position]);
        }}
        return seen; }}"""
    )
    start, end = state(page, "viewer.player.span")
    for clock, position in positions:
        assert start <= position <= end
        assert position == pytest.approx(start + (0.5 * max(clock, 0)) % (end - start), abs=0.02)
    assert state(page, "viewer.player.playing")


def test_play_pressed_twice_does_not_play(opened):
    page = opened(page_of())
    state(page, "(viewer.player.toggle(), viewer.player.toggle(), 1)")
    page.wait_for_timeout(300)
    assert state(page, "[viewer.player.wanted, viewer.player.playing]") == [False, False]


def test_everything_else_goes_on_where_it_stands(opened):
    page = opened(page_of("mask", examples.noise(3.0, RATE, 1)))
    set_box(page, 2.0, 2.5, 100, 5000)
    page.click(".em-play")
    page.wait_for_function("() => earmark.viewer.player.position > 0.3")
    page.click("[data-do=rest]")
    page.wait_for_function("() => earmark.viewer.player.running.has('rest')")
    assert state(page, "viewer.player.began.from_s") > 0.3


def test_no_more_loop_goes_on_where_it_stands(opened):
    page = opened(page_of("mask", examples.noise(0.4, RATE, 1)))
    page.keyboard.press("l")
    page.click(".em-play")
    player = PLAYER
    page.wait_for_function(f"() => {player}.playing && {player}.context.currentTime - {player}.began.at > 0.9")
    before, after = page.evaluate(
        f"""async () => {{ const player = {player};
        while (player.position > 0.15) await new Promise((resolve) => setTimeout(resolve, 5));
        const before = player.position;
        await player.setLoop(false);
        return [before, player.began.from_s]; }}"""
    )
    assert 0 <= after - before < 0.2


def test_a_box_that_was_chosen_meanwhile_is_the_one_that_is_heard(opened):
    page = opened(page_of("mask", examples.noise(3.0, RATE, 1)))
    heard = page.evaluate(
        """async () => { const { viewer } = earmark, { player } = viewer;
        const box = { start_s: 0.5, end_s: 1, low_hz: 100, high_hz: 900 };
        const other = { ...box, start_s: 2, end_s: 2.5 };
        const loud = () => player.running.get("box").node.buffer.getChannelData(0).findIndex((v) => v !== 0)
          / player.ready.get("box").rate;
        viewer.choose(box);
        await player.playBox("box");
        const first = loud();
        await player.setSource("evidence");
        viewer.choose(other);
        await player.setSource("box");
        const second = loud();
        viewer.choose(box); // while it plays
        const pending = player.playBox("box");
        viewer.choose(other); // and while the first is being made
        await pending;
        while (!player.running.has("box")) await new Promise((resolve) => setTimeout(resolve, 5));
        return [first, second, loud()]; }"""
    )
    assert heard == [pytest.approx(0.375, abs=0.02), pytest.approx(1.875, abs=0.02), pytest.approx(1.875, abs=0.02)]


def test_a_box_dropped_while_it_is_made_leaves_nothing_behind(opened):
    page = opened(page_of())
    page.evaluate(
        """async () => { const { viewer } = earmark;
        viewer.chooseNext();
        const pending = viewer.player.playBox("box");
        viewer.choose(null);
        await pending; }"""
    )
    page.wait_for_function("() => earmark.viewer.player.playing")
    assert state(page, "[viewer.player.range, viewer.player.source, viewer.box]") == [None, "original", None]


def test_a_sound_that_cannot_be_decoded_is_said(opened):
    page = opened(page_of("mask"))
    state(page, "(viewer.data.clip.sounds.evidence.data = btoa('nonsense'), 1)")
    page.keyboard.press("b")
    page.click(".em-play")
    page.wait_for_function("() => document.querySelector('.em-status').textContent.includes('could not decode')")
    assert page.inner_text(".em-play") == "Play"
    page.keyboard.press("a")
    page.click(".em-play")
    page.wait_for_function("() => earmark.viewer.player.playing")
    assert "Playing: original." in page.inner_text(".em-status")


def test_what_is_heard_is_saved_as_a_file(opened):
    page = opened(page_of("mask", examples.noise(1.5, RATE, 2)))
    set_box(page, 0.5, 1.0, 2000, 4000)
    page.click("[data-do=box]")
    page.wait_for_function("() => earmark.viewer.player.playing")
    with page.expect_download() as download:
        page.click("[data-do=save]")
    assert download.value.suggested_filename == "yard-box.wav"
    samples, rate = soundfile.read(io.BytesIO(download.value.path().read_bytes()), always_2d=True)
    state(page, "(viewer.player.pause(), viewer.player.range = null, 1)")
    box = rendered(page, "box")
    first = math.floor(0.325 * RATE)
    assert rate == RATE and samples.shape == (math.ceil(1.175 * RATE) - first, 2)
    np.testing.assert_allclose(samples.T, box[:, first : first + len(samples)], atol=0.6 / 2**23)  # 24 bit


# -- the gallery ----------------------------------------------------------------------------------------------------


def test_a_click_plays_the_region_here_then_the_one_in_training(opened):
    page = opened(page_of())
    parts = page.evaluate(
        """async () => (await earmark.gallery.parts("compare", 0, 0)).map((sound) =>
        ({ start_s: sound.start_s, duration_s: sound.channels[0].length / sound.rate, rate: sound.rate,
           samples: [...sound.channels[0]] }))"""
    )
    channel = examples.explanation("prototypes").evidence.channels[0]
    assert len(parts) == 2
    for part, regions in zip(parts, (channel.regions, channel.prototypes[0].regions), strict=True):
        start_s = min(r.start_s - 0.25 * (r.end_s - r.start_s) for r in regions) - 0.05
        assert part["start_s"] == pytest.approx(max(start_s, 0), abs=1e-3)
        top = max(r.high_hz + (r.high_hz - r.low_hz) / 4 for r in regions) + 200
        samples, rate = np.array(part["samples"]), part["rate"]
        assert level_db(samples, rate, 0, top) > level_db(samples, rate, top, rate / 2) + 40
    first = page.locator("[data-gallery='compare:0:0'] >> nth=1")  # the button; the picture comes first
    first.click()
    page.wait_for_function("() => earmark.gallery.nodes.length === 2")
    assert first.get_attribute("aria-pressed") == "true"
    assert "This clip's region, then the training clip's" in page.inner_text("article >> nth=0")
    page.wait_for_function("() => earmark.gallery.nodes.length === 0", timeout=10_000)
    assert first.get_attribute("aria-pressed") == "false"
    page.locator(".area[data-gallery] >> nth=1").click()
    page.wait_for_function("() => earmark.gallery.nodes.length === 2")


def test_a_row_of_the_table_of_regions_plays_its_box(opened):
    page = opened(page_of())
    page.locator("[data-box] >> nth=1").click()
    page.wait_for_function("() => earmark.viewer.player.playing")
    regions = [r for c in examples.explanation("prototypes").evidence.channels for r in c.regions]
    assert state(page, "viewer.box.start_s") == pytest.approx(regions[1].start_s)
    assert state(page, "viewer.player.source") == "box"


def test_only_one_thing_is_heard_at_a_time(opened):
    page = opened(page_of())
    page.click("button[data-gallery='whole:0:0']")
    page.wait_for_function("() => earmark.gallery.nodes.length === 1")
    page.click(".em-play")
    page.wait_for_function("() => earmark.viewer.player.playing && earmark.gallery.nodes.length === 0")
    picture = page.locator(".area[data-gallery='compare:0:0']")
    picture.click()
    page.wait_for_function("() => !earmark.viewer.player.playing && earmark.gallery.nodes.length === 2")
    picture.click()  # stops, as its button does
    page.wait_for_function("() => earmark.gallery.nodes.length === 0")
    page.click("button[data-gallery='whole:0:0']")
    page.wait_for_function("() => earmark.gallery.nodes.length === 1")
    page.keyboard.press("Escape")
    assert state(page, "earmark.gallery.nodes.length") == 0


def test_a_training_clip_that_cannot_be_decoded_is_said(opened):
    page = opened(page_of())
    state(page, "(Object.values(viewer.data.training_sounds).forEach((sound) => (sound.data = btoa('no'))), 1)")
    button = page.locator("button[data-gallery='whole:0:0']")
    button.click()
    page.wait_for_function("() => document.querySelector('[data-said]').textContent.includes('could not decode')")
    assert button.get_attribute("aria-pressed") == "false"
