"""`earmark fit`: train an explainer on a frozen classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..explainers.apex.config import ApexConfig
from ..explainers.fitted_config import FitConfig
from ..explainers.l2i.config import L2iConfig
from ..explainers.lmac.config import LmacConfig
from ..explainers.lmac_td.config import LmacTdConfig
from ..explainers.lmac_zs.config import LmacZsConfig
from .fit_layers import Layered, blocks_of, fit_layers
from .options import command, save_params, say, with_config
from .progress import progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..types import Clip

#: Fitted explainers beside APEX, and the function that fits each.
FITS = {
    "lmac": "earmark.explainers.lmac.train:fit_lmac",
    "lmac-td": "earmark.explainers.lmac_td.train:fit_lmac_td",
    "lmac-zs": "earmark.explainers.lmac_zs.train:fit_lmac_zs",
    "l2i": "earmark.explainers.l2i.train:fit_l2i",
}

OutOption = Annotated[Path, typer.Option(help="Folder for the explainer.")]


@dataclass(frozen=True)
class Sources:
    """Which clips of which data a fit learns from, and for which classifier."""

    data: str  # Folder of clips, scenes:N, or NAME:PATH of a published set.
    classifier: str = "esc10-cnn"  # Embedded name, folder, or file.py:function.
    folds: str | None = None  # Folds to learn from; default: the classifier's own.
    label_column: str = "label"  # Column with the label.
    group_column: str | None = None  # Column with what must stay together.
    device: str = "cpu"  # Where the model runs.


@dataclass(frozen=True)
class MixedSources(Sources):
    """The same for a decoder, which may learn from mixtures."""

    mixture: str | None = None  # What is mixed into the clips to learn from: ood, white:6, id:0:PATH, ...


app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Fit an explainer to a classifier, which is not changed."
)


@app.command("apex")
@command
@with_config("sources", Sources)
@with_config("config", ApexConfig)
def apex(
    *,
    sources: Sources,
    out: OutOption,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached features; default: inside --out.")] = None,
    cache_gb: Annotated[float, typer.Option(help="Most disk space for cached maps, in GB.")] = 4.0,
    layer: Annotated[
        str | None, typer.Option(help="Block of an encoder, from 1; or all, or 3,6,9, each into --out/layer-NN.")
    ] = None,
    standardize: Annotated[
        bool | None,
        typer.Option(
            "--standardize/--no-standardize",
            help="Bring channels to equal size before purity is learned; default: with --layer.",
        ),
    ] = None,
    config: ApexConfig,
) -> dict[str, Any]:
    """Learn a basis of pure channels and collect their prototypes."""
    from ..classifiers.load import load_classifier
    from ..explainers.apex.fit import suited
    from ..store.filling import only_one

    model = load_classifier(sources.classifier, device=sources.device)
    blocks = {} if layer is None else blocks_of(model, layer)
    one = model if layer is None else next(iter(blocks.values()))
    config = config if layer is None else replace(config, standardize=standardize is not False)
    if (fitting := suited(config, one)) != config:
        say(f"The map of {model.name} has no frequency axis, so the view is {fitting.view} in place of {config.view}.")
        config = fitting
    if one.head.notice:
        say(one.head.notice)
    folds, clips, about = _clips(model, sources, config.seed)
    say(f"a share of {config.held_out:g} is held out by group")
    options = {
        **asdict(sources),
        "folds": folds,
        "cache": cache,
        "cache_gb": cache_gb,
        "layer": layer,
        **config.to_dict(),
        "standardize": standardize,
    }
    with only_one(out):
        if layer is not None and (layer.strip() == "all" or len(blocks) > 1):
            return fit_layers(Layered(model, clips, config, out, cache, cache_gb, about, options), list(blocks))
        about |= {} if layer is None else {"layer": next(iter(blocks))}
        diagnostics = _fit(one, clips, config, out, cache or out / ".cache", cache_gb, about, options)
    say(f"explainer in {out}")
    return {"folder": str(out), "diagnostics": diagnostics}


@app.command("lmac")
@command
@with_config("sources", MixedSources)
@with_config("config", LmacConfig)
def lmac(
    *,
    sources: MixedSources,
    out: OutOption,
    start: Annotated[Path | None, typer.Option(help="A fitted L-MAC to go on from; by --mixture it is guided.")] = None,
    config: LmacConfig,
) -> dict[str, Any]:
    """Train a decoder that draws a mask which can be heard."""
    return _decoder("lmac", sources, config.with_preset(), out, start)


@app.command("lmac-td")
@command
@with_config("sources", MixedSources)
@with_config("config", LmacTdConfig)
def lmac_td(
    *,
    sources: MixedSources,
    out: OutOption,
    config: LmacTdConfig,
) -> dict[str, Any]:
    """Train a separator whose output, a sound of its own, is the evidence."""
    return _decoder("lmac-td", sources, config.with_preset(), out)


@app.command("lmac-zs")
@command
@with_config("sources", MixedSources)
@with_config("config", LmacZsConfig)
def lmac_zs(
    *,
    sources: MixedSources,
    out: OutOption,
    classifier: Annotated[str, typer.Option(help="Folder of a CLAP model, and prompts: clap/?prompts=dog,rain.")],
    config: LmacZsConfig,
) -> dict[str, Any]:
    """Train a decoder that draws what of a sound speaks for a text; no labels are needed."""
    return _decoder("lmac-zs", sources, config, out)


@app.command("l2i")
@command
@with_config("sources", MixedSources)
@with_config("config", L2iConfig)
def l2i(
    *,
    sources: MixedSources,
    out: OutOption,
    config: L2iConfig,
) -> dict[str, Any]:
    """Learn a dictionary of sounds, and which of them speak for each label."""
    return _decoder("l2i", sources, config.with_preset(), out)


def _decoder(
    method: str, sources: MixedSources, config: FitConfig, out: Path, start: Path | None = None
) -> dict[str, Any]:
    """Fits a decoder into a folder, going on from what a killed fit left there."""
    from ..classifiers.load import load_classifier
    from ..data.mixtures import mix
    from ..explainers.load import load_explainer
    from ..store.filling import filling, only_one

    module, _, name = FITS[method].partition(":")
    fit = getattr(import_module(module), name)
    model = load_classifier(sources.classifier, device=sources.device)
    folds, clips, about = _clips(model, sources, config.seed)
    say(f"a share of {config.held_out:g} is held out by group")
    about |= {"mixture": sources.mixture}
    clips = mix(clips, sources.mixture, seed=config.seed) if sources.mixture else clips
    more = {"start": load_explainer(start, classifier=model)} if start else {}
    with only_one(out):
        with progress("fitting") as report:
            explainer = fit(
                model, clips, config, progress=report, resume_dir=out / ".resume", log_dir=out / "logs", **more
            )
        explainer.diagnostics |= about
        with filling(out, "config.json", ()) as part:
            explainer.save(part)
            save_params(part, f"fit {method}", {**asdict(sources), "folds": folds, "start": start, **config.to_dict()})
        clear_working_files(out)
    for clip_id, why in explainer.diagnostics.get("skipped", {}).items():
        say(f"skipped {clip_id}: {why}")
    say(f"explainer in {out}")
    return {"folder": str(out), "diagnostics": explainer.diagnostics}


def _clips(model: "Classifier", sources: Sources, seed: int) -> "tuple[str | None, Sequence[Clip], dict[str, Any]]":
    """Returns the folds and the clips to learn from, and what the explainer's folder says of them."""
    from .datasets import DataOptions, clips_of, data_name, groups_of, say_groups

    folds = own_folds(model.card, sources.data, sources.folds)
    clips = clips_of(DataOptions(sources.data, sources.label_column, sources.group_column, seed), folds)
    say(f"{len(clips)} clips to learn from")
    say_groups(sources.data, clips, sources.group_column)
    groups = groups_of(sources.data, clips, sources.group_column)
    return folds, clips, {"data": data_name(sources.data), "folds": folds, "group_column": groups}


