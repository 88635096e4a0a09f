"""The page in a real browser: mouse, fingers and keys."""

import pytest
from tests.browser.pages import page_of, set_box, state, tone
from tests.store import examples


def test_a_click_goes_there_and_a_drag_chooses_a_box(opened):
    page = opened(page_of())
    plot = page.locator(".em-plot").bounding_box()
    page.mouse.click(plot["x"] + 0.25 * plot["width"], plot["y"] + 50)
    assert state(page, "viewer.player.position") == pytest.approx(0.25, abs=2 / plot["width"])
    page.mouse.move(plot["x"] + 0.4 * plot["width"], plot["y"] + 0.2 * plot["height"])
    page.mouse.down()
    page.mouse.move(plot["x"] + 0.5 * plot["width"], plot["y"] + 0.3 * plot["height"])
    page.mouse.move(plot["x"] + 0.6 * plot["width"], plot["y"] + 0.6 * plot["height"])
    page.mouse.up()
    box = state(page, "viewer.box")
    assert box["start_s"] == pytest.approx(0.4, abs=2 / plot["width"])
    assert box["end_s"] == pytest.approx(0.6, abs=2 / plot["width"])
    for hz, share in ((box["high_hz"], 0.8), (box["low_hz"], 0.4)):
        assert state(page, f"viewer.axes.y({hz})") == pytest.approx(share, abs=2 / plot["height"])
    assert float(page.locator("[data-field=start_s]").input_value()) == pytest.approx(box["start_s"], abs=1e-3)
    page.keyboard.press("z")
    assert page.locator(".em-chosen").is_visible()
    assert state(page, "viewer.look.end_s - viewer.look.start_s") == pytest.approx(0.36, abs=0.02)
    page.keyboard.press("0")
    page.keyboard.press("Escape")
    assert state(page, "viewer.box") is None and page.locator(".em-chosen").is_hidden()


def test_a_double_click_chooses_the_box_under_it(opened):
    page = opened(page_of())
    region = examples.explanation("prototypes").evidence.channels[0].regions[0]
    plot = page.locator(".em-plot").bounding_box()
    x, y = state(
        page,
        f"[viewer.axes.x({(region.start_s + region.end_s) / 2}), viewer.axes.y({region.low_hz + 20})]",
    )
    page.mouse.dblclick(plot["x"] + x * plot["width"], plot["y"] + (1 - y) * plot["height"])
    assert state(page, "viewer.box.start_s") == pytest.approx(region.start_s)


def test_every_key_works(opened):
    page = opened(page_of("resynthesis"))
    for key, expression, wanted in [
        ("b", "viewer.player.source", "evidence"),
        ("c", "viewer.player.source", "complement"),
        ("d", "viewer.player.source", "residual"),
        ("a", "viewer.player.source", "original"),
        ("ArrowRight", "Math.round(10 * viewer.player.position)", 1),
        ("Shift+ArrowRight", "viewer.player.position", 1),
        ("Home", "viewer.player.position", 0),
        ("End", "viewer.player.position", 1),
        ("ArrowLeft", "Math.round(10 * viewer.player.position)", 9),
        ("l", "viewer.player.loop", True),
        ("m", "viewer.player.matched", True),
        ("]", "viewer.player.rate", 1.5),
        ("[", "viewer.player.rate", 1),
        ("o", "viewer.showBoxes", False),
        ("h", "viewer.showHeat", False),
        ("f", "viewer.look.scale", "log"),
        ("+", "viewer.look.gain_db", 4),
        ("-", "viewer.look.gain_db", 0),
        (",", "viewer.look.range_db", 70),
        (".", "viewer.look.range_db", 80),
        ("1", "viewer.on.size", 0),
        ("Shift+Digit1", "viewer.on.size", 1),
        ("n", "viewer.box !== null", True),
        ("z", "viewer.look.end_s - viewer.look.start_s < 0.99", True),
        ("0", "viewer.look.end_s - viewer.look.start_s", 1),
        ("s", "viewer.player.source", "box"),
        ("e", "viewer.player.source", "rest"),
        ("Escape", "viewer.player.source", "original"),
        (" ", "viewer.player.playing", False),
        (" ", "viewer.player.playing", True),
    ]:
        page.keyboard.press(key)
        value = str(wanted).lower() if isinstance(wanted, bool) else repr(wanted)
        same = f"Math.abs(value - {value}) < 1e-6" if isinstance(wanted, float | int) else f"value === {value}"
        same = f"value === {value}" if isinstance(wanted, bool) else same
        page.wait_for_function(
            f"() => {{ const viewer = earmark.viewer, value = {expression}; return {same}; }}",
            timeout=5000,
        )


def test_typing_into_a_field_is_no_command(opened):
    page = opened(page_of())
    page.locator("[data-field=start_s]").focus()
    page.keyboard.type("0.3")
    page.keyboard.press("l")
    assert state(page, "viewer.player.loop") is False


def test_everything_can_be_reached_and_has_a_name(opened):
    page = opened(page_of())
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=img], summary, a")].filter((one) =>
        !(one.getAttribute("aria-label") || one.title || one.innerText?.trim()
          || one.closest("label")?.innerText.trim())).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"em-play", "em-seek", "em-field", "em-button", "SUMMARY"} <= reached


def drag(page, x_from, y_from, x_to, y_to, release=True):
    """Drags from one place of the picture to another, in shares from the left and from the top."""
    plot = page.locator(".em-plot").bounding_box()
    at = [(plot["x"] + x * plot["width"], plot["y"] + y * plot["height"]) for x, y in ((x_from, y_from), (x_to, y_to))]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=3)
    if release:
        page.mouse.up()


