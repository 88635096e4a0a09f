"""Separated sounds as soft masks on the STFT, in [0, 1], that sum to one in every bin."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError
from .perturbation_config import AudioLimeConfig

Magnitude = Float[Tensor, "freq frame"]
SoftMasks = Float[Tensor, "component freq frame"]

MEDIAN_WIDTH = 31  # frames, or bins: librosa's default


def separated(magnitude: Magnitude, config: AudioLimeConfig) -> SoftMasks:
    """Returns the masks of the components of a clip.

    `hpss`: harmonic, percussive. `nmf`: the components of a non-negative factorization of the magnitude, each with its
    share of the model. `hpss-nmf`: the harmonic part's components, then percussive.
    """
    separate: dict[str, Callable[[Magnitude, AudioLimeConfig], SoftMasks]] = {
        "hpss": lambda m, c: harmonic_percussive(m),
        "nmf": factorized,
        "hpss-nmf": _harmonic_factorized,
    }
    return separate[config.separation](magnitude, config)


def harmonic_percussive(magnitude: Magnitude) -> SoftMasks:
    """Returns the soft masks of median filtering, `H^2 / (H^2 + P^2)` and the rest; one half each in silence.

    H is the median over frames, which leaves what lasts, P that over frequencies, which leaves what is broad.
    Fitzgerald (2010), equations 1 to 5.
    """
    power = magnitude.double().square()  # the median of squares is the square of the median
    harmonic, percussive = running_median(power), running_median(power.T).T
    silent = harmonic + percussive <= 0
    mask = torch.where(silent, 0.5, harmonic / torch.where(silent, 1.0, harmonic + percussive))
    return torch.stack([mask, 1 - mask]).to(magnitude)


def running_median(values: Float[Tensor, "row n"], width: int = MEDIAN_WIDTH) -> Float[Tensor, "row n"]:
    """Returns the median of the `width` (odd) neighbors of each value along its row, mirrored at both ends."""
    n, half = values.shape[1], width // 2
    place = torch.arange(-half, n + half) % (2 * n)  # ... c b a | a b c ... x y z | z y x ...
    place = torch.minimum(place, 2 * n - 1 - place).to(values.device)
    rows = [row[:, place].unfold(1, width, 1).median(2).values for row in values.split(128)]
    return torch.cat(rows)


def factorized(magnitude: Magnitude, config: AudioLimeConfig) -> SoftMasks:
    """Returns each component's share `W_k H_k / sum_j W_j H_j` of the factorization; equal shares where that is 0."""
    decomposition = _decomposition()
    n_components = min(config.n_components, *magnitude.shape)  # a clip of few frames has no more
    model = decomposition.NMF(
        n_components, init="nndsvda", max_iter=config.nmf_steps, tol=0.0, random_state=config.seed
    )
    W = torch.from_numpy(model.fit_transform(magnitude.double().cpu().numpy()))
    H = torch.from_numpy(model.components_)
    each = W.T[:, :, None] * H[:, None, :] + torch.finfo(torch.float32).tiny
    return (each / each.sum(0)).to(magnitude)


def _harmonic_factorized(magnitude: Magnitude, config: AudioLimeConfig) -> SoftMasks:
    harmonic, percussive = harmonic_percussive(magnitude)
    return torch.cat([harmonic * factorized(harmonic * magnitude, config), percussive[None]])


def _decomposition() -> Any:
    try:
        return import_module("sklearn.decomposition")
    except ImportError as error:
        raise ModelError(
            f"audiolime separates sounds by scikit-learn's NMF, which is not installed ({error}); "
            'install it with pip install "earmark[separation]", or choose separation="hpss".'
        ) from error
