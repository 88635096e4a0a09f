"""The mask beside an explanation in a real browser: it is heard in step with the clip, and the page fits."""

import numpy as np
from tests.browser.pages import rendered, state
from tests.render.test_mask_section import told

from earmark.render.page import explanation_page


def test_what_is_kept_and_the_rest_are_heard_in_step_and_the_page_fits(opened, artifacts):
    main, mask = told()
    page = opened(explanation_page(main, mask), color_scheme="light")
    whole, kept, rest = (rendered(page, name) for name in ("original", "mask", "unmasked"))
    np.testing.assert_allclose(kept, mask.listen().samples.numpy(), atol=1.1 / 2**15)  # 16 bit
    np.testing.assert_allclose(kept + rest, whole, atol=1e-6)  # float32
    page.click("[data-hear=mask]")
    page.wait_for_function("() => earmark.viewer.player.playing")
    assert page.get_attribute("[data-hear=mask]", "aria-pressed") == "true"
    assert page.get_attribute("[data-source=mask]", "aria-checked") == "true"
    page.keyboard.press("r")
    assert state(page, "viewer.player.source") == "unmasked"
    assert page.get_attribute("[data-hear=mask]", "aria-pressed") == "false"
    page.click("[data-hear=unmasked]")  # again: it stops
    assert state(page, "viewer.player.wanted") is False
    page.set_viewport_size({"width": 400, "height": 900})
    page.locator("section[aria-labelledby=alone]").screenshot(path=artifacts / "mask-400.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
