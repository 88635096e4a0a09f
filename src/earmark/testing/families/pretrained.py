"""Families of the library transformers: small random models, saved as `save_pretrained` does and loaded from there.

classifier = family("ast", Path("folder"))
"""

from dataclasses import dataclass
from pathlib import Path

from ...classifiers.base import Classifier
from ...classifiers.load import load_classifier
from ..hugging_face import KINDS, save_tiny
from .making import PROBE_S


@dataclass(frozen=True)
class Pretrained:
    """A kind of model that people download.

    Parameters
    ----------
    tier
        Of its head: `T0` to `T4`.
    why
        What of the head decides the tier.
    """

    tier: str
    why: str


_MEAN = "mean over time, one linear layer"
_CELLS = "mean over cells, one linear layer"

PRETRAINED: dict[str, Pretrained] = {
    "ast": Pretrained("T4", "two special tokens are read, behind the attention, norms and GELU of the last block"),
    "wav2vec2": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "wav2vec2-weighted": Pretrained("T1", f"the map is the projector of a weighted sum of all blocks; {_MEAN}"),
    "hubert": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "wavlm": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "sew": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "sew-d": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "whisper": Pretrained("T1", f"a linear projector, {_MEAN}"),
    "convnext": Pretrained("T2", "mean over cells, LayerNorm, one linear layer"),
    "efficientnet": Pretrained("T1", f"the map is behind SiLU; {_CELLS}"),
    "mobilenet": Pretrained("T1", _CELLS),
    "resnet": Pretrained("T1", _CELLS),
    "swin": Pretrained("T1", f"LayerNorm per token is before the map; {_CELLS}"),
}
assert PRETRAINED.keys() == KINDS.keys()


def family(name: str, folder: Path, *, probe_s: float = PROBE_S) -> Classifier:
    """Returns the classifier of a family, loaded from a folder, into which it is saved first.

    Parameters
    ----------
    name
        One of `PRETRAINED`.
    folder
        Where; it gives the classifier its name.
    probe_s
        Seconds of noise with which it is probed.
    """
    front_end = KINDS[name]
    given = {} if front_end is None else {"front_end": front_end}
    return load_classifier(save_tiny(name, folder), probe_s=probe_s, **given)
