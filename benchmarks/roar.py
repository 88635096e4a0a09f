"""Removes the top bins of every clip of ESC-10 and trains a small network anew: does a method find what labels need?

    python benchmarks/roar.py [--methods ...] [--taus .2,.6] [--fills band_mean] [--seeds 3] [--mask-seeds 1]

The network (8, 16, 32 and 64 channels, 32 mel bands, 24 epochs) is small enough to be trained a hundred times on
one thread in about half an hour; hence two of the protocol's five shares and one of its two fills by default.
It learns from folds 1 to 3 and is tested on fold 5 (80 clips); what is explained is the label that the first one
predicts. A run that was killed goes on.
"""

import argparse
from pathlib import Path

from small_esc10 import TRAINER, Said, small
from tables import markdown, put

import earmark as em
from earmark.checks.memory import Memory
from earmark.checks.retraining.config import RetrainingConfig
from earmark.checks.retraining.curves import tables_of
from earmark.checks.retraining.roar import CONTROLS, remove_and_retrain
from earmark.explainers.load import load_explainer

OPTIONS = {**CONTROLS, "integrated-gradients": ("integrated-gradients", {"stage": "features", "n_steps": 16})}
METHODS = "random,smooth-random,energy,saliency,integrated-gradients,grad-cam,apex"


def explainer(name, material):
    """Returns a method for the small network; APEX is fitted to it."""
    if name == "apex":
        return em.fit_apex(material.classifier, material.training.clips)
    of, options = OPTIONS.get(name, (name, {}))
    return load_explainer(of, classifier=material.classifier, **options)


def numbers(text):
    return tuple(sorted(float(part) for part in text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--taus", default="0.2,0.6")
    parser.add_argument("--fills", default="band_mean")
    parser.add_argument("--modes", default="remove,keep")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--mask-seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/roar"))
    options = parser.parse_args()
    fills, modes = (tuple(text.split(",")) for text in (options.fills, options.modes))
    config = RetrainingConfig(numbers(options.taus), fills, modes, options.seeds, options.mask_seeds)
    material, accuracy = small(options.out)
    print(f"the small network: accuracy {accuracy:.4f}", flush=True)
    methods = {name: explainer(name, material) for name in options.methods.split(",")}
    memory = Memory(options.out, "trainings")
    results = remove_and_retrain(material, methods, TRAINER, config, memory=memory, folder=options.out, progress=Said())
    text = f"Accuracy of the explained network on fold 5: {accuracy:.4f}; {len(material.groups)} clips, "
    text += f"{options.seeds} seeds. Intervals are over clips (by source recording) and seeds.\n"
    for table in tables_of(results):
        rows = [["" if cell is None else cell for cell in row] for row in table.rows]
        text += f"\n{table.title}:\n\n{markdown(table.columns, rows)}\n"
    changed = [f"--{k.replace('_', '-')} {v}" for k, v in vars(options).items() if v != parser.get_default(k)]
    put("roar", " ".join(["python benchmarks/roar.py", *changed]), text.rstrip())


if __name__ == "__main__":
    main()
