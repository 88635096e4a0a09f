"""What one explanation costs: passes of the classifier, and seconds over one forward pass, at each method's defaults.

    python benchmarks/costs.py [--clips 3]

`esc10-cnn`, clips of 5 s of fold 5, one at a time; the time of one forward pass is taken before and after each method
on the same clip, and the ratio is that of medians.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from tables import markdown, put

import earmark as em
from earmark.explainers import EXPLAINERS
from earmark.explainers.perturbation import Perturbation


def seconds(action) -> float:
    """Returns how long an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=3)
    options = parser.parse_args()
    classifier = em.load_classifier("esc10-cnn")
    folder = Path(os.environ.get("EARMARK_DATA", "data")) / "esc10"
    clips = sorted(em.folder(folder, folds=(5,)), key=lambda clip: clip.id)[:: 80 // options.clips][: options.clips]
    waveforms = [em.read(clip.source) for clip in clips]
    inputs = [classifier.prepare(waveform) for waveform in waveforms]
    rows = []
    with torch.no_grad():
        classifier.logits(inputs[0])
    for name in EXPLAINERS:
        explainer = em.load_explainer(name, classifier=classifier)
        passes, whole, told = [], [], []
        if explainer._cost()[1] <= 2 and not isinstance(explainer, Perturbation):
            explainer.explain(waveforms[0])  # what is read or probed once is not counted
        for waveform, samples in zip(waveforms, inputs, strict=True):
            with torch.no_grad():
                passes += [seconds(lambda x=samples: classifier.logits(x)) for _ in range(5)]
            whole.append(seconds(lambda w=waveform, e=explainer, t=told: t.append(e.explain(w).provenance)))
        ratio = statistics.median(whole) / statistics.median(passes)
        rows.append([name, told[-1].forward_passes, told[-1].backward_passes, ratio])
        print(rows[-1], flush=True)
    rows.sort(key=lambda row: row[3])
    head = ["method", "forward passes", "backward passes", "time / one forward pass"]
    put("costs", f"python benchmarks/costs.py --clips {options.clips}", markdown(head, rows))


if __name__ == "__main__":
    main()
