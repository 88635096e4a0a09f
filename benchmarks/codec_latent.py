"""Codec-latent explanations: fidelity and deletion of latents and of samples, L and H, with intervals.

    python benchmarks/codec_latent.py --codec CODEC --classifier LATENT --data esc50:PATH --folds 5 --n 40
    python benchmarks/codec_latent.py --fast

The codec and the classifier of latents are made by `earmark train codec` and `earmark train latent-classifier`; any
classifier of waveforms is taken as well, and explained through the codec. `--fast` trains both for some steps on
generated scenes and writes no table.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from tables import markdown, put

from earmark.classifiers.codec.fit import LatentRecipe, fit_latent_classifier
from earmark.classifiers.codec.latent import LatentConfig
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.codec.train import fit_codec
from earmark.classifiers.codec.train_config import CodecConfig
from earmark.classifiers.load import load_classifier
from earmark.cli.datasets import DataOptions, listed_clips
from earmark.data.scenes import scenes
from earmark.evaluation.codec import PUBLISHED, SHARES, CodecCurves, CodecProtocol, codec_curves
from earmark.explainers.codec_latent.explainer import CodecLatent
from earmark.training.config import LoopConfig

REPLACEMENTS = ("noise", "silence")
ARMS = (("latent", "L"), ("latent", "H"), ("input", "H"))


def main() -> None:
    """Measures, and writes a table for each replacement."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--codec", default="lapped")
    options.add_argument("--classifier")
    options.add_argument("--data")
    options.add_argument("--folds")
    options.add_argument("--n", type=int, default=40)
    options.add_argument("--draws", type=int, default=20)
    options.add_argument("--steps", type=int, default=64)
    options.add_argument("--granularity", default="entry")
    options.add_argument("--name", default="codec-latent", help="the section of the README")
    options.add_argument("--out", type=Path, help="a JSON file for all points")
    options.add_argument("--fast", action="store_true")
    given = options.parse_args()
    if given.fast:
        with TemporaryDirectory() as folder:
            print(tables_of(stand_in(Path(folder)), scenes(2, 99), given, draws=2, n_steps=8))
        return
    clips = listed_clips(DataOptions(given.data), given.folds, given.n)
    text = tables_of(given, clips, given, given.draws, given.steps)
    put(given.name, f"python benchmarks/codec_latent.py --name {given.name} --n {len(clips)}", text)


def stand_in(folder: Path) -> argparse.Namespace:
    """Returns a codec and a classifier that were trained for a moment."""
    loop, small = (
        LoopConfig(batch_size=4),
        CodecConfig(filters=4, channels=16, codebook_size=32, codebooks=1, clip_s=1.0),
    )
    fit_codec(scenes(8, 0), scenes(2, 1), folder / "codec", small, loop, steps=4)
    codec = load_codec(folder / "codec")
    recipe = LatentRecipe("multilabel", 5.0, loop, LatentConfig(32, 1, 2, 32), steps=4)
    fit_latent_classifier(scenes(24, 0), scenes(2, 1), folder / "g", codec, recipe, codec_folder=folder / "codec")
    return argparse.Namespace(codec="lapped", classifier=str(folder / "g"))


def tables_of(models, clips, given, draws: int, n_steps: int) -> str:
    """Returns the tables of all replacements."""
    classifier = load_classifier(models.classifier)
    texts, points = [], []
    shares = (0.0, 0.1, 1.0) if given.fast else tuple(sorted({*SHARES, *PUBLISHED}))
    for replacement in REPLACEMENTS:
        settings = {"replacement": replacement, "granularity": given.granularity, "n_steps": n_steps}
        explainer = CodecLatent(classifier, codec=models.codec, **settings)
        curves = codec_curves(explainer, clips, CodecProtocol(shares, draws))
        texts.append(f"Replaced by {replacement}:\n\n{areas(curves)}\n\n{grid(curves)}")
        points += [{**vars(point), "replacement": replacement} for point in curves.points]
    if given.out:
        given.out.write_text(json.dumps(points))
    return "\n\n".join(texts)


def areas(curves: CodecCurves) -> str:
    """Returns areas under the curves with intervals, and under those in H their share between floor and ceiling."""
    rows = []
    for arm, domain in ARMS:
        for ranking in dict.fromkeys(point.ranking for point in curves.of(arm=arm)):
            which = {"arm": arm, "domain": domain, "ranking": ranking}
            found = [curves.area(value, **which, kept=kept) for kept in ("keep_top", "drop_top") for value in VALUES]
            rows.append([arm, domain, ranking, *(f"{a.mean:.3f} [{a.low:.3f}, {a.high:.3f}]" for a in found)])
    return markdown(["arm", "domain", "ranking", *(f"{k}: {v}" for k in ("kept", "removed") for v in VALUES)], rows)


VALUES = ("agrees", "prob")


def grid(curves: CodecCurves) -> str:
    """Returns the agreement of what signed rankings keep, at each share, with the energy that is heard."""
    rows = []
    for share in sorted({point.share for point in curves.points}):
        row: list[object] = [f"{100 * share:.4g} %"]
        for arm, domain in ARMS:
            which = {"arm": arm, "domain": domain, "ranking": "signed", "kept": "keep_top", "share": share}
            found = curves.interval("agrees", **which)
            row += [f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]", curves.interval("energy", **which).mean]
        rows.append(row)
    names = [f"{arm} {domain}: {what}" for arm, domain in ARMS for what in ("agreement", "energy")]
    return markdown(["kept", *names], rows)


if __name__ == "__main__":
    main()
