"""Front ends by kind, so that a saved classifier finds its own again."""

from typing import Any

from ...errors import ModelError
from ..config import KaldiConfig, LogMelConfig, MelConfig, MfccConfig, RawConfig
from .base import FrontEnd
from .kaldi import KaldiFbank
from .log_mel import LogMel
from .mel_spectrogram import Mel
from .mfcc import Mfcc
from .raw import Raw

FRONT_ENDS: dict[str, tuple[Any, Any]] = {
    "log-mel": (LogMel, LogMelConfig),
    "mel": (Mel, MelConfig),
    "mfcc": (Mfcc, MfccConfig),
    "raw": (Raw, RawConfig),
    "kaldi": (KaldiFbank, KaldiConfig),
}


def front_end_from_dict(values: dict[str, Any]) -> FrontEnd:
    """Returns the front end that `to_dict` described.

    Raises
    ------
    ModelError
        If the kind is unknown to this version.
    """
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in FRONT_ENDS:
        raise ModelError(f"Front end {kind!r} is unknown, expected one of {', '.join(FRONT_ENDS)}; update earmark.")
    build, config = FRONT_ENDS[kind]
    return build(config(**values))


def front_end_of_config(config: Any, **changes: Any) -> FrontEnd:
    """Returns the front end that a configuration is of."""
    build = next(build for build, kind in FRONT_ENDS.values() if kind is type(config))
    return build(config, **changes)
