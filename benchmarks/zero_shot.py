"""Zero-shot explanations on ESC-10: LMAC-ZS against other methods in both domains, other prompts, re-drawn towers.

    earmark train clap --data DATA/esc10 --data DATA/speech_commands_test --without silence,unknown --folds 1,2,3 \
        --select-folds 4 --test-folds 5 --out runs/clap-small --epochs 120 --learning-rate 0.002 --weight-decay 0.05 \
        --mixup-share 0.3 --noise-share 0
    EARMARK_DATA=... python benchmarks/zero_shot.py all [--clap runs/clap-small] [--clips 40] [--epochs 6]
    python benchmarks/zero_shot.py fit | score | prompts | towers | tables

`fit` trains LMAC-ZS on the clips of folds 1 to 3 without their labels: for a mask of the STFT whose sound enters again,
for one of the features, and, in place of the published loss, for mixtures of two clips, each to be kept for its own
prompt (`-apart`). `score` explains decisions on fold 5: masks as they are, and equal areas. `prompts` asks each method
for the name of the clip's decision, for two other phrasings of it and for other labels. `towers` draws the weights of
one tower anew. Each step goes on where it was killed, in runs/zero-shot.
"""

import argparse
import copy
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from tables import markdown, put
from torch import nn

import earmark as em
from earmark.audio.files import load_clip
from earmark.classifiers.clap.prompts import held_out_kinds, prompts_of
from earmark.classifiers.load import load_classifier
from earmark.classifiers.zero_shot import PromptLogits, ZeroShot
from earmark.evaluation.scores import load_scores
from earmark.evaluation.summary import summarize
from earmark.evaluation.words import cell
from earmark.explainers.lmac_zs.train import fit_lmac_zs
from earmark.explainers.rebinding import on_classifier
from earmark.masking import mask_in
from earmark.masks import mask_of
from earmark.metrics.intervals import bootstrap
from earmark.metrics.stability import iou_of_top, rank_correlation
from earmark.types import seeded

RATE, HEARD_S = 16000, 5  # of the stand-in; a few clips are longer
LABELS = ("chainsaw", "clock_tick", "crackling_fire", "crying_baby", "dog", "helicopter", "rain", "rooster")
LABELS += ("sea_waves", "sneezing")
METHODS = {  # options that differ from the defaults; saving passes, not changing the method
    "grad-cam": {},
    "grad-cam-plus-plus": {},
    "smoothgrad": {"n_samples": 16},
    "integrated-gradients": {"n_steps": 16},
    "energy": {},
}
FITS = {  # with lambda_l1 of a short search: larger ones leave nothing, smaller ones nearly everything
    "lmac-zs": {"mask_stage": "stft", "reentry": "waveform", "lambda_l1": 0.1, "lambda_diversity": 0.5},
    "lmac-zs-apart": {
        **dict.fromkeys(("lambda_match", "lambda_l1", "lambda_diversity"), 0.0),
        "lambda_apart": 1.0,
        "epochs": 60,
    },
    "lmac-zs-features": {"mask_stage": "features", "reentry": "features", "lambda_l1": 0.02, "lambda_diversity": 0.5},
}
DOMAINS = {"waveform": "STFT, the sound enters again", "features": "mel features"}
AREAS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
SHARE = 0.1  # of the bins: what is compared, and heard
N_OTHERS = 3  # other labels that each clip is asked for
DRAWS = (0, 1)  # of re-drawn weights
TOWERS = {"text": ("text_model", "text_projection"), "audio": ("audio_model", "audio_projection")}
SOFT = ("average_increase", "average_drop", "average_gain", "faithfulness", "input_fidelity", "mask_mean")
EQUAL = ("average_drop", "average_gain", "faithfulness", "input_fidelity", "energy_kept")
SHORT = {"average_increase": "AI", "average_drop": "AD", "average_gain": "AG", "faithfulness": "FF"}
SHORT |= {"input_fidelity": "Fid-In", "mask_mean": "MM", "energy_kept": "EK"}


