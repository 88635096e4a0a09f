"""Where LMAC-TD does not apply: a sentence each."""

import torch

from ...classifiers.base import Classifier
from ...classifiers.taps import find_taps
from ...errors import ModelError
from ..stages import no_gradient, probe

LEAST_SNR_DB = 20.0  # of a reconstruction: below it, what is heard is not what the classifier was given


def misfit(classifier: Classifier, layers: list[str] | None = None) -> str | None:
    """Returns a sentence if nothing can be trained through the classifier or no layer has a map, else `None`."""
    try:
        find_taps(classifier, layers)
    except ModelError as error:
        return str(error)
    return no_gradient(classifier, "waveform") or _broken_gradient(classifier)


def refuse_poor(snr_db: float) -> None:
    """Refuses encoder and decoder that do not give clips back.

    Raises
    ------
    ModelError
        If the signal-to-noise ratio of held-out clips' reconstructions is below `LEAST_SNR_DB`.
    """
    if not snr_db >= LEAST_SNR_DB:
        raise ModelError(
            f"The autoencoder gives held-out clips back at {snr_db:.1f} dB, at least {LEAST_SNR_DB:g} dB were expected "
            "for evidence that may be scored; raise autoencoder_epochs or filters, or set basis='fourier'."
        )


def _broken_gradient(classifier: Classifier) -> str | None:
    samples = probe(classifier).requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.logits(samples).sum(), samples)
    if bool(gradient.isfinite().all()):
        return None
    return (
        f"{classifier.name} has gradients that are NaN or infinite at the waveform, finite ones were expected; look "
        "for a square root or a logarithm of zero in it, or use a method that needs no gradient, such as occlusion."
    )
