"""Does a decision hang on the region that APEX shows? Each view's region taken out, beside controls (Table 4 of APEX).

    python benchmarks/ablation.py [--sets scenes,esc10,words] [--clips 40] [--draws 8] [--fills all]

For each set and view an APEX is fitted to the classifier's training clips and kept in `runs/ablation/`. The fill
`waveform` is scored for all views; the others for `time-frequency`, on half of the clips. A set that is finished is
read, one that was killed goes on, and the tables are of all sets that are finished, whatever `--sets` names (nothing
is run for `--sets ""`).
"""

import argparse
import os
import time
from pathlib import Path

from tables import markdown, put

import earmark as em
from earmark.evaluation.ablation.config import CONTROLS, FILLS, VIEWS
from earmark.evaluation.ablation.runner import ablate, finished

OUT = Path("runs/ablation")
SPELLED = {"attenuate": "attenuation"}  # in records of before it was spelled so
ASKED = ("random", "energy-matched", "other-channel", "identity", "loudest")  # controls of the short tables


def recorded(name, group, *folds):
    return em.folder(Path(os.environ["EARMARK_DATA"]) / name, group_column=group, folds=folds)


def material(name):
    """Returns a classifier, the clips that its APEX learns from, and those on which it is asked."""
    if name == "scenes":
        return em.load_classifier("scenes-cnn"), em.scenes(600, 0), em.scenes(200, 1000)
    if name == "esc10":
        data, group, classifier = "esc10", "freesound_id", em.load_classifier("esc10-cnn")
    else:
        data, group, classifier = "speech_commands_test", "speaker", em.load_classifier(words_model())
    return classifier, recorded(data, group, 1, 2, 3), recorded(data, group, 5)


def words_model():
    """Returns where the classifier of spoken words is; it learns from folds 1 to 3, as that of ESC-10 does."""
    own = Path("runs/words-cnn")
    return own if (own / "config.json").exists() else "words-cnn"


def spread(clips, n):
    """Returns n clips, evenly spaced in the order of their ids."""
    clips = sorted(clips, key=lambda clip: clip.id)
    return [clips[i * len(clips) // n] for i in range(n)] if n < len(clips) else clips


def fitted(name, classifier, clips):
    """Returns an APEX for each view, from the folder where it is kept."""
    found = []
    for view in VIEWS:
        folder = OUT / name / f"apex-{view}"
        if not (folder / "config.json").exists():
            em.fit_apex(classifier, clips, view=view).save(folder)
        found.append(em.load_explainer(folder, classifier=classifier))
    return found


def measured(name, options):
    """Scores a set: all views with `waveform`, the cross with the other fills on half of the clips."""
    classifier, learn, test = material(name)
    began = time.perf_counter()
    apexes = fitted(name, classifier, learn)
    print(f"{name}: fits {time.perf_counter() - began:.0f} s", flush=True)
    chosen = spread(test, options.clips)
    others = list(FILLS)[1:] if options.fills == "all" else [f for f in options.fills.split(",") if f != "waveform"]
    jobs = [("views", chosen, {"views": VIEWS, "fills": ("waveform",)})]
    if others:
        half = spread(chosen, len(chosen) // 2)
        jobs.append(("fills", half, {"views": ("time-frequency",), "fills": tuple(others), "keep_draws": 0}))
    for part, clips, changes in jobs:
        began = time.perf_counter()
        told = {"data": name}
        ablate(
            classifier, clips, apexes, folder=OUT / name / part, told=told, draws=options.draws, progress=say, **changes
        )
        print(f"{name}, {part}: {time.perf_counter() - began:.0f} s", flush=True)


def say(done, total, values=None):
    print(f"  {done}/{total}", flush=True)


def tables():
    """Returns the tables of all sets that are finished."""
    found = []
    for name in ("scenes", "esc10", "words"):
        for part, title in (("views", "views, fill `waveform`"), ("fills", "time-frequency, other fills")):
            ablation = finished(OUT / name / part)
            if ablation is not None:
                summary = ablation.summary()
                found += [f"**{name}: {title}**", passes(summary), short(summary, "logit_lost")]
                if part == "views":
                    found += [f"{name}: decisions changed", rates(summary), classes(summary)]
    return "\n\n".join(found)


def passes(summary):
    clips, n = summary["clips"], summary["decisions"]["n"]
    return (
        f"{clips['scored']} clips, {n} decisions, {summary['passes']['masked']} masked passes, "
        f"{summary['card']['draws']} draws."
    )


def without(summary):
    return [table for table in summary["views"] if not table["kept"]]


def interval(told, digits=2):
    if told is None or told["mean"] is None:
        return "undefined"
    return f"{told['mean']:.{digits}f} [{told['low']:.{digits}f}, {told['high']:.{digits}f}]"


def short(summary, outcome):
    """Returns what the region costs, and how much more than each control."""
    rows = []
    for table in without(summary):
        own = next(row for row in table["rows"] if row["condition"] == "region")
        against = next(one["rows"] for one in table["against"] if one["outcome"] == outcome)
        by = {row["control"]: row for row in against}
        cells = [_difference(by[c]) for c in ASKED]
        unmatched = next(row["unmatched"] for row in table["rows"] if row["condition"] == "energy-matched")
        sizes = [f"{100 * own['area']:.1f}", f"{own['softer_db']:.2f}"]
        head = [table["view"], SPELLED.get(table["fill"], table["fill"]), *sizes]
        rows.append([*head, interval(own["metrics"][outcome]), *cells, unmatched])
    head = ["view", "fill", "area, %", "softer, dB", "logit lost without the region"]
    head += [f"more than {name.replace('-', ' ')}" for name in ASKED]
    return markdown([*head, "not matched"], rows)


def _difference(row):
    if row["mean"] is None:
        return "undefined"
    sure = " *" if row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
    return f"{interval(row)}{sure}"


def rates(summary):
    """Returns how often decisions change, by condition."""
    names = ["region", *CONTROLS]
    rows = []
    for table in without(summary):
        by = {row["condition"]: row for row in table["rows"]}
        rows.append([table["view"], *(interval(by[name]["metrics"]["flip"]) for name in names)])
    return markdown(["view", *(name.replace("-", " ") for name in names)], rows)


def classes(summary):
    """Returns T1-Acc, cmAP and AUROC with no mask, a random one, and APEX's region, as in the paper's Table 4."""
    rows = []
    for table in without(summary):
        by = {row["condition"]: row["metrics"] for row in table["classification"]}
        for name in ("none", "random", "energy-matched", "region"):
            if name in by:
                rows.append([table["view"], name, *(interval(by[name][m]) for m in ("cmap", "auroc", "top1"))])
    return markdown(["view", "mask", "cmAP", "AUROC", "T1-Acc"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default="scenes,esc10,words")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--fills", default="all")
    options = parser.parse_args()
    for name in filter(None, options.sets.split(",")):
        try:
            measured(name, options)
        except em.EarmarkError as error:
            print(f"{name} is left out: {error}", flush=True)
    put("ablation", f"python benchmarks/ablation.py --clips {options.clips} --draws {options.draws}", tables())


if __name__ == "__main__":
    main()