def clips_of(folds: tuple[int, ...], n: int | None = None) -> list:
    """Returns clips of ESC-10, at most so many, evenly spaced in the order of their labels."""
    found = em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10", folds=folds, group_column="freesound_id")
    clips = sorted(found, key=lambda clip: (clip.labels, clip.id))
    chosen = clips if n is None or n >= len(clips) else [clips[i * len(clips) // n] for i in range(n)]
    return [replace(clip, source=load_clip(clip).mono().resample(RATE)[: HEARD_S * RATE]) for clip in chosen]


def explainers(classifier: ZeroShot, runs: Path) -> dict:
    """Returns the explainers by name, fitted ones where they are there."""
    there = [name for name in FITS if (runs / name / "config.json").exists()]
    fitted = {name: em.load_explainer(runs / name, classifier=classifier) for name in there}
    others = {name: em.load_explainer(name, classifier=classifier, **options) for name, options in METHODS.items()}
    return {**fitted, **others, "random": em.load_explainer("random", classifier=classifier)}


def fit(classifier: ZeroShot, runs: Path, clips: list, **changes) -> None:
    """Trains decoders that are not there yet."""
    for name, options in FITS.items():
        folder = runs / name
        if (folder / "config.json").exists():
            continue
        report = lambda done, total, values, name=name: print(name, done, total, values, flush=True)  # noqa: E731
        settings = {**changes, **options, "most_alike": 1.0}  # told in the table, not refused
        made = fit_lmac_zs(classifier, clips, resume_dir=folder / ".resume", progress=report, **settings)
        made.diagnostics |= {"data": "esc10", "folds": "1,2,3"}
        made.save(folder)


def score(classifier: ZeroShot, runs: Path, clips: list):
    """Returns the scores of all methods under both domains."""
    return em.evaluate(
        classifier,
        clips,
        explainers(classifier, runs),
        areas=AREAS,
        reentry=tuple(DOMAINS),
        insertion=False,
        folder=runs / "scores",
        told={"data": "esc10"},
        progress=lambda done, total, values=None: print(f"scores: {done} of {total}", flush=True),
    )


# -- other prompts --------------------------------------------------------------------------------------------------


def rows_of(what: str, classifier: ZeroShot, runs: Path, clips: list, measure) -> dict[str, list[dict]]:
    """Returns the rows of each method, read where they are there; `measure(explainer, clip)` yields those of a clip."""
    rows = {}
    for name, explainer in explainers(classifier, runs).items():
        about = [what, name, explainer._config(), classifier.fingerprint, [clip.id for clip in clips], N_OTHERS, SHARE]
        key = hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()[:16]
        file = runs / what / f"{name}-{key}.json"
        if not file.exists():
            found = [row for clip in clips for row in measure(explainer, clip)]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_suffix(".part").write_text(json.dumps(found))
            file.with_suffix(".part").replace(file)
        rows[name] = json.loads(file.read_text())
        print(what, name, len(rows[name]), flush=True)
    return rows


def map_of(explainer, clip, prompt: str) -> torch.Tensor:
    """Returns a map on the grid of the STFT, `[1, freq, frame]`."""
    told = explainer.explain(clip, prompt)
    return told.evidence.ranking(told.grid)[None].float()


def phrasings(label: str) -> list[str]:
    """Returns another prompt of the training for a label, and one that was held out, of words that were not."""
    prompts = prompts_of(LABELS)
    return [prompts[label].train[1], held_out_kinds(prompts)["seen words"][label][0]]


def others_of(classifier: ZeroShot, clip, label: str) -> list[str]:
    """Returns some other labels, the nearest ones."""
    order = classifier.predict(clip.source).logits.argsort(descending=True).tolist()
    return [classifier.labels[i] for i in order if classifier.labels[i] != label][:N_OTHERS]


def prompt_rows(classifier: ZeroShot):
    """Returns what measures a clip: its decision's map beside those of other phrasings and of other labels."""

    def measure(explainer, clip) -> Iterator[dict]:
        label = classifier.predict(clip.source).top(1)[0]["label"]
        own = map_of(explainer, clip, label)
        asked = [("phrasing", words) for words in phrasings(label)]
        asked += [("other", other) for other in others_of(classifier, clip, label)]
        for kind, words in asked:
            found = map_of(explainer, clip, words)
            row = {"clip": clip.id, "group": clip.group, "kind": kind, **alike(own, found)}
            yield row | ({"toward": toward(classifier, clip, (own, found), (label, words))} if kind == "other" else {})

    return measure


def alike(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """Returns how alike two maps are."""
    return {"iou": float(iou_of_top(one, other, share=SHARE)), "rank": float(rank_correlation(one, other))}


def toward(classifier: ZeroShot, clip, maps, prompts) -> float:
    """Returns how much nearer than the decision's own evidence that for another prompt is to it, as margins go."""
    samples = classifier.prepare(clip.source)
    gains = torch.cat([mask_of(one, "area", SHARE).gain for one in maps])
    sounds = mask_in(samples.expand(2, -1), gains, classifier.stft)
    text = classifier.embed_text([classifier.template.replace("{}", words) for words in prompts])
    with torch.no_grad():
        near = classifier.embed_audio(sounds) @ text.T
    margin = near[:, 1] - near[:, 0]
    return float(margin[1] - margin[0])


# -- towers whose weights are drawn anew ----------------------------------------------------------------------------


def redrawn(classifier: ZeroShot, tower: str, seed: int) -> ZeroShot:
    """Returns the classifier with the weights of one tower in another order, each parameter within itself."""
    towers = copy.deepcopy(classifier.towers)
    for part in TOWERS[tower]:
        _shuffle(getattr(towers.model, part), seed)
    with torch.no_grad():
        text = towers.eval().text(list(classifier.prompts))
    return ZeroShot.of(classifier, PromptLogits(towers, text, classifier.template))


@torch.no_grad()
def _shuffle(module: nn.Module, seed: int) -> None:
    generator = seeded(seed, 78)
    for values in module.parameters():
        values.copy_(values.flatten()[torch.randperm(values.numel(), generator=generator)].view_as(values))


def tower_rows(classifier: ZeroShot):
    """Returns what measures a clip: its decision's map beside those with re-drawn parts."""
    others = {(tower, seed): redrawn(classifier, tower, seed) for tower in TOWERS for seed in DRAWS}

    def measure(explainer, clip) -> Iterator[dict]:
        label = classifier.predict(clip.source).top(1)[0]["label"]
        own = map_of(explainer, clip, label)
        changed = {key: on_classifier(explainer, other) for key, other in others.items()}
        if hasattr(explainer, "_untrained"):
            changed |= {("decoder", seed): explainer._untrained(seed) for seed in DRAWS}
        for (tower, seed), other in changed.items():
            yield {
                "clip": clip.id,
                "group": clip.group,
                "kind": tower,
                "seed": seed,
                **alike(own, map_of(other, clip, label)),
            }

    return measure


# -- tables ---------------------------------------------------------------------------------------------------------


def score_tables(summary: dict) -> str:
    """Returns a table for each domain: masks as they are on the left, equal areas on the right."""
    parts = []
    for stage, words in DOMAINS.items():
        soft = next(t for t in summary["tables"] if t["protocol"] == "soft" and t["reentry"] == stage)
        equal = next(t for t in summary["curves"] if t["reentry"] == stage)
        rows = []
        for left, right in zip(soft["rows"], equal["rows"], strict=True):
            cells = [cell(left["metrics"].get(m)) for m in SOFT] + [cell(right["metrics"].get(m)) for m in EQUAL]
            rows.append([f"`{left['explainer']}`", *cells])
        head = [words, *(f"own mask: {SHORT[m]}" for m in SOFT), *(f"equal area: {SHORT[m]}" for m in EQUAL)]
        parts.append(markdown(head, rows))
    return "\n\n".join(parts)


def told(rows: list[dict], kind: str, key: str) -> str:
    """Returns the mean over clips of one kind's rows with its interval over recordings."""
    by_clip = per_clip(rows, kind, key)
    return words_of(bootstrap(torch.tensor(list(by_clip.values())), groups_of(rows, by_clip)))


def per_clip(rows: list[dict], kind: str, key: str) -> dict[str, float]:
    """Returns each clip's mean."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] == kind and row.get(key) is not None:
            found.setdefault(row["clip"], []).append(row[key])
    return {clip: sum(values) / len(values) for clip, values in found.items()}


def groups_of(rows: list[dict], clips) -> list:
    """Returns what recording each clip is of."""
    groups = {row["clip"]: row["group"] or row["clip"] for row in rows}
    return [groups[clip] for clip in clips]


def words_of(found) -> str:
    """Returns a mean with its interval."""
    return "-" if not found.n else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def prompt_table(rows: dict[str, list[dict]]) -> str:
    """Returns how alike maps are between phrasings and between labels."""
    lines = []
    for name, own in rows.items():
        same, other = per_clip(own, "phrasing", "iou"), per_clip(own, "other", "iou")
        gap = bootstrap(torch.tensor([same[clip] - other[clip] for clip in same]), groups_of(own, same))
        cells = [told(own, kind, key) for key in ("iou", "rank") for kind in ("phrasing", "other")]
        lines.append([f"`{name}`", *cells[:2], words_of(gap), *cells[2:], told(own, "other", "toward")])
    head = ["method", "IoU: same meaning", "IoU: other label", "difference", "rank: same meaning", "rank: other label"]
    return markdown([*head, "toward the other label"], lines)


def tower_table(rows: dict[str, list[dict]]) -> str:
    """Returns how alike maps are to those of re-drawn parts."""
    kinds = (*TOWERS, "decoder")
    lines = [
        [f"`{n}`", *(told(own, kind, key) for key in ("iou", "rank") for kind in kinds)] for n, own in rows.items()
    ]
    return markdown(["method", *(f"{key}: {kind}" for key in ("IoU", "rank") for kind in kinds)], lines)


def fit_words(runs: Path) -> str:
    """Returns what the fits came to."""
    lines = []
    for name in FITS:
        about = json.loads((runs / name / "config.json").read_text())
        d, c = about["diagnostics"], about["config"]
        held = d["held_out"]
        size = [d["parameters"], d["n_clips"], c["epochs"], c["lambda_l1"], held["mask_mean"], held["overlap"]]
        lines.append([f"`{name}`", *size, f"{d['forward_passes']:,}"])
    head = ["fit", "parameters", "clips", "epochs", "lambda_l1", "mean of held-out masks", "overlap between prompts"]
    return markdown([*head, "forward passes of clips"], lines)


def tables(classifier: ZeroShot, runs: Path, clips: list) -> str:
    """Returns all tables."""
    summary = summarize(load_scores(runs / "scores"))
    decisions = summary["decisions"]
    title = f"{decisions['n']} decisions on fold 5, accuracy {100 * decisions['accuracy']:.1f} %, mean confidence "
    title += f"{decisions['mean_prob']:.3f}; equal areas from {100 * AREAS[0]:g} to {100 * AREAS[-1]:g} % of the bins."
    few = clips[:: max(1, len(clips) // 20)]
    prompts = rows_of("prompts", classifier, runs, few, prompt_rows(classifier))
    towers = rows_of("towers", classifier, runs, few, tower_rows(classifier))
    return "\n\n".join(
        [
            title,
            score_tables(summary),
            f"Maps of the same clip for another prompt ({len(few)} clips; the largest {100 * SHARE:g} % of the bins):",
            prompt_table(prompts),
            f"Maps before and after the weights of one part are drawn anew ({len(few)} clips, {len(DRAWS)} draws):",
            tower_table(towers),
            fit_words(runs),
        ]
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("all", "fit", "score", "prompts", "towers", "tables"))
    options.add_argument("--clap", default="runs/clap-small")
    options.add_argument("--clips", type=int, default=40)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--runs", type=Path, default=Path("runs/zero-shot"))
    given = options.parse_args()
    if not Path(given.clap).is_dir():
        print(f"{given.clap} is not there; train it with the command above, and run this again")
        return
    classifier = ZeroShot.of(load_classifier(given.clap, prompts=LABELS))
    clips = clips_of((5,), given.clips)
    if given.what in ("all", "fit"):
        fit(classifier, given.runs, clips_of((1, 2, 3)), epochs=given.epochs)
    if given.what in ("all", "score"):
        score(classifier, given.runs, clips)
    if given.what in ("all", "prompts", "towers", "tables"):
        put(
            "zero_shot",
            f"python benchmarks/zero_shot.py all --clips {given.clips} --epochs {given.epochs}",
            tables(classifier, given.runs, clips),
        )


if __name__ == "__main__":
    main()
