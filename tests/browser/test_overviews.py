"""The pages over many clips, in a real browser: reports are sorted and filtered, banks are heard."""

import pytest
from tests.render.test_report_page import row
from typer.testing import CliRunner

from earmark.cli.root import app
from earmark.render.report_page import report_page

ROWS = [("owl", 0.4), ("dog", 0.9), ("cat", 0.65), ("dog", 0.2)]


@pytest.fixture
def report(opened, artifacts):
    rows = [row(i, target=label, heard=label, prob=prob, heard_prob=prob) for i, (label, prob) in enumerate(ROWS)]
    page = opened(report_page(rows, {}, title="yard"), viewer=False)
    page.screenshot(path=artifacts / "report.png", full_page=True)
    return page


def column(page, name):
    at = page.locator("#rows thead th").all_inner_texts().index(name)
    texts = [line.locator("th, td").all_inner_texts() for line in lines(page)]
    return [cells[at].splitlines()[0] for cells in texts]


def lines(page):
    return [line for line in page.locator("#rows tbody tr").all() if line.is_visible()]


def test_a_report_is_sorted_by_mouse_and_keyboard(report):
    header = report.locator("#rows th", has_text="Probability")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(report, "Probability") == sorted(column(report, "Probability"), key=float)
    report.keyboard.press("Enter")  # the button has the focus
    assert header.get_attribute("aria-sort") == "descending"
    assert column(report, "Target") == ["dog", "cat", "owl", "dog"]
    report.locator("#rows th", has_text="Target").locator("button").click()
    assert column(report, "Target") == ["cat", "dog", "dog", "owl"]
    assert header.get_attribute("aria-sort") is None


def test_a_report_is_filtered(report):
    report.fill("#words", "DOG")
    assert len(lines(report)) == 2 and report.inner_text("#count") == "2 of 4"
    report.fill("#words", "")
    assert len(lines(report)) == 4


def test_a_bank_is_heard(opened, artifacts, tmp_path):
    result = CliRunner().invoke(
        app, ["bank", "scenes-cnn", "--label", "siren", "--top", "2", "--out", str(tmp_path / "bank")]
    )
    assert result.exit_code == 0, result.output
    page = opened((tmp_path / "bank" / "index.html").read_text(encoding="utf-8"), viewer=False)
    page.screenshot(path=artifacts / "bank.png")
    button = page.locator("button[data-sound]").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => on !== null && audio.currentTime > 0.05")
    assert button.get_attribute("aria-pressed") == "true"
    start, duration = float(button.get_attribute("data-start")), float(button.get_attribute("data-duration"))
    shown = page.evaluate("() => [parseFloat(head(on).style.left), audio.currentTime]")
    assert shown[0] == pytest.approx(100 * (start + shown[1]) / duration, abs=5)  # drawn once a frame
    page.keyboard.press("Escape")
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate("() => audio.paused")
    page.evaluate(
        "() => [...document.querySelectorAll('button[data-sound]')].slice(0, 2).forEach((one) => one.click())"
    )
    page.wait_for_function("() => on !== null && audio.currentTime > 0.05")
    assert page.locator("button[data-sound] >> nth=1").get_attribute("aria-pressed") == "true"
