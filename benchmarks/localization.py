"""Where the truth is known: do maps lie on it? Every method beside energy and chance; no sound is masked here.

    python benchmarks/localization.py scenes [--scenes 100] [--heavy]
    python benchmarks/localization.py spinetail
    python benchmarks/localization.py tables

*scenes*: `scenes-cnn` on fresh generated scenes of one to three events, every label that sounds and was heard. Truth is
the event's support (bins at most 30 dB below its maximum, the event alone), and beside it its box.
*spinetail*: a recording of 20 s in which two kinds of calls of a spinetail are boxed by hand. A detector is trained on
windows of the first 12 s, with soundscapes mixed in, and asked about windows of the last 8 s. It is one recording: no
interval means more than these calls.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from methods import HEAVY, METHODS
from tables import markdown, put

import earmark as em
from earmark.classifiers.fit import fit_classifier
from earmark.data.mixtures import mix
from earmark.data.recipes import recipe
from earmark.data.scenes import render
from earmark.evaluation.batches import Batch
from earmark.evaluation.rows import maps_of
from earmark.masks import cleaned
from earmark.metrics import localization as loc
from earmark.metrics.intervals import bootstrap
from earmark.training.config import LoopConfig

RUNS = Path("runs/localization")
METRICS = ("localization_auc", "localization_precision", "pointing", "iou_match", "mass_inside")
BATCH = 10
WINDOW_S, TRAIN_TO_S, CHOOSE_TO_S = 2.0, 9.0, 12.0
DATA = Path(os.environ.get("EARMARK_DATA", "data")) / "soundscapes"


def measured(values, truth, tolerance) -> dict:
    """Returns each metric of maps [row, freq, frame], one number per row."""
    clean = cleaned(values)[0]
    return {
        "localization_auc": loc.roc_auc(clean, truth),
        "localization_precision": loc.average_precision(clean, truth),
        "pointing": loc.pointing(clean, truth, tolerance),
        "iou_match": loc.iou_at_match(clean, truth),
        "mass_inside": loc.mass_inside(clean, truth),
    }


def support(batch: Batch) -> torch.Tensor:
    """Returns where the labels of scenes sound, bin by bin."""
    stft = batch.classifier.stft
    labels = [batch.classifier.labels[i] for i in batch.target.tolist()]
    found = [
        render(c.id).support(label, stft.n_fft, stft.hop_length) for c, label in zip(batch.clips, labels, strict=True)
    ]
    return torch.from_numpy(np.stack(found))


def entrants(classifier, heavy: bool, apex) -> dict:
    """Returns the explainers by name; what marks the ends of a scale says nothing of places."""
    options = {k: v for k, v in {**METHODS, **(HEAVY if heavy else {})}.items() if not k.startswith("all-")}
    made = {k: em.load_explainer(k, classifier=classifier, **v) for k, v in options.items() if k != "apex"}
    made["integrated-gradients, features"] = em.load_explainer(
        "integrated-gradients", classifier=classifier, stage="features", n_steps=32
    )
    made["saliency, features"] = em.load_explainer("saliency", classifier=classifier, stage="features")
    made["random"] = em.load_explainer("random", classifier=classifier)
    return {"apex": apex, "apex, all channels": apex.using(top=len(apex.U), prototypes=0), **made}


def rows_of(classifier, clips, explainers: dict, truths: dict) -> list[dict]:
    """Returns one row per clip, label, explainer and kind of truth."""
    rows = []
    for start in range(0, len(clips), BATCH):
        some = clips[start : start + BATCH]
        samples = torch.cat([classifier.prepare(clip.source()) for clip in some])
        batch = Batch.of(classifier, some, samples)
        labels = [classifier.labels[i] for i in batch.target.tolist()]
        sounds = [label in clip.labels for clip, label in zip(batch.clips, labels, strict=True)]
        tolerance = loc.tolerance_of(batch.grid)
        known = {kind: truth(batch) for kind, truth in truths.items()}
        for name, explainer in explainers.items():
            maps = maps_of(batch, explainer)
            for kind, truth in known.items():
                found = {m: v.tolist() for m, v in measured(maps.values, truth, tolerance).items()}
                for i in (i for i in range(len(batch)) if sounds[i] and truth[i].any()):
                    values = {m: found[m][i] for m in METRICS}
                    rows.append(
                        {"clip": batch.clips[i].id, "label": labels[i], "method": name, "truth": kind, **values}
                    )
        for kind, truth in known.items():
            levels = {m: v.tolist() for m, v in loc.chance(truth, tolerance).items()}
            for i in (i for i in range(len(batch)) if sounds[i] and truth[i].any()):
                values = {m: levels[m][i] for m in METRICS}
                rows.append(
                    {"clip": batch.clips[i].id, "label": labels[i], "method": "chance", "truth": kind, **values}
                )
        print(f"{start + len(some)} of {len(clips)}", flush=True)
    return rows


def scenes(n: int, heavy: bool) -> None:
    """Measures on generated scenes."""
    classifier = em.load_classifier("scenes-cnn")
    apex = em.load_explainer("apex", classifier=classifier)
    truths = {"support": support, "box": lambda batch: batch.truth}
    save("scenes", rows_of(classifier, list(em.scenes(n, 3000)), entrants(classifier, heavy, apex), truths))


# -- the spinetail --------------------------------------------------------------------------------------------------


def boxes() -> list[em.Region]:
    """Returns the hand-drawn boxes; the first line of each has its seconds, the second its hertz."""
    lines = (DATA / "spinetail_audacity_labels.txt").read_text().splitlines()
    pairs = [(a.split("\t"), b.split("\t")) for a, b in zip(lines[::2], lines[1::2], strict=True)]
    return [em.Region(float(a[0]), float(a[1]), float(b[1]), float(b[2]), 1.0, a[2]) for a, b in pairs]


def windows(start_s: float, end_s: float, step_s: float, group: str) -> list:
    """Returns windows with the boxes in them, and as labels what is boxed for at least 50 ms of it."""
    recording, made = em.read(next((DATA / "audio").glob("spinetail*"))), []
    rate = recording.sample_rate
    for first_s in np.arange(start_s, end_s - WINDOW_S + 1e-6, step_s):
        last_s = first_s + WINDOW_S
        if last_s > recording.duration_s:
            break  # the recording ends before 20 s
        inside = [
            replace(box, start_s=max(box.start_s, first_s) - first_s, end_s=min(box.end_s, last_s) - first_s)
            for box in boxes()
            if min(box.end_s, last_s) - max(box.start_s, first_s) >= 0.05
        ]
        sound = recording[round(first_s * rate) : round(last_s * rate)]
        labels = tuple(sorted({box.label for box in inside}))
        made.append(
            em.Clip(
                f"spinetail@{first_s:.2f}", lambda sound=sound: sound, labels=labels, group=group, events=tuple(inside)
            )
        )
    return made


def backgrounds(which: slice) -> list:
    """Returns two windows of each soundscape, without a label."""
    paths = sorted(p for p in (DATA / "audio").iterdir() if not p.name.startswith("spinetail"))[which]
    return [
        em.Clip(f"{p.name}@{s}", p, start_s=s, end_s=s + WINDOW_S, labels=(), group=p.name)
        for p in paths
        for s in (1.0, 5.0)
    ]


def detector() -> Path:
    """Returns the folder of a detector of the two calls, trained once."""
    folder = RUNS / "spinetail"
    if not (folder / "config.json").exists():
        noises = backgrounds(slice(0, 24)), backgrounds(slice(24, 32))
        calls = windows(0, TRAIN_TO_S, 0.25, "first part"), windows(TRAIN_TO_S, CHOOSE_TO_S, 0.25, "second part")
        sets = []
        for some, noise in zip(calls, noises, strict=True):
            noisy = [c for db in (12, 6, 0) for c in mix(some, recipe("scene", db), noise, seed=db)]
            sets.append([*some, *noisy, *noise])
        loop = LoopConfig(epochs=20, batch_size=16)
        print(fit_classifier(*sets, folder, task="multilabel", clip_s=WINDOW_S, loop=loop))
    return folder


def spinetail() -> None:
    """Measures on the hand-drawn boxes."""
    classifier = em.load_classifier(detector())
    test = windows(CHOOSE_TO_S, 20.0, 0.5, "third part")
    heard = [c for c in test if {*classifier.predict(c.source()).decided} & {*c.labels}]
    print(f"{len(heard)} of {len(test)} windows heard")
    fit_on = windows(0, CHOOSE_TO_S, 0.25, "fit") + backgrounds(slice(0, 32))
    apex = em.fit_apex(classifier, fit_on, view="time-frequency")
    save("spinetail", rows_of(classifier, heard, entrants(classifier, False, apex), {"box": lambda batch: batch.truth}))


# -- tables ---------------------------------------------------------------------------------------------------------


def save(name: str, rows: list[dict]) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    (RUNS / f"{name}.json").write_text(json.dumps(rows))


def table(rows: list[dict], truth: str) -> str:
    """Returns one row per method: means with 95 % intervals over clips."""
    some = [row for row in rows if row["truth"] == truth]
    lines = []
    for name in dict.fromkeys(row["method"] for row in some):
        own = [row for row in some if row["method"] == name]
        cells = []
        for metric in METRICS:
            found = bootstrap(torch.tensor([row[metric] for row in own]).double(), [row["clip"] for row in own])
            cells.append(f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
        lines.append([name, len(own), *cells])
    lines.sort(key=lambda line: line[2], reverse=True)
    return markdown(["method", "N", "AUC", "average precision", "pointing", "IoU at equal area", "mass inside"], lines)


def tables() -> None:
    parts = []
    for name, truth in (("scenes", "support"), ("scenes", "box"), ("spinetail", "box")):
        if (RUNS / f"{name}.json").exists():
            parts.append(
                f"**{name}**, truth: {truth}\n\n{table(json.loads((RUNS / f'{name}.json').read_text()), truth)}"
            )
    put("localization", "python benchmarks/localization.py tables", "\n\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("scenes", "spinetail", "tables"))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--heavy", action="store_true")
    options = parser.parse_args()
    if options.what == "scenes":
        scenes(options.scenes, options.heavy)
    elif options.what == "spinetail":
        spinetail()
    else:
        tables()


if __name__ == "__main__":
    main()
