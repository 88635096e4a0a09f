"""Measures the page of an explanation: its size, and how long Chromium takes to show it.

python benchmarks/viewer.py
"""

import shutil
import statistics
import tempfile
from pathlib import Path

import tables
import torch
from playwright.sync_api import Browser, sync_playwright

from earmark.audio.waveform import Waveform
from earmark.classifiers.load import load_classifier
from earmark.data.scenes import scenes
from earmark.explainers.load import load_explainer
from earmark.explanation import Explanation
from earmark.render.page import explanation_page

RUNS = 5
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def pages() -> dict[str, Explanation]:
    """Returns explanations by what is special about them."""
    classifier = load_classifier("scenes-cnn")
    apex = load_explainer("apex", classifier=classifier)
    parts = [clip.source().mono() for clip in scenes(8, 7)]
    long = Waveform(torch.cat([part.samples for part in parts], 1), parts[0].sample_rate)
    stereo = Waveform(long.resample(48000).samples[:, : 30 * 48000].repeat(2, 1), 48000)
    return {
        f"a scene of {parts[0].duration_s:.0f} s, 4 channels x 4 prototypes": apex.explain(parts[0]),
        "the same, 16 channels x 5 prototypes": apex.using(top=16, prototypes=5).explain(parts[0]),
        f"{stereo.duration_s:.0f} s, 48 kHz, stereo, 4 x 4": apex.explain(stereo),
    }


def opened_ms(browser: Browser, path: Path) -> float:
    """Returns milliseconds from opening the file to a drawn picture, in a fresh tab."""
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("#earmark-viewer[data-ready]")
    milliseconds = float(page.get_attribute("#earmark-viewer", "data-ready") or "nan")
    page.context.close()
    return milliseconds


def main() -> None:
    """Measures, and writes the table."""
    rows = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for number, (name, explanation) in enumerate(pages().items()):
            path = Path(folder) / f"{number}.html"
            path.write_text(explanation_page(explanation), encoding="utf-8")
            times = [opened_ms(browser, path) for _ in range(RUNS)]
            rows.append([name, path.stat().st_size / 1e6, statistics.median(times), max(times)])
        browser.close()
    header = ["page", "MB", f"open and drawn, ms, median of {RUNS}", "slowest, ms"]
    tables.put("viewer", "python benchmarks/viewer.py", tables.markdown(header, rows))


if __name__ == "__main__":
    main()
