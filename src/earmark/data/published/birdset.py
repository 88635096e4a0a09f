"""BirdSet [rauch2025birdset], as released and as saved by the `datasets` library.

As released, one folder per subset, with the sounds of the archives anywhere below it:

```
HSN/
  HSN_metadata_train.parquet, HSN_metadata_test_5s.parquet, HSN_metadata_test.parquet
  HSN_metadata.parquet                                    training of XCM and XCL
  .../HSN_001_20150708_061805_000_005.ogg
```

As saved by `datasets`, parquet files whose column `audio` holds the bytes of a sound:

```
PATH/  or  PATH/data/
  train-00000-of-00010.parquet, test_5s-00000-of-00001.parquet
```

Columns that are read: `filepath`, `start_time`, `end_time` (seconds), `low_freq`, `high_freq` (Hz), `ebird_code`,
`ebird_code_multilabel`, `recordist`. The files of `test_5s` are segments of 5 s already, and of 0 to any number of
species; `train` are whole recordings; a row of `test` is one annotated box in a whole soundscape.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...audio.files import read, sound_files
from ...errors import DataError
from ...types import Clip, Region
from ..folders import ClipFolder
from ._layout import TEST, TRAINING, VALIDATION, in_order

if TYPE_CHECKING:
    from ...audio.waveform import Waveform

SPLITS = {"train": TRAINING, "valid": VALIDATION, "validation": VALIDATION, "test_5s": TEST, "test": TEST}
EVENTS = "test"
TABLE = re.compile(r".+_metadata(?:_(train|valid|test_5s|test))?\.parquet")
SHARD = re.compile(r"(train|valid|validation|test_5s|test)-\d+-of-\d+.*\.parquet")
TIMES, BAND = ("start_time", "end_time"), ("low_freq", "high_freq")
COLUMNS = ("filepath", *TIMES, *BAND, "ebird_code", "ebird_code_multilabel", "recordist")
BATCH = 16  # sounds that are held while one of them is looked for in a parquet file

Row = dict[str, Any]


def birdset(path: str | Path) -> ClipFolder:
    """Returns recordings and segments: labels = eBird codes, group = recordist, or else the recording.

    Fold 1 is `train`, 2 `valid`, 3 `test_5s`. A split without a single file here is left out.
    """
    return _clips(Path(path), [name for name in SPLITS if name != EVENTS])


def birdset_events(path: str | Path) -> ClipFolder:
    """Returns the annotated boxes of `test`, one clip each, with its box as ground truth."""
    return _clips(Path(path), [EVENTS])


def _clips(root: Path, splits: list[str]) -> ClipFolder:
    clips = [*_released(root, splits), *_saved(root, splits)]
    if not clips:
        names = " or ".join(f"{root.name}_metadata_{split}.parquet" for split in splits if split != "validation")
        raise DataError(
            f"{root} is not a folder of BirdSet: {names} with its sounds was expected, or "
            f"{splits[0]}-00000-of-00001.parquet with a column 'audio'; name the folder of one subset."
        )
    return in_order(root, clips)


# As released ------------------------------------------------------------------------------------------------


def _released(root: Path, splits: list[str]) -> Iterator[Clip]:
    """Returns the clips of the tables whose sounds are below a folder."""
    tables = [
        (path, found[1] or "train") for path in sorted(root.glob("*.parquet")) if (found := TABLE.fullmatch(path.name))
    ]
    files = {file.name: file for file in sound_files(root)} if tables else {}
    for table, split in tables:
        if split in splits:
            yield from _of_table(root, table, SPLITS[split], files)


def _of_table(root: Path, table: Path, fold: int, files: dict[str, Path]) -> Iterator[Clip]:
    rows = [row for _, row in _rows(table)]
    names = [_file(table, row) for row in rows]
    missing = [name for name in names if name not in files]
    if len(missing) == len(names):
        return
    if missing:
        raise DataError(f"{table} names {len(missing)} sounds not below {root}, such as {missing[0]}; unpack them.")
    numbers, rows_of = Counter[str](), Counter(names)
    for name, row in zip(names, rows, strict=True):
        numbers[name] += 1
        clip_id = files[name].relative_to(root).as_posix() + f"#{numbers[name]}" * (rows_of[name] > 1)
        yield _clip(clip_id, files[name], row, fold)


def _file(table: Path, row: Row) -> str:
    """Returns the name of a row's file, without its folders."""
    if not row.get("filepath"):
        raise DataError(f"{table} has no file in the column 'filepath' of some row; download it again.")
    return str(row["filepath"]).rsplit("/", 1)[-1]


