"""TESS, the Toronto emotional speech set [pichora2020toronto].

```
TESS Toronto emotional speech set data/
  OAF_angry/OAF_back_angry.wav     speaker (older or younger adult female) and emotion, then the word
  OAF_Pleasant_surprise/OAF_back_ps.wav
  YAF_pleasant_surprised/YAF_back_ps.wav
```

Folders are spelled in several ways; speaker and emotion are those of the folder, in lower case, and both forms of
pleasant surprise are one emotion. A copy of the set in a folder of the same name inside of it is left out.
"""

import re
from pathlib import Path

from ...audio.files import sound_files
from ...errors import DataError
from ...types import Clip
from ..folders import ClipFolder
from ._layout import in_order

FOLDER = re.compile(r"(OAF|YAF)_(angry|disgust|fear|happy|neutral|pleasant_surprise|sad)d?", re.IGNORECASE)


def tess(path: str | Path) -> ClipFolder:
    """Returns the 2,800 sentences: label = emotion, group = speaker (`OAF` or `YAF`), no folds."""
    root = Path(path)
    folders = sorted(child for child in root.glob("*") if child.is_dir())
    clips = [
        clip for child in folders if (found := FOLDER.fullmatch(child.name)) for clip in _clips(root, child, found)
    ]
    if not clips:
        raise DataError(
            f"{root} is not a folder of TESS: {root / 'OAF_angry'} and its like were expected; name the folder that "
            "holds one folder for each speaker and emotion."
        )
    return in_order(root, clips)


def _clips(root: Path, place: Path, found: re.Match[str]) -> list[Clip]:
    speaker, emotion = found[1].upper(), found[2].lower()
    names = [file.relative_to(root).as_posix() for file in sound_files(place)]
    return [Clip(name, root / name, labels=(emotion,), group=speaker) for name in names]
