"""Words for labels: which a training sees, which it must not see, and in which sentences they stand."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..zero_shot import TEMPLATE, filled_in

BUILT_IN = Path(__file__).parent / "prompts.json"

#: Sentences of the training; the first is the one that `load_classifier` uses.
TEMPLATES = (TEMPLATE, "the sound of {}", "a recording of {}", "i hear {}", "{}")
#: Sentences that no training sees.
HELD_OUT_TEMPLATES = ("what you hear is {}", "this recording is of {}", "the noise of {}")


#: Of held-out prompts.
KINDS = ("seen words", "some unseen words", "unseen words")


@dataclass(frozen=True)
class Prompts:
    """The words for one label.

    Parameters
    ----------
    train
        What it is called in training; the first is its name.
    held_out
        What else it is called, which no training sees.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The word that stands for the label."""
        return self.train[0]

    @property
    def texts(self) -> tuple[str, ...]:
        """The whole texts of the training."""
        return tuple(filled_in(template, words) for words in self.train for template in TEMPLATES)


def prompts_of(labels: Sequence[str], file: Path | None = None) -> dict[str, Prompts]:
    """Returns the words for each label: those of a file, else the built-in ones, else the label's own name.

    Parameters
    ----------
    labels
        Of the training clips.
    file
        JSON: `{label: {"train": [...], "held_out": [...]}}`.

    Raises
    ------
    InputError
        If the file cannot be read, names a label that no clip has, or words stand for two labels, or are held out and
        learned.
    """
    table = _table(file or BUILT_IN)
    if file is not None and (unknown := sorted(set(table) - set(labels))):
        raise InputError(
            f"{file} has prompts for {unknown[0]!r}, and no training clip has that label; labels are "
            f"{', '.join(labels[:5])}{', ...' * (len(labels) > 5)}."
        )
    found = {label: table.get(label) or Prompts((spoken(label),)) for label in labels}
    _refuse_shared(found)
    return found


def spoken(label: str) -> str:
    """Returns a label as words: `sea_waves` is `sea waves`."""
    return " ".join(label.replace("_", " ").split()) or label


def words_of(texts: Iterable[str]) -> set[str]:
    """Returns the words of texts."""
    return {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}


def held_out_kinds(prompts: Mapping[str, Prompts]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Returns held-out words by label, of three kinds.

    Of `seen words`, all occur in texts of the training, put together in another way. Of `some unseen words`, not all
    do. Of `unseen words`, none does but such as `the`, which occur with more than one label.
    """
    used = Counter(word for own in prompts.values() for word in words_of(own.texts))
    kinds: dict[str, dict[str, list[str]]] = {kind: {label: [] for label in prompts} for kind in KINDS}
    for label, own in prompts.items():
        for text in own.held_out:
            kinds[_kind(words_of([text]), used)][label].append(text)
    return {kind: {label: tuple(texts) for label, texts in found.items()} for kind, found in kinds.items()}


def _kind(words: set[str], used: Mapping[str, int]) -> str:
    if all(used[word] for word in words):
        return KINDS[0]
    return KINDS[1] if any(used[word] == 1 for word in words) else KINDS[2]


def _table(file: Path) -> dict[str, Prompts]:
    """Returns what a JSON file says."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); name a file of labels and prompts.") from error
    if not isinstance(content, dict):
        raise InputError(_form(file, "no object"))
    return {label: _prompts(file, label, own) for label, own in content.items()}


def _prompts(file: Path, label: str, own: Any) -> Prompts:
    if not isinstance(own, dict) or not set(own) <= {"train", "held_out"}:
        raise InputError(_form(file, f"something else for {label!r}"))
    lists = [own.get(kind, []) for kind in ("train", "held_out")]
    if not all(isinstance(one, list) and all(isinstance(w, str) and w.strip() for w in one) for one in lists):
        raise InputError(_form(file, f"something else for {label!r}"))
    train, held_out = (tuple(dict.fromkeys(" ".join(words.split()) for words in one)) for one in lists)
    if not train:
        raise InputError(f"{file} has no prompt to train {label!r} with; write at least one under 'train'.")
    return Prompts(train, held_out)


def _form(file: Path, found: str) -> str:
    return f'{file} has {found}, and {{"label": {{"train": ["words"], "held_out": ["words"]}}}} was expected.'


def _refuse_shared(prompts: Mapping[str, Prompts]) -> None:
    """Refuses texts that stand for two labels, or that are held out and learned."""
    learned: dict[str, str] = {}
    for label, own in prompts.items():
        for text in own.texts:
            if learned.setdefault(text.lower(), label) != label:
                raise InputError(f"The prompt {text!r} stands for {learned[text.lower()]!r} and {label!r}; leave one.")
    for label, own in prompts.items():
        for words in own.held_out:
            if filled_in(TEMPLATE, words).lower() in learned:
                raise InputError(f"The prompt {words!r} of {label!r} is held out, and learned from; leave it in one.")
