"""Trained explainers: what training costs, how their maps score, how they sound; each run goes on where it was.

    EARMARK_DATA=... python benchmarks/decoders.py fit esc10-cnn [NAME ...] [--epochs N]
    EARMARK_DATA=... python benchmarks/decoders.py score esc10-cnn clean [NAME ...] [--clips 24]
    EARMARK_DATA=... python benchmarks/decoders.py sound scenes-cnn [--clips 24]
    EARMARK_DATA=... python benchmarks/decoders.py apart esc10-cnn NAME ... [--clips 24]
    python benchmarks/decoders.py tables

The record: `score esc10-cnn` with clean (40 clips), ood (24), white (16); `score scenes-cnn clean --clips 16`; `sound`
with 16 clips of ESC-10 and 12 scenes; `score esc10-cnn clean` and `apart esc10-cnn` with `lmac lmac-apart-alone
lmac-apart --clips 40`. `apart` asks of two clips at the same level, of different labels, for the label of each, and
asks the same decoders while the classifier that they read has weights drawn anew. `lmac` is the default, for
`scenes-cnn` as embedded (its card has the settings); `lmac-apart` is what is embedded for `esc10-cnn`.

Decoders learn from the classifier's own training clips (folds 1 to 3 of ESC-10; `scenes:240`) and are scored on fold 5,
or on fresh scenes. `lmac-soft` and `lmac-paper-small` have the published loss, `lmac-areas` learns hard masks of any
area alone, and `lmac`, the default, both. `lmac-ftN` is `lmac-paper-small` fine-tuned on mixtures with a soundscape at
0 dB, guided by the clean clip with weight N, with `-cct` where the mask is like it (cosine .7): it knows what other
methods do not. `lmac-apart-alone` learns from mixtures of two training clips, each to be kept for its own decision, and
from nothing else; `lmac-apart` goes on from it with the default's losses beside that one. Conditions of `score` are
those of methods.py, and `speech`: a spoken word at 12 dB.
"""

import argparse
import json
import os
import time
from itertools import permutations
from pathlib import Path

import methods
import torch
from tables import markdown, put

import earmark as em
from earmark.audio.files import load_clip
from earmark.checks.redraw import Redraw
from earmark.classifiers.load import WEIGHTS
from earmark.data.mixtures import Mixture, mix, parts_of
from earmark.data.recipes import parse_mixture
from earmark.data.scenes import render
from earmark.evaluation.scores import load_scores
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import cell
from earmark.explainers.l2i.train import fit_l2i
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.train import fit_lmac
from earmark.explainers.lmac_td.train import fit_lmac_td
from earmark.metrics.intervals import bootstrap
from earmark.metrics.separation import si_sdr

RUNS = Path("runs/decoders")
AREAS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
SOUNDING = ("energy", "grad-cam", "integrated-gradients", "all-ones")
OTHERS = ("integrated-gradients", "energy", "grad-cam", "input-x-gradient", "edge", "apex")
PAPER = LmacConfig.of_preset("paper-small", crop_s=2.5)  # crops, so that it fits the time
FITS = {
    "lmac": (fit_lmac, {}),
    "lmac-areas": (fit_lmac, {"objective": "areas"}),
    "lmac-soft": (fit_lmac, {"objective": "soft"}),
    "lmac-apart-alone": (fit_lmac, {"objective": "apart", "lambda_apart": 1.0, "epochs": 80}),
    "lmac-apart": (fit_lmac, {"objective": "both", "lambda_apart": 8.0}),
    **{f"lmac-seed{seed}": (fit_lmac, {"seed": seed}) for seed in (1, 2)},
    "lmac-paper-small": (fit_lmac, {"config": PAPER}),
    **{f"lmac-ft{g}": (fit_lmac, {"lambda_g": float(g)}) for g in (4, 16, 32)},
    **{f"lmac-ft{g}-cct": (fit_lmac, {"lambda_g": float(g), "cct": 0.7}) for g in (4, 16, 32)},
    **{f"lmac-td-{alpha:g}": (fit_lmac_td, {"alpha": alpha}) for alpha in (0.0, 0.75, 1.0)},
    "l2i": (fit_l2i, {}),
}
FINE = "lmac-paper-small"
STARTS = {"lmac-apart": "lmac-apart-alone", **{name: FINE for name in FITS if name.startswith("lmac-ft")}}
FINE_EPOCHS = 5
THRESHOLDS = (0.2, 0.4, 0.6, 0.8)


