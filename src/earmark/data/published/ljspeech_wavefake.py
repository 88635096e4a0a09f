"""LJSpeech with the vocoded copies of WaveFake [ito2017lj, frank2021wavefake]: real against generated speech.

```
PATH/
  LJSpeech-1.1/metadata.csv                                  LJ001-0001|text|normalized text
  LJSpeech-1.1/wavs/LJ001-0001.wav
  generated_audio/ljspeech_melgan/LJ001-0001_gen.wav         one folder per vocoder
  generated_audio/ljspeech_waveglow/LJ001-0001.wav
```

Generated speech that is no copy of an LJSpeech sentence (Japanese, and text to speech) is left out. A sentence and
all of its copies form one group. The split is that of the published detectors: of the sorted sentences the first
1,000 are for the test, the next 1,000 for validation, the rest for training.
"""

import re
from pathlib import Path

from ...audio.files import sound_files
from ...errors import DataError
from ...types import Clip
from ..folders import ClipFolder
from ._layout import TEST, TRAINING, VALIDATION, expect, in_order

NAME = "LJSpeech with WaveFake"
REAL, FAKE = "bona fide", "fake"
N_HELD = 1000  # sentences for the test, and as many for validation
COPY = re.compile(r"(LJ\d{3}-\d{4})(?:_gen(?:erated)?)?")


def ljspeech_wavefake(path: str | Path, n_held: int = N_HELD) -> ClipFolder:
    """Returns real and fake sentences: label `bona fide` or `fake`, group = sentence.

    Fold 1 is training, 2 validation, 3 test. The vocoder is the folder in a clip's id.
    """
    root = Path(path)
    table = expect(root, "LJSpeech-1.1/metadata.csv", NAME)
    vocoders = sorted(expect(root, "generated_audio", NAME).glob("ljspeech_*"))
    if not vocoders:
        raise DataError(f"{root} has no fakes: {root / 'generated_audio/ljspeech_melgan'} and its like were expected.")
    lines = table.read_text(encoding="utf-8").splitlines()
    sentences = sorted(line.partition("|")[0] for line in lines if line.strip())
    folds = {name: _fold(i, n_held) for i, name in enumerate(sentences)}
    files = [root / "LJSpeech-1.1/wavs" / f"{name}.wav" for name in sentences]
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(f"{table} names {len(missing)} sentences without sound, such as {missing[0]}; unpack it again.")
    files += [file for vocoder in vocoders for file in sound_files(vocoder)]
    return in_order(root, (_clip(root, file, folds) for file in files))


def _fold(i: int, n_held: int) -> int:
    return TEST if i < n_held else VALIDATION if i < 2 * n_held else TRAINING


def _clip(root: Path, file: Path, folds: dict[str, int]) -> Clip:
    found = COPY.fullmatch(file.stem)
    if found is None or found[1] not in folds:
        raise DataError(f"{file} is no copy of a sentence of LJSpeech, such as LJ001-0001_gen.wav; remove it.")
    label = REAL if file.parent.name == "wavs" else FAKE
    return Clip(file.relative_to(root).as_posix(), file, labels=(label,), group=found[1], fold=folds[found[1]])
