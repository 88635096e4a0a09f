"""Taps: what several layers of a backbone say of a clip, in one forward pass, for decoders that learn from them.

A tap is a layer whose output is a map. Which layers, is found by a dry run on noise, or named by the user.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ModelError
from ..types import Logits, Map, Samples
from . import layouts, surgery
from .base import Classifier

N_TAPS = 4
MIN_CELLS = 2  # a map of one cell says what, but not where


@dataclass(frozen=True)
class Tap:
    """A layer whose output is a map.

    Parameters
    ----------
    layer
        Its name in the module.
    n_channels, n_freq, n_frames
        The size of its map for clips of the classifier's `probe_s`; the first does not depend on the clip.
    """

    layer: str
    n_channels: int
    n_freq: int
    n_frames: int

    @property
    def n_cells(self) -> int:
        """Number of cells of a map."""
        return self.n_freq * self.n_frames


@dataclass(frozen=True, eq=False)
class TappedMaps:
    """What one forward pass left behind.

    Parameters
    ----------
    logits
        The model's own, bit for bit.
    maps
        One for each tap, in canonical order of axes.
    """

    logits: Logits
    maps: tuple[Float[Tensor, "batch _ _ _"], ...]


def find_taps(classifier: Classifier, layers: Sequence[str] | None = None, n_taps: int = N_TAPS) -> tuple[Tap, ...]:
    """Returns the taps of a classifier, deep to shallow, that is from coarse maps to fine ones.

    Found on their own, they are the map layer and, of each finer resolution below that of the features, the last layer
    before it that has it; of a transformer, the map layer and blocks before it, evenly spaced.

    Parameters
    ----------
    layers
        Names of layers to tap in place of those found.
    n_taps
        At most so many are found.

    Raises
    ------
    ModelError
        If a layer is unknown or gives no map, or no layer has a map of more than one cell.
    """
    if layers is not None:
        return _ordered([_named(classifier, layer) for layer in layers])
    layers = layers_before_the_map(classifier)
    if classifier.blocks:
        layers = [layer for layer in layers if layer in classifier.blocks or layer == classifier.map_layer]
        layers = _evenly(layers, n_taps)
    found = [tap for tap in _probed(classifier, layers) if tap.n_cells >= MIN_CELLS]
    if not found:
        raise ModelError(
            f"No layer of {classifier.name} has a map of more than one cell, so a decoder cannot place evidence; "
            "use longer clips, or name layers with taps=."
        )
    if classifier.blocks:
        return _ordered(found[::-1])
    deepest = found[-1]
    finer = {(tap.n_freq, tap.n_frames): tap for tap in found if tap.n_cells > deepest.n_cells}  # the last of each size
    limit = _feature_cells(classifier)
    chosen = [deepest, *(tap for tap in finer.values() if tap.n_cells < limit)]
    return _ordered(chosen)[:n_taps]


def tapped(classifier: Classifier, samples: Samples, taps: Sequence[Tap]) -> TappedMaps:
    """Returns logits and the maps of taps, of one forward pass."""
    with _recording(classifier, [tap.layer for tap in taps]) as outputs, classifier._at_rest():
        logits = classifier._run(classifier._features(samples))
    return TappedMaps(logits, tuple(_map_of(classifier, tap.layer, outputs[tap.layer]) for tap in taps))


@contextmanager
def _recording(classifier: Classifier, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Yields the outputs of layers by name, a list of those of each run."""
    with ExitStack() as stack:
        found = {layer: surgery.find_layer(classifier.module, layer) for layer in layers}
        yield {layer: stack.enter_context(surgery.record(part)) for layer, part in found.items()}


def _map_of(classifier: Classifier, layer: str, outputs: list[Tensor]) -> Map:
    """Returns the one output of a layer as a map in canonical order."""
    if len(outputs) != 1 or not _is_map(classifier, outputs[0]):
        shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
        raise ModelError(
            f"Layer {layer!r} gives {shapes or 'nothing'} in one pass, and one map with map_axes="
            f"{classifier.map_axes!r} was expected; tap another layer."
        )
    return classifier._canonical(outputs)


def _is_map(classifier: Classifier, output: Tensor) -> bool:
    return layouts.fits(output, classifier.map_axes)