def test_a_drag_beyond_the_border_ends_there(opened):
    page = opened(page_of())
    drag(page, 0.5, 0.5, 1.5, -0.5)
    box = state(page, "viewer.box")
    assert (box["end_s"], box["high_hz"]) == (1.0, pytest.approx(22050 / 2))
    drag(page, 0.5, 0.2, 0.5, 0.8)  # straight down
    box = state(page, "viewer.box")
    assert 0.004 < box["end_s"] - box["start_s"] < 0.006 and box["high_hz"] > 3 * box["low_hz"]


def test_escape_gives_up_a_drag(opened):
    page = opened(page_of())
    drag(page, 0.2, 0.2, 0.4, 0.4, release=False)
    assert page.locator(".em-chosen").is_visible()
    page.keyboard.press("Escape")
    page.mouse.move(300, 500)
    page.mouse.up()
    assert state(page, "viewer.box") is None and page.locator(".em-chosen").is_hidden()


def test_a_finger_scrolls_upward_and_chooses_sideways(opened):
    page = opened(page_of(), has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": 400, "height": 700})
    page.evaluate("scrollTo(0, 200)")
    touch = page.context.new_cdp_session(page)

    def swipe(across, down):
        plot = page.locator(".em-plot").bounding_box()
        x, y = plot["x"] + 50, plot["y"] + 130
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for share in (0.1, 0.25, 0.5, 0.75, 1.0):
            point = {"x": x + share * across, "y": y + share * down}
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
            page.wait_for_timeout(20)  # as a finger does: moves that come at once are taken for one
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(0, -120)
    page.wait_for_function("() => window.scrollY > 250")
    page.wait_for_timeout(500)  # until it has come to rest: a touch before that only stops it
    assert state(page, "[viewer.box, viewer.draft, viewer.down]") == [None, None, None]
    swipe(150, 20)
    page.wait_for_function("() => earmark.viewer.box !== null")
    assert 0.4 < state(page, "viewer.box.end_s - viewer.box.start_s") < 0.7


def test_nonsense_in_the_fields_stays_within_the_clip(opened):
    page = opened(page_of())
    set_box(page, 99, -3, 1e9, 12.5)
    # each as it is typed: 99 s is the end, less 5 ms; -3 s the start; 1 GHz the top, less 1 Hz
    assert state(page, "viewer.box") == {"start_s": 0, "end_s": 0.995, "low_hz": 12.5, "high_hz": 11024}
    page.fill("[data-field=start_s]", "1")
    page.press("[data-field=start_s]", "Tab")
    assert state(page, "viewer.box.start_s") == pytest.approx(0.995)  # no box is thinner than 5 ms
    page.fill("[data-field=start_s]", "")
    page.press("[data-field=start_s]", "Tab")
    assert state(page, "viewer.box.start_s") == 0


def test_one_border_leaves_the_others_as_they_are(opened):
    page = opened(page_of())
    state(page, "viewer.choose({ start_s: 0.12345678, end_s: 0.5, low_hz: 100, high_hz: 200 })")
    page.fill("[data-field=end_s]", "0.6")
    page.press("[data-field=end_s]", "Enter")
    assert state(page, "[viewer.box.start_s, viewer.box.end_s]") == [0.12345678, 0.6]


def test_the_pointer_reads_time_frequency_and_level(opened):
    page = opened(page_of("mask", tone(3000)))
    plot = page.locator(".em-plot").bounding_box()
    up = state(page, "viewer.axes.y(3000)")
    page.mouse.move(plot["x"] + 0.5 * plot["width"], plot["y"] + (1 - up) * plot["height"])
    seconds, unit, hz, khz, level, db = page.inner_text(".em-reading").replace(",", "").replace("−", "-").split()
    assert (unit, khz, db) == ("s", "kHz", "dB")
    assert float(seconds) == pytest.approx(0.5, abs=2 / plot["width"])
    assert float(hz) == pytest.approx(3, abs=0.05) and -3 <= float(level) <= 0
    page.mouse.move(5, 5)
    assert page.locator(".em-reading").is_hidden()


def test_arrow_keys_lead_through_what_is_heard(opened):
    page = opened(page_of())
    page.focus(".em-play")
    page.keyboard.press("Tab")
    for key, source in (("ArrowRight", "evidence"), ("ArrowDown", "complement"), ("ArrowRight", "original")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.source") == source == state(page, "viewer.player.source")
    assert state(page, "viewer.player.position") == 0
    page.keyboard.press("Tab")  # the group is one stop
    assert page.evaluate("document.activeElement.tagName") == "SELECT"


def test_the_slider_plays_and_brackets_may_need_altgr(opened):
    page = opened(page_of())
    page.focus(".em-seek")
    page.keyboard.press("ArrowRight")
    assert state(page, "viewer.player.position") == pytest.approx(0.1)
    page.keyboard.press("Space")
    page.wait_for_function("() => earmark.viewer.player.playing")
    page.evaluate(
        """() => document.body.dispatchEvent(new KeyboardEvent("keydown",
        { key: "]", code: "Digit9", ctrlKey: true, altKey: true, bubbles: true }))"""
    )
    assert state(page, "viewer.player.rate") == 1.5


def test_what_is_said_to_screen_readers_is_said_once(opened):
    page = opened(page_of("mask", tone(500, 2.0)))
    page.focus(".em-seek")
    said = page.evaluate(
        """async () => { let said = 0;
        const observer = new MutationObserver((changes) => (said += changes.length));
        observer.observe(document.querySelector(".em-status"), { childList: true, characterData: true, subtree: true });
        observer.observe(document.querySelector(".em-seek"), { attributes: true });
        await earmark.viewer.player.play();
        await new Promise((resolve) => setTimeout(resolve, 500));
        earmark.viewer.draw();
        return said; }"""
    )
    assert said <= 10  # making ready, playing; each frame would be some dozens
