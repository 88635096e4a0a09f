"""LmacZs: a mask for any text, drawn by a decoder of a zero-shot model's own maps, to be seen and heard."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap
from ...classifiers.zero_shot import PromptLogits, ZeroShot
from ...errors import ModelError
from ...evidence import Evidence, Mask
from ...types import Clip, Samples, Target
from ..base import Explainer, Pass
from ..fitted_config import options_of
from ..lmac.decoder import CompactDecoder, Look, MaskLogits
from ..lmac.explainer import LmacOptions
from ..lmac.loss import soft_top, thresholds
from ..stages import bins_of, no_gradient
from .config import LmacZsConfig
from .decoder import ZsMasker, untrained


class LmacZs(Explainer[Look]):
    """Listenable maps for zero-shot audio classifiers (Paissan et al., 2024).

    A target is any text, also one that is not among the classifier's prompts. With `against`, the mask is what that of
    the first prompt keeps more than that of the second. Costs one forward pass of the model and one of the decoder, for
    a contrast two of the decoder.

    Parameters
    ----------
    classifier
        A zero-shot classifier with any prompts, of the towers that the decoder was trained for.
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

    Raises
    ------
    ModelError
        If the classifier's labels are no prompts.
    """

    method = "lmac-zs"
    scores = ("logit", "log_prob", "prob", "contrast")

    def __init__(
        self,
        classifier: Classifier,
        config: LmacZsConfig,
        taps: Sequence[Tap],
        decoder: CompactDecoder,
        diagnostics: dict[str, Any] | None = None,
        *,
        options: LmacOptions | None = None,
    ) -> None:
        self.classifier: ZeroShot = classifier if isinstance(classifier, ZeroShot) else ZeroShot.of(classifier)
        self.config, self.taps = config, tuple(taps)
        self.decoder = decoder.eval().requires_grad_(False)
        self.diagnostics = diagnostics or {}
        self.options = options or LmacOptions()
        self.masker = ZsMasker(self.classifier, config, self.taps, self.decoder)

    def __repr__(self) -> str:
        return f"LmacZs({self.classifier.name})"

    def using(self, **changes: Any) -> "LmacZs":
        """Returns the same explainer with other options (see `LmacOptions`)."""
        other = copy.copy(self)
        other.options = options_of(LmacOptions, {**asdict(self.options), **changes}, self.method)
        return other

    def save(self, folder: str | Path) -> Path:
        """Writes the explainer's folder: `config.json`, `model.safetensors`, `README.md`."""
        from .files import save_lmac_zs

        return save_lmac_zs(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, **options: Any) -> "LmacZs":
        """Reads the folder that `save` wrote, for any prompts; `options` are those of `LmacOptions`."""
        from .files import load_lmac_zs

        model = classifier if isinstance(classifier, ZeroShot) else ZeroShot.of(classifier)
        return cls(model, **load_lmac_zs(Path(folder), model), options=options_of(LmacOptions, options, cls.method))

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if labels are no prompts or nothing can be trained through it, else `None`."""
        if not isinstance(classifier.module, PromptLogits):
            try:
                ZeroShot.of(classifier)
            except ModelError as error:
                return str(error)
        return no_gradient(classifier, "features")

    # -- the template ---------------------------------------------------------------------------------------------

    def _forward(self, samples: Samples) -> Pass[Look]:
        look = self.masker.look(samples)
        return Pass(look.logits, look)

    def _evidence(self, done: Pass[Look], index: int, target: Target, n_samples: int) -> Evidence:
        return self._masks(done.state.row(index), [target], n_samples)[0]

    def _evidences(self, done: Pass[Look], targets: list[Target], n_samples: int) -> list[Evidence]:
        return self._masks(done.state, targets, n_samples)

    @torch.no_grad()
    def _masks(self, look: Look, targets: Sequence[Target], n_samples: int) -> list[Evidence]:
        """Returns the masks of clips, one target for each."""
        order = self._mask_logits(look, [target.index for target in targets], n_samples)
        gains = self._gains(order)
        others = [target.against for target in targets]
        if any(other is not None for other in others):
            is_contrast = torch.tensor([other is not None for other in others], device=order.device)[:, None, None]
            against = self._mask_logits(look, [other or 0 for other in others], n_samples)
            gains = torch.where(is_contrast, (gains - self._gains(against)).clamp_min(0), gains)
            order = torch.where(is_contrast, order - against, order)
        grid = self.classifier.grid(n_samples)
        return [Mask(gains[i].cpu().clone(), grid, order[i].cpu().clone()) for i in range(len(targets))]

    def _mask_logits(self, look: Look, prompts: Sequence[int], n_samples: int) -> MaskLogits:
        """Returns the logits of masks on the STFT grid, a prompt for each clip."""
        text: Tensor = self.classifier.module.text[list(prompts)]
        logits = self.masker.logits(look, text.to(look.level), n_samples)
        return logits if look.features is None else bins_of(logits, self.classifier, n_samples)

    def _gains(self, logits: MaskLogits) -> MaskLogits:
        """Returns what is heard: the soft mask, or that of an area with soft edges."""
        if not self.options.area:
            return logits.sigmoid()
        areas = torch.full((len(logits),), self.options.area, device=logits.device)
        return soft_top(logits, thresholds(logits, areas), 1.0)

    def _config(self) -> dict[str, Any]:
        return {**self.config.to_dict(), **asdict(self.options), "template": self.classifier.template}

    def _seed(self) -> int:
        return self.config.seed

    def _on(self, classifier: Classifier) -> "LmacZs":
        """Returns the same decoder around a classifier of other prompts, or, for checks, of other weights."""
        other = LmacZs(classifier, self.config, self.taps, self.decoder, self.diagnostics, options=self.options)
        other.masker = replace(other.masker, crossed=self.masker.crossed)
        return other

    # -- controls, private: see checks/decoder.py -----------------------------------------------------------------

    def _crossed(self) -> "LmacZs":
        """Returns the explainer that reads, for each clip, the maps of the one before it in the batch."""
        other = copy.copy(self)
        other.masker = replace(self.masker, crossed=True)
        return other

    def _untrained(self, seed: int) -> "LmacZs":
        """Returns the explainer with a decoder's first weights."""
        config = replace(self.config, seed=seed, **self._sizes)
        decoder = untrained(self.classifier.embedder, config).decoder
        assert isinstance(decoder, CompactDecoder)
        decoder.trunk.scale.copy_(self.decoder.trunk.scale)  # a fit starts with calibrated taps
        return LmacZs(self.classifier, self.config, self.taps, decoder, options=self.options)

    def _refitted(self, classifier: Classifier, clips: Sequence[Clip], **changes: Any) -> "LmacZs":
        """Returns a decoder of the same size trained on another classifier, or with other settings."""
        from .train import fit_lmac_zs

        own = {**self._sizes, "most_alike": 1.0}
        return fit_lmac_zs(classifier, clips, self.config, **{**own, **changes}).using(**asdict(self.options))

    @property
    def _sizes(self) -> dict[str, Any]:
        return {"taps": ",".join(tap.layer for tap in self.taps), "width": self.decoder.width}
