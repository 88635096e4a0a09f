"""ESC-50 and its subset ESC-10 [piczak2015esc].

```
ESC-50-master/
  meta/esc50.csv     filename,fold,target,category,esc10,src_file,take
  audio/1-100032-A-0.wav
```
"""

from dataclasses import replace
from pathlib import Path

from .._rows import read_rows, require_column
from ..folders import ClipFolder
from ._layout import expect, from_table


def esc50(path: str | Path) -> ClipFolder:
    """Returns the 2,000 clips: label = category, group = source recording, the published folds 1 to 5."""
    root = Path(path)
    table = expect(root, "meta/esc50.csv", "ESC-50")
    names = {"label": "category", "group": "src_file", "fold": "fold"}
    return from_table(table, root, "filename", lambda row: f"audio/{row['filename']}", names)


def esc10(path: str | Path) -> ClipFolder:
    """Returns the 400 clips of ESC-50 that form ESC-10."""
    clips, table = esc50(path), Path(path) / "meta/esc50.csv"
    columns, rows = read_rows(table)
    require_column(table, "esc10", columns)
    chosen = {f"audio/{row['filename']}" for row in rows if row["esc10"] == "True"}
    return replace(clips, clips=tuple(clip for clip in clips if clip.id in chosen))
