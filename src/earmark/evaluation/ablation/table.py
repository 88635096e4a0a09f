"""The rows of an ablation as a table, its finished parts, and its folder on disk."""

import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import InputError, MismatchError
from ...types import Clip, Samples
from ..scores import write_table

SCHEMA = 1
TABLE, ABOUT = "ablation.parquet", "ablation.json"

_KINDS: dict[str, pa.DataType] = {
    **dict.fromkeys(
        ("clip", "group", "labels", "target", "view", "fitted", "fill", "condition", "failed"), pa.string()
    ),
    **dict.fromkeys(("fold", "seed", "draw", "channel"), pa.int64()),
    **dict.fromkeys(("is_top", "undecided", "kept"), pa.bool_()),
    **dict.fromkeys(("freq", "frame", "height", "width", "area", "area_stft"), pa.float64()),
    **dict.fromkeys(("removed_db", "softer_db", "overlap", "whole_prob", "whole_logit"), pa.float64()),
    **dict.fromkeys(("prob", "logit", "drop", "prob_lost", "logit_lost", "flip", "top_hit"), pa.float64()),
    "logits": pa.list_(pa.float32()),
}
ARROW_SCHEMA = pa.schema(list(_KINDS.items()))
KEYS = ("view", "fill", "kept", "clip", "target", "condition", "seed", "draw")


@dataclass(frozen=True)
class Ablation:
    """What an ablation found.

    Parameters
    ----------
    table
        One row per clip, label, view, fill, condition, seed, draw, and whether the region is taken out or alone.
    about
        Settings, classifier, explainers, how many clips were scored and why others were not.
    """

    table: pa.Table = field(repr=False)
    about: dict[str, Any]

    def __len__(self) -> int:
        return self.table.num_rows

    def summary(self) -> dict[str, Any]:
        """Returns means with intervals, and paired differences to the controls."""
        from .summary import summarize

        return summarize(self)

    def save(self, folder: str | Path) -> Path:
        """Writes `ablation.parquet`, `summary.json`, `summary.md` and, last, `ablation.json`; each in one rename."""
        from ...classifiers.card import write_whole
        from .words import summary_markdown

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).unlink(missing_ok=True)
        write_table(self.table, folder / TABLE)
        summary = self.summary()
        write_whole(folder / "summary.json", _json(summary))
        write_whole(folder / "summary.md", summary_markdown(summary))
        write_whole(folder / ABOUT, _json({"schema": SCHEMA, **self.about}))
        return folder


def load_ablation(folder: str | Path) -> Ablation:
    """Reads a folder that `Ablation.save` wrote.

    Raises
    ------
    InputError
        If it holds no readable ablation.
    MismatchError
        If a newer earmark wrote it.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        table = pq.read_table(folder / TABLE)
        schema = int(about.pop("schema"))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"{folder} holds no readable ablation ({type(error).__name__}: {error}); "
            "name a folder that `earmark ablate` wrote."
        ) from error
    if schema > SCHEMA:
        raise MismatchError(f"{folder} was written by a newer earmark (schema {schema}); update earmark.")
    return Ablation(table.select(ARROW_SCHEMA.names).cast(ARROW_SCHEMA), about)


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Returns rows as a table; what a row does not name, and what is no number, is empty."""
    filled = [{name: _known(row.get(name)) for name in ARROW_SCHEMA.names} for row in rows]
    return pa.Table.from_pylist(filled, ARROW_SCHEMA)


def ordered(tables: Sequence[pa.Table]) -> pa.Table:
    """Returns the rows of tables in one order, whatever order they came in."""
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in KEYS]).combine_chunks()


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


class Parts:
    """The finished parts of an ablation that is not finished: one small table per batch of clips and view.

    Parameters
    ----------
    place
        The folder of the ablation; without one nothing is kept.
    key
        The hash of all that the rows depend on.
    """

    def __init__(self, place: Path | None, key: str) -> None:
        self.place, self.folder = place, None if place is None else place / f".parts-{key[:16]}"
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, clips: Sequence[Clip], samples: Samples, view: str) -> Path | None:
        """Returns the file of a view's rows on a batch."""
        if self.folder is None:
            return None
        sound = zlib.crc32(samples.cpu().contiguous().numpy().tobytes())
        name = json.dumps([[clip.id for clip in clips], sound, view])
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"

    def read(self, path: Path | None) -> pa.Table | None:
        """Returns the rows of a part, or nothing if they are not there or not whole."""
        if path is None or not path.is_file():
            return None
        try:
            return pq.read_table(path).select(ARROW_SCHEMA.names).cast(ARROW_SCHEMA)
        except (OSError, KeyError, pa.ArrowException):
            return None

    def clear(self) -> None:
        """Removes the parts of this run, and those of runs with other settings."""
        if self.place is not None:
            for folder in self.place.glob(".parts-*"):
                shutil.rmtree(folder, ignore_errors=True)
