"""`earmark train codec` and `earmark train latent-classifier`."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from ..classifiers.codec.train_config import CodecConfig
from ..training.config import LatentAugmentConfig, LoopConfig
from .options import command, save_params, say, with_config
from .progress import progress


@command
@with_config("loop", LoopConfig)
@with_config("size", CodecConfig)
def codec(
    *,
    data: Annotated[
        list[str], typer.Option(help="Folder of sounds, scenes:N, or esc50:PATH and the like; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the codec.")],
    folds: Annotated[str | None, typer.Option(help="Folds to learn from, such as 1,2,3.")] = None,
    select_folds: Annotated[str | None, typer.Option(help="Folds that choose the epoch.")] = None,
    steps: Annotated[int, typer.Option(help="Steps in all, in place of --epochs.")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the training clips.")] = 30,
    batch_size: Annotated[int, typer.Option(help="Crops per step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak; cosine to zero after the warm-up.")] = 1e-4,
    loop: LoopConfig,
    size: CodecConfig,
) -> dict[str, Any]:
    """Train a small EnCodec on sounds, and report how well it gives held-out ones back."""
    from ..classifiers.codec.train import fit_codec
    from ..data.published import data_name
    from ..store.filling import filling, only_one
    from .datasets import DataOptions, training_clips

    parts = [training_clips(DataOptions(one, seed=loop.seed), folds, select_folds) for one in data]
    training, selection = ([clip for one in parts for clip in getattr(one, name)] for name in ("training", "selection"))
    options = {"data": data, "folds": folds, "select_folds": select_folds, "steps": steps, **vars(loop), **vars(size)}
    about: dict[str, Any] = {
        "steps": steps,
        "name": out.resolve().name,
        "data": " and ".join(data_name(one) for one in data),
        "resume_dir": out / ".resume",
    }
    with only_one(out):
        with filling(out, "config.json", ("README.md",)) as part, progress("training") as report:
            summary = fit_codec(training, selection, part, size, loop, progress=report, **about)
            save_params(part, "train codec", options)
        shutil.rmtree(out / ".resume", ignore_errors=True)
    say(f"codec in {out}: SI-SDR {summary['si_sdr_db']:.2f} dB on {summary['n_selection']} held-out clips")
    return {"folder": str(out), **summary}


@command
@with_config("loop", LoopConfig)
@with_config("augmentation", LatentAugmentConfig)
def latent_classifier(
    *,
    codec: Annotated[str, typer.Option(help="Folder of an EncodecModel, or lapped: windowed cosines at 16 kHz.")],
    data: Annotated[str, typer.Option(help="Folder with metadata.csv or one per label, scenes:N, or esc50:PATH.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    folds: Annotated[str | None, typer.Option(help="Folds to learn from, such as 1,2,3.")] = None,
    select_folds: Annotated[str | None, typer.Option(help="Folds that choose the epoch.")] = None,
    test_folds: Annotated[str | None, typer.Option(help="Folds that are only reported.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label; several are separated by ';'.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what must stay together.")] = None,
    multilabel: Annotated[bool, typer.Option(help="Clips may have several labels.")] = False,
    clip_s: Annotated[float, typer.Option(help="Seconds that each clip is cut or padded to.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps in all, in place of --epochs.")] = 0,
    width: Annotated[int, typer.Option(help="Width of a token.")] = 256,
    layers: Annotated[int, typer.Option(help="Transformer layers.")] = 3,
    heads: Annotated[int, typer.Option(help="Heads of each.")] = 8,
    positions: Annotated[str, typer.Option(help="sinusoidal or learned.")] = "sinusoidal",
    levels: Annotated[bool, typer.Option(help="Let it see the log of squared latents too; for small data.")] = False,
    continuous: Annotated[bool, typer.Option(help="Latents before they are quantized.")] = False,
    loop: LoopConfig,
    augmentation: LatentAugmentConfig,
) -> dict[str, Any]:
    """Train a transformer on the latents of a frozen codec; `load_classifier` reads its folder."""
    from ..classifiers.codec.fit import LatentRecipe, fit_latent_classifier, score_latent_classifier
    from ..classifiers.codec.latent import LatentConfig
    from ..classifiers.codec.load import load_codec
    from ..data.published import data_name
    from ..store.filling import filling, only_one
    from .datasets import DataOptions, training_clips

    known = load_codec(codec, sample_rate=16000)
    split = training_clips(DataOptions(data, label_column, group_column, loop.seed), folds, select_folds, test_folds)
    size = LatentConfig(width, layers, heads, 2 * width, positions=positions, levels=levels)  # type: ignore[arg-type]
    recipe = LatentRecipe(
        "multilabel" if multilabel else "multiclass", clip_s, loop, size, continuous, steps, augmentation
    )
    options: dict[str, Any] = {
        "codec": codec,
        "data": data,
        "folds": folds,
        "select_folds": select_folds,
        "test_folds": test_folds,
    }
    options |= {"label_column": label_column, "group_column": group_column, "multilabel": multilabel, "clip_s": clip_s}
    options |= {
        "steps": steps,
        "width": width,
        "layers": layers,
        "heads": heads,
        "positions": positions,
        "levels": levels,
    }
    with only_one(out):
        with filling(out, "config.json", ("README.md",)) as part, progress("training") as report:
            places: dict[str, Any] = {"codec_folder": codec, "home": out, "resume_dir": out / ".resume"}
            summary = fit_latent_classifier(
                split.training, split.selection, part, known, recipe, progress=report, **places
            )
            if split.test:
                summary["test"] = score_latent_classifier(part, split.test, clip_s, known)
            _name(part, out.resolve().name, summary, {"data": data_name(data), "folds": folds, "codec": known.name})
            save_params(
                part,
                "train latent-classifier",
                {**options, "continuous": continuous, **vars(augmentation), **vars(loop)},
            )
        shutil.rmtree(out / ".resume", ignore_errors=True)
    say(f"model in {out}: {summary['score']:.4f} on held-out clips; test: {summary.get('test', 'nothing')}")
    return {"folder": str(out), **summary}


def _name(folder: Path, name: str, summary: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes name and card of a classifier."""
    import json

    from ..classifiers.card import write_whole

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["name"] = name
    config["card"] = {**about, "selection_score": summary["score"], "test": summary.get("test")}
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    lines = [f"| {key} | {value} |" for key, value in config["card"].items()]
    text = f"# {name}\n\nA transformer on the latents of a frozen codec, trained by `earmark`.\n\n| | |\n|---|---|\n"
    write_whole(folder / "README.md", text + "\n".join([*lines, f"| labels | {', '.join(summary['labels'])} |"]) + "\n")
