"""Codec-latent explanations: what is kept and what is taken out of latents and of samples, with intervals.

    python benchmarks/codec_latent.py [--n 40] [--replacements noise] [--draws 3] [--steps 32]
    python benchmarks/codec_latent.py --fast

Two tasks (words, ESC-10) on two codecs (a small EnCodec that is trained here, and `lapped`, exact and without weights),
each for the embedded classifier, which hears what latents decode to, and for a classifier of the latents themselves.
What is missing in `runs/` is trained first, by the commands in `RECIPES`: some 40 minutes on one core. A run that was
killed goes on. `--fast` trains for some steps on generated scenes and writes no table.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from tables import markdown, put

import earmark as em
from earmark.classifiers.codec.fit import LatentRecipe, fit_latent_classifier
from earmark.classifiers.codec.latent import LatentConfig
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.codec.train import fit_codec
from earmark.classifiers.codec.train_config import CodecConfig
from earmark.classifiers.load import load_classifier
from earmark.data.scenes import scenes
from earmark.evaluation.codec import PUBLISHED, CodecCurves, CodecProtocol, Point, codec_curves
from earmark.explainers.codec_latent.explainer import CodecLatent
from earmark.training.config import LoopConfig

DATA = Path(os.environ.get("EARMARK_DATA", "data"))
PROGRAM = str(Path(sys.executable).parent / "earmark")
CODEC = Path("runs/codec-small")
OUT = Path("runs/codec-latent")
WORDS, ESC10 = DATA / "speech_commands_test", DATA / "esc10"
TASKS = {"words": (WORDS, "speaker", 1.0), "esc10": (ESC10, "freesound_id", 2.0)}
CODECS = {"codec-small": str(CODEC), "lapped": "lapped"}
EMBEDDED = {"words": "words-cnn", "esc10": "esc10-cnn"}
CASES = {
    f"{task}-{codec}{kind}": (task, codec, kind) for kind, task, codec in product(("-sound", ""), TASKS, CODECS)
}  # -sound: the embedded classifier
STEPS = {"words": "1000", "esc10": "600"}
FOLDS = ["--folds", "1,2,3", "--select-folds", "4"]
RECIPES = {
    CODEC: ["codec", "--data", str(WORDS), "--data", str(ESC10), *FOLDS, "--steps", "573"],
    **{
        Path(f"runs/latent-{task}-{codec}"): [
            *["latent-classifier", "--codec", at, "--data", str(data), *FOLDS, "--test-folds", "5"],
            *[
                "--clip-s",
                str(clip_s),
                "--width",
                "128",
                "--steps",
                STEPS[task],
                "--learning-rate",
                "0.001",
                "--levels",
            ],
        ]
        for task, (data, _, clip_s) in TASKS.items()
        for codec, at in CODECS.items()
    },
}
ATTRIBUTIONS = {
    "IG, zero": {"attribution": "integrated-gradients", "baseline": "zero"},
    "IG, noise": {"attribution": "integrated-gradients", "baseline": "noise"},
    "gradient SHAP": {"attribution": "gradient-shap", "baseline": "zero"},
    "DeepLIFT": {"attribution": "deeplift", "baseline": "zero"},
}
CONTROLS = {"energy": "latent energy", "random": "random latents"}
INPUTS = {"signed": "IG of samples", "loudest": "loudest samples", "random": "random samples"}


def main() -> None:
    """Trains what is missing, measures, and writes the section."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, default=40, help="clips of fold 5 for each task")
    options.add_argument("--replacements", default="noise", help="such as noise,silence")
    options.add_argument("--draws", type=int, default=3)
    options.add_argument("--steps", type=int, default=32)
    options.add_argument("--only", default="", help="such as words-lapped-sound,words-codec-small")
    options.add_argument("--fast", action="store_true")
    given = options.parse_args()
    if given.fast:
        fast()
        return
    chosen = given.only.split(",") if given.only else list(CASES)
    for folder in [CODEC, *(Path(f"runs/latent-{name}") for name in chosen if not name.endswith("-sound"))]:
        if not (folder / "config.json").exists():
            subprocess.run([PROGRAM, "train", *RECIPES[folder], "--out", str(folder)], check=True)
    texts, missing = [accuracies()], []
    for replacement, name in product(given.replacements.split(","), CASES):
        task, codec, kind = CASES[name]
        title = f"{EMBEDDED[task] if kind else 'the classifier of latents'} on {task}, latents of {codec}"
        title += f", replaced by {replacement}"
        if name in chosen or all(path_of(name, replacement, given, one).exists() for one in ATTRIBUTIONS):
            texts.append(f"**{title}**, {given.n} clips.")
            texts.append(tables_of(measured(name, replacement, given)))
        else:
            missing.append(title)
    texts += [f"Not measured for this version: {'; '.join(missing)}."] if missing else []
    put("codec-latent", f"python benchmarks/codec_latent.py --n {given.n} --draws {given.draws}", "\n\n".join(texts))


