"""Apex: explains a decision by disentangled channels, where each sounds, and the training sounds it stands for."""

import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...audio.waveform import Waveform
from ...classifiers.base import Classifier, Context, Tapped
from ...classifiers.geometry import Geometry
from ...errors import InputError, ModelError
from ...evidence import ChannelEvidence, PrototypeEvidence
from ...prototypes.bank import Prototype, PrototypeBank, find_audio
from ...prototypes.build import cell_regions
from ...prototypes.pictures import Picture
from ...types import Logits, Map, Region, Samples, Target, View
from ..base import Explainer, Pass
from ..fitted_config import options_of
from . import views
from .config import ApexConfig
from .contributions import ablation, has_fixed_weights, head_sees_more, weights_of

Mode = Literal["signed", "paper"]
BasisName = Literal["apex", "identity"]
Vector = Float[Tensor, " channel"]

#: How far contributions may be from the score to be called exact, relative to a score above 1: float32, float64.
COMPLETE = (1e-4, 1e-10)


@dataclass(frozen=True)
class ApexOptions:
    """How one explanation is told; none of it changes the basis.

    Parameters
    ----------
    top
        Channels shown.
    mode
        `signed`: weight times activation, which sums to the logit. `paper`: weight times the positive part of the
        activation, as published; it drops evidence of negative channels with negative weights and is not additive.
    basis
        `apex`, or `identity` for the model's own channels (the published picture "before").
    prototypes
        Prototypes shown per channel.
    bank_audio
        Folders in which the prototypes' sounds are looked for, by content hash.
    """

    top: int = 4
    mode: Mode = "signed"
    basis: BasisName = "apex"
    prototypes: int = 4
    bank_audio: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("mode", self.mode, ("signed", "paper")),
            ("basis", self.basis, ("apex", "identity")),
        ):
            if value not in allowed:
                raise InputError(f"{name} is one of {', '.join(allowed)}, got {value!r}; choose one of these.")
        if self.top < 1 or self.prototypes < 0:
            raise InputError(f"top is at least 1 and prototypes at least 0, got {self.top} and {self.prototypes}.")


@dataclass(frozen=True, eq=False)
class _Basis:
    """A basis in float64, its inverse, and the bank that was selected in it."""

    U: Float[Tensor, "channel channel"]
    U_inv: Float[Tensor, "channel channel"]
    bank: PrototypeBank


