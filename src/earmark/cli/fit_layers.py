"""`earmark fit apex --layer`: APEX at one block of an encoder, or at several, with what connects them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..explainers.apex.config import ApexConfig
from .options import save_params, say
from .progress import Report, progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..explainers.apex.explainer import Apex
    from ..explainers.apex.matchings import Consistency
    from ..types import Clip

MARKER = "consistency.json"


@dataclass(frozen=True)
class Layered:
    """What the layers of a fit share.

    Parameters
    ----------
    model, clips, config
        What is fitted to what, and how.
    out, cache, cache_gb
        Where it goes, and the most disk space for features of all layers.
    about, options
        What diagnostics tell beside, and what `run.json` repeats.
    """

    model: "Classifier"
    clips: "Sequence[Clip]"
    config: ApexConfig
    out: Path
    cache: Path | None
    cache_gb: float
    about: dict[str, Any]
    options: dict[str, Any]


def blocks_of(model: "Classifier", layer: str) -> "dict[int, Classifier]":
    """Returns the classifier with its map at each of the blocks that `--layer` names."""
    from ..explainers.apex.layers import at_blocks, parse_layers

    return at_blocks(model, parse_layers(layer))


def fit_layers(job: Layered, layers: "Sequence[int]") -> dict[str, Any]:
    """Fits several layers, each into a folder of its own, compares them, and returns what `--json` prints."""
    from ..explainers.apex.layers import CACHE, fit_apex_layers, layer_folder
    from .fit import clear_working_files

    apexes = fit_apex_layers(
        job.model,
        job.clips,
        layers,
        job.config,
        out=job.out,
        cache_dir=job.cache or job.out / CACHE,
        cache_gb=job.cache_gb,
        report=_reported,
        about=job.about,
    )
    found = _compared(job, apexes)
    if found is None:
        save_params(job.out, "fit apex", job.options)
    else:
        _write(found, job)
    clear_working_files(job.out)
    say(f"{len(apexes)} layers in {job.out}" + (f"; open {job.out / 'index.html'}" if found else ""))
    told = {str(i): {"folder": str(layer_folder(job.out, i)), "diagnostics": a.diagnostics} for i, a in apexes.items()}
    return {"folder": str(job.out), "layers": told, "consistency": None if found is None else found.to_dict()}


@contextmanager
def _reported(name: str) -> Iterator[Report]:
    say(name)
    with progress(name) as report:
        yield report


def _compared(job: Layered, apexes: "dict[int, Apex]") -> "Consistency | None":
    """Returns how the layers belong together, on the clips that were held out; says why where that cannot be known."""
    from ..data.folders import split_by_group
    from ..errors import DataError
    from ..explainers.apex.consistency import consistency
    from ..explainers.apex.layers import CACHE

    if len(apexes) < 2:
        return None
    if job.config.held_out == 0:
        say("no clips are held out, so that layers cannot be compared; give --held-out a share")
        return None
    held = split_by_group(job.clips, job.config.held_out, job.config.seed)[1]
    try:
        with progress("comparing layers") as report:
            return consistency(
                apexes, held, seed=job.config.seed, cache_dir=job.cache or job.out / CACHE, progress=report
            )
    except DataError as error:
        say(f"layers are not compared: {error}")
        return None


def _write(found: "Consistency", job: Layered) -> None:
    """Writes the tables, the picture and the page."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..render.consistency_page import consistency_markdown, consistency_page, consistency_png
    from ..store.filling import filling

    with filling(job.out, MARKER, ()) as part:
        pq.write_table(pa.Table.from_pylist(found.rows()), part / "matches.parquet")
        (part / "consistency.md").write_text(consistency_markdown(found), encoding="utf-8", newline="\n")
        (part / "consistency.png").write_bytes(consistency_png(found))
        (part / "index.html").write_text(consistency_page(found), encoding="utf-8", newline="\n")
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        (part / MARKER).write_text(f"{text}\n", encoding="utf-8", newline="\n")
        save_params(part, "fit apex", job.options)
