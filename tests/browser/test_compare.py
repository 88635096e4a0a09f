"""The page of several methods in a real browser: it opens by itself, methods are switched, and sounds play."""

import numpy as np
import pytest
from tests.evaluation.material import Told, band_map, clip, toy

from earmark.evaluation.compare import compare
from earmark.render.compare_page import compare_page


@pytest.fixture(scope="module")
def compared():
    classifier = toy()

    def opposite(samples, target, grid):
        return 1 - band_map(samples, target, grid)

    explainers = {"right": Told(classifier, band_map), "wrong": Told(classifier, opposite), "energy": "energy"}
    return compare(classifier, [clip(1, 8192), clip(4, 8192)], explainers)


@pytest.fixture
def page(opened, compared):
    page = opened(compare_page(compared), viewer=False)
    page.wait_for_function("() => [...document.querySelectorAll('.viewer')].every((one) => one.dataset.ready)")
    return page


def heard(page, clip, name):
    expression = f"async () => [...(await earmark.viewers[{clip}].player.rendered('{name}'))[0]]"
    return np.array(page.evaluate(expression))


def shown(page, clip):
    return page.evaluate(f"() => [...earmark.viewers[{clip}].on]")


def test_methods_are_switched_seen_and_heard(page, artifacts, compared):
    page.screenshot(path=artifacts / "compare.png", full_page=True)
    assert shown(page, 0) == ["m0"] and page.evaluate("() => earmark.viewers[0].player.matched")
    sides = dict(zip(("m0", "m1"), compared[0].sides, strict=False))
    page.evaluate("() => earmark.viewers.forEach(({ player }) => player.setMatched(false))")
    for name, side in sides.items():
        page.click(f"#clip-0 [data-method={name}]")
        assert shown(page, 0) == [name] and shown(page, 1) == ["m0"]
        wanted = compared[0].kept(side).samples[0].numpy()
        found = heard(page, 0, "evidence")[: len(wanted)]
        # 16 bits, and one gain for all sounds of the clip, which are below full scale here
        assert np.abs(found - wanted).max() < 2e-4
    assert np.abs(heard(page, 0, "evidence") + heard(page, 0, "complement") - heard(page, 0, "original")).max() < 1e-6
    page.click("#clip-0 input[data-overlay=m0]")  # beside the one that is heard
    assert sorted(shown(page, 0)) == ["m0", "m1"]


def test_one_plays_at_a_time_and_has_the_keys(page):
    def plays(clip):
        return page.evaluate(f"() => earmark.viewers[{clip}].player.wanted")

    page.click("#clip-0 [data-hear=m1]")
    page.wait_for_function("() => earmark.viewers[0].player.playing")
    assert page.evaluate("() => earmark.viewers[0].player.source") == "evidence" and shown(page, 0) == ["m1"]
    assert "dB" in page.inner_text("#clip-0 .em-gain")
    page.click("#clip-1 [data-hear=original]")
    page.wait_for_function("() => earmark.viewers[1].player.playing")
    assert not plays(0)
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    assert sorted(shown(page, 1)) == ["m0", "m1"] and shown(page, 0) == ["m1"]
    page.locator("#clip-0 .em-seek").focus()
    page.keyboard.press("1")
    assert sorted(shown(page, 0)) == ["m0", "m1"] and sorted(shown(page, 1)) == ["m0", "m1"]


@pytest.mark.parametrize(("width", "scheme"), [(1100, "dark"), (400, "light")])
def test_dark_and_narrow_pages_fit(page, artifacts, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.screenshot(path=artifacts / f"compare-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
