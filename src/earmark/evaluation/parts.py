"""The finished parts of an evaluation that is not finished: one small table per batch and explainer."""

import hashlib
import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..types import Clip, Samples
from .entrants import Entrant
from .scores import ARROW_SCHEMA, write_table


class Parts:
    """Tables in a hidden folder that is named by the settings of its run; none without a folder.

    Parameters
    ----------
    place
        The folder of the scores.
    key
        The hash of all that the scores depend on.
    """

    def __init__(self, place: Path | None, key: str) -> None:
        self.place, self.folder = place, None if place is None else place / f".parts-{key[:16]}"
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, clips: Sequence[Clip], samples: Samples, entrant: Entrant) -> Path | None:
        """Returns the file of an explainer's rows on a batch."""
        if self.folder is None:
            return None
        sound = zlib.crc32(samples.cpu().contiguous().numpy().tobytes())
        name = json.dumps([[clip.id for clip in clips], sound, entrant.name, entrant.seed])
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"

    def read(self, path: Path | None) -> pa.Table | None:
        """Returns the rows of a part, or nothing if they are not there or not whole."""
        if path is None or not path.is_file():
            return None
        try:
            return pq.read_table(path).select(ARROW_SCHEMA.names).cast(ARROW_SCHEMA)
        except (OSError, KeyError, pa.ArrowException):
            return None

    def write(self, table: pa.Table, path: Path | None) -> None:
        """Writes the rows of a part."""
        if path is not None:
            write_table(table, path)

    def clear(self) -> None:
        """Removes the parts of this run, and those of runs with other settings."""
        if self.place is not None:
            for folder in self.place.glob(".parts-*"):
                shutil.rmtree(folder, ignore_errors=True)
