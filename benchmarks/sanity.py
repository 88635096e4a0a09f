"""Sanity checks of every cheap method: same bits, sums, and maps under weights that are drawn anew, layer by layer.

    python benchmarks/sanity.py [--clips 40] [--methods ...]

`esc10-cnn`, clips of its test fold, three draws of new weights from the head to the input. A method passes the
randomization if, with all layers re-drawn, its maps are not more like the intact ones than maps of other clips are, by
SSIM, signed Spearman and the top 10 %; those of absolute values are told beside. Finished methods are not run again.
"""

import argparse
import os
from pathlib import Path

from tables import markdown, put

import earmark as em

METHODS = {
    "apex": {},
    "grad-cam": {},
    "grad-cam-plus-plus": {},
    "saliency": {},
    "input-x-gradient": {},
    "integrated-gradients": {"n_steps": 16, "stage": "features"},
    "deeplift": {},
    "guided-backprop": {},
    "guided-grad-cam": {},
    "energy": {},
    "edge": {},
    "random": {},
}
CHECKS = ("determinism", "completeness", "randomization")
RUNS = Path("runs/sanity")


def told(passed) -> str:
    """Returns a verdict as a word."""
    return {True: "yes", False: "no", None: "-"}[passed]


def row_of(name: str, report) -> list:
    """Returns a line of the table: verdicts, the completeness sentence's share, and the differences by measure."""
    found = {result.name: result for result in report.results}
    last = next(t for t in found["randomization"].tables if t.title == "All layers re-drawn")
    by_measure = {row[0]: dict(zip(last.columns, row, strict=True)) for row in last.rows}
    cells = [f"{row['after']}; {row['another clip, intact model']}" for row in by_measure.values()]
    unchanged = found["randomization"].about["unchanged"]
    verdicts = [told(found[check].passed) for check in CHECKS]
    return [name, *verdicts, f"{100 * unchanged:.0f} %", *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    classifier = em.load_classifier("esc10-cnn")
    data = Path(os.environ.get("EARMARK_DATA", "data")) / "esc10"
    clips = em.folder(data, folds=(5,), group_column="freesound_id")
    rows, sentences, measures = [], [], ()
    for name in options.methods.split(","):
        report = em.check(
            classifier,
            name,
            clips,
            CHECKS,
            n_clips=options.clips,
            independent=False,
            options=METHODS[name],
            folder=RUNS / name,
            told={"data": "esc10", "folds": "5"},
        )
        rows.append(row_of(name, report))
        randomization = next(result for result in report.results if result.name == "randomization")
        measures = [row[0] for row in randomization.tables[0].rows]
        sentences.append(f"- {randomization.sentence}")
        print(rows[-1], flush=True)
    head = ["method", "same bits", "complete", "passes randomization", "maps unchanged"]
    head += [f"{measure}: all layers re-drawn; another clip" for measure in measures]
    text = f"N = {options.clips} clips, 3 draws.\n\n{markdown(head, rows)}\n\n" + "\n".join(sentences)
    put("sanity", f"python benchmarks/sanity.py --clips {options.clips}", text)


if __name__ == "__main__":
    main()
