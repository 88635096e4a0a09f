"""Classifier: a chain of named stages that can be entered at any of them."""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..audio.stft import Stft
from ..audio.waveform import Waveform
from ..errors import ModelError
from ..types import Logits, Map, Prediction, Samples, Stage, Task
from . import promises, surgery
from .front_ends import FrontEnd
from .geometry import Axis, Geometry, confirm_frames, probe_axes
from .heads import Head, HeadFunction, probe_head

MapAxes = Literal["FT", "TF", "T"]
FeatureAxes = Literal["FT", "TF", "CFT", "CTF"]


@dataclass(frozen=True)
class Grid:
    """The STFT grid on which masks and maps of one clip live.

    Parameters
    ----------
    sample_rate
        Of the classifier, in Hz.
    n_samples
        Length of the clip at that rate.
    stft
        The analysis.
    """

    sample_rate: int
    n_samples: int
    stft: Stft

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bins and frames."""
        return self.stft.n_freq, self.stft.n_frames(self.n_samples)

    @property
    def hz(self) -> Tensor:
        """Bin centers in Hz."""
        return self.stft.frequencies_hz(self.sample_rate)

    @property
    def seconds(self) -> Tensor:
        """Frame centers in seconds."""
        return self.stft.times_s(self.n_samples, self.sample_rate)

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True, eq=False)
class Tapped:
    """What one forward pass shows: the map in canonical order, and the model's own logits."""

    map: Map
    logits: Logits


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
    ) -> None:
        self.module, self.front_end, self.labels = module, front_end, labels
        self.map_layer, self.map_axes, self.feature_axes = map_layer, map_axes, feature_axes
        self.task: Task = task
        self.threshold, self.name, self.probe_s = threshold, name, probe_s
        self.card = card or {}
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
        return samples.to(device=self.device, dtype=self.dtype)

    def predict(self, waveform: Waveform) -> Prediction:
        """Returns the logits of one clip, of any rate and number of channels."""
        with torch.no_grad():
            return self.prediction(self.logits(self.prepare(waveform))[0])

    def prediction(self, logits: Tensor) -> Prediction:
        """Returns the prediction that logits `[label]` stand for; refuses logits that are not finite."""
        promises.check_finite(logits, self.labels, self.name)
        return Prediction(logits.detach().cpu(), self.labels, self.task, self.threshold)

    def logits(self, x: Tensor, at: Stage = "waveform", n_samples: int | None = None) -> Logits:
        """Returns logits `[batch, label]`, the chain entered at any stage; differentiable in `x`.

        Parameters
        ----------
        x
            The stage's tensor (see the table in docs/architecture.md).
        at
            `waveform`, `stft`, `features`, `map` or `logits`.
        n_samples
            Length of the clips; needed at `stft`, since frames do not determine it.
        """
        with self._at_rest():
            if at == "map":
                return self._head_function(x)
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
        if stage == "features":
            with self._at_rest():
                return self._features(samples)
        if stage == "map":
            return self.tap(samples).map
        if stage == "logits":
            return self.logits(samples)
        raise ModelError(f"{self.name} has no stage {stage!r}; it has waveform, stft, features, map and logits.")

    def tap(self, samples: Samples) -> Tapped:
        """Returns map and logits of one forward pass; the logits are the model's own, bit for bit."""
        with self._at_rest(), surgery.record(self._layer) as outputs:
            logits = self._run(self._features(samples))
        return Tapped(self._canonical(outputs), logits)

    def map_of_features(self, features: Tensor) -> Map:
        """Returns the map of features `[batch, mel, frame]`, differentiable."""
        with self._at_rest(), surgery.record(self._layer) as outputs:
            self._run(features)
        return self._canonical(outputs)

    # -- what is known of it --------------------------------------------------------------------------------------

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
        with surgery.traceable():
            shape = self.at(self._noise(), "map").shape[1:]
            like = torch.zeros((), device=self.device, dtype=self.dtype)
            function = partial(self.logits, at="map")
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
        digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
        for key, value in [item for part in self._parts for item in sorted(part.state_dict().items())]:
            if not isinstance(value, Tensor):  # a module's extra state
                digest.update(f"{key}:{json.dumps(value, sort_keys=True, default=_kind)}".encode())
                continue
            digest.update(f"{key}:{value.dtype}:{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def geometry(self, n_samples: int) -> Geometry:
        """Returns seconds and hertz of the map's cells for clips of `n_samples` at the classifier's rate."""
        return self._geometry(n_samples)

    def grid(self, n_samples: int) -> Grid:
        """Returns the STFT grid of clips of `n_samples`."""
        return Grid(self.sample_rate, n_samples, self.stft)

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
        if at == "features":
            return x
        if at == "stft":
            if n_samples is None:
                raise ModelError("Entry at 'stft' needs n_samples, the length of the clips; pass n_samples=.")
            return promises.features_of(lambda stft: self.front_end.from_stft(stft, n_samples), x, self.name)
        raise ModelError(f"{self.name} cannot be entered at {at!r}; enter at waveform, stft, features, map or logits.")

    def _run(self, features: Tensor) -> Logits:
        """Runs the whole module on features `[batch, mel, frame]` in the order of axes that it wants."""
        arranged = features.transpose(1, 2) if self.feature_axes.endswith("TF") else features
        arranged = arranged[:, None] if self.feature_axes.startswith("C") else arranged
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
        if raw.ndim != (3 if self.map_axes == "T" else 4):
            raise ModelError(
                f"Layer {self.map_layer!r} gives shape {tuple(raw.shape)}, which does not fit map_axes="
                f"{self.map_axes!r}; choose a layer with a map, or map_axes 'FT', 'TF' or 'T'."
            )
        if self.map_axes == "T":
            return raw[:, :, None]
        return raw.transpose(2, 3) if self.map_axes == "TF" else raw

    def _raw(self, maps: Map) -> Tensor:
        if self.map_axes == "T":
            return maps[:, :, 0]
        return maps.transpose(2, 3) if self.map_axes == "TF" else maps

    def _head_function(self, maps: Map) -> Logits:
        if self._given_head is not None:
            return promises.logits_of(self._given_head, self._raw(maps), self.name, "a map", len(self.labels))
        features = self._dummy_features
        features = features.expand(1 if self._head_broadcasts else len(maps), *features.shape[1:])
        with surgery.replace(self._layer, self._raw(maps)):
            return self._run(features)

    @cached_property
    def _dummy_features(self) -> Tensor:
        with surgery.traceable():
            return self.at(self._noise(), "features").detach()

    @cached_property
    def _head_broadcasts(self) -> bool:
        """Whether layers behind the map take their batch from the map alone, so that one dummy clip is enough."""
        features = self._dummy_features
        with surgery.traceable(), self._at_rest():
            maps = self.map_of_features(features).expand(2, -1, -1, -1)
            maps = maps * torch.tensor([1.0, 0.5]).to(maps)[:, None, None, None]
            with surgery.replace(self._layer, self._raw(maps)):
                try:
                    one, two = self._run(features), self._run(features.expand(2, *features.shape[1:]))
                except ModelError:
                    return False
        return one.shape == two.shape and torch.allclose(one, two, rtol=1e-4, atol=1e-6)

    def _probe_geometry(self, n_samples: int) -> Geometry:
        with surgery.traceable():
            rows, columns = self.at(self._noise(n_samples), "features").shape[1:]
            like = torch.zeros((), device=self.device, dtype=self.dtype)
            shape = (rows, columns)
            known = self._known_axes and confirm_frames(self.map_of_features, shape, self._known_axes, like=like)
            self._known_axes = freq, frame = known or probe_axes(self.map_of_features, shape, like=like)
        edges = tuple(self.front_end.row_edges_hz().tolist())
        return Geometry(freq, frame, edges, self.front_end.column_s(), n_samples / self.sample_rate)


def _kind(value: object) -> str:
    return type(value).__name__
