"""The page in a real browser: it opens by itself, and what is seen lies where it should."""

import pytest
from tests.browser.pages import RATE, page_of, state, tone
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.page import explanation_page


@pytest.mark.parametrize("kind", examples.KINDS)
def test_a_page_opens_offline_without_a_request_and_is_kept_as_a_picture(opened, artifacts, kind):
    page = opened(page_of(kind, examples.scene()))
    page.screenshot(path=artifacts / f"page-{kind}.png", full_page=True)
    # 2 s is the goal, measured on a quiet machine by benchmarks/viewer.py; here another test may run on the same core.
    assert int(page.get_attribute("#earmark-viewer", "data-ready")) < 6000
    names = ["Original", "Evidence", "Complement"] + (["Residual"] if kind == "resynthesis" else [])
    assert page.locator(".em-sources button").all_inner_texts() == names


@pytest.mark.parametrize(("width", "scheme"), [(1100, "dark"), (400, "light")])
def test_dark_and_narrow_pages_fit(opened, artifacts, width, scheme):
    labels = ("a" * 200, "word " * 40, "c") if width == 400 else examples.LABELS
    page = opened(page_of(labels=labels), color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.screenshot(path=artifacts / f"page-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_texts_stand_out_from_their_ground(opened, scheme):
    page = opened(page_of(), color_scheme=scheme)
    colors = page.evaluate(
        """() => { const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(["ground", "card", "ink", "soft", "accent", "on-accent", "chosen"].map(
            (name) => [name, style.getPropertyValue("--" + name).trim()])); }"""
    )
    pairs = [("ink", "card"), ("ink", "ground"), ("soft", "card"), ("soft", "ground"), ("on-accent", "accent")]
    for text, ground in [*pairs, ("ink", "chosen"), ("accent", "ground")]:
        assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)  # WCAG 2, level AA


def test_colors_that_mean_something_outlast_forced_colors(opened):
    page = opened(page_of())
    page.emulate_media(forced_colors="active")
    ground = "(one) => getComputedStyle(one).backgroundColor"
    assert page.locator(".em-swatch >> nth=0").evaluate(ground) == "rgb(86, 200, 255)"
    chosen = page.locator(".em-sources [aria-checked=true]").evaluate(ground)
    assert chosen != page.locator(".em-sources [aria-checked=false] >> nth=0").evaluate(ground)


def contrast(first, second):
    def luminance(color):
        digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_nothing_hostile_runs(opened):
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    page = opened(page_of(name=nasty, labels=(nasty, "b", "c")))
    assert nasty in page.inner_text("h1")
    assert page.locator("script").count() == 2 and page.locator("img[src=x]").count() == 0


def test_a_notebook_shows_the_page_in_a_frame(opened):
    html = examples.explanation("mask")._repr_html_()
    page = opened(f"<!DOCTYPE html><title>notebook</title>{html}", viewer=False)
    page.frames[1].wait_for_selector("#earmark-viewer[data-ready]", timeout=30_000)
    assert "was heard as dog" in page.frames[1].inner_text("h1")


def test_without_its_sounds_a_page_says_so(opened):
    page = opened(explanation_page(examples.explanation("mask"), most_characters=0))
    assert "too long for its sounds" in page.inner_text(".em-status")
    assert page.locator(".em-play").is_disabled()
    page.keyboard.press("n")
    assert page.locator("[data-do=box]").is_disabled() and page.locator("[data-do=save]").is_disabled()
    page.keyboard.press("Space")
    page.keyboard.press("s")
    assert state(page, "viewer.player.wanted") is False


# -- seeing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["linear", "mel", "log"])
def test_a_tone_lies_at_its_frequency_on_every_scale(opened, scale):
    page = opened(page_of("mask", tone(3000)))
    page.select_option(".em-look select >> nth=0", scale)
    row, hz = state(
        page,
        """(() => { const { pixels, axes } = viewer; const { width, height } = pixels;
        viewer.setColors("gray"); viewer.setShow("showHeat");
        const column = viewer.pixels.getContext("2d").getImageData(Math.round(width / 3), 0, 1, height).data;
        let best = 0;
        for (let y = 0; y < height; y++) if (column[4 * y] > column[4 * best]) best = y;
        return [best / height, axes.hz(1 - (best + .5) / height)]; })()""",
    )
    assert 0 < row < 1
    assert hz == pytest.approx(3000, abs=16000 / 512 + 40)  # a bin, and half the height of a pixel where these are few


def test_boxes_and_times_lie_at_their_place(opened):
    page = opened(page_of())
    region = examples.explanation("prototypes").evidence.channels[0].regions[0]

    def at_right_border():
        """Returns the brightest of the pixels at the border; where the line lies between pixels, it is thinned."""
        strip = state(
            page,
            f"""(() => {{ const {{ axes, marks }} = viewer;
            const [x, y] = [axes.x({region.end_s}) * marks.width, (1 - axes.y({region.low_hz})) * marks.height];
            return [...marks.getContext("2d").getImageData(Math.floor(x) - 2, Math.floor(y) - 8, 4, 1).data]; }})()""",
        )
        return max((strip[i : i + 3] for i in range(0, len(strip), 4)), key=sum)

    color = page.evaluate("() => earmark.viewer.data.overlays[0].color")
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    page.keyboard.press("Shift+Digit1")  # alone, so that no other box lies over it
    assert at_right_border() == pytest.approx(wanted, rel=0.25)
    page.keyboard.press("1")  # off
    assert at_right_border() == [0, 0, 0]
    ticks = page.locator(".em-x span").all_inner_texts()
    assert ticks[0] == "0 s" and ticks[-1] == "1 s"


def test_gain_and_range_bring_out_what_is_faint(opened):
    loud, faint = tone(500, level=0.5), tone(4000, level=0.5 * 10 ** (-90 / 20))
    page = opened(page_of("mask", Waveform(loud.samples + faint.samples, RATE)))

    def brightness():
        return state(
            page,
            """(() => { viewer.setColors("gray"); viewer.showHeat = false; viewer.draw();
            const { pixels, axes } = viewer; const y = Math.round((1 - axes.y(4000)) * pixels.height);
            return Math.max(...[-2, -1, 0, 1, 2].map((d) =>
              viewer.pixels.getContext("2d").getImageData(Math.round(pixels.width / 2), y + d, 1, 1).data[0])); })()""",
        )

    assert brightness() < 10  # 90 dB below the top, and 80 dB are shown
    page.locator(".em-look input[type=range] >> nth=1").focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    assert state(page, "viewer.look.gain_db") == 30
    assert brightness() > 40
    page.locator(".em-look input[type=range] >> nth=1").fill("0")
    page.locator(".em-look input[type=range] >> nth=0").fill("120")
    assert brightness() > 40


def test_heat_is_switched_and_faded(opened):
    page = opened(page_of("attribution", examples.scene()))
    spread = (
        "(() => { const { width, height } = viewer.pixels; "
        "const d = viewer.pixels.getContext('2d').getImageData(0, 0, width, height).data; let most = 0; "
        "for (let i = 0; i < d.length; i += 4) most = Math.max(most, Math.abs(d[i] - d[i + 2])); return most; })()"
    )
    colored = state(page, spread)
    page.locator(".em-overlays input[type=range]").fill("0.2")
    faded = state(page, spread)
    assert 0 < faded < 0.5 * colored
    page.keyboard.press("h")
    assert state(page, "viewer.showHeat") is False
    page.select_option(".em-look select >> nth=1", "gray")
    assert state(page, spread) == 0


def test_the_picture_is_the_same_after_a_detour(opened):
    """Pixels are kept while only their colors change; what is kept must not outlive a zoom."""
    page = opened(page_of("attribution"))
    same = state(
        page,
        """(() => { const seen = () => viewer.pixels.getContext("2d").getImageData(0, 0, viewer.pixels.width,
          viewer.pixels.height).data.join();
        const before = seen(), others = [];
        for (const change of [{ gain_db: 10 }, { gain_db: 0, scale: "log" }, { scale: "mel", start_s: 0.4 }]) {
          viewer.setLook(change);
          others.push(seen());
        }
        viewer.setLook({ start_s: 0 });
        return [seen() === before, new Set([before, ...others]).size]; })()""",
    )
    assert same == [True, 4]
