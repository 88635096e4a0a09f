"""How well a CLAP tells sounds by words: by those of its training, in other sentences, and by words held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...types import Clip
from ..zero_shot import TEMPLATE, ZeroShot, filled_in
from .config import ClapSize
from .prompts import HELD_OUT_TEMPLATES, Prompts, held_out_kinds
from .train import PART, decoded

Words = Mapping[str, tuple[str, ...]]  # for each label, none or more


@dataclass(frozen=True, eq=False)
class Heard:
    """Clips that were embedded.

    Parameters
    ----------
    audio
        `[clip, dimension]`, of norm 1.
    truth
        Position of each clip's label.
    labels
        Those that are told apart.
    skipped
        Why other clips could not be read, by id.
    """

    audio: Float[Tensor, "clip dimension"]
    truth: Int[Tensor, " clip"]
    labels: tuple[str, ...]
    skipped: Mapping[str, str]


def score_clap(
    classifier: ZeroShot, clips: Sequence[Clip], prompts: Mapping[str, Prompts], size: ClapSize, path: Path
) -> dict[str, Any]:
    """Returns the zero-shot accuracy on clips among their own labels, by kind of prompt.

    Parameters
    ----------
    clips
        Of one label each; they are told apart by the prompts of the labels that occur.
    prompts
        By label; of other labels too.
    path
        Where decoded samples lie meanwhile.

    Returns
    -------
    scores
        `n`, and for each kind its accuracy, the number of `clips` whose label has such prompts, and that of `prompts`:
        `names`; `other names` of the training; `other sentences` around names, which are held out; and the kinds of
        `held_out_kinds`.
    """
    heard = _heard(classifier, clips, size, path)
    own = {label: prompts[label] for label in heard.labels}
    names: Words = {label: (one.name,) for label, one in own.items()}
    kinds = held_out_kinds(prompts)
    found = {
        "names": accuracy(classifier, heard, names, names),
        "other names": accuracy(classifier, heard, {label: one.train[1:] for label, one in own.items()}, names),
        "other sentences": _mean([accuracy(classifier, heard, names, names, form) for form in HELD_OUT_TEMPLATES]),
        **{kind: accuracy(classifier, heard, words, names) for kind, words in kinds.items()},
    }
    about = {"skipped": dict(heard.skipped)} if heard.skipped else {}
    return {"n": len(heard.truth), **about, **{kind: told for kind, told in found.items() if told["clips"]}}


def accuracy(
    classifier: ZeroShot, heard: Heard, words: Words, names: Words, template: str = TEMPLATE
) -> dict[str, float]:
    """Returns the accuracy with other words for labels, all at once: their first ones, then their second ones...

    A label with fewer words has them again, one without any keeps its name, and its clips are not counted.
    """
    n_rounds = max((len(words.get(label, ())) for label in heard.labels), default=0)
    counted = torch.tensor([bool(words.get(label)) for label in heard.labels])[heard.truth]
    rates = []
    for i in range(n_rounds):
        own = [words.get(label) or names[label] for label in heard.labels]
        text = classifier.embed_text([filled_in(template, some[i % len(some)]) for some in own])
        right = (heard.audio @ text.T).argmax(1) == heard.truth
        rates.append(float(right[counted].float().mean()))
    n_prompts = sum(len(words.get(label, ())) for label in heard.labels)
    mean = float(np.mean(rates)) if counted.any() else float("nan")
    return {"accuracy": mean, "clips": int(counted.sum()), "prompts": n_prompts}


def _heard(classifier: ZeroShot, clips: Sequence[Clip], size: ClapSize, path: Path) -> Heard:
    labels = tuple(sorted({clip.labels[0] for clip in clips}))
    try:
        data = decoded(clips, labels, size, path)
        rows = [np.arange(first, min(first + PART, len(data.clips))) for first in range(0, len(data.clips), PART)]
        with torch.no_grad():
            audio = torch.cat(
                [classifier.embed_audio(data.batch(part)[0].to(classifier.device)).cpu() for part in rows]
            )
    finally:
        path.unlink(missing_ok=True)
    return Heard(audio, data.labels.argmax(1), labels, data.skipped)


def _mean(told: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        "accuracy": float(np.mean([one["accuracy"] for one in told])),
        "clips": told[0]["clips"],
        "prompts": sum(one["prompts"] for one in told),
    }
