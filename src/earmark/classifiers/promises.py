"""What a user's module, front end and head have to take and give: where they do not, a sentence says so."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EarmarkError, ModelError
from ..types import Logits

_PRECISIONS = (torch.float32, torch.float64)

#: What layers raise for inputs of a shape or length that they do not take; other errors are the user's own and pass.
MISFITS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, ZeroDivisionError)


def check_module(module: Any) -> None:
    """Refuses a module that cannot be run as it is: not a module, half precision, or parameters not made yet.

    Raises
    ------
    ModelError
        If it is one of these.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"A torch module was expected, got {type(module).__name__}; wrap the nn.Module itself.")
    kind = type(module).__name__
    for parameter in module.parameters():
        if nn.parameter.is_lazy(parameter):
            raise ModelError(f"{kind} has lazy layers without weights; run it once on features before it is wrapped.")
        if parameter.is_inference():
            raise ModelError(
                f"{kind} was made inside torch.inference_mode, so that no gradient can be traced through its "
                "parameters; make or load it outside."
            )
        if parameter.is_floating_point() and parameter.dtype not in _PRECISIONS:
            raise ModelError(
                f"{kind} has parameters in {parameter.dtype}, float32 or float64 were expected; call "
                "module.float() first."
            )


def features_of(front_end: Callable[[Any], Any], x: Tensor, name: str) -> Tensor:
    """Returns what a front end makes of samples (or an STFT): features `[batch, mel, frame]`, all of them finite.

    Raises
    ------
    ModelError
        If it fails, or gives something else.
    """
    try:
        features = front_end(x)
    except EarmarkError:
        raise
    except MISFITS as error:
        raise ModelError(
            f"The front end of {name} failed on an input of shape {tuple(x.shape)} ({_what(error)}); samples "
            "[batch, sample] were expected, and the clip may be too short: use a longer one."
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 3:
        raise ModelError(
            f"The front end of {name} returned {_shape(features)}, features [batch, mel, frame] were expected; "
            "change the front end."
        )
    if not bool(torch.isfinite(features).all()):
        raise ModelError(
            f"The front end of {name} returned NaN or infinite features for this clip, finite ones were expected; "
            "give it a floor (the logarithm of silence is infinite, its spread is zero), or leave the clip out."
        )
    return features


def logits_of(function: Callable[[Tensor], Any], x: Tensor, name: str, what: str, n_labels: int) -> Logits:
    """Returns the logits `[batch, label]` that a module makes of features, or a head of a map.

    Parameters
    ----------
    what
        What `x` is, in a word.
    n_labels
        How many logits are expected.

    Raises
    ------
    ModelError
        If it fails, or gives something else.
    """
    try:
        logits = function(x)
    except EarmarkError:
        raise
    except MISFITS as error:
        raise ModelError(
            f"{name} failed on {what} of shape {tuple(x.shape)} ({_what(error)}); the clip may be "
            "too short for the model, or not of the one length that it takes: use another length."
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] != n_labels:
        raise ModelError(
            f"{name} returned {_shape(logits)}, logits [batch, {n_labels}] were expected; "
            "wrap the module so that it returns one logit per label."
        )
    return logits


def check_finite(logits: Tensor, labels: tuple[str, ...], name: str) -> None:
    """Refuses logits of one clip that are not finite: nothing can be explained by them.

    Raises
    ------
    ModelError
        If one is NaN or infinite.
    """
    odd = (~torch.isfinite(logits)).nonzero().flatten().tolist()
    if odd:
        raise ModelError(
            f"{name} returned {float(logits[odd[0]])} as the logit of {labels[odd[0]]!r} (of {len(odd)} labels in "
            "all), finite logits were expected; run `earmark verify` on this classifier, and check its weights."
        )


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _what(error: Exception) -> str:
    return str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"
