"""`load_codec`: the codec that a folder holds, or the one that needs none."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ...errors import ModelError
from ..hugging_face.load import import_transformers, quiet
from ..surgery import plain_floats, same_chance
from .base import Codec
from .encodec import Encodec
from .lapped import LappedCodec

LAPPED = "lapped"


def load_codec(folder: str | Path | Codec, *, sample_rate: int | None = None, bandwidth: float | None = None) -> Codec:
    """Loads a codec.

    Parameters
    ----------
    folder
        A local folder of an `EncodecModel` that `save_pretrained` wrote, or `lapped`: windowed cosines at the
        classifier's rate, which need no weights and lose nothing. A codec is handed back.
    sample_rate
        Of `lapped`, in Hz.
    bandwidth
        Of an EnCodec, in kbit/s; None is its lowest.

    Raises
    ------
    ModelError
        If there is no codec, or what is there is another kind of model.
    InputError
        If the codec has no such bandwidth, or transformers is not installed.
    """
    if isinstance(folder, Codec):
        return folder
    if str(folder) == LAPPED and sample_rate is not None:
        return LappedCodec(sample_rate)
    path = Path(folder)
    _refuse_other(path)
    codec = Encodec(_read(path), path.resolve().name, bandwidth)
    for note in codec.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return codec


def _refuse_other(folder: Path) -> None:
    """Refuses a folder that says to be something else than an EnCodec."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type") or config.get("kind")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{str(folder)[:200]!r} holds no codec: a folder of an EncodecModel, with config.json and "
            f"model.safetensors, was expected, or 'lapped' ({type(error).__name__}); check the path."
        ) from error
    if kind != "encodec":
        raise ModelError(
            f"{folder} holds a {str(kind)[:80]!r}, an EncodecModel of transformers was expected; "
            "name the codec's folder."
        )


def _read(folder: Path) -> torch.nn.Module:
    """Returns the model, with all of its weights."""
    with quiet(), plain_floats(), same_chance([]):
        transformers = import_transformers()
        try:
            model, told = transformers.EncodecModel.from_pretrained(
                str(folder), output_loading_info=True, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
            text = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{folder} does not hold an EncodecModel that transformers can read ({type(error).__name__}: {text}); "
                "copy or train it again."
            ) from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise ModelError(f"{folder} lacks weights of its codec ({', '.join(missing[:3])}); copy it again.")
    module: torch.nn.Module = model.float()
    if any(not bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise ModelError(f"The weights of {folder} hold NaN or infinity; copy or train it again.")
    return module
