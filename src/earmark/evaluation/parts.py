"""The finished parts of a run that is not finished: one small table per batch of clips and whatever it was made by."""

import hashlib
import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..types import Clip, Samples
from .results import write_table

SECONDS = b"seconds"  # key of a part's wall time in its file


class Parts:
    """Tables in a hidden folder that is named by the settings of its run; none without a folder.

    Parameters
    ----------
    place
        The folder of the results.
    key
        The hash of all that the results depend on.
    schema
        Columns of the tables.
    """

    def __init__(self, place: Path | None, key: str, schema: pa.Schema) -> None:
        self.place, self.schema = place, schema
        self.folder = None if place is None else place / f".parts-{key[:16]}"
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, clips: Sequence[Clip], samples: Samples, *made_by: str | int) -> Path | None:
        """Returns the file of the rows of a batch."""
        if self.folder is None:
            return None
        sound = zlib.crc32(samples.cpu().contiguous().numpy().tobytes())
        name = json.dumps([[clip.id for clip in clips], sound, *made_by])
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.parquet"

    def read(self, path: Path | None) -> tuple[pa.Table, float] | None:
        """Returns the rows of a part and the seconds that they took, or nothing if they are not there or not whole."""
        if path is None or not path.is_file():
            return None
        try:
            table = pq.read_table(path)
            seconds = float((table.schema.metadata or {}).get(SECONDS, 0))
            return table.select(self.schema.names).replace_schema_metadata().cast(self.schema), seconds
        except (OSError, KeyError, ValueError, pa.ArrowException):
            return None

    def write(self, table: pa.Table, seconds: float, path: Path | None) -> None:
        """Writes the rows of a part, and how long they took."""
        if path is not None:
            write_table(table.replace_schema_metadata({SECONDS: f"{seconds:.3f}"}), path)

    def clear(self) -> None:
        """Removes the parts of this run, and those of runs with other settings."""
        if self.place is not None:
            for folder in self.place.glob(".parts-*"):
                shutil.rmtree(folder, ignore_errors=True)