def training_clips(classifier: str) -> list:
    """Returns the clips that a decoder learns from."""
    if classifier == "scenes-cnn":
        return list(em.scenes(240, 3000))
    return list(em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10", folds=(1, 2, 3), group_column="freesound_id"))


def fit(options: argparse.Namespace) -> None:
    """Trains decoders that are not there yet."""
    for name in options.names or FITS:
        if (options.classifier, name) == ("scenes-cnn", "lmac"):
            continue  # embedded
        folder = RUNS / options.classifier / name
        if (folder / "config.json").exists():
            continue
        classifier = em.load_classifier(options.classifier)
        function, changes = FITS[name]
        changes = dict(changes) | ({"epochs": options.epochs} if options.epochs else {})
        clips = training_clips(options.classifier)
        if name in STARTS:
            start = RUNS / options.classifier / STARTS[name]
            changes["start"] = em.load_explainer(start, classifier=classifier)
            changes.setdefault("config", LmacConfig())  # and not that of the start
        if name.startswith("lmac-ft"):
            changes |= {"config": PAPER, "epochs": options.epochs or FINE_EPOCHS}
            clips = list(mix(clips, "ood:0" if options.classifier == "scenes-cnn" else f"id:0:{methods.rainforest()}"))
        began = time.perf_counter()
        report = lambda done, total, values, name=name: print(name, done, total, values, flush=True)  # noqa: E731
        explainer = function(classifier, clips, resume_dir=folder / ".resume", progress=report, **changes)
        explainer.diagnostics["minutes"] = (time.perf_counter() - began) / 60
        explainer.save(folder)


def made(classifier, name: str, chosen: list[str] | None = None) -> dict:
    """Returns the decoders that are there, or those that are chosen, by name; an L2I once for each threshold."""
    if chosen:
        folders = {one: RUNS / name / one for one in chosen}
        return {one: em.load_explainer(folder, classifier=classifier) for one, folder in folders.items()}
    found = {} if (RUNS / name / "lmac").exists() else {"lmac": em.load_explainer("lmac", classifier=classifier)}
    for folder in sorted((RUNS / name).glob("*/config.json")):
        kind = folder.parent.name
        if kind == "l2i":
            for threshold in THRESHOLDS:
                loaded = em.load_explainer(folder.parent, classifier=classifier, threshold=threshold)
                found[f"l2i {threshold:g}"] = loaded
        else:
            found[kind] = em.load_explainer(folder.parent, classifier=classifier)
    return found


def clips_of(classifier: str, condition: str, n: int) -> list:
    """Returns the clips of a condition."""
    if condition == "speech":
        clean = methods.clips_of(classifier, "clean", n)
        return list(mix(clean, f"speech:12:{Path(os.environ['EARMARK_DATA']) / 'speech_commands_test'}"))
    return methods.clips_of(classifier, condition, n)


def score(options: argparse.Namespace) -> None:
    """Scores all decoders that are there, beside others, under one condition."""
    classifier = em.load_classifier(options.classifier)
    others = {name: em.load_explainer(name, classifier=classifier, **methods.METHODS[name]) for name in OTHERS}
    about = "-".join([options.classifier, options.condition, *options.names[1:]])
    em.evaluate(
        classifier,
        clips_of(options.classifier, options.condition, options.clips),
        {**made(classifier, options.classifier, options.names[1:]), **others, "random": "random"},
        areas=AREAS,
        insertion=False,
        seeds=(0,),
        folder=RUNS / "scores" / about,
        told={"data": "scenes" if options.classifier == "scenes-cnn" else "esc10", "mixture": options.condition},
        progress=lambda done, total, values=None: print(f"{done} of {total}", flush=True),
    )


def sound(options: argparse.Namespace) -> None:
    """Measures how the evidence sounds: SI-SDR to the known source of scenes, or of clips in mixtures."""
    classifier = em.load_classifier(options.classifier)
    scenes = options.classifier == "scenes-cnn"
    clips = clips_of(options.classifier, "clean" if scenes else "ood", options.clips)
    others = {name: em.load_explainer(name, classifier=classifier, **methods.METHODS[name]) for name in SOUNDING}
    rows = [
        row for clip in clips for row in sounds_of(clip, {**made(classifier, options.classifier), **others}, scenes)
    ]
    names = list(dict.fromkeys(row["explainer"] for row in rows))
    told = []
    for name in names:
        mine = [row for row in rows if row["explainer"] == name]
        groups = [row["clip"] for row in mine]
        columns = [bootstrap(torch.tensor([row[key] for row in mine]), groups) for key in ("si_sdr", "gained")]
        told.append([name, *(interval(one, 1) for one in columns), str(len(mine))])
    about = "scenes" if scenes else "mixtures (another clip at 6 dB)"
    head = [f"{options.classifier}, {about}", "SI-SDR of the evidence, dB", "more than the clip's own, dB", "N"]
    text = markdown(head, told)
    (RUNS / f"sound-{options.classifier}.md").write_text(text + "\n")
    print(text)


def sounds_of(clip, explainers: dict, scenes: bool) -> list:
    """Returns the SI-SDR of what each explainer keeps of a clip, for each decided label that has a known source."""
    waveform, found = load_clip(clip).mono(), []
    for name, explainer in explainers.items():
        for told in explainer.explain_all(clip):
            if told.target.label not in clip.labels:
                continue
            if scenes:
                alone = torch.from_numpy(render(clip.id).alone(told.target.label))[None].float()
            else:
                alone = parts_of(clip).source.samples
            kept = float(si_sdr(told.listen().mono().samples.float(), alone)[0])
            found.append({"clip": clip.id, "explainer": name, "si_sdr": kept})
            found[-1]["gained"] = kept - float(si_sdr(waveform.samples.float(), alone)[0])
    return found


def apart(options: argparse.Namespace) -> None:
    """Measures whether of two sounds each is heard when its own label is asked for."""
    classifier = em.load_classifier(options.classifier)
    others = {name: em.load_explainer(name, classifier=classifier, **methods.METHODS[name]) for name in SOUNDING}
    clips = clips_of(options.classifier, "clean", options.clips)
    decoders = made(classifier, options.classifier, options.names)
    redraw = Redraw(classifier, [torch.cat([classifier.prepare(load_clip(clip)) for clip in clips[::5]])])
    forgetful = redraw.draw(range(len(redraw.layers)), 0)
    forgot = {f"{name}, maps of a re-drawn classifier": one._on(forgetful) for name, one in decoders.items()}
    explainers = {**decoders, **forgot, **others}
    half, rows = len(clips) // 2, []
    for one, other in zip(clips[:half], clips[half : 2 * half], strict=True):
        if set(one.labels) & set(other.labels):
            continue
        parts = Mixture(one, other, parse_mixture("ood:0")[0]).parts()
        for (asked, own), (theirs, _) in permutations(
            ((one.labels[0], parts.source), (other.labels[0], parts.contaminant))
        ):
            for name, explainer in explainers.items():
                told = explainer.explain(parts.mixture, asked)
                kept, rest = told.listen().mono(), told.complement().mono()
                gained = si_sdr(kept.samples, own.samples) - si_sdr(parts.mixture.samples, own.samples)
                both, inside, outside = map(probs_of(classifier), (parts.mixture, kept, rest))
                row = [float(gained), both[asked], inside[asked], inside[theirs], outside[asked], outside[theirs]]
                rows.append((name, one.group or one.id, row))
    head = ["nearer to its own source, dB", "p(asked), both", "p(asked), kept", "p(other), kept", "p(asked), rest"]
    table = []
    for name in explainers:
        mine = [(group, row) for who, group, row in rows if who == name]
        values = torch.tensor([row for _, row in mine]).double()
        groups = [group for group, _ in mine]
        cells = [interval(bootstrap(values[:, i], groups), 1 if i == 0 else 2) for i in range(values.shape[1])]
        table.append([name, *cells, str(len(mine))])
    text = markdown([f"{options.classifier}, of two clips", *head, "p(other), rest", "N"], table)
    (RUNS / f"sound-{options.classifier}-apart.md").write_text(text + "\n")
    print(text)


def probs_of(classifier):
    """Returns what tells the probability of each label in a sound."""
    return lambda sound: dict(zip(classifier.labels, classifier.predict(sound).probs.tolist(), strict=True))


def interval(one, digits: int) -> str:
    """Returns a mean with its interval."""
    return f"{one.mean:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def costs() -> str:
    """Returns what each decoder weighs and what its training took."""
    rows = []
    found = {(file.parent.parent.name, file.parent.name): file for file in RUNS.glob("*/*/config.json")}
    found = {(file.parent.parent.name, "lmac"): file for file in WEIGHTS.glob("*/lmac/config.json")} | found
    for (classifier, name), file in sorted(found.items()):
        about = json.loads(file.read_text())
        d = about.get("diagnostics", {})
        size = [d.get("parameters"), d.get("parameters_share"), d.get("multiply_adds_share"), d.get("n_clips")]
        shown = ["-" if v is None else f"{v:.3g}" if isinstance(v, float) else f"{v:,}" for v in size]
        epochs, passes, minutes = about["config"].get("epochs"), d.get("forward_passes"), d.get("minutes")
        cost = ["-" if passes is None else f"{passes:,}", "-" if minutes is None else f"{minutes:.0f}"]
        rows.append([classifier, name, *shown, str(epochs), *cost])
    head = ["classifier", "explainer", "parameters", "of the classifier's", "multiply-adds, of the classifier's"]
    return markdown([*head, "clips", "epochs", "forward passes of clips", "minutes, one thread"], rows)


def by_area(scores) -> str:
    """Returns the average drop at each area, and how far the default decoder is from the best of the others."""
    rows, areas = [], scores.about["config"]["areas"]
    drop = {
        (name, area): dict(zip(keys, values, strict=True))
        for name in scores.explainers
        for area in areas
        for keys, values in [columns(scores, name, area)]
    }
    for name in scores.explainers:
        means = [torch.tensor(list(drop[name, area].values())).nanmean() for area in areas]
        rows.append([name, *(f"{float(mean):.1f}" for mean in means)])
    seeds = [name for name in scores.explainers if name == "lmac" or name.startswith("lmac-seed")]
    for other in ("integrated-gradients", "energy", "grad-cam"):
        for own in (["lmac"], seeds)[: 1 + (len(seeds) > 1)]:
            told = [interval(gap_of([drop[name, area] for name in own], drop[other, area]), 1) for area in areas]
            rows.append([f"{'lmac' if len(own) == 1 else f'lmac, mean of {len(own)} seeds'} - {other}", *told])
    return markdown(["average drop, %", *(f"{100 * area:g} %" for area in areas)], rows)


def gap_of(mine: list[dict], theirs: dict):
    """Returns the mean paired difference, of the mean over several seeds, with its interval over recordings."""
    both = [key for key in theirs if all(key in one for one in mine)]
    gap = torch.tensor([sum(one[key] for one in mine) / len(mine) - theirs[key] for key in both])
    return bootstrap(gap, [key[0] for key in both])


def columns(scores, name: str, area: float) -> tuple[list, list]:
    """Returns clips with their labels, and the average drop of each, of one explainer at one area."""
    where = {"explainer": name, "protocol": "matched", "area": area}
    keys = list(zip(scores.column("clip", **where), scores.column("target", **where), strict=True))
    values = [float("nan") if v is None else v for v in scores.column("average_drop", **where)]
    return keys, values


def own_masks(summary: dict) -> str:
    """Returns what native masks score."""
    soft = next(table for table in summary["tables"] if table["protocol"] == "soft")
    kept = [*methods.SOFT, *(("contrast_db",) if "contrast_db" in soft["rows"][0]["metrics"] else ())]
    rows = [[row["explainer"], *(cell(row["metrics"].get(m)) for m in kept)] for row in soft["rows"]]
    return markdown(["own mask", "AI", "AD", "AG", "FF", "Fid-In", "MM", *(["T/C, dB"] * (len(kept) > 6))], rows)


def tables() -> None:
    """Writes the tables of all finished runs."""
    parts = [costs()]
    for folder in sorted((RUNS / "scores").glob("*/evaluation.json")):
        scores = load_scores(folder.parent)
        summary = summarize(scores)
        n, confidence = summary["decisions"]["n"], summary["decisions"]["mean_prob"]
        name, told_apart, _ = folder.parent.name.partition("-lmac")
        name += ", decoders that tell sounds apart" if told_apart else ""
        title = f"**{name}**: N = {n} decisions, mean confidence {confidence:.3f}."
        parts += [title, own_masks(summary), by_area(scores)]
    parts += [file.read_text().strip() for file in sorted(RUNS.glob("sound-*.md"))]
    put("decoders", "python benchmarks/decoders.py tables", "\n\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fit", "score", "sound", "apart", "tables"))
    parser.add_argument("classifier", nargs="?", default="esc10-cnn")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--clips", type=int, default=24)
    options = parser.parse_args()
    if options.what == "score":
        options.condition = options.names[0] if options.names else "clean"
    {"fit": fit, "score": score, "sound": sound, "apart": apart, "tables": lambda _: tables()}[options.what](options)


if __name__ == "__main__":
    main()
