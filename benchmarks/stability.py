"""Do maps stay what they are when the sound hardly changes, and move where it moves? Every method on one test fold.

    EARMARK_DATA=... python benchmarks/stability.py [--clips 20] [--grid reduced|full] [--out runs/stability]

`esc10-cnn` on clips of fold 5 that it has not seen, the same number of each label as far as they go. Each clip is
changed a little and explained again for the same label; maps are taken back before they are compared. *Alike*: rank
correlation where the decision stayed, each clip's mean over changes. *Other clip*: that of two clips of one label from
different recordings. *As it lies*, of shifts, stretches and pitch: nothing taken back. *Moves*: seconds of the map for
each second of the sound. *Other seed*: the same clip, where a method draws at random. Methods that switch parts off
have few samples here, which is part of how unstable they are; `Passes` says how many one explanation takes.

A run that was stopped goes on: finished clips lie in the folder `--out`.
"""

import argparse
import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from tables import markdown, put

import earmark as em
from earmark.checks.memory import Memory
from earmark.checks.stability import stability
from earmark.checks.stability_config import StabilityConfig
from earmark.checks.stability_words import changed_rows, headline, interval_of, mean_of, per_clip, unchanged
from earmark.checks.words import spread
from earmark.explainers import EXPLAINERS

SAMPLES = 24  # of methods that switch parts off
FEW_PARTS = {"n_samples": SAMPLES, "max_parts": 16}
OPTIONS = {
    "smoothgrad": {"n_samples": 4},
    "integrated-gradients": {"n_steps": 8},
    "gradient-shap": {"n_samples": 4},
    "occlusion": {"window_s": 1.0, "octave": 2.0, "steps": 1},
    "rise": {"n_samples": SAMPLES},
    "lime": FEW_PARTS,
    "kernel-shap": FEW_PARTS,
    "slime": {"n_samples": SAMPLES},
    "audiolime": {"n_samples": SAMPLES, "nmf_steps": 20},
}
NOTHING = ("all-ones", "all-zeros")  # constant maps order no bins
HEADER = ("method", "passes", "alike", "other clip", "other seed", "IoU of the top 10 %", "taken back", "as it lies")
HEADER += ("moves, s per s", "decisions kept", "N")


def chosen(n_clips):
    """Returns clips of the test fold, evenly spaced in the order of their labels."""
    clips = em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10")
    of_fold = sorted((clip for clip in clips if clip.fold == 5), key=lambda clip: (clip.labels, clip.id))
    return [of_fold[i * len(of_fold) // n_clips] for i in range(min(n_clips, len(of_fold)))]


def methods(classifier, names):
    """Returns explainers by name, those that fit the classifier."""
    return {name: em.load_explainer(name, classifier=classifier, **OPTIONS.get(name, {})) for name in names}


def row_of(name, explainer, rows, clip):
    """Returns a line of the table; passes are those that were counted for a clip."""
    numbers, kept = headline(rows), unchanged(changed_rows(rows))
    moved = [row for row in kept if row["as_it_lies"] == row["as_it_lies"]]
    by_clip = {
        key: interval_of(per_clip(own, lambda own, key=key: mean_of(own, key)), "value")
        for own, key in ((kept, "iou_of_top"), (moved, "as_it_lies"))
    }
    back = interval_of(per_clip(moved, lambda own: mean_of(own, "rank_correlation")), "value")
    decided = interval_of(per_clip(changed_rows(rows), lambda own: mean_of(own, "unchanged")), "value")
    took = explainer.explain(clip).provenance
    again = spread(numbers["again"]) if numbers["again"].n else "draws nothing"
    cells = [spread(numbers["alike"]), spread(numbers["other"]), again, spread(by_clip["iou_of_top"]), spread(back)]
    cells += [spread(by_clip["as_it_lies"]), spread(numbers["slope"]), spread(decided), str(numbers["alike"].n)]
    return [f"`{name}`", f"{took.forward_passes} + {took.backward_passes}", *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--grid", choices=("reduced", "full"), default="reduced")
    parser.add_argument("--methods", default=",".join(name for name in EXPLAINERS if name not in NOTHING))
    parser.add_argument("--out", type=Path, default=Path("runs/stability"))
    parser.add_argument("--no-table", action="store_true", help="print the table only")
    options = parser.parse_args()
    reduced = replace(StabilityConfig.reduced(), ssim=False)  # it is not in the table, and takes longest
    config = reduced if options.grid == "reduced" else StabilityConfig()
    classifier, clips = em.load_classifier("esc10-cnn"), chosen(options.clips)
    table = []
    for name, explainer in methods(classifier, options.methods.split(",")).items():
        about = [name, explainer._config(), config.to_dict(), classifier.fingerprint, [clip.id for clip in clips]]
        key = hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()
        began = time.perf_counter()
        memory = Memory(options.out / name, key)
        rows = stability(classifier, {name: explainer}, clips, config, batch=5, memory=memory)[name]
        table.append(row_of(name, explainer, rows, clips[0]))
        print(f"{time.perf_counter() - began:.0f} s", *table[-1], flush=True)
    text = markdown(HEADER, table)
    command = f"python benchmarks/stability.py --clips {options.clips} --grid {options.grid}"
    print(text) if options.no_table else put("stability", command, text)


if __name__ == "__main__":
    main()