class Apex(Explainer[Tapped]):
    """Prototype explanations of a frozen classifier (Kawa et al., 2026, arXiv 2605.10153).

    The classifier is tapped, never changed: its logits are its own, bit for bit. Costs one forward pass and no
    backward pass for any number of labels; heads of tier T3 and T4 also two runs of the head, and for each label one
    backward pass through the head.

    Parameters
    ----------
    classifier
        What is explained; its fingerprint must be the bank's.
    U, U_inv
        `[channel, channel]`, float64; `U_inv` is the exact inverse (expm of A and of -A).
    config
        How the basis was fitted.
    bank
        The prototypes in this basis.
    identity_bank
        The prototypes of the model's own channels, for the picture "before".
    diagnostics
        What the fit measured.
    pictures
        Small pictures of the prototypes by the hash of their sound.
    options
        How explanations are told; `using` changes them.
    """

    method = "apex"
    scores = ("logit", "contrast")

    def __init__(
        self,
        classifier: Classifier,
        U: Float[Tensor, "channel channel"],
        U_inv: Float[Tensor, "channel channel"],
        config: ApexConfig,
        bank: PrototypeBank,
        diagnostics: dict[str, Any],
        *,
        identity_bank: PrototypeBank | None = None,
        pictures: dict[str, Picture] | None = None,
        options: ApexOptions | None = None,
    ) -> None:
        bank.check(classifier, U)
        if identity_bank is not None:
            identity_bank.check(classifier, torch.eye(len(U), dtype=torch.float64))
        self.classifier, self.config, self.diagnostics = classifier, config, diagnostics
        self.U, self.U_inv, self.bank, self.identity_bank = U, U_inv, bank, identity_bank
        self.pictures = pictures or {}
        self.options = options or ApexOptions()

    def __repr__(self) -> str:
        return f"Apex({self.config.view}, {len(self.U)} channels, {self.classifier.name})"

    def using(self, **changes: Any) -> "Apex":
        """Returns the same explainer with other options (see `ApexOptions`)."""
        other = copy.copy(self)
        other.options = options_of(ApexOptions, {**asdict(self.options), **changes}, self.method)
        return other

    @property
    def cond(self) -> float:
        """The condition number of U: how much folding it into a model amplifies rounding."""
        return float(torch.linalg.cond(self.U))

    def folded_logits(self, samples: Samples) -> Logits:
        """Returns logits of the model with U and its inverse folded in, all in the model's own precision.

        Equal to the model's own up to rounding times `cond`; for checking and export, not for explaining.
        """
        return FoldedHead(self).to(samples)(self.classifier.tap(samples).map)

    def save(self, folder: str | Path) -> Path:
        """Writes the explainer's folder: `config.json`, `model.safetensors`, `bank/`, `README.md`."""
        from .files import save_apex

        return save_apex(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, classifier: Classifier, **options: Any) -> "Apex":
        """Reads the folder that `save` wrote; `options` are those of `ApexOptions`."""
        from .files import at_its_layer, load_apex

        classifier = at_its_layer(Path(folder), classifier)
        return cls(
            classifier, **load_apex(Path(folder), classifier), options=options_of(ApexOptions, options, cls.method)
        )

    # -- the template ---------------------------------------------------------------------------------------------

    def _forward(self, samples: Samples) -> Pass[Tapped]:
        with torch.no_grad():
            tapped = self.classifier.tap(samples)
        return Pass(tapped.logits, tapped)

    def _evidence(self, done: Pass[Tapped], index: int, target: Target, n_samples: int) -> PrototypeEvidence:
        basis, geometry = self._basis, self.classifier.geometry(n_samples)
        raw, context = done.state.map[index : index + 1], done.state.context.of(index)
        maps = self.classifier.head.lift(raw)[0]
        score = float(target.of(done.logits[index : index + 1], self.classifier.task)[0])
        contributions, weight, offset = self._contributions(raw, maps, target, basis, context)
        chosen = contributions.argsort(descending=True, stable=True)[: self.options.top]
        own = (basis.U[chosen].to(maps) @ maps.flatten(1)).unflatten(1, maps.shape[1:])
        shown = own.double().cpu()
        if weight is not None:
            n_cells = shown[0].numel()
            shown = n_cells * weight[chosen] * shown + offset / len(basis.U)
        maps, own = (self.classifier.inside(part, n_samples) for part in (maps, own))  # no place in padding is shown
        channels = self._channels(chosen, contributions, maps, own, basis, geometry)
        additive = weight is not None and self.options.mode == "signed"
        limit = COMPLETE[done.logits.dtype == torch.float64] * max(1.0, abs(score))
        complete = abs(float(contributions.sum()) + offset - score) <= limit
        return PrototypeEvidence(
            view=self.config.view,
            mode=self._mode(target),
            basis=self.options.basis,
            channels=channels,
            maps=shown.float().cpu(),
            contributions=contributions,
            offset=offset,
            score=score,
            geometry=geometry,
            exact=additive and complete,
            find_sound=self.find_sound,
            pictures={
                p.sha256: self.pictures[p.sha256] for c in channels for p in c.prototypes if p.sha256 in self.pictures
            },
        )

    def _mode(self, target: Target) -> str:
        """Returns how contributions are scored, in a word."""
        if not self.classifier.head.is_exact:
            return "ablation"
        return "contrastive" if target.score == "contrast" and self.options.mode == "signed" else self.options.mode

    def _config(self) -> dict[str, Any]:
        return {**self.config.to_dict(), **asdict(self.options), "bank_audio": len(self.options.bank_audio)}

    def _learned(self) -> str:
        return self.bank.basis_sha256

    def _seed(self) -> int:
        return self.config.seed

    def _cost(self) -> tuple[int, int]:
        """Returns one forward pass, and no backward pass, since gradients of the head go through the head alone.

        A head that was not given runs the whole model wherever the head is run: for the ablations of tier T0, and to
        record a head whose gates are held, once for a length of clips (that is no part of the cost), or for each clip
        where layers beside the map layer see the clip.
        """
        classifier = self.classifier
        if classifier.has_own_head or has_fixed_weights(classifier):
            return 1, 0
        if classifier.head.is_exact:
            return (2 if head_sees_more(classifier) else 1), 0
        return 2 + len(self.U), 0

    # -- the mathematics ------------------------------------------------------------------------------------------

    @cached_property
    def _identity(self) -> Tensor:
        return torch.eye(len(self.U), dtype=torch.float64)

    @property
    def _basis(self) -> _Basis:
        if self.options.basis == "apex":
            return _Basis(self.U, self.U_inv, self.bank)
        if self.identity_bank is None:
            raise ModelError("This APEX was saved without the bank of the model's own channels; fit it again.")
        return _Basis(self._identity, self._identity, self.identity_bank)

    def _contributions(
        self,
        raw: Map,
        maps: Float[Tensor, "channel freq frame"],
        target: Target,
        basis: _Basis,
        context: Context | None = None,
    ) -> tuple[Vector, Tensor | None, float]:
        """Returns contributions of all channels, the weight of each cell in the basis, and the offset.

        For a head that is linear in its map, or that is so with its gates held as they are in this clip, contribution
        k is the sum over cells of `What_k Zhat_k`, in float64; else it is what the score loses when channel k is
        removed from the map (channel ablation).
        """
        if not self.classifier.head.is_exact:
            return ablation(self.classifier, raw, target, (basis.U, basis.U_inv), context), None, 0.0
        weight, offset = weights_of(self.classifier, raw, target, context)
        U, U_inv = basis.U.to(maps.device), basis.U_inv.to(maps.device)
        if weight.ndim == 1:  # one weight per channel, shared by all cells
            folded = (weight @ U_inv / maps[0].numel())[:, None, None]
            activation = (U @ maps.sum((1, 2), dtype=torch.float64))[:, None, None]
        else:
            folded = torch.einsum("dft,dk->kft", weight, U_inv)
            activation = torch.einsum("kd,dft->kft", U, maps.double())
        if self.options.mode == "paper":
            activation = activation.clamp_min(0)
        return (folded * activation).sum((1, 2)).cpu(), folded.cpu(), offset

    def _channels(
        self,
        chosen: Tensor,
        contributions: Vector,
        maps: Float[Tensor, "channel freq frame"],
        own: Float[Tensor, "shown freq frame"],
        basis: _Basis,
        geometry: Geometry,
    ) -> tuple[ChannelEvidence, ...]:
        """Returns what is shown of the chosen channels, whose maps in the basis are `own`."""
        activation = own.mean((1, 2))
        found = self._find(maps, own, chosen.to(maps.device), activation, basis)
        cells = list(zip(found.freq[0].tolist(), found.frame[0].tolist(), strict=True))
        vectors, purity = found.vectors[0].cpu(), found.purity[0].tolist()
        rows = zip(chosen.tolist(), contributions[chosen].tolist(), activation.tolist(), strict=True)
        shown = []
        for i, (channel, contribution, active) in enumerate(rows):
            excited = basis.bank.of(channel, positive=not active < 0)
            prototypes = tuple(p for p in excited if p.sign != "weakest")[: self.options.prototypes]
            shown.append(
                ChannelEvidence(
                    channel=channel,
                    contribution=contribution,
                    activation=active,
                    regions=view_regions(geometry, self.config.view, cells[i], contribution, f"channel {channel}"),
                    prototypes=prototypes,
                    similarity=basis.bank.similarity(vectors[i], prototypes),
                    purity=purity[i],
                )
            )
        return tuple(shown)

    def _find(
        self,
        maps: Float[Tensor, "channel freq frame"],
        own: Float[Tensor, "shown freq frame"],
        chosen: Tensor,
        activation: Float[Tensor, " shown"],
        basis: _Basis,
    ) -> views.Found:
        """Returns where channels are strongest: those that are negative in this clip where they are most negative.

        A negative activation with a negative class weight speaks for the label; its place is the minimum, and its
        prototypes are the negative ones, whose vectors are turned around in the bank as they are here.
        """
        sign = torch.where(activation < 0, -1, 1).to(maps)
        freq, frame = views.cells((own * sign[:, None, None])[None], self.config.view)
        vectors = views.vectors_at(maps[None], freq, frame, self.config.view).double() @ basis.U.to(maps.device).T
        vectors = vectors * sign[:, None]
        return views.Found(freq, frame, vectors, views.purity(vectors, chosen[None]))

    def find_sound(self, prototype: Prototype) -> Waveform | None:
        """Returns the sound of a prototype, or `None` where it is not at hand."""
        return find_audio(prototype, self.options.bank_audio)