def _named(classifier: Classifier, layer: str) -> Tap:
    with surgery.traceable(), _recording(classifier, [layer]) as outputs, classifier._at_rest():
        classifier._run(classifier._dummy_features)
    return _tap(layer, _map_of(classifier, layer, outputs[layer]))


def _tap(layer: str, maps: Map) -> Tap:
    return Tap(layer, *maps.shape[1:])


def layers_before_the_map(classifier: Classifier) -> list[str]:
    """Returns the layers that finish before the map layer does, and that layer, in the order in which they finish."""
    finished: list[str] = []
    handles = [
        part.register_forward_hook(lambda *_, name=name: finished.append(name))
        for name, part in classifier.module.named_modules()
        if name
    ]
    try:
        with surgery.traceable(), classifier._at_rest():
            classifier._run(classifier._dummy_features)
    finally:
        for handle in handles:
            handle.remove()
    return finished[: finished.index(classifier.map_layer) + 1]


def _probed(classifier: Classifier, layers: Sequence[str]) -> list[Tap]:
    """Returns those of some layers that give one map each.

    Inside, networks turn axes around and cut maps into windows. So what counts as a map has the same channels and rows
    for a longer clip, and more frames; where all clips are padded to one length, this cannot be seen.
    """
    taps = _single_maps(classifier, layers, classifier._dummy_features)
    longer = _longer(classifier, layers)
    return [tap for tap in taps.values() if tap.layer == classifier.map_layer or longer is None or _grows(tap, longer)]


def _single_maps(classifier: Classifier, layers: Sequence[str], features: Tensor) -> dict[str, Tap]:
    """Returns, by name, the layers whose one output in a pass over features has as many axes as a map."""
    outputs: dict[str, list[object]] = {layer: [] for layer in layers}
    parts: dict[str, nn.Module] = dict(classifier.module.named_modules())
    handles = [
        parts[layer].register_forward_hook(lambda _m, _i, output, name=layer: outputs[name].append(output))
        for layer in dict.fromkeys(layers)
    ]
    try:
        with surgery.traceable(), classifier._at_rest():
            classifier._run(features)
    finally:
        for handle in handles:
            handle.remove()
    single = {layer: surgery.main_tensor(found[0]) for layer, found in outputs.items() if len(found) == 1}
    maps = {layer: one for layer, one in single.items() if one is not None and _is_map(classifier, one)}
    return {layer: _tap(layer, classifier._canonical([output])) for layer, output in maps.items()}


def _longer(classifier: Classifier, layers: Sequence[str]) -> dict[str, Tap] | None:
    """Returns the maps of a clip twice as long as usual, or `None` where the network sees one length only."""
    n_samples = 2 * round(classifier.probe_s * classifier.sample_rate)
    try:
        features = classifier.at(classifier._noise(n_samples), "features").detach()
        if features.shape[2] == classifier._dummy_features.shape[2]:
            return None
        return _single_maps(classifier, layers, features)
    except ModelError:
        return None


def _grows(tap: Tap, longer: Mapping[str, Tap]) -> bool:
    other = longer.get(tap.layer)
    same = other is not None and (other.n_channels, other.n_freq) == (tap.n_channels, tap.n_freq)
    return same and other is not None and other.n_frames > tap.n_frames


def _evenly(layers: list[str], n: int) -> list[str]:
    """Returns at most `n` layers, evenly spaced, the last among them."""
    if len(layers) <= n:
        return layers
    return [layers[len(layers) - 1 - i * len(layers) // n] for i in range(n)][::-1]


def _feature_cells(classifier: Classifier) -> int:
    rows, columns = classifier._dummy_features.shape[1:]
    return rows * columns if layouts.has_rows(classifier.map_axes) else columns


def _ordered(taps: Sequence[Tap]) -> tuple[Tap, ...]:
    """Returns taps from coarse to fine; of one size, the given order."""
    return tuple(sorted(taps, key=lambda tap: tap.n_cells))


def multiply_adds(classifier: Classifier, samples: Samples) -> int:
    """Returns the multiply-adds of a forward pass over `[batch, sample]`, as torch counts them, front end included."""
    return count(lambda: classifier.logits(samples))


def count(run: "object") -> int:
    """Returns the multiply-adds of convolutions and matrix products in `run()`."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run()  # type: ignore[operator]
    return counter.get_total_flops() // 2
