"""LmacTd: evidence that is a waveform, decoded from a masked code of the clip."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...audio.waveform import Waveform
from ...classifiers.base import Classifier
from ...errors import InputError, TargetError
from ...evidence import Evidence
from ...explanation import Explanation
from ...types import Clip, Prediction, Samples, Target
from .. import fitted
from ..base import Explainer, Pass, learned_sha256
from ..fitted_config import options_of
from .autoencoder import Code
from .evidence import evidence_of_mask
from .refusals import misfit, refuse_poor
from .separator import Look, Parts, Separator


@dataclass(frozen=True)
class LmacTdOptions:
    """How one explanation is told; none of it changes the masker.

    Parameters
    ----------
    power
        The mask is raised to it: above 1, less is heard of what is kept in half.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise InputError(f"power is above 0, got {self.power}; change it.")


@dataclass(frozen=True, eq=False)
class Heard:
    """What one pass left behind, and the clip in its own form where that is known."""

    look: Look
    own: Waveform | None = None


class LmacTd(Explainer[Heard]):
    """Listenable maps in the time domain (Mancini et al., 2024, "LMAC-TD").

    A mask on the code of an autoencoder, drawn by a network that sees the code and the classifier's maps. What it keeps
    is decoded to a waveform: that sound re-enters the classifier, and that sound is heard. The classifier is read,
    never changed. Costs one forward pass of it, and about one more for the networks, for any label.

    Parameters
    ----------
    separator
        Classifier, autoencoder and trained masker.
    diagnostics
        What the fit measured, among it `reconstruction_snr_db`.
    options
        How explanations are told; `using` changes them.

    Raises
    ------
    ModelError
        If the autoencoder does not give clips back at 20 dB.
    """

    method = "lmac-td"
    scores = ("logit", "log_prob", "prob")

    def __init__(
        self, separator: Separator, diagnostics: dict[str, Any] | None = None, *, options: LmacTdOptions | None = None
    ) -> None:
        self.diagnostics = diagnostics or {}
        refuse_poor(self.diagnostics.get("reconstruction_snr_db", float("inf")))
        self.separator, self.classifier, self.config = separator, separator.classifier, separator.config
        for part in (separator.masker, separator.code):
            part.eval().requires_grad_(False)
        self.options = options or LmacTdOptions()

    def __repr__(self) -> str:
        return f"LmacTd(alpha {self.config.alpha:g}, {self.config.basis}, {self.classifier.name})"

    def using(self, **changes: Any) -> "LmacTd":
        """Returns the same explainer with other options (see `LmacTdOptions`)."""
        other = copy.copy(self)
        other.options = options_of(LmacTdOptions, {**asdict(self.options), **changes}, self.method)
        return other

    @torch.no_grad()
    def parts(self, look: Look, index: int) -> Parts:
        """Returns what is kept of clips for one label, and what is left out: what is heard and what is scored."""
        code, mask = self._masked(look, index)
        return self.separator.parts(look.samples, code, mask)

    def save(self, folder: str | Path) -> Path:
        """Writes the explainer's folder: `config.json`, `model.safetensors`, `README.md`."""
        from .files import save_lmac_td

        return save_lmac_td(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, **options: Any) -> "LmacTd":
        """Reads the folder that `save` wrote; `options` are those of `LmacTdOptions`."""
        from .files import load_lmac_td

        return cls(*load_lmac_td(Path(folder), classifier), options=options_of(LmacTdOptions, options, cls.method))

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if nothing can be trained through the classifier, else `None`."""
        return misfit(classifier)

    # -- the template ---------------------------------------------------------------------------------------------

    def _forward(self, samples: Samples) -> Pass[Heard]:
        look = self.separator.look(samples)
        return Pass(look.logits, Heard(look))

    def _explanation(
        self, waveform: Waveform, samples: Samples, done: Pass[Heard], prediction: Prediction, target: Target
    ) -> Explanation:
        done = Pass(done.logits, replace(done.state, own=waveform))
        return super()._explanation(waveform, samples, done, prediction, target)

    @torch.no_grad()
    def _evidence(self, done: Pass[Heard], index: int, target: Target, n_samples: int) -> Evidence:
        look = done.state.look.row(index)
        self._refuse_unasked(look, target)
        code, mask = self._masked(look, target.index)
        kept = self.separator.parts(look.samples, code, mask).inside
        grid = self.classifier.grid(n_samples)
        return evidence_of_mask(self.separator.code, mask, look.samples, kept, grid, done.state.own)

    def _masked(self, look: Look, index: int) -> tuple[Code, Code]:
        asked = torch.full((len(look.samples),), index, device=self.separator.masker.bias.device)
        hot = fitted.one_hot(asked, len(self.classifier.labels), self.separator.masker.bias)
        code, mask = self.separator.masks(look, hot)
        return code, mask if self.options.power == 1 else mask**self.options.power

    def _refuse_unasked(self, look: Look, target: Target) -> None:
        told = self.config.conditioned and self.config.alpha > 0
        if told or int(look.logits[0].argmax()) == target.index:
            return
        raise TargetError(
            "This masker was trained to explain the label that the classifier puts first, and no other one; leave the "
            "target out, or fit one with conditioned=True and alpha above 0."
        )

    def _config(self) -> dict[str, Any]:
        return {**self.config.to_dict(), **asdict(self.options)}

    def _learned(self) -> str:
        return learned_sha256({"masker": self.separator.masker, "code": self.separator.code})

    def _seed(self) -> int:
        return self.config.seed

    def _on(self, classifier: Classifier) -> "LmacTd":
        """Returns the same networks around another classifier of its architecture; private, for checks."""
        mine = self.separator
        other = Separator(classifier, mine.config, mine.taps, mine.code, mine.masker)
        return LmacTd(other, self.diagnostics, options=self.options)

    # -- controls, private: see checks/decoder.py -----------------------------------------------------------------

    def _crossed(self) -> "LmacTd":
        """Returns the explainer that reads, for each clip, the maps of the one before it in the batch."""
        other = copy.copy(self)
        other.separator = copy.copy(self.separator)
        other.separator.crossed = True
        return other

    def _untrained(self, seed: int) -> "LmacTd":
        """Returns the explainer with a masker's first weights; the autoencoder and the scale of the maps stay."""
        mine = self.separator
        config = replace(self.config, seed=seed, taps=self._taps)
        masker = Separator.untrained(self.classifier, config, mine.code).masker
        masker.load_state_dict(dict(mine.masker.named_buffers()), strict=False)
        other = Separator(self.classifier, self.config, mine.taps, mine.code, masker)
        return LmacTd(other, self.diagnostics, options=self.options)

    def _refitted(self, classifier: Classifier, clips: Sequence[Clip], **changes: Any) -> "LmacTd":
        """Returns a masker of the same size trained on another classifier, or with other settings."""
        from .train import fit_lmac_td

        fitted = fit_lmac_td(classifier, clips, self.config, **{"taps": self._taps, **changes})
        return fitted.using(**asdict(self.options))

    @property
    def _taps(self) -> str:
        return ",".join(tap.layer for tap in self.separator.taps)
