"""Features of several layers of one classifier from one forward pass for each clip."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import torch

from ..classifiers import surgery
from ..classifiers.base import Classifier
from ..errors import EarmarkError
from ..types import Clip, Map, Samples
from .cache import ClipFeatures, FeatureCache, Progress, _Decoded, _Writer
from .shards import Entry


def scan_layers(caches: Sequence[FeatureCache], clips: Iterable[Clip], progress: Progress | None = None) -> int:
    """Fills the caches of several layers and returns how many clips passed the model for it, each once.

    Each cache's own `scan` then finds what it would have computed, bit for bit. Clips that cannot be used are left to
    it, so that it names them. Layers of different modules are not scanned here.

    Parameters
    ----------
    caches
        One for each layer, of classifiers that share a module (`Classifier.with_map`).
    """
    if len({id(cache.classifier.module) for cache in caches}) != 1:
        return 0
    ordered = sorted(clips, key=lambda clip: clip.id)
    behind = min(caches, key=lambda cache: len(cache.index))  # after a kill, the one that lacks most
    writers = [_Writer(cache, cache.root / cache.kind) for cache in caches]
    n_passes = 0
    for batch in behind._batches(behind._decoded(ordered, {}, {}, progress)):
        try:
            of_layers = tap_layers([cache.classifier for cache in caches], torch.cat([item.samples for item in batch]))
        except (EarmarkError, RuntimeError):
            continue
        n_passes += len(batch)
        for writer, maps in zip(writers, of_layers, strict=True):
            _write(writer, batch, maps)
    for writer in writers:
        writer.flush()
    return n_passes


def tap_layers(classifiers: Sequence[Classifier], samples: Samples) -> list[Map]:
    """Returns the lifted maps of several layers of one module, on the CPU, from one forward pass, without padding."""
    front, n_samples = classifiers[0], samples.shape[-1]
    with torch.no_grad():
        with front._at_rest(), ExitStack() as held:
            outputs = [held.enter_context(surgery.record(one._layer)) for one in classifiers]
            front._run(front._features(samples))
        pairs = [(one, one._canonical(output)) for one, output in zip(classifiers, outputs, strict=True)]
        lifted = [one.inside(one.head.lift(maps), n_samples).cpu() for one, maps in pairs]
    return [maps if maps.dtype == torch.float64 else maps.float() for maps in lifted]


def _write(writer: _Writer, batch: Sequence[_Decoded], maps: Map) -> None:
    """Keeps what a layer says of some clips, but for those that it knows or that have no finite map."""
    cache = writer.cache
    for item, one in zip(batch, maps, strict=True):
        if item.sha256 in cache.index or not bool(torch.isfinite(one).all()):
            continue
        features = ClipFeatures.of(one, cache.kind)
        kept = cache._takes(features)
        entry = Entry(item.sha256, one.shape[1], one.shape[2], item.n_samples, item.duration_s, kept)
        writer.add(entry, features, one.mean((1, 2)))
    writer.flush_if_full()
