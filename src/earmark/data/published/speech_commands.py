"""Speech Commands, version 0.02 [warden2018speech].

```
speech_commands_v0.02/
  validation_list.txt, testing_list.txt     lines such as bed/026290a7_nohash_0.wav
  bed/026290a7_nohash_0.wav                 word, then a hash of the speaker
  _background_noise_/white_noise.wav
```

The two lists hold all words of a speaker or none. `_background_noise_` holds six long recordings and is read by
itself, as a folder.
"""

from pathlib import Path

from ...audio.files import sound_files
from ...errors import DataError
from ...types import Clip
from ..folders import ClipFolder
from ._layout import TEST, TRAINING, VALIDATION, expect, in_order, read_names

NAME = "Speech Commands"
SPEAKER = "_nohash_"


def speech_commands(path: str | Path) -> ClipFolder:
    """Returns the 105,829 words: label = word, group = speaker; fold 1 is training, 2 validation, 3 test."""
    root = Path(path)
    validation = read_names(expect(root, "validation_list.txt", NAME))
    test = read_names(expect(root, "testing_list.txt", NAME))
    names = [file.relative_to(root).as_posix() for file in sound_files(root)]
    words = [name for name in names if name.count("/") == 1 and SPEAKER in name]
    if missing := sorted((validation | test) - set(words)):
        raise DataError(f"{root} lacks {len(missing)} words of its lists, such as {missing[0]}; unpack it again.")
    return in_order(root, (_clip(root, name, validation, test) for name in words))


def _clip(root: Path, name: str, validation: frozenset[str], test: frozenset[str]) -> Clip:
    word, _, file = name.partition("/")
    fold = VALIDATION if name in validation else TEST if name in test else TRAINING
    return Clip(name, root / name, labels=(word,), group=file.partition(SPEAKER)[0], fold=fold)
