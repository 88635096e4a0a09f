"""Every method on ESC-10 and on scenes: native masks and equal areas, clean and mixed; each run goes on where it was.

    python benchmarks/methods.py run esc10-cnn clean [--clips 40] [--heavy] [--areas 1,5,20]
    python benchmarks/methods.py run esc10-cnn clean --clips 24 --stages waveform,stft,features [--methods apex,...]
    python benchmarks/methods.py all        (some two hours on two cores)
    python benchmarks/methods.py tables

Conditions: `clean`; `id`, a held-out soundscape at 0 dB, which is the noise as `esc10-cnn-noise` knows it;
`ood`, another clip of another class at 6 dB; `white`, white noise at 6 dB. Classifiers: `esc10-cnn` (fold 5 is its
test fold), `esc10-cnn-noise` (trained on with soundscapes at 0 dB, see esc10_noise.py), and `scenes-cnn` (fresh
scenes). The methods that switch parts off, with `--heavy`, run at 100 samples, which is fewer than their defaults.
"""

import argparse
import os
from pathlib import Path

from esc10_noise import rainforest
from tables import markdown, put

import earmark as em
from earmark.data.mixtures import mix
from earmark.evaluation.scores import load_scores
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import cell

RUNS = Path("runs/methods")
CLASSIFIERS = {"esc10-cnn": "esc10-cnn", "esc10-cnn-noise": "runs/esc10-noise", "scenes-cnn": "scenes-cnn"}
CONDITIONS = ("clean", "id", "ood", "white")
SAMPLES = 100
METHODS = {  # options that differ from the defaults; saving passes, not changing the method
    "apex": {},
    "saliency": {},
    "input-x-gradient": {},
    "smoothgrad": {"n_samples": 16},
    "integrated-gradients": {"n_steps": 32},
    "gradient-shap": {"n_samples": 32},
    "deeplift": {},
    "guided-backprop": {},
    "guided-grad-cam": {},
    "grad-cam": {},
    "grad-cam-plus-plus": {},
    "energy": {},
    "edge": {},
    "all-ones": {},
    "all-zeros": {},
}
HEAVY = {
    "occlusion": {"window_s": 0.5, "octave": 1.0, "steps": 1},
    "rise": {"n_samples": SAMPLES},
    "lime": {"n_samples": SAMPLES, "max_parts": 40},
    "kernel-shap": {"n_samples": SAMPLES, "max_parts": 40},
    "slime": {"n_samples": SAMPLES},
    "audiolime": {"n_samples": SAMPLES},
}


