"""UrbanSound8K [salamon2014dataset].

```
UrbanSound8K/
  metadata/UrbanSound8K.csv     slice_file_name,fsID,start,end,salience,fold,classID,class
  audio/fold5/100032-3-0-0.wav
```

The ten folds are part of the data set: slices of one recording lie in one fold, and a random split would leak.
"""

from pathlib import Path

from ..folders import ClipFolder
from ._layout import expect, from_table


def urbansound8k(path: str | Path) -> ClipFolder:
    """Returns the 8,732 slices: label = class, group = Freesound id of the recording, the published folds 1 to 10."""
    root = Path(path)
    table = expect(root, "metadata/UrbanSound8K.csv", "UrbanSound8K")
    names = {"label": "class", "group": "fsID", "fold": "fold"}
    return from_table(
        table, root, "slice_file_name", lambda row: f"audio/fold{row['fold']}/{row['slice_file_name']}", names
    )
