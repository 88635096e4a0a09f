"""A page with sound over explanations of two sounds at once: a prompt, a label, or codec latents for each of them.

    EARMARK_DATA=... python benchmarks/examples.py [--out runs/examples]

Clips of fold 5 of ESC-10, each mixed with another one at the same level, are explained for both: by LMAC-ZS for two
prompts and for one rather than the other (runs/zero-shot/lmac-zs-apart, see zero_shot.py), by L-MAC for two labels
(runs/decoders/esc10-cnn/lmac-apart, see decoders.py), and single clips through codec latents. What is missing in runs/
is left out. `earmark report` makes the page, report.html; the table says how much nearer each sound is to its own
source than the mixture is, in dB of SI-SDR. The recordings' licence keeps the page from being shipped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch
from tables import markdown, put

import earmark as em
from earmark.data.mixtures import Mixture
from earmark.data.recipes import parse_mixture
from earmark.metrics.separation import si_sdr

PROGRAM = str(Path(sys.executable).parent / "earmark")
PAIRS = (("dog", "rain"), ("rooster", "sea_waves"), ("crying_baby", "helicopter"), ("sneezing", "crackling_fire"))
CLAP = "runs/clap-small?prompts=" + ",".join(sorted({label.replace("_", " ") for pair in PAIRS for label in pair}))
MASKS = {
    "prompt": (CLAP, "runs/zero-shot/lmac-zs-apart"),
    "label": ("esc10-cnn", "runs/decoders/esc10-cnn/lmac-apart"),
}
LATENTS = {"lapped": "lapped", "codec-small": "runs/codec-small"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples"))
    out = parser.parse_args().out
    data = Path(os.environ["EARMARK_DATA"]) / "esc10"
    clips = em.folder(data, folds=(5,), group_column="freesound_id")
    first = {label: next(clip for clip in clips if label in clip.labels) for pair in PAIRS for label in pair}
    rows = []
    for pair in PAIRS:
        sounds = mixed(*(first[label] for label in pair), out / "clips" / f"{'-and-'.join(pair)}.wav")
        for kind, (classifier, explainer) in MASKS.items():
            if not (Path(explainer) / "config.json").exists():
                continue
            for place, label in enumerate(pair):
                name = label.replace("_", " ") if kind == "prompt" else label
                folder = out / f"{kind}-{'-and-'.join(pair)}-{label}"
                explain(sounds["file"], classifier, explainer, folder, "--target", name)
                rows.append([kind, f"{pair[0]} + {pair[1]}", name, gained(folder, sounds, place)])
            if kind == "prompt":
                names = [label.replace("_", " ") for label in pair]
                folder = out / f"contrast-{'-and-'.join(pair)}"
                explain(sounds["file"], classifier, explainer, folder, "--target", names[0], "--against", names[1])
    for label in PAIRS[0]:
        for name, codec in LATENTS.items():
            if codec != "lapped" and not Path(codec).exists():
                continue
            folder = out / f"latents-{label}-{name}"
            path = out / "clips" / f"{label}.wav"
            em.read(first[label].source).mono().save(path)
            explain(path, "esc10-cnn", "codec-latent", folder, "--set", f"codec={codec}")
    subprocess.run([PROGRAM, "report", str(out)], check=True)
    text = markdown(["told by", "clip", "asked for", "nearer to its source, dB"], rows)
    put("examples", f"python benchmarks/examples.py --out {out}", text)


def mixed(one, other, path: Path) -> dict:
    """Writes one clip with another at the same level; returns the file and both sounds."""
    parts = Mixture(one, other, parse_mixture("ood:0")[0]).parts()
    path.parent.mkdir(parents=True, exist_ok=True)
    parts.mixture.save(path)
    return {"file": path, "sounds": (parts.source, parts.contaminant), "mixture": parts.mixture}


def explain(path: Path, classifier: str, explainer: str, folder: Path, *more: str) -> None:
    """Runs the command."""
    named = ["--classifier", classifier, "--explainer", explainer, "--out", str(folder)]
    subprocess.run([PROGRAM, "explain", str(path), *named, *more], check=True, stdout=subprocess.DEVNULL)


def gained(folder: Path, sounds: dict, place: int) -> str:
    """Returns how much nearer what is heard is to its own source than the mixture."""
    heard = em.read(next(folder.rglob("evidence.flac"))).samples
    own, whole = sounds["sounds"][place].samples, sounds["mixture"].samples
    difference = si_sdr(heard, own)[0] - si_sdr(whole, own)[0]
    return f"{float(torch.as_tensor(difference)):.1f}"


if __name__ == "__main__":
    main()