# As saved by datasets ---------------------------------------------------------------------------------------


def _saved(root: Path, splits: list[str]) -> Iterator[Clip]:
    """Returns the clips of parquet files that hold the sounds."""
    for path in sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")]):
        found = SHARD.fullmatch(path.name)
        if found and found[1] in splits:
            for i, row in _rows(path):
                clip_id = f"{path.relative_to(root).as_posix()}#{i}"
                yield _clip(clip_id, partial(_embedded, path, i), row, SPLITS[found[1]])


def _embedded(path: Path, index: int) -> "Waveform":
    """Returns the sound in a row of a parquet file."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        batches = file.iter_batches(BATCH, columns=["audio"])
        batch = next(islice(batches, index // BATCH, None))
        sound = batch.column("audio")[index % BATCH].as_py()
    if not sound or not sound.get("bytes"):
        raise DataError(f"Row {index} of {path} holds no sound in its column 'audio'; save it with decode=False.")
    with TemporaryDirectory() as place:
        copy = Path(place) / f"row-{index}{Path(sound.get('path') or '').suffix}"
        copy.write_bytes(sound["bytes"])
        return read(copy)


# Rows -------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Returns the rows of a table with their numbers; labels that are stored as numbers get their names."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            table = file.read([name for name in COLUMNS if name in schema.names])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a parquet file that can be read ({error}); download it again.") from error
    codes = _codes((schema.metadata or {}).get(b"huggingface", b"{}"))
    for i, row in enumerate(table.to_pylist()):
        labels = row.get("ebird_code_multilabel") or [row.get("ebird_code")]
        yield i, {**row, "labels": {codes[label] if isinstance(label, int) else label for label in labels} - {None, ""}}


def _codes(metadata: bytes) -> list[str]:
    """Returns the names of the labels that `datasets` stores as numbers."""
    features = json.loads(metadata).get("info", {}).get("features", {})
    several = features.get("ebird_code_multilabel", {})
    one = several[0] if isinstance(several, list) else several.get("feature", {})  # older and newer `datasets`
    return one.get("names") or features.get("ebird_code", {}).get("names", [])


def _clip(clip_id: str, source: Any, row: Row, fold: int) -> Clip:
    file = Path(str(row.get("filepath") or clip_id))
    start_s, end_s = _span(file.stem, row)
    labels = tuple(sorted(row["labels"]))
    group = row.get("recordist") or re.sub(r"_\d+_\d+$", "", file.stem)
    return Clip(clip_id, source, labels, group, fold, start_s, end_s, _events(row, labels, start_s, end_s))


def _span(stem: str, row: Row) -> tuple[float | None, float | None]:
    """Returns the part of the file that is meant; a file whose name ends in these seconds is that part already."""
    start_s, end_s = (_number(row.get(name)) for name in TIMES)
    if start_s is None or end_s is None:
        return None, None
    segment = re.search(r"_(\d+)_(\d+)$", stem)
    if segment and (int(segment[1]), int(segment[2])) == (start_s, end_s):
        return None, None
    return start_s, end_s


def _number(value: Any) -> float | None:
    """Returns a number; neither null nor NaN, which pandas writes for it, is one."""
    return None if value is None or value != value else float(value)


def _events(row: Row, labels: tuple[str, ...], start_s: float | None, end_s: float | None) -> tuple[Region, ...]:
    """Returns the annotated box, with times from the clip's start."""
    low_hz, high_hz = (_number(row.get(name)) for name in BAND)
    if start_s is None or end_s is None or not high_hz:
        return ()
    return tuple(Region(0.0, end_s - start_s, low_hz or 0.0, high_hz, label=label) for label in labels)
