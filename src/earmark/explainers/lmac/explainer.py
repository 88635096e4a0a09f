"""Lmac: a mask drawn by a decoder of the classifier's own maps, to be seen and heard."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap
from ...errors import InputError, TargetError
from ...evidence import Evidence, Mask
from ...types import Clip, Samples, Target
from .. import fitted
from ..base import Explainer, Pass
from ..fitted_config import options_of
from ..stages import bins_of, no_gradient
from .config import LmacConfig
from .decoder import CompactDecoder, Look, Masker, MaskLogits
from .loss import soft_top, thresholds

HEARD_AREA = 0.15  # share of the bins that is heard where a decoder has learned areas alone


@dataclass(frozen=True)
class LmacOptions:
    """How one explanation is told; none of it changes the decoder.

    Parameters
    ----------
    area
        Share of the bins that is heard, with soft edges; 0 is the decoder's own soft mask, or `HEARD_AREA` where it has
        learned areas alone.
    """

    area: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.area <= 1:
            raise InputError(f"area lies in 0 ... 1, got {self.area}; change it.")


class Lmac(Explainer[Look]):
    """Listenable maps by a trained decoder (Paissan et al., 2024, "Listenable Maps for Audio Classifiers").

    The classifier is read, never changed. Costs one forward pass of it and one of the decoder for any label.

    Parameters
    ----------
    classifier
        What is explained.
    config
        How the decoder was built and trained.
    taps
        The layers that it reads, coarse to fine.
    decoder
        The trained network.
    diagnostics
        What the fit measured.
    options
        How explanations are told; `using` changes them.
    """

    method = "lmac"
    scores = ("logit", "log_prob", "prob")

    def __init__(
        self,
        classifier: Classifier,
        config: LmacConfig,
        taps: Sequence[Tap],
        decoder: nn.Module,
        diagnostics: dict[str, Any] | None = None,
        *,
        options: LmacOptions | None = None,
    ) -> None:
        self.classifier, self.config, self.taps = classifier, config, tuple(taps)
        self.decoder = decoder.eval().requires_grad_(False)
        self.diagnostics = diagnostics or {}
        self.options = options or LmacOptions()
        self.masker = Masker(classifier, config, self.taps, self.decoder)

    def __repr__(self) -> str:
        return f"Lmac({self.config.objective}, {self.classifier.name})"

    def using(self, **changes: Any) -> "Lmac":
        """Returns the same explainer with other options (see `LmacOptions`)."""
        other = copy.copy(self)
        other.options = options_of(LmacOptions, {**asdict(self.options), **changes}, self.method)
        return other

    def save(self, folder: str | Path) -> Path:
        """Writes the explainer's folder: `config.json`, `model.safetensors`, `README.md`."""
        from .files import save_lmac

        return save_lmac(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, **options: Any) -> "Lmac":
        """Reads the folder that `save` wrote; `options` are those of `LmacOptions`."""
        from .files import load_lmac

        return cls(
            classifier, **load_lmac(Path(folder), classifier), options=options_of(LmacOptions, options, cls.method)
        )

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if nothing can be trained through the classifier, else `None`."""
        return no_gradient(classifier, "features")

    # -- the template ---------------------------------------------------------------------------------------------

    def _forward(self, samples: Samples) -> Pass[Look]:
        look = self.masker.look(samples)
        return Pass(look.logits, look)

    def _evidence(self, done: Pass[Look], index: int, target: Target, n_samples: int) -> Evidence:
        look = done.state.row(index)
        return self._masks(look, [target], n_samples)[0]

    def _evidences(self, done: Pass[Look], targets: list[Target], n_samples: int) -> list[Evidence]:
        return self._masks(done.state, targets, n_samples)

    @torch.no_grad()
    def _masks(self, look: Look, targets: Sequence[Target], n_samples: int) -> list[Evidence]:
        """Returns the masks of clips, one target for each."""
        asked = torch.tensor([target.index for target in targets], device=look.level.device)
        self._refuse_unasked(look, asked)
        hot = fitted.one_hot(asked, len(self.classifier.labels), look.level)
        logits = self.masker.logits(look, hot, n_samples)
        if look.features is not None:
            logits = bins_of(logits, self.classifier, n_samples)
        gains, order = self._gains(logits).cpu(), logits.cpu()
        grid = self.classifier.grid(n_samples)
        return [Mask(gains[i].clone(), grid, order[i].clone()) for i in range(len(targets))]

    def _gains(self, logits: MaskLogits) -> MaskLogits:
        """Returns what is heard: the soft mask, or that of an area with edges as soft as in training."""
        area = self.options.area or (HEARD_AREA if self.config.objective == "areas" else 0.0)
        if not area:
            return logits.sigmoid()
        at = thresholds(logits, torch.full((len(logits),), area, device=logits.device))
        return soft_top(logits, at, self.config.softness)

    def _refuse_unasked(self, look: Look, asked: torch.Tensor) -> None:
        if self.config.conditioned or bool((look.logits.argmax(1) == asked).all()):
            return
        raise TargetError(
            "This decoder was trained to explain the label that the classifier puts first, and no other one; leave the "
            "target out, or fit one with conditioned=True."
        )

    def _config(self) -> dict[str, Any]:
        return {**self.config.to_dict(), **asdict(self.options)}

    def _seed(self) -> int:
        return self.config.seed

    def _on(self, classifier: Classifier) -> "Lmac":
        """Returns the same decoder around another classifier; private, for checks."""
        return Lmac(classifier, self.config, self.taps, self.decoder, self.diagnostics, options=self.options)

    # -- controls, private: see checks/decoder.py -----------------------------------------------------------------

    def _crossed(self) -> "Lmac":
        """Returns the explainer that reads, for each clip, the maps of the one before it in the batch."""
        other = copy.copy(self)
        other.masker = replace(self.masker, crossed=True)
        return other

    def _untrained(self, seed: int) -> "Lmac":
        """Returns the explainer with a decoder's first weights."""
        config = replace(self.config, seed=seed, taps=",".join(tap.layer for tap in self.taps), width=self._width)
        decoder = Masker.untrained(self.classifier, config).decoder
        if isinstance(decoder, CompactDecoder) and isinstance(self.decoder, CompactDecoder):
            decoder.trunk.scale.copy_(self.decoder.trunk.scale)  # a fit starts with calibrated taps
        return Lmac(self.classifier, self.config, self.taps, decoder, options=self.options)

    def _refitted(self, classifier: Classifier, clips: Sequence[Clip], **changes: Any) -> "Lmac":
        """Returns a decoder of the same size trained on another classifier, or with other settings."""
        from .train import fit_lmac

        own = {"taps": ",".join(tap.layer for tap in self.taps), "width": self._width}
        return fit_lmac(classifier, clips, self.config, **{**own, **changes}).using(**asdict(self.options))

    @property
    def _width(self) -> int:
        return int(getattr(self.decoder, "width", 0))
