"""What an APEX explanation costs: passes of the model, counted, and time against a plain forward pass.

    python benchmarks/apex_explain.py

Pairs of a plain forward pass and an explanation (without sound and page) take turns on one clip; the ratio is taken
pair by pair. Also the largest change of a logit, tapped and folded.
"""

import statistics
import time

import torch
from tables import markdown, put

import earmark as em
from earmark.explainers.apex.explainer import FoldedHead

PAIRS = 60


def counted(classifier, function):
    """Returns the number of forward and backward passes of the module that a call takes."""
    counts = {"forward": 0, "backward": 0}

    def forward(*_):
        counts["forward"] += 1

    def backward(*_):
        counts["backward"] += 1

    handles = [
        classifier.module.register_forward_hook(forward),
        classifier.module.linear.register_full_backward_hook(backward),
    ]
    function()
    for handle in handles:
        handle.remove()
    return counts


def row(name, clip):
    """Returns one line of the table for an embedded classifier."""
    classifier = em.load_classifier(name)
    apex = em.load_explainer("apex", classifier=classifier)
    waveform = clip.resample(classifier.sample_rate)
    apex.explain(waveform)  # probes geometry once
    counts = counted(classifier, lambda: apex.explain(waveform))
    ratios = []
    with torch.no_grad():
        for _ in range(PAIRS):
            began = time.perf_counter()
            classifier.logits(classifier.prepare(waveform))
            plain = time.perf_counter() - began
            began = time.perf_counter()
            apex.explain(waveform)
            ratios.append((time.perf_counter() - began) / plain)
        samples = classifier.prepare(waveform)
        tapped = classifier.tap(samples)
        same = torch.equal(tapped.logits, classifier.logits(samples))
        folded = float((FoldedHead(apex).to(samples)(tapped.map) - tapped.logits).abs().max())
    ratios.sort()
    spread = f"{ratios[PAIRS // 10]:.3f} to {ratios[-PAIRS // 10]:.3f}"
    return [name, counts["forward"], counts["backward"], statistics.median(ratios), spread, same, folded, apex.cond]


def main() -> None:
    clip = em.scenes(1, 11)[0].source()
    header = [
        "classifier",
        "forward passes",
        "backward passes",
        f"time / plain forward, median of {PAIRS}",
        "10 to 90 %",
    ]
    header += ["tapped logits bit-exact", "largest change when folded (float32)", "cond(U)"]
    put(
        "apex_explain",
        "python benchmarks/apex_explain.py",
        markdown(header, [row(name, clip) for name in ("scenes-cnn", "esc10-cnn")]),
    )


if __name__ == "__main__":
    main()
