"""Front ends of known models by name."""

from dataclasses import fields
from typing import Any

from ...errors import ModelError
from ..config import KaldiConfig, LogMelConfig, MelConfig, MfccConfig, RawConfig
from .base import FrontEnd
from .registry import front_end_of_config

_PANNS = MelConfig()  # Kong et al. 2020; torchlibrosa's defaults
_BIRDSET = MelConfig(
    n_mels=128, low_hz=0.0, high_hz=None, scale="htk", area_norm=False, dynamic_range=80.0, mean=-4.268, std=4.569
)  # Rauch et al. 2025
_BIRDSET_2048 = {**vars(_BIRDSET), "n_fft": 2048, "hop_length": 256, "n_mels": 256}
_CLAP = MelConfig(
    sample_rate=48000, hop_length=480, low_hz=0.0, high_hz=14000.0, length=480000, fill="repeat-whole"
)  # Wu et al. 2023; 10 s, filters of its truncation "rand_trunc"
_CLAP_FUSION = {**vars(_CLAP), "scale": "htk", "area_norm": False, "longer": "refuse"}

PRESETS: dict[str, LogMelConfig | MelConfig | RawConfig | KaldiConfig] = {
    "log-mel": LogMelConfig(),
    "mel": MelConfig(),
    "mfcc": MfccConfig(),
    "panns": _PANNS,
    "panns-16k": MelConfig(16000, 512, 160, high_hz=8000.0),
    "panns-8k": MelConfig(8000, 256, 80, high_hz=4000.0),
    "birdset": _BIRDSET,
    "birdset-efficientnet": MelConfig(**_BIRDSET_2048),
    "audioprotopnet": MelConfig(**{**_BIRDSET_2048, "mean": -13.369, "std": 13.162}),  # Heinrich et al. 2025
    "yamnet": MelConfig(
        16000,
        512,
        160,
        window_length=400,
        padding="none",
        power=1,
        low_hz=125.0,
        high_hz=7500.0,
        scale="htk",
        triangles="mel",
        area_norm=False,
        logarithm="ln",
        floor=0.0,
        offset=0.001,
    ),  # Plakal and Ellis 2019; frames as tf.signal.stft has them
    "whisper": MelConfig(
        16000,
        400,
        160,
        n_mels=80,
        low_hz=0.0,
        high_hz=8000.0,
        logarithm="log10",
        dynamic_range=8.0,
        mean=-4.0,
        std=4.0,
        length=480000,
        drop_last=True,
    ),  # Radford et al. 2023; 30 s
    "clap": _CLAP,
    "clap-fusion": MelConfig(**_CLAP_FUSION),
    "ast": KaldiConfig(mean=-4.2677393, std=2 * 4.5689974, n_frames=1024),  # Gong et al. 2021
    "wav2vec2-bert": KaldiConfig(n_mels=80, window="povey", gain=32768.0, normalize=True, stack=2),
    "raw": RawConfig(),
    "wav2vec2": RawConfig(normalize=True),
    "encodec": RawConfig(sample_rate=24000, n_fft=1024, hop_length=256),
}


def named(name: str, **changes: Any) -> FrontEnd:
    """Returns the front end of a known model, with single numbers changed.

    Parameters
    ----------
    name
        One of `PRESETS`, such as `panns`, `birdset`, `audioprotopnet`, `yamnet`, `log-mel`, `mfcc`.

    Raises
    ------
    ModelError
        If the name, or one of the changes, is unknown.
    """
    if name not in PRESETS:
        raise ModelError(f"Front end {name!r} is unknown, expected one of {', '.join(PRESETS)}.")
    config = PRESETS[name]
    known = [field.name for field in fields(config)]
    if not changes.keys() <= set(known):
        wrong = next(key for key in changes if key not in known)
        raise ModelError(f"Front end {name!r} has no option {wrong!r}, expected one of {', '.join(known)}.")
    return front_end_of_config(config, **changes)
