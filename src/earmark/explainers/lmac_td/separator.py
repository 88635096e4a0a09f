"""What meets between clip and evidence: frozen classifier, frozen autoencoder, and the masker that is trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap, count, find_taps, tapped
from ...training.loop import seeded_globals
from ...types import Logits, Map, Samples
from ..decoders import Labels, Planes, Trunk
from .autoencoder import N_SIGNS, Autoencoder, Code
from .config import LmacTdConfig
from .mask_nets import Bands, mask_net_of

Maps = Sequence[Tensor]  # each `[batch, channel, freq, frame]`, with rows and frames of its own

FIRST_MEAN = 0.3  # of an untrained mask, so that its sigmoid is not saturated
MOST_ROWS = 32  # of the maps that a learned basis reads


@dataclass(frozen=True, eq=False)
class Look:
    """What one forward pass of the classifier left behind: its logits, and the maps of its taps.

    Maps may be those of other clips, which is a control: a mask that ignores them explains nothing.
    """

    samples: Samples
    logits: Logits
    maps: tuple[Tensor, ...]

    def row(self, index: int) -> "Look":
        """Returns what belongs to one clip."""
        part = slice(index, index + 1)
        return Look(self.samples[part], self.logits[part], tuple(one[part] for one in self.maps))


@dataclass(frozen=True, eq=False)
class Parts:
    """What a mask keeps of clips, and what it leaves out."""

    inside: Samples
    outside: Samples


class BandHead(nn.Module):
    """Reads one number for each filter of a fourier basis from the row of the maps where its frequency lies."""

    def __init__(self, width: int, n_freq: int, positions: Float[Tensor, " band"]) -> None:
        super().__init__()
        self.planes = Planes(width, 1, n_freq)
        self.register_buffer("positions", positions)
        self.positions: Tensor

    def forward(self, x: Map, n_frames: int) -> Float[Tensor, "batch filter _"]:
        """Returns `[batch, filter, frame]`: filters and their negatives have the same value."""
        return self.planes(x, self.positions, n_frames)[:, 0].repeat(1, N_SIGNS, 1)


class FilterHead(nn.Module):
    """Reads a number for each filter of any basis from all rows of the maps."""

    def __init__(self, width: int, n_freq: int, n_filters: int) -> None:
        super().__init__()
        self.n_rows = min(n_freq, MOST_ROWS)
        self.convolution = nn.Conv1d(width * self.n_rows, n_filters, 1)

    def forward(self, x: Map, n_frames: int) -> Float[Tensor, "batch filter _"]:
        """Returns `[batch, filter, frame]`."""
        rows = functional.interpolate(x, size=(self.n_rows, x.shape[3]), mode="bilinear", align_corners=False)
        return functional.interpolate(
            self.convolution(rows.flatten(1, 2)), size=n_frames, mode="linear", align_corners=False
        )


class Masker(nn.Module):
    """All that is trained: `logit(m) = MaskNet(u) + g u`, with `u = (1 - alpha) w + alpha D(h)`.

    `D` is a trunk over the maps `h` and a head; `g` is one number for each band, so that single frames and filters need
    not pass the network's few channels. What comes in as `w` is the code over its clip's root mean square, compressed
    by log1p where the configuration says so.
    """

    def __init__(self, taps: Sequence[Tap], classifier: Classifier, code: Autoencoder, config: LmacTdConfig) -> None:
        super().__init__()
        self.alpha, self.compressed = config.alpha, config.compressed
        self.n_signs = N_SIGNS if config.basis == "fourier" else 1
        n_bands = code.n_filters // self.n_signs
        if self.alpha > 0:
            n_labels = len(classifier.labels) if config.conditioned else 0
            self.trunk = Trunk(taps, config.width, n_labels)
            n_freq = taps[-1].n_freq
            self.head = (
                BandHead(config.width, n_freq, band_positions(classifier, n_bands))
                if config.basis == "fourier"
                else FilterHead(config.width, n_freq, code.n_filters)
            )
        self.net = mask_net_of(config, code.n_filters, n_bands)
        self.gain = nn.Parameter(torch.ones(n_bands, 1))
        self.bias = nn.Parameter(torch.full((n_bands, 1), math.log(FIRST_MEAN / (1 - FIRST_MEAN))))
        with torch.no_grad():
            self.net.last.weight.mul_(0.1)  # type: ignore[union-attr, operator]
            self.net.last.bias.zero_()  # type: ignore[union-attr, operator]

    def calibrate(self, maps: Maps) -> None:
        """Scales the taps by the maps of some clips."""
        if self.alpha > 0:
            self.trunk.calibrate(maps)

    def mixed(self, code: Code, maps: Maps, asked: Labels) -> Code:
        """Returns `u`; with alpha 0 the maps, and with alpha 1 the code, do not take part."""
        u = torch.zeros_like(code)
        if self.alpha < 1:
            u = u + (1 - self.alpha) * self._levels(code)
        if self.alpha > 0:
            u = u + self.alpha * self.head(self.trunk(maps, asked), code.shape[2])
        return u

    def forward(self, code: Code, maps: Maps, asked: Labels) -> Code:
        """Returns the mask `m` in [0, 1] on the code."""
        u = self.mixed(code, maps, asked)
        direct = u.unflatten(1, (self.n_signs, -1)).mean(1)
        return self._mask(self.net(u) + self.gain * direct + self.bias)

    def _mask(self, logits: Bands) -> Code:
        return logits.sigmoid().repeat(1, self.n_signs, 1)

    def _levels(self, code: Code) -> Code:
        level = code / code.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
        return level.log1p() if self.compressed else level


def band_positions(classifier: Classifier, n_bands: int) -> Float[Tensor, " band"]:
    """Returns where the center of each filter of a fourier basis lies along the feature rows, in [0, 1]."""
    borders = classifier.front_end.row_edges_hz().double().cpu()
    hz = (torch.arange(n_bands, dtype=torch.float64) + 0.5) * classifier.sample_rate / (2 * n_bands)
    row = (torch.searchsorted(borders, hz, right=True) - 1).clamp(0, len(borders) - 2)
    share = ((hz - borders[row]) / (borders[row + 1] - borders[row])).clamp(0, 1)
    return ((row + share) / (len(borders) - 1)).float()


class Separator:
    """Splits clips into what speaks for a label and the rest.

    Parameters
    ----------
    classifier
        Frozen; its maps are read.
    config
        How all was built.
    taps
        The layers that are read, coarse to fine.
    code
        Encoder and decoder, frozen.
    masker
        What is trained.

    Attributes
    ----------
    crossed
        Whether each clip's maps are those of the clip before it in the batch; for checks.
    """

    def __init__(
        self, classifier: Classifier, config: LmacTdConfig, taps: Sequence[Tap], code: Autoencoder, masker: Masker
    ) -> None:
        self.classifier, self.config, self.taps = classifier, config, tuple(taps)
        self.code, self.masker, self.crossed = code, masker, False

    @classmethod
    def untrained(cls, classifier: Classifier, config: LmacTdConfig, code: Autoencoder) -> "Separator":
        """Returns a separator whose masker is drawn by the configuration's seed."""
        taps = find_taps(classifier, config.tap_layers)
        with seeded_globals(config.seed, 11):
            masker = Masker(taps, classifier, code, config)
        return cls(classifier, config, taps, code, masker.to(classifier.device))

    def look(self, samples: Samples) -> Look:
        """Returns what the classifier says of clips, in one forward pass and without gradients."""
        with torch.no_grad():
            seen = tapped(self.classifier, samples, self.taps)
        maps = tuple(one.detach() for one in seen.maps)
        if self.crossed:
            maps = tuple(one.roll(1, 0) for one in maps)
        if self.config.blind:
            maps = tuple(torch.zeros_like(one) for one in maps)
        return Look(samples, seen.logits.detach(), maps)

    def masks(self, look: Look, asked: Labels) -> tuple[Code, Code]:
        """Returns the codes of clips and masks on them; `asked` is one-hot over labels."""
        like = self.masker.bias
        with torch.no_grad():
            code = self.code.encode(look.samples.to(like))
        return code, self.masker(code, [one.to(like) for one in look.maps], asked.to(like))

    def parts(self, samples: Samples, code: Code, mask: Code) -> Parts:
        """Returns `x_in = Dec(m w)` and the rest: `x - x_in`, or as published `Dec((1 - m) w)`."""
        n_samples = samples.shape[-1]
        inside = self.code.decode(mask * code, n_samples).to(samples)
        if self.config.projection:
            return Parts(inside, samples - inside)
        return Parts(inside, self.code.decode((1 - mask) * code, n_samples).to(samples))

    def cost(self) -> dict[str, Any]:
        """Returns parameters and multiply-adds of a clip as long as the classifier's probe, and their shares."""
        c = self.classifier
        samples = c._noise()
        asked = torch.zeros(1, len(c.labels))
        look = self.look(samples)
        ours = count(lambda: self.parts(samples, *self.masks(look, asked)))
        theirs = count(lambda: c.logits(samples))
        trained, frozen = (sum(p.numel() for p in part.parameters()) for part in (self.masker, self.code))
        return {
            "parameters": trained,
            "autoencoder_parameters": frozen,
            "multiply_adds": ours,
            "multiply_adds_share": ours / max(theirs, 1),
        }
