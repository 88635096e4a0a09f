import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=user-gesture-required"]


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        if os.environ.get("EARMARK_BROWSER") == "required":
            pytest.fail("Chromium is not installed, and EARMARK_BROWSER=required asks for it.")
        pytest.skip("Chromium is not installed; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Where screenshots are kept to be looked at."""
    place = os.environ.get("EARMARK_ARTIFACTS")
    folder = Path(place).resolve() if place else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(browser, tmp_path):
    """Opens HTML as a file in a fresh, offline tab and waits for its viewer; at the end nothing may have gone wrong."""
    tabs, wrong = [], []

    def said(message):
        # Reading pixels back is the tests' own doing.
        if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
            wrong.append(message.text)

    def watch(page):
        page.on("console", said)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))

    def open_html(html, *, viewer=True, **options):
        path = tmp_path / f"page-{len(tabs)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": 1100, "height": 1400}, offline=True, **options)
        page = context.new_page()
        tabs.append(context)
        watch(page)
        page.goto(path.as_uri())
        if viewer:
            page.wait_for_selector("#earmark-viewer[data-ready]", timeout=30_000)
        return page

    yield open_html
    for context in tabs:
        context.close()
    assert wrong == []