def clips_of(classifier: str, condition: str, n: int) -> list:
    """Returns evenly spaced clips of the test fold, or fresh scenes, with the condition's contaminant."""
    data = Path(os.environ.get("EARMARK_DATA", "data"))
    if classifier == "scenes-cnn":
        clips = list(em.scenes(n, 2000))
    else:
        fold = sorted(em.folder(data / "esc10", folds=(5,), group_column="freesound_id"), key=lambda clip: clip.id)
        clips = [fold[i * len(fold) // n] for i in range(n)] if n < len(fold) else fold
    recipe = {"id": f"id:0:{rainforest()}", "ood": "ood:6", "white": "white:6"}.get(condition)
    return list(mix(clips, recipe)) if recipe else clips


def entrants(classifier, heavy: bool, methods: str | None) -> dict:
    """Returns the explainers by name; the random ones by registry name, so that they run once per seed."""
    every = {**METHODS, **(HEAVY if heavy else {})}
    chosen = {name: every[name] for name in (methods.split(",") if methods else every) if name in every}
    folder = Path(CLASSIFIERS.get(classifier.name, "") or "runs/esc10-noise") / "apex"
    made = {}
    for name, options in chosen.items():
        given = folder if name == "apex" and (folder / "config.json").exists() else name
        made[name] = em.load_explainer(given, classifier=classifier, **options)
    made["random"] = "random"
    made["smooth random"] = em.load_explainer("random", classifier=classifier, smooth=True)
    return made


def run(options: argparse.Namespace) -> None:
    """Scores the methods under one condition."""
    classifier = em.load_classifier(CLASSIFIERS[options.classifier])
    clips = clips_of(options.classifier, options.condition, options.clips)
    stages = tuple(options.stages.split(","))
    name = f"{options.classifier}-{options.condition}" + ("" if stages == ("waveform",) else f"-{'-'.join(stages)}")
    scores = em.evaluate(
        classifier,
        clips,
        entrants(classifier, options.heavy, options.methods),
        areas=tuple(float(a) / 100 for a in options.areas.split(",")),
        reentry=stages,
        insertion=False,
        seeds=(0, 1, 2),
        folder=RUNS / name,
        told={"data": "scenes" if options.classifier == "scenes-cnn" else "esc10", "mixture": options.condition},
        progress=lambda done, total, values=None: print(f"{name}: {done} of {total}", flush=True),
    )
    print(name, len(scores))


SOFT = ("average_increase", "average_drop", "average_gain", "faithfulness", "input_fidelity", "mask_mean")
EQUAL = ("average_drop", "average_gain", "faithfulness", "input_fidelity", "energy_kept")


def table(summary: dict) -> str:
    """Returns native masks on the left, equal areas on the right, one row per method."""
    soft = next(t for t in summary["tables"] if t["protocol"] == "soft" and t["reentry"] == "waveform")
    equal = summary["curves"][0]
    kept = [*EQUAL, *(("contrast_db",) if any("contrast_db" in row["metrics"] for row in equal["rows"]) else ())]
    rows = []
    for left, right in zip(soft["rows"], equal["rows"], strict=True):
        cells = [cell(left["metrics"].get(m)) for m in SOFT] + [cell(right["metrics"].get(m)) for m in kept]
        rows.append([left["explainer"], *cells])
    short = {"average_increase": "AI", "average_drop": "AD", "average_gain": "AG", "faithfulness": "FF"}
    short |= {"input_fidelity": "Fid-In", "mask_mean": "MM", "energy_kept": "EK", "contrast_db": "T/C, dB"}
    head = ["method", *(f"own mask: {short[m]}" for m in SOFT), *(f"equal area: {short[m]}" for m in kept)]
    return markdown(head, rows)


STAGES = {"waveform": "sound", "stft": "STFT", "features": "features"}  # where masked clips enter again
TOLD = {"average_drop": "AD", "faithfulness": "FF", "input_fidelity": "Fid-In"}


def side_by_side(folder: Path) -> str:
    """Returns what the same masks score where they enter again as sound, as STFT, and as features."""
    summary = summarize(load_scores(folder))
    kept = [("own mask", metric) for metric in TOLD] + [("equal area", "average_drop")]
    columns = []
    for what, metric in kept:
        for stage in STAGES:
            if what == "own mask":
                found = next(t for t in summary["tables"] if (t["protocol"], t["reentry"]) == ("soft", stage))
            else:
                found = next(curve for curve in summary["curves"] if curve["reentry"] == stage)
            cells = {row["explainer"]: cell(row["metrics"].get(metric)) for row in found["rows"]}
            columns.append((f"{what}: {TOLD[metric]}, {STAGES[stage]}", cells))
    rows = [[name, *(cells[name] for _, cells in columns)] for name in columns[0][1]]
    n = summary["decisions"]["n"]
    title = f"**esc10-cnn, clean, where the same masked clip enters again**: N = {n} decisions."
    return f"{title}\n\n{markdown(['method', *(head for head, _ in columns)], rows)}"


def tables() -> None:
    """Writes the tables of all finished runs."""
    parts = []
    for classifier in CLASSIFIERS:
        for condition in CONDITIONS:
            folder = RUNS / f"{classifier}-{condition}"
            if not (folder / "evaluation.json").exists():
                continue
            summary = summarize(load_scores(folder))
            clips, decisions = summary["clips"], summary["decisions"]
            low, high = (100 * summary["curves"][0][end] for end in ("from", "to"))
            title = f"**{classifier}, {condition}**: N = {decisions['n']} decisions on {clips['scored']} clips"
            title += f" (coverage {100 * clips['coverage']:.0f} %), mean confidence {decisions['mean_prob']:.3f}"
            title += f", accuracy {100 * decisions['accuracy']:.1f} %; equal areas from {low:g} to {high:g} %."
            parts.append(f"{title}\n\n{table(summary)}")
    folder = RUNS / f"esc10-cnn-clean-{'-'.join(STAGES)}"
    if (folder / "evaluation.json").exists():
        parts.append(side_by_side(folder))
    if parts:
        put("methods", "python benchmarks/methods.py tables", "\n\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "all", "tables"))
    parser.add_argument("classifier", nargs="?", choices=tuple(CLASSIFIERS))
    parser.add_argument("condition", nargs="?", choices=CONDITIONS)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--heavy", action="store_true")
    parser.add_argument("--methods")
    parser.add_argument("--stages", default="waveform")
    parser.add_argument("--areas", default="1,2,5,10,20,30,50")
    options = parser.parse_args()
    if options.what == "run":
        run(options)
        return
    if options.what == "all":
        every = [(c, k) for c in CLASSIFIERS for k in CONDITIONS if c != "scenes-cnn" or k in ("clean", "ood")]
        for options.classifier, options.condition in every:
            run(options)
    tables()


if __name__ == "__main__":
    main()
