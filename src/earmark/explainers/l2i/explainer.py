"""L2i: the components of a dictionary that theta, an imitation of the classifier, decides by, to be seen and heard."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.files import load_clip
from ...audio.waveform import Waveform
from ...classifiers.base import Classifier, Grid
from ...classifiers.surgery import own_precision
from ...classifiers.taps import Tap, find_taps
from ...errors import ModelError
from ...evidence import Mask
from ...masking import evidence_of
from ...types import Clip, Samples, Target, resolve_target
from ..base import Explainer, Pass
from ..fitted_config import options_of
from . import relevance as parts
from .config import L2iConfig, L2iOptions
from .decoder import Heard, Interpreter, seen
from .loss import agreement, relative_error

Log1p = Float[Tensor, "batch freq frame"]


@dataclass(frozen=True, eq=False)
class Component:
    """One component of the dictionary in an explanation.

    Parameters
    ----------
    index
        Its column of the dictionary.
    relevance
        At most 1, which the most relevant one has.
    spectrum
        `[freq]`, of unit length, in log1p magnitude.
    activation
        `[frame]`.
    gain
        `[freq, frame]`, its share of the model, which makes it heard. On the linear scale, gains of components add up
        to the gain of the explanation.
    waveform, grid
        The clip, and the STFT grid of it.
    """

    index: int
    relevance: float
    spectrum: Float[Tensor, " freq"]
    activation: Float[Tensor, " frame"]
    gain: Float[Tensor, "freq frame"]
    waveform: Waveform
    grid: Grid

    def listen(self) -> Waveform:
        """Returns the component as sound, with the clip's own phase, rate, channels and length."""
        return evidence_of(self.waveform, self.gain, self.grid)


@dataclass(frozen=True, eq=False)
class _State:
    """What one forward pass left behind."""

    heard: Heard
    log1p: Log1p


