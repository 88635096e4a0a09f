"""A shortcut in ESC-10 that explanations show: digital silence stands for labels whose clips are padded with it.

python benchmarks/silence.py
"""

import os
from pathlib import Path

import torch
from tables import markdown, put

import earmark as em


def main() -> None:
    classifier = em.load_classifier("esc10-cnn")
    silent = {label: [] for label in classifier.labels}
    for clip in em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10"):
        samples = em.read(clip.source).samples[0]
        blocks = samples.unfold(0, 2048, 2048).abs().amax(1)
        silent[clip.labels[0]].append(float((blocks < 1e-4).float().mean()))
    probs = classifier.predict(em.Waveform(torch.zeros(5 * 44100), 44100)).probs
    rows = [
        [label, f"{100 * sum(shares) / len(shares):.0f} %", float(probs[classifier.labels.index(label)])]
        for label, shares in sorted(silent.items(), key=lambda item: -sum(item[1]))
    ]
    text = "All 398 clips; silent: a block of 46 ms with no sample above 1e-4.\n\n"
    header = ["label", "share of its clips that is silent", "probability that `esc10-cnn` gives to 5 s of silence"]
    put("silence", "python benchmarks/silence.py", text + markdown(header, rows))


if __name__ == "__main__":
    main()