class FoldedHead(nn.Module):
    """The disentangled head for export: a 1x1 convolution with U, average pooling, a linear layer with W U^-1.

    Raises
    ------
    ModelError
        If the head does not average a (lifted) map and apply one linear layer: then folding is impossible.
    """

    def __init__(self, apex: Apex) -> None:
        super().__init__()
        head = apex.classifier.head
        if head.weight is None or head.weight.ndim != 2 or head.bias is None:
            raise ModelError(
                "Only a head of average pooling and one linear layer can be folded; this one is tapped instead."
            )
        self.lift = head.lift
        folded = head.weight.double().cpu() @ apex.U_inv
        self.U: Tensor
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("U", apex.U.clone())
        self.register_buffer("weight", folded)
        self.register_buffer("bias", head.bias.double().cpu())

    def forward(self, maps: Map) -> Logits:
        """Returns logits of raw maps."""
        disentangled = torch.einsum("ij,bjft->bift", self.U, self.lift(maps))
        return disentangled.mean((2, 3)) @ self.weight.T + self.bias


def view_regions(
    geometry: Geometry, view: View, cell: tuple[int, int], weight: float, label: str
) -> tuple[Region, ...]:
    """Returns the boxes of a view at a cell (`WHOLE` is a whole axis), with a weight and a label."""
    freq, frame = (None if i == views.WHOLE else i for i in cell)
    return tuple(replace(box, weight=weight, label=label) for box in cell_regions(geometry, view, (freq, frame)))