class L2i(Explainer[_State]):
    """Listen to Interpret (Parekh et al., 2022): parts of the sound, by their relevance for a linear imitation.

    The classifier is read, never changed. Costs one forward pass of it and one of the network for any label. The
    evidence is a mask: the share of the relevant components in the model of each bin. Where none is relevant, the mask
    is empty and `measured["n_chosen"]` is 0. Bins are ranked by their log1p magnitude times the mean relevance of what
    they consist of, where those that speak against the label count as 0; so areas do not depend on the threshold.

    Parameters
    ----------
    classifier
        What is explained.
    config
        How it was built and trained.
    taps
        The layers that it reads, coarse to fine.
    network
        Dictionary, psi and theta.
    diagnostics
        What the fit measured.
    options
        How explanations are told; `using` changes them.
    """

    method = "l2i"
    scores = ("logit", "contrast")

    def __init__(
        self,
        classifier: Classifier,
        config: L2iConfig,
        taps: Sequence[Tap],
        network: Interpreter,
        diagnostics: dict[str, Any] | None = None,
        *,
        options: L2iOptions | None = None,
    ) -> None:
        self.classifier, self.config, self.taps = classifier, config, tuple(taps)
        self.network = network.eval().requires_grad_(False)
        self.diagnostics = diagnostics or {}
        self.options = options or L2iOptions()
        self._crosses = False  # whether each clip's maps are those of the clip before it in the batch; for checks

    def __repr__(self) -> str:
        return f"L2i({self.network.W.shape[1]} components, {self.classifier.name})"

    @property
    def dictionary(self) -> Float[Tensor, "freq component"]:
        """Spectra of unit length, in log1p magnitude."""
        return self.network.W

    def using(self, **changes: Any) -> "L2i":
        """Returns the same explainer with other options (see `L2iOptions`)."""
        other = copy.copy(self)
        other.options = options_of(L2iOptions, {**asdict(self.options), **changes}, self.method)
        return other

    def save(self, folder: str | Path) -> Path:
        """Writes the explainer's folder: `config.json`, `model.safetensors`, `README.md`."""
        from .files import save_l2i

        return save_l2i(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, **options: Any) -> "L2i":
        """Reads the folder that `save` wrote; `options` are those of `L2iOptions`."""
        from .files import load_l2i

        return cls(
            classifier, **load_l2i(Path(folder), classifier), options=options_of(L2iOptions, options, cls.method)
        )

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if no layer of the classifier has a map, else `None`."""
        try:
            find_taps(classifier)
        except ModelError as refusal:
            return str(refusal)
        return None

    @own_precision()
    def components(self, clip: Waveform | Clip, target: str | int | Target | None = None) -> tuple[Component, ...]:
        """Returns the components that an explanation of the clip keeps, the most relevant first; maybe none.

        Raises
        ------
        TargetError
            If the label is unknown, or the score is not served.
        """
        waveform = clip if isinstance(clip, Waveform) else load_clip(clip)
        samples = self.classifier.prepare(waveform)
        done = self._forward(samples)
        resolved = resolve_target(target, self.classifier.prediction(done.logits[0]))
        self._check(resolved)
        relevance, H, grid = self._relevance(done, 0, resolved), done.state.heard.codes[0], self._grid(samples)
        return tuple(
            Component(
                index=int(k),
                relevance=float(relevance[k]),
                spectrum=self.dictionary[:, k].cpu(),
                activation=H[k].cpu(),
                gain=self._gain(done, 0, k[None]),
                waveform=waveform,
                grid=grid,
            )
            for k in parts.chosen(relevance, self.options.threshold, self.options.top)
        )

    # -- the template ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _forward(self, samples: Samples) -> Pass[_State]:
        shown = seen(self.classifier, samples, self.taps)
        maps = tuple(one.roll(1, 0) for one in shown.maps) if self._crosses else shown.maps
        return Pass(shown.logits, _State(self.network(maps, shown.log1p), shown.log1p))

    def _evidence(self, done: Pass[_State], index: int, target: Target, n_samples: int) -> Mask:
        heard, at = done.state.heard, slice(index, index + 1)
        relevance = self._relevance(done, index, target)
        chosen = parts.chosen(relevance, self.options.threshold, self.options.top)
        order = (
            parts.weighted_share(self.dictionary, heard.codes[index], relevance.clamp_min(0)) * done.state.log1p[index]
        )
        logits, task = done.logits[at].float(), self.classifier.task
        measured = {
            "n_chosen": float(len(chosen)),
            "theta_agrees": float(agreement(heard.said[at], logits, task, self.classifier.threshold)[0]),
            "model_error": float(relative_error(done.state.log1p[at], heard.model[at])[0]),
        }
        return Mask(self._gain(done, index, chosen), self.classifier.grid(n_samples), order.cpu(), measured)

    def _config(self) -> dict[str, Any]:
        return {**self.config.to_dict(), **asdict(self.options)}

    def _seed(self) -> int:
        return self.config.seed

    def _on(self, classifier: Classifier) -> "L2i":
        """Returns the same network around another classifier; private, for checks."""
        return L2i(classifier, self.config, self.taps, self.network, self.diagnostics, options=self.options)

    def _with(self, network: Interpreter) -> "L2i":
        """Returns another network around the same classifier; private, for checks."""
        return L2i(self.classifier, self.config, self.taps, network, self.diagnostics, options=self.options)

    # -- controls, private: see checks/decoder.py -----------------------------------------------------------------

    def _crossed(self) -> "L2i":
        """Returns the explainer that reads, for each clip, the maps of the one before it in the batch."""
        other = copy.copy(self)
        other._crosses = True
        return other

    def _untrained(self, seed: int) -> "L2i":
        """Returns the explainer with a network's first weights; the dictionary and the scale of the maps stay."""
        from .train import untrained

        network = untrained(self.classifier, replace(self.config, seed=seed), self.taps, self.dictionary)
        network.load_state_dict(dict(self.network.named_buffers()), strict=False)
        return self._with(network)

    def _refitted(self, classifier: Classifier, clips: Sequence[Clip], **changes: Any) -> "L2i":
        """Returns a network of the same size, and a dictionary, fitted to another classifier or with other settings."""
        from .train import fit_l2i

        own = {"taps": ",".join(tap.layer for tap in self.taps)}
        return fit_l2i(classifier, clips, self.config, **{**own, **changes}).using(**asdict(self.options))

    # -- the mathematics ------------------------------------------------------------------------------------------

    def _relevance(self, done: Pass[_State], index: int, target: Target) -> parts.Relevance:
        weight = self.network.theta.weight[target.index]
        if target.against is not None:
            weight = weight - self.network.theta.weight[target.against]
        return parts.relevance_of(done.state.heard.pooled[index], weight, self.config.relevance)

    def _gain(self, done: Pass[_State], index: int, components: Tensor) -> parts.Gain:
        """Returns the linear gain of some components together, on the CPU."""
        gain = parts.share_of(self.dictionary, done.state.heard.codes[index], components)
        if self.options.mask_scale == "log1p":
            gain = parts.as_linear_gain(gain, done.state.log1p[index])
        return gain.cpu()

    def _grid(self, samples: Samples) -> Grid:
        return self.classifier.grid(samples.shape[-1])