def _fit(
    model: "Classifier",
    clips: "Sequence[Clip]",
    config: ApexConfig,
    out: Path,
    cache: Path,
    cache_gb: float,
    about: dict[str, Any],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Fits into a folder, going on from what a killed fit left there, and returns the diagnostics."""
    from ..explainers.apex.fit import fit_apex
    from ..explainers.apex.layers import fit_apex_layer
    from ..store.filling import filling

    fit, resume = fit_apex_layer if "layer" in about else fit_apex, out / ".resume"
    with progress("fitting") as report:
        explainer = fit(model, clips, config, cache_dir=cache, cache_gb=cache_gb, resume_dir=resume, progress=report)
    explainer.diagnostics |= about
    with filling(out, "config.json", ("bank", "bank-identity", "pictures.safetensors")) as part:
        explainer.save(part)
        save_params(part, "fit apex", options)
    clear_working_files(out)
    return explainer.diagnostics


def own_folds(card: dict[str, Any], data: str, folds: str | None) -> str | None:
    """Returns the folds to fit on: those given, else those that the classifier learned from, if it is its own data."""
    from ..data.folders import parse_folds
    from .datasets import SCENES, data_name

    own = card.get("folds")
    if not own or data.startswith(SCENES):
        return folds
    if data_name(data) != card.get("data"):
        say(
            f"warning: the classifier learned from folds {own} of {card.get('data')!r}, and {data} is not known as "
            "that by its name, so folds could not be matched; if it is, name these with --folds"
        )
        return folds
    if folds is None:
        say(f"fitting on the classifier's own training folds {own}")
        return str(own)
    if set(parse_folds(folds)) - set(parse_folds(str(own))):
        say(f"warning: folds {folds} go beyond the classifier's training folds {own}; scores on them are not held out")
    return folds


def clear_working_files(out: Path) -> None:
    """Removes the feature cache and checkpoints of a finished fit inside its own folder.

    Checkpoints go last, so that a kill in between costs nothing.
    """
    import shutil

    for name in (".cache", ".resume"):
        shutil.rmtree(out / name, ignore_errors=True)