def path_of(name: str, replacement: str, given: argparse.Namespace, attribution: str) -> Path:
    """Returns where the points of an attribution are kept."""
    return OUT / f"{name}-{replacement}-{given.n}-{given.draws}-{given.steps}-{attribution}.json"


def measured(case: str, replacement: str, given: argparse.Namespace) -> dict[str, CodecCurves]:
    """Returns curves by the name of the attribution; what was measured before is read."""
    task, codec, kind = CASES[case]
    data, group, clip_s = TASKS[task]
    classifier = load_classifier(EMBEDDED[task] if kind else f"runs/latent-{task}-{codec}")
    through = {"codec": CODECS[codec]} if kind else {}
    heard = em.folder(data, folds=(1,), group_column=group)
    sounds = [em.read(heard[i * len(heard) // 8].source) for i in range(8)]
    references = [sound.fit(round(clip_s * sound.sample_rate)) for sound in sounds]
    clips = sorted(em.folder(data, folds=(5,), group_column=group), key=lambda clip: clip.id)
    clips = [replace(clips[i * len(clips) // given.n], start_s=0.0, end_s=clip_s) for i in range(given.n)]
    found = {}
    for name, settings in ATTRIBUTIONS.items():
        path = path_of(case, replacement, given, name)
        first = name == next(iter(ATTRIBUTIONS))
        more = {} if first else {"arms": ("latent",), "rankings": ("signed",)}
        protocol = CodecProtocol(PUBLISHED, given.draws, **more)
        settings = {**settings, **through, "replacement": replacement, "n_steps": given.steps}
        explainer = CodecLatent(classifier, references=references, **settings)
        found[name] = kept(path, lambda e=explainer, p=protocol: codec_curves(e, clips, p), protocol)
        print(path.stem, len(found[name].points), flush=True)
    return found


def kept(path: Path, measure, protocol: CodecProtocol) -> CodecCurves:
    """Returns curves from a file, or measures and keeps them."""
    if path.exists():
        return CodecCurves(tuple(Point(**row) for row in json.loads(path.read_text())), protocol)
    curves = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps([asdict(point) for point in curves.points]))
    part.replace(path)
    return curves


def accuracies() -> str:
    """Returns what codec and classifiers come to on sound that they have not heard."""
    about = json.loads((CODEC / "training.json").read_text())["numbers"]
    codec = f"`codec-small`: {about['steps']} steps; SI-SDR {about['si_sdr_db']:.2f} dB (median "
    codec += f"{about['si_sdr_median_db']:.2f}), log-spectral distance {about['distance_db']:.2f} dB on "
    codec += f"{about['n_selection']} clips of fold 4, before training {about['begin_si_sdr_db']:.2f} dB and "
    codec += f"{about['begin_distance_db']:.2f} dB. {about['bandwidth']:g} kbit/s, {about['frame_rate']:g} frames/s."
    rows = []
    for task in TASKS:
        for name in CODECS:
            config = Path(f"runs/latent-{task}-{name}/config.json")
            if not config.exists():
                continue
            card = json.loads(config.read_text())["card"]
            rows.append([task, name, card["test"]["accuracy"], card["test"]["n"]])
    return codec + "\n\n" + markdown(["classifier of latents", "codec", "accuracy on fold 5", "clips"], rows)


def rows_of(found: dict[str, CodecCurves]) -> list[tuple[str, CodecCurves, str, str]]:
    """Returns name, curves, arm and ranking of each row."""
    first = next(iter(found.values()))
    rows = [(name, curves, "latent", "signed") for name, curves in found.items()]
    rows += [(name, first, "latent", ranking) for ranking, name in CONTROLS.items()]
    return rows + [(name, first, "input", ranking) for ranking, name in INPUTS.items()]


def tables_of(found: dict[str, CodecCurves]) -> str:
    """Returns areas of all rankings, and the published grid of those that the paper compares."""
    return f"{areas(found)}\n\n{grid(found, 'keep_top')}\n\n{grid(found, 'drop_top')}"


def areas(found: dict[str, CodecCurves]) -> str:
    """Returns areas under the curves of agreement with intervals: high where kept, low where removed."""
    rows = []
    for name, curves, arm, ranking in rows_of(found):
        row = [name]
        for kept_set in ("keep_top", "drop_top"):
            for domain in ("L", "H"):
                which = {"arm": arm, "domain": domain, "ranking": ranking, "kept": kept_set}
                row.append(shown(curves.area("agrees", **which)) if curves.of(**which) else "")
        rows.append(row)
    return markdown(["area of agreement by", *(f"{k}, {d}" for k in ("kept", "removed") for d in "LH")], rows)


def grid(found: dict[str, CodecCurves], kept_set: str) -> str:
    """Returns agreement at each published share, as a percentage of latents or samples, in H; L where told."""
    first, rows = next(iter(found.values())), []
    cases = [(name, curves, arm, ranking, "H") for name, curves, arm, ranking in rows_of(found)]
    for name, curves, arm, ranking, domain in [(*rows_of(found)[0], "L"), *cases]:
        row = [f"{name} ({domain})"]
        for share in sorted(first.protocol.shares):
            which = {"arm": arm, "domain": domain, "ranking": ranking, "kept": kept_set, "share": share}
            row.append(shown(curves.interval("agrees", **which)))
        rows.append(row)
    title = "kept" if kept_set == "keep_top" else "removed"
    return markdown([title, *(f"{100 * share:.3g} %" for share in sorted(first.protocol.shares))], rows)


def shown(found) -> str:
    """Returns mean and interval."""
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def fast() -> None:
    """Goes through all of it with a codec and a classifier that were trained for a moment."""
    small = CodecConfig(filters=4, channels=16, codebook_size=32, codebooks=1, clip_s=1.0)
    loop = LoopConfig(batch_size=4)
    with TemporaryDirectory() as name:
        folder = Path(name)
        fit_codec(scenes(8, 0), scenes(2, 1), folder / "codec", small, loop, steps=4)
        codec = load_codec(folder / "codec")
        recipe = LatentRecipe("multilabel", 5.0, loop, LatentConfig(32, 1, 2, 32), steps=4)
        fit_latent_classifier(scenes(24, 0), scenes(2, 1), folder / "g", codec, recipe, codec_folder=folder / "codec")
        classifier = load_classifier(folder / "g")
        found = {}
        for label, settings in ATTRIBUTIONS.items():
            explainer = CodecLatent(classifier, n_steps=4, **settings)
            found[label] = codec_curves(explainer, scenes(2, 99), CodecProtocol((0.0, 0.1, 1.0), 2))
        print(tables_of(found))


if __name__ == "__main__":
    main()
