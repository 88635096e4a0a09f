"""`earmark ablate`: is a decision lost without the region that APEX shows, more than without other regions?"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..evaluation.ablation.config import VIEWS, AblationConfig
from .datasets import DataOptions, listed_clips, say_unknown_labels
from .options import command, page_is_of, refuse_other, save_params
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..classifiers.base import Classifier
    from ..evaluation.ablation.table import Ablation
    from ..types import Clip

PAGE = "index.html"


def _words(result: dict[str, Any]) -> str:
    """Returns what was scored, what beats the controls, and where the page is."""
    return "\n".join([*result["reading"], *result["verdicts"], f"page: {result['page']}"])


@partial(command, show=_words)
def ablate(
    *,
    explainer: Annotated[str, typer.Argument(metavar="APEX", help="Name or folder; several by commas, one per view.")],
    data: Annotated[str, typer.Option(help="Folder of clips, scenes:N, or NAME:PATH of a published set.")],
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    folds: Annotated[str | None, typer.Option(help="Folds to score; default: all.")] = None,
    label_column: Annotated[str, typer.Option(help="Column with the label.")] = "label",
    group_column: Annotated[str | None, typer.Option(help="Column with what intervals resample together.")] = None,
    views: Annotated[str, typer.Option(help="Shapes of the regions.")] = ",".join(VIEWS),
    fills: Annotated[str, typer.Option(help="waveform, floor, mean, band_mean, noise, attenuation.")] = "waveform",
    draws: Annotated[int, typer.Option(help="Draws of each random control, for each seed.")] = 20,
    seeds: Annotated[str, typer.Option(help="Seeds of the draws.")] = "0",
    keep_draws: Annotated[int, typer.Option(help="Draws that are also scored alone; 0: no region is.")] = 5,
    noise_db: Annotated[float, typer.Option(help="Of the fill noise, below the clip.")] = 30.0,
    attenuation_db: Annotated[float, typer.Option(help="Of the fill attenuation, below the clip.")] = 20.0,
    batch: Annotated[int, typer.Option(help="Masked clips in one forward pass.")] = 16,
    limit: Annotated[int | None, typer.Option(help="So many clips at most, evenly spaced.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("ablation"),
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
) -> dict[str, Any]:
    """Take out the region of APEX's top channel, beside controls, and score what is left: tables and a page.

    A run that was killed goes on where it was; one that is finished is told again.
    """
    options = {name: value for name, value in locals().items() if name != "out"}
    from ..classifiers.load import load_classifier
    from ..store.filling import only_one

    refuse_other(out, "ablate")
    config = AblationConfig(
        views=_parts(views),
        fills=_parts(fills),
        draws=draws,
        seeds=_whole(seeds),
        keep_draws=keep_draws,
        noise_db=noise_db,
        attenuation_db=attenuation_db,
        batch=batch,
    )
    model = load_classifier(classifier, device=device)
    clips = listed_clips(DataOptions(data, label_column, group_column), folds, limit)
    say_unknown_labels(clips, model.labels)
    told = _told(data=data, folds=folds, group_column=group_column, limit=limit)
    with only_one(out):
        found = _ablated(model, clips, _parts(explainer), config, out, told)
        return _result(found, model, clips, out, {**options, "out": str(out)})


def _ablated(
    model: "Classifier",
    clips: "Sequence[Clip]",
    names: "Sequence[str]",
    config: AblationConfig,
    out: Path,
    told: dict[str, Any],
) -> "Ablation":
    from .. import disk
    from ..evaluation.ablation.runner import ablate as run

    if out.is_dir():
        disk.sweep(out)
    with progress("masking") as report:
        return run(model, clips, names, config, folder=out, told=told, progress=report)


def _result(
    found: "Ablation", model: "Classifier", clips: "Sequence[Clip]", out: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Writes the page and `run.json` unless they are those of this table."""
    from ..classifiers.card import write_whole
    from ..evaluation.ablation.examples import examples_of
    from ..evaluation.ablation.words import reading, verdicts
    from ..render.ablation_page import ablation_page

    summary, key = found.summary(), found.about["key"]
    if not page_is_of(out / PAGE, key):
        examples = examples_of(found, model, clips)
        page = ablation_page(summary, examples, key=key, title=found.about["told"]["data"])
        save_params(out, "ablate", options)
        write_whole(out / PAGE, page)
    return {
        "folder": str(out),
        "page": str(out / PAGE),
        "rows": len(found),
        "reading": reading(summary),
        "verdicts": [sentence for _, sentence in verdicts(summary)],
        "summary": summary,
    }


def _told(data: str, **given: Any) -> dict[str, Any]:
    from .datasets import data_name

    return {"data": data_name(data), **{name: value for name, value in given.items() if value is not None}}


def _parts(text: str) -> Any:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _parts(text))
    except ValueError as error:
        raise InputError(f"--seeds takes whole numbers separated by commas, got {text!r}.") from error
