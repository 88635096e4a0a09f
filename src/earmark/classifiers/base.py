"""Classifier: a chain of named stages that can be entered at any of them."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..audio.waveform import Waveform
from ..errors import ModelError
from ..types import Logits, Map, Prediction, Samples, Stage, Task
from . import layouts, promises, surgery
from .fingerprint import fingerprint_of
from .front_ends import FrontEnd
from .geometry import Axis, Geometry, confirm_frames, probe_axes
from .heads import Head, HeadFunction, probe_head
from .layouts import FeatureAxes, MapAxes
from .passes import Context as Context
from .passes import Cut as Cut
from .passes import Grid as Grid
from .passes import Tapped as Tapped

UNSAID_S = 0.02  # of a clip may go unheard without a word


class Classifier:
    """A frozen classifier of sounds: front end, backbone, head, labels.

    Made by `wrap` and `load_classifier`. The module inside is never changed: each pass puts it in eval mode and
    restores it afterwards.

    Attributes
    ----------
    sample_rate
        The rate that the front end takes, in Hz; `prepare` resamples to it.
    labels, task, threshold
        Label names; `multiclass` or `multilabel`; the probability from which a label counts as present.
    stft
        The analysis of stage `stft`.
    card
        What is known of its training: data, folds, scores.
    blocks
        Names of layers, shallow to deep, whose outputs have the map's order of axes: the blocks of a transformer.
    extractor
        The feature extractor of another library whose twin the front end is, if there is one: `verify` compares them.
    """

    def __init__(
        self,
        module: nn.Module,
        front_end: FrontEnd,
        labels: tuple[str, ...],
        *,
        map_layer: str,
        head: HeadFunction | None = None,
        task: Task = "multiclass",
        threshold: float = 0.5,
        map_axes: MapAxes = "FT",
        feature_axes: FeatureAxes = "FT",
        name: str = "classifier",
        probe_s: float = 5.0,
        card: dict[str, Any] | None = None,
        blocks: tuple[str, ...] = (),
    ) -> None:
        self.module, self.front_end, self.labels = module, front_end, labels
        self.map_layer, self.map_axes, self.feature_axes = map_layer, map_axes, feature_axes
        self.task: Task = task
        self.threshold, self.name, self.probe_s = threshold, name, probe_s
        self.card, self.blocks = card or {}, blocks
        self.extractor: Any = None
        self.sample_rate, self.stft = front_end.sample_rate, front_end.stft
        self._layer = surgery.find_layer(module, map_layer)
        self._given_head = head
        self._parts = [part for part in (module, front_end, head) if isinstance(part, nn.Module)]
        self._known_axes: tuple[Axis, Axis] | None = None
        self._geometry = lru_cache(maxsize=64)(self._probe_geometry)

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, {len(self.labels)} labels, {self.sample_rate} Hz, {self.task})"

    # -- the chain ------------------------------------------------------------------------------------------------

    def prepare(self, waveform: Waveform) -> Samples:
        """Returns `[1, sample]`: the mean of the channels at the classifier's rate, on its device."""
        samples = waveform.mono().resample(self.sample_rate).samples
        most = self.front_end.max_samples
        if most is not None and samples.shape[-1] > most + UNSAID_S * self.sample_rate:
            warnings.warn(
                f"{self.name} hears the first {most / self.sample_rate:g} s of a clip, and one of "
                f"{waveform.duration_s:.3g} s came; cut it into parts, so that all of it counts.",
                UserWarning,
                stacklevel=2,
            )
        return samples.to(device=self.device, dtype=self.dtype)

    def predict(self, waveform: Waveform) -> Prediction:
        """Returns the logits of one clip, of any rate and number of channels."""
        with torch.no_grad():
            return self.prediction(self.logits(self.prepare(waveform))[0])

    def prediction(self, logits: Tensor) -> Prediction:
        """Returns the prediction that logits `[label]` stand for; refuses logits that are not finite."""
        promises.check_finite(logits, self.labels, self.name)
        return Prediction(logits.detach().cpu(), self.labels, self.task, self.threshold)

    def logits(
        self, x: Tensor, at: Stage = "waveform", n_samples: int | None = None, context: Context | None = None
    ) -> Logits:
        """Returns logits `[batch, label]`, the chain entered at any stage; differentiable in `x`.

        Parameters
        ----------
        x
            The stage's tensor (see the table in docs/architecture.md).
        at
            `waveform`, `stft`, `features`, `map` or `logits`.
        n_samples
            Length of the clips; needed at `stft`, since frames do not determine it.
        context
            At `map`, what `tap` returned beside the map, of these clips or of one; without it layers beside the map
            layer see noise, which matters to few models, and where the layer has special tokens it is refused.
        """
        with self._at_rest():
            if at == "map":
                return self._head_function(x, context)
            if at == "logits":
                return x
            return self._run(self._features_from(x, at, n_samples))

    def at(self, x: Waveform | Tensor, stage: Stage) -> Tensor:
        """Returns the tensor of a stage for a waveform or for samples `[batch, sample]`."""
        samples = self.prepare(x) if isinstance(x, Waveform) else x
        if stage == "waveform":
            return samples
        if stage == "stft":
            return self.stft(samples)
        if stage == "features" or (stage == "latents" and self.front_end.gives_latents):
            with self._at_rest():
                return self._features(samples)
        if stage == "map":
            return self.tap(samples).map
        if stage == "logits":
            return self.logits(samples)
        raise ModelError(f"{self.name} has no stage {stage!r}; it has waveform, stft, features, map and logits.")

    def tap(self, samples: Samples) -> Tapped:
        """Returns map and logits of one forward pass; the logits are the model's own, bit for bit."""
        past = None if self.has_own_head else surgery.Past(self.module, self.map_layer)
        with self._at_rest(), surgery.record(self._layer) as outputs:
            features = self._features(samples)
            with past.recording() if past and len(samples) == 1 and self._head_is_run else nullcontext():
                logits = self._run(features)
        maps = self._canonical(outputs)
        return Tapped(maps, logits, Context(features, layouts.special_of(outputs[0], self.map_axes), past))

    @contextmanager
    def cut(self, samples: Samples) -> Iterator["Cut"]:
        """Yields one pass whose logits depend on the map as on a leaf; gradients there are taken inside the block.

        What comes before the map is not traced.
        """
        with self._at_rest(), torch.enable_grad(), surgery.cut(self._layer) as leaves:
            with torch.no_grad():
                features = self._features(samples)
            logits = self._run(features)
            yield Cut(self._canonical(leaves).detach(), logits, leaves[0], self.map_axes)

    def map_of_features(self, features: Tensor) -> Map:
        """Returns the map of features `[batch, mel, frame]`, differentiable."""
        with self._at_rest(), surgery.record(self._layer) as outputs:
            self._run(features)
        return self._canonical(outputs)

    # -- what is known of it --------------------------------------------------------------------------------------

    @property
    def has_frequency(self) -> bool:
        """Whether cells of the map, and rows of the features, stand for bands of frequencies."""
        return layouts.has_rows(self.map_axes) and self.front_end.rows_are_hz

    @property
    def has_own_head(self) -> bool:
        """Whether the head was given, so that entry at the map runs nothing else."""
        return self._given_head is not None

    @property
    def native_stft(self) -> bool:
        """Whether the model's own front end starts from the STFT of stage `stft`."""
        return self.front_end.native_stft

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of samples and features: float64 for a float64 module, else float32."""
        kind = next((p.dtype for p in self.module.parameters()), torch.float32)
        return kind if kind == torch.float64 else torch.float32

    @cached_property
    def head(self) -> Head:
        """How logits depend on the map, probed once."""
        with surgery.traceable(), self._at_rest():  # also where a weight is merely read
            shape = self._dummy.map.shape[1:]
            like = torch.zeros((), device=self.device, dtype=self.dtype)
            function = partial(self.logits, at="map", context=self._dummy_context)
            return probe_head(function, (shape[0], shape[1], shape[2]), self.module, like=like)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of weights, front end, labels, task and map layer; what is fitted to this model carries it.

        It is computed once: a classifier whose weights are changed afterwards has to be wrapped again.
        """
        about = {
            "front_end": self.front_end.to_dict(),
            "labels": self.labels,
            "task": self.task,
            "map_layer": self.map_layer,
            "axes": [self.map_axes, self.feature_axes],
        }
        return fingerprint_of(about, self._parts)

    def geometry(self, n_samples: int) -> Geometry:
        """Returns seconds and hertz of the map's cells for clips of `n_samples` at the classifier's rate."""
        return self._geometry(n_samples)

    def inside(self, maps: Float[Tensor, "*k freq frame"], n_samples: int) -> Tensor:
        """Returns the frames of maps that lie in clips of `n_samples`, without those that stand for padding."""
        if self.front_end.max_samples is None:
            return maps
        last = self.front_end.columns_inside(n_samples) - 0.5
        n_frames = sum(center <= last for center in self.geometry(n_samples).frame.centers())
        return maps[..., : max(1, n_frames)]

    def grid(self, n_samples: int) -> Grid:
        """Returns the STFT grid of clips of `n_samples`."""
        return Grid(self.sample_rate, n_samples, self.stft)

    def with_map(self, layer: str, axes: MapAxes | None = None) -> "Classifier":
        """Returns the same classifier with its map at another layer; the module is shared, the fingerprint differs.

        Parameters
        ----------
        layer
            Name of the layer.
        axes
            Its order of axes; the present one if it is not given.

        Raises
        ------
        ModelError
            If the layer is missing or gives no such map.
        """
        other = Classifier(
            self.module,
            self.front_end,
            self.labels,
            map_layer=layer,
            task=self.task,
            threshold=self.threshold,
            map_axes=self.map_axes if axes is None else axes,
            feature_axes=self.feature_axes,
            name=self.name,
            probe_s=self.probe_s,
            card=self.card,
            blocks=self.blocks,
        )
        other.extractor = self.extractor
        with surgery.traceable():
            other.tap(other._noise())
        return other

    def with_labels(self, labels: Sequence[str]) -> "Classifier":
        """Returns a classifier that has these labels too, where labels are prompts (see `ZeroShot`); else itself."""
        return self

    def at_block(self, index: int) -> "Classifier":
        """Returns the same classifier with its map at a block of its encoder, counted from 1.

        Raises
        ------
        ModelError
            If it has no such block.
        """
        if not 1 <= index <= len(self.blocks):
            has = f"blocks 1 to {len(self.blocks)}" if self.blocks else "no blocks that are known"
            raise ModelError(f"{self.name} has {has}, got {index}; choose one of these.")
        return self.with_map(self.blocks[index - 1])

    # -- inside ---------------------------------------------------------------------------------------------------

    def _at_rest(self) -> AbstractContextManager[None]:
        return surgery.at_rest(*self._parts)

    def _noise(self, n_samples: int | None = None) -> Samples:
        n_samples = n_samples or round(self.probe_s * self.sample_rate)
        noise = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(3))
        return (0.1 * noise).to(device=self.device, dtype=self.dtype)

    def _features_from(self, x: Tensor, at: Stage, n_samples: int | None) -> Tensor:
        if at == "waveform":
            return self._features(x)
        if at == "features" or (at == "latents" and self.front_end.gives_latents):
            return x
        if at == "stft":
            if n_samples is None:
                raise ModelError("Entry at 'stft' needs n_samples, the length of the clips; pass n_samples=.")
            return promises.features_of(lambda stft: self.front_end.from_stft(stft, n_samples), x, self.name)
        raise ModelError(f"{self.name} cannot be entered at {at!r}; enter at waveform, stft, features, map or logits.")

    def _run(self, features: Tensor) -> Logits:
        """Runs the whole module on features `[batch, row, column]` in the order of axes that it wants."""
        arranged = layouts.arranged(features, self.feature_axes)
        return promises.logits_of(self.module, arranged, self.name, "features", len(self.labels))

    def _features(self, samples: Samples) -> Tensor:
        return promises.features_of(self.front_end, samples, self.name)

    def _canonical(self, outputs: list[Tensor]) -> Map:
        """Returns a layer's output in one pass as `[batch, channel, freq, frame]`."""
        if len(outputs) != 1:
            raise ModelError(
                f"Layer {self.map_layer!r} ran {len(outputs)} times in one pass, once was expected; "
                "choose a layer that runs once."
            )
        raw = outputs[0]
        if raw.numel() == 0:
            raise ModelError(
                f"Layer {self.map_layer!r} gives an empty map of shape {tuple(raw.shape)}: the clip is shorter than "
                "one cell of it; use a longer clip."
            )
        if not layouts.fits(raw, self.map_axes):
            raise ModelError(
                f"Layer {self.map_layer!r} gives shape {tuple(raw.shape)}, which does not fit map_axes="
                f"{self.map_axes!r}; choose a layer with a map, or the map_axes that it has."
            )
        return layouts.canonical(raw, self.map_axes)

    def _head_function(self, maps: Map, context: Context | None = None) -> Logits:
        raw = layouts.raw_of(maps, self.map_axes, None if context is None else context.special)
        if self._given_head is not None:
            return promises.logits_of(self._given_head, raw, self.name, "a map", len(self.labels))
        context = self._dummy_context if context is None else context
        features = context.features
        if self._head_needs == "length":
            features = features[:1]
        elif self._head_needs == "batch":
            features = features.expand(len(maps), *features.shape[1:])
        past = context.past if len(features) == len(context.features) else None
        if past is None or features.requires_grad:
            with surgery.replace(self._layer, raw):
                return self._run(features)
        with past.skipped() if past.known else past.recording(), surgery.replace(self._layer, raw):
            return self._run(features)

    @property
    def _head_is_run(self) -> bool:
        """Whether explanations run what lies behind the map, as far as that is known."""
        return "head" in vars(self) and self.head.weight is None

    @cached_property
    def _dummy_features(self) -> Tensor:
        with surgery.traceable():
            return self.at(self._noise(), "features").detach()

    @property
    def _dummy_context(self) -> Context:
        """The context of noise, with which the head is probed."""
        return self._dummy.context

    @cached_property
    def _dummy(self) -> Tapped:
        with surgery.traceable():
            return self.tap(self._noise())

    @cached_property
    def _head_needs(self) -> Literal["length", "features", "batch"]:
        """What a run of the head needs of the clips beside their map: probed, since it may save most of the cost.

        `length`: layers behind the map take batch and values from it alone, so that features of one clip are enough.
        `features`: they see features, and broadcast them. `batch`: they need the features of as many clips as maps.
        """
        features = self._dummy_features
        with surgery.traceable(), self._at_rest():
            with surgery.record(self._layer) as outputs:
                self._run(features)
            raw = outputs[0].expand(2, *outputs[0].shape[1:])
            raw = raw * torch.tensor([1.0, 0.5]).to(raw).reshape(2, *(1 for _ in raw.shape[1:]))
            with surgery.replace(self._layer, raw):
                try:
                    one, other = self._run(features), self._run(0.5 * features)
                    two = self._run(features.expand(2, *features.shape[1:]))
                except ModelError:
                    return "batch"
        if one.shape != two.shape or not torch.allclose(one, two, rtol=1e-4, atol=1e-6):
            return "batch"
        return "length" if torch.equal(one, other) else "features"

    def _probe_geometry(self, n_samples: int) -> Geometry:
        with surgery.traceable():
            rows, columns = self.at(self._noise(n_samples), "features").shape[1:]
            like = torch.zeros((), device=self.device, dtype=self.dtype)
            shape = (rows, columns)
            if self._known_axes and shape == (self._known_axes[0].n_inputs, self._known_axes[1].n_inputs):
                return self._geometry_of(self._known_axes, n_samples)  # padded to one length: the network sees no other
            backbone = self._map_of_places
            known = self._known_axes and confirm_frames(backbone, shape, self._known_axes, like=like)
            self._known_axes = known or probe_axes(backbone, shape, like=like)
        return self._geometry_of(self._known_axes, n_samples)

    @cached_property
    def _map_of_places(self) -> Callable[[Tensor], Map]:
        """What gives, of features, a map whose cells lie where those of the map do, and as little in between as can be.

        That is the first block of an encoder: blocks that follow leave tokens where they are, mix them, and cost time.
        """
        if not self.blocks or self.map_layer == self.blocks[0]:
            return self.map_of_features
        first = self.with_map(self.blocks[0])
        with surgery.traceable():
            cells = first.tap(self._noise()).map.shape[2:]
        return first.map_of_features if cells == self._dummy.map.shape[2:] else self.map_of_features

    def _geometry_of(self, axes: tuple[Axis, Axis], n_samples: int) -> Geometry:
        edges = tuple(self.front_end.row_edges_hz().tolist())
        rows_are_hz, duration_s = self.front_end.rows_are_hz, n_samples / self.sample_rate
        return Geometry(*axes, edges, self.front_end.column_s(), duration_s, rows_are_hz)
