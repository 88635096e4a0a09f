"""`esc10-cnn-noise`: `esc10-cnn` trained on with soundscapes at 0 dB, so that such noise is in its domain.

    python benchmarks/esc10_noise.py

Writes `runs/rainforest` (soundscapes but the recording of another table), `runs/esc10-noise` and an APEX on it, unless
they are there, and the accuracies of both classifiers on fold 5. A fifth of the soundscapes is never heard in training;
these are mixed into the test clips.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import torch
from tables import markdown, put

import earmark as em
from earmark.audio.files import load_clip
from earmark.data.mixtures import mix
from earmark.metrics.intervals import bootstrap

DATA = Path(os.environ.get("EARMARK_DATA", "data"))
MODEL, NOISES = Path("runs/esc10-noise"), Path("runs/rainforest")
EARMARK = str(Path(sys.executable).with_name("earmark"))


def rainforest() -> Path:
    """Returns a folder of the soundscapes without the boxed recording."""
    if not (NOISES / "metadata.csv").exists():
        NOISES.mkdir(parents=True, exist_ok=True)
        (NOISES / "audio").symlink_to((DATA / "soundscapes" / "audio").resolve())
        with (DATA / "soundscapes" / "metadata.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if "spinetail" not in row["file_name"]]
        with (NOISES / "metadata.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return NOISES


def trained() -> Path:
    """Returns the folder of the classifier, with an APEX in it."""
    esc10 = ["--data", str(DATA / "esc10"), "--folds", "1,2,3"]
    if not (MODEL / "config.json").exists():
        command = [EARMARK, "train", "classifier", *esc10, "--select-folds", "4", "--test-folds", "5"]
        command += ["--start", "esc10-cnn", "--epochs", "14", "--learning-rate", "0.001", "--name", "esc10-cnn-noise"]
        command += ["--background", str(rainforest()), "--background-share", "0.8", "--out", str(MODEL)]
        subprocess.run(command, check=True)
    if not (MODEL / "apex" / "config.json").exists():
        command = [EARMARK, "fit", "apex", *esc10, "--classifier", str(MODEL), "--group-column", "freesound_id"]
        subprocess.run([*command, "--view", "time-frequency", "--out", str(MODEL / "apex")], check=True)
    return MODEL


def accuracy(classifier, clips) -> str:
    """Returns the share of clips whose top label is theirs, with its interval over recordings."""
    right = torch.tensor([float(classifier.predict(load_clip(clip)).label in clip.labels) for clip in clips])
    found = bootstrap(right.double(), [clip.group for clip in clips])
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def main() -> None:
    classifiers = {"esc10-cnn": em.load_classifier("esc10-cnn"), "esc10-cnn-noise": em.load_classifier(trained())}
    clips = em.folder(DATA / "esc10", folds=(5,), group_column="freesound_id")
    sets = {"clean": clips, "soundscapes at 0 dB": mix(clips, f"id:0:{rainforest()}")}
    sets |= {"other clips at 6 dB": mix(clips, "ood:6"), "white noise at 6 dB": mix(clips, "white:6")}
    rows = [[name, *(accuracy(c, some) for some in sets.values())] for name, c in classifiers.items()]
    head = ["classifier", *sets]
    put(
        "esc10_noise",
        "python benchmarks/esc10_noise.py",
        f"Accuracy on fold 5, N = {len(clips)}:\n\n{markdown(head, rows)}",
    )


if __name__ == "__main__":
    main()
