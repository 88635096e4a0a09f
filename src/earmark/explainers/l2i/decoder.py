"""The network of L2I: psi, from taps to activations of the dictionary, and theta, from these to the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap, tapped
from ...types import Logits, Samples
from ..decoders import Maps, Trunk
from . import nmf
from .config import L2iConfig

Log1p = Float[Tensor, "batch freq frame"]
Codes = Float[Tensor, "batch component frame"]

CODE_STEPS = 20  # updates for a clip's own activations


@dataclass(frozen=True, eq=False)
class Seen:
    """What one forward pass of the classifier shows of clips.

    Parameters
    ----------
    logits
        The classifier's own.
    maps
        The map of each tap, `[batch, channel, freq, frame]`, in float32.
    log1p
        The clips' log1p magnitude on the STFT grid, `[batch, freq, frame]`, in float32.
    """

    logits: Logits
    maps: tuple[Float[Tensor, "batch _ _ _"], ...]
    log1p: Log1p


@torch.no_grad()
def seen(classifier: Classifier, samples: Samples, taps: Sequence[Tap]) -> Seen:
    """Returns what the classifier shows of clips `[batch, sample]`; one forward pass of it."""
    shown = tapped(classifier, samples, taps)
    return Seen(shown.logits, tuple(one.float() for one in shown.maps), log1p_of(classifier, samples))


def log1p_of(classifier: Classifier, samples: Samples) -> Log1p:
    """Returns `log(1 + |X|)` of clips, in float32."""
    return classifier.stft(samples).abs().log1p().float()


@dataclass(frozen=True, eq=False)
class Heard:
    """What the network says of clips.

    Parameters
    ----------
    codes
        Activations `[batch, component, frame]`, H, not negative.
    model
        `W H`, `[batch, freq, frame]`, which is to be the clips' log1p magnitude.
    pooled
        Activations pooled over frames, `[batch, component]`, z.
    said
        Theta's logits `[batch, label]`.
    """

    codes: Codes
    model: Log1p
    pooled: Float[Tensor, "batch component"]
    said: Logits


class Interpreter(nn.Module):
    """Activates a fixed dictionary by what the classifier hears, and imitates its output linearly.

    Parameters
    ----------
    taps
        Coarse to fine.
    W
        The dictionary; a buffer, never trained.
    n_labels
        Of the classifier.
    """

    def __init__(self, taps: Sequence[Tap], W: nmf.Dictionary, n_labels: int, config: L2iConfig) -> None:
        super().__init__()
        n_components = W.shape[1]
        self.sparsity, self.gated, self.blind = config.sparsity, config.activations == "gated", config.blind
        self.trunk = Trunk(taps, config.width)
        self.psi = nn.Conv1d(config.width * taps[-1].n_freq, n_components, 3, padding=1)
        self.pool = Attention(n_components, config.attention) if config.pooling == "attention" else Mean()
        self.theta = nn.Linear(n_components, n_labels, bias=False)
        self.register_buffer("W", W.clone())
        self.W: Tensor

    def forward(self, maps: Maps, log1p: Log1p) -> Heard:
        """Returns activations and what follows from them.

        Parameters
        ----------
        maps
            One of each tap, `[batch, channel, freq, frame]`, each of another size.
        log1p
            The clips' log1p magnitude on the STFT grid; decoded activations take its number of frames alone.
        """
        if self.blind:
            maps = [torch.zeros_like(one) for one in maps]
        raw = self.psi(self.trunk(maps).flatten(1, 2))
        raw = functional.interpolate(raw, size=log1p.shape[-1], mode="linear", align_corners=False)
        codes = functional.softplus(raw)
        if self.gated:
            codes = codes * nmf.codes_of(log1p, self.W, self.sparsity, CODE_STEPS)
        pooled = self.pool(codes)
        return Heard(codes, self.W @ codes, pooled, self.theta(pooled))


class Attention(nn.Module):
    """Gated attention over frames: `z = sum_t a_t H_t` with `a = softmax_t(u . (tanh(V H_t) relu(U H_t)))`.

    As in the public code of L2I, after Ilse et al. (2018) with a ReLU for the gate.
    """

    def __init__(self, n_components: int, n_units: int) -> None:
        super().__init__()
        self.V, self.U = nn.Linear(n_components, n_units), nn.Linear(n_components, n_units)
        self.u = nn.Linear(n_units, 1)

    def forward(self, codes: Codes) -> Float[Tensor, "batch component"]:
        """Returns the pooled activations."""
        H = codes.transpose(1, 2)
        weights = self.u(self.V(H).tanh() * self.U(H).relu()).softmax(1)
        return (H * weights).sum(1)


class Mean(nn.Module):
    """The mean over frames."""

    def forward(self, codes: Codes) -> Float[Tensor, "batch component"]:
        """Returns the pooled activations."""
        return codes.mean(2)
