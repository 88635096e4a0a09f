"""The noise of WHAM! [wichern2019wham].

```
wham_noise/
  metadata/noise_meta_tr.csv     utterance_id,Noise Band,File ID,L to R Width (cm),Reverberation Level,Location ID,...
  tr/40na010x_1.9857_01xo031a_-1.9857.wav     and cv/, tt/
```

Files that the tables do not name, such as the sped-up copies that LibriMix adds, are left out.
"""

from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from ...types import Clip
from ..folders import ClipFolder
from ._layout import TEST, TRAINING, VALIDATION, from_table, in_order

SPLITS = {"tr": TRAINING, "cv": VALIDATION, "tt": TEST}
FILE = "utterance_id"
RECORDING = "File ID"  # all files from one recording share it


def wham(path: str | Path) -> ClipFolder:
    """Returns the noise, without labels: group = recording; fold 1 is `tr`, 2 is `cv`, 3 is `tt`.

    Parts that are not there are left out.
    """
    root = Path(path)
    found = [split for split in SPLITS if (root / split).is_dir() and _table(root, split).is_file()]
    if not found:
        raise DataError(
            f"{root} is not a folder of WHAM! noise: {_table(root, 'tr')} and {root / 'tr'} were expected; "
            "name the unpacked folder wham_noise."
        )
    return in_order(root, (clip for split in found for clip in _split(root, split)))


def _split(root: Path, split: str) -> list[Clip]:
    def name(row: dict[str, str]) -> str:
        return f"{split}/{row[FILE]}"

    clips = from_table(_table(root, split), root, FILE, name, {"group": RECORDING})
    return [replace(clip, fold=SPLITS[split]) for clip in clips]


def _table(root: Path, split: str) -> Path:
    return root / "metadata" / f"noise_meta_{split}.csv"
