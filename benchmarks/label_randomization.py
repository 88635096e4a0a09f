"""Trains the small network of `roar.py` on shuffled labels: do maps change if it has learned nothing but noise?

    python benchmarks/label_randomization.py [--methods ...] [--seeds 3] [--epochs 60]

What is explained is the label that the intact network predicts for the 80 clips of fold 5.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from roar import METHODS, explainer
from small_esc10 import TEST, TRAINER, Said, clips, small
from tables import markdown, put

from earmark.checks.memory import Memory
from earmark.checks.retraining.curves import said
from earmark.checks.retraining.labels import shuffle_and_retrain, verdict
from earmark.checks.retraining.trainer import NONE
from earmark.checks.similarity import MEASURES
from earmark.checks.subject import Subject

SHOWN = ("ssim", "rank_correlation", "iou_of_top")
KINDS = ("shuffled labels", "two clips", "true labels again")
WORDS = {True: "yes", False: "no", None: "not judged"}
HEADER = ["method", "passes", *(f"{kind}: {MEASURES[name]}" for kind in KINDS for name in SHOWN)]


def row_of(name, found):
    """Returns a line of the table."""
    cells = [said(found.mean("shuffled", measure)) for measure in SHOWN]
    cells += [said(found.to_other(measure)) for measure in SHOWN]
    cells += [said(found.mean("again", measure)) for measure in SHOWN]
    return [name, WORDS[verdict(found, name)[0]], *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("runs/roar"))
    options = parser.parse_args()
    material, accuracy = small(options.out)
    trainer = replace(TRAINER, loop=replace(TRAINER.loop, epochs=options.epochs), augmentation=NONE)
    memory, rows = Memory(options.out, "labels"), []
    for name in options.methods.split(","):
        subject = Subject(material.classifier, explainer(name, material), clips=clips(TEST), memory=memory)
        subject.name = name
        found = shuffle_and_retrain(subject, material, trainer, options.seeds, options.out, Said())
        rows.append(row_of(name, found))
        print(rows[-1], found.fitted, flush=True)
    fitted = {kind: f"{sum(values) / len(values):.3f}" for kind, values in found.fitted.items()}
    text = f"{options.seeds} networks each, {options.epochs} epochs, no augmentation; accuracy on the labels that they "
    text += f"learned: shuffled {fitted['shuffled']}, true {fitted['again']}; the intact network's on fold 5: "
    text += f"{accuracy:.4f}.\n\n{markdown(HEADER, rows)}"
    command = f"python benchmarks/label_randomization.py --methods {options.methods} --seeds {options.seeds}"
    put("label_randomization", f"{command} --epochs {options.epochs}", text)


if __name__ == "__main__":
    main()
