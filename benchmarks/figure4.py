"""APEX, Grad-CAM and LIME on the same clips, as in figure 4 of the APEX paper: one page, and a picture for the docs.

    EARMARK_DATA=... python benchmarks/figure4.py [--samples 1000] [--out runs/figure4] [--picture]

Six clips of ESC-10's fold 5, which `esc10-cnn` has not seen, each of another label, and two generated scenes for
`scenes-cnn`. With `--picture`, Chromium takes `docs/compare.png` of the page's first clip.
"""

import argparse
import json
import os
from pathlib import Path

import earmark as em
from earmark.evaluation.compare import compare
from earmark.render.compare_page import compare_page

LABELS = ("dog", "rooster", "crying_baby", "sneezing", "clock_tick", "sea_waves")
DOCS = Path(__file__).parent.parent / "docs"
WIDTH, HEIGHT = 1240, 960


def clips_of_esc10():
    """Returns the first clip of each label in the test fold."""
    clips = sorted(em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10"), key=lambda clip: clip.id)
    return [next(clip for clip in clips if clip.fold == 5 and clip.labels == (label,)) for label in LABELS]


def compared(name, clips, n_samples):
    """Returns the three methods on clips, for one of the embedded classifiers."""
    classifier = em.load_classifier(name)
    options = {"lime": {"n_samples": n_samples}}
    methods = {
        method: em.load_explainer(method, classifier=classifier, **options.get(method, {}))
        for method in ("apex", "grad-cam", "lime")
    }
    return compare(classifier, clips, methods, progress=lambda done, total, values=None: print(done, "of", total))


def take_picture(page: Path, place: Path) -> None:
    """Takes a picture of the first clip of a page."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("#clip-0 .viewer[data-ready]")
        tab.evaluate("document.getElementById('clip-0').scrollIntoView()")
        tab.screenshot(path=place)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="of LIME")
    parser.add_argument("--out", type=Path, default=Path("runs/figure4"))
    parser.add_argument("--picture", action="store_true")
    options = parser.parse_args()
    found = compared("esc10-cnn", clips_of_esc10(), options.samples)
    found += compared("scenes-cnn", list(em.scenes(2, 1000)), options.samples)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compare.json").write_text(json.dumps([one.to_dict() for one in found], indent=2) + "\n")
    page = options.out / "index.html"
    page.write_text(compare_page(found), encoding="utf-8")
    if options.picture:
        take_picture(page, DOCS / "compare.png")
    print(page)


if __name__ == "__main__":
    main()
