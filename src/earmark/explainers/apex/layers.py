"""APEX at any block of an encoder, or at all of them: one basis and one bank for each.

The paper stops at a pooled map and one linear layer. Invariance needs neither: wherever a layer is tapped, the model is
left as it is, and U and its inverse behind it change nothing (see `invariance`). So each block can be asked which
channels it has. Its channels are standardized first (see `scaling`).
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...audio.files import clip_sha256
from ...classifiers.base import Classifier
from ...errors import EarmarkError, InputError, ModelError
from ...prototypes.cache import FeatureCache, Kind
from ...prototypes.layers import scan_layers
from ...types import Clip
from . import fit as fitting
from . import views
from .config import ApexConfig
from .explainer import Apex
from .files import at_its_layer
from .invariance import invariance

Layers = Literal["all"] | Iterable[int]
Report = Callable[[str], AbstractContextManager[fitting.Progress | None]]

CACHE, RESUME = ".cache", ".resume"  # what an unfinished fit goes on from


def fit_apex_layers(
    classifier: Classifier,
    clips: Iterable[Clip],
    layers: Layers = "all",
    config: ApexConfig | None = None,
    *,
    out: str | Path,
    held_out: Iterable[Clip] | None = None,
    cache_dir: str | Path | None = None,
    cache_gb: float = 4.0,
    report: Report | None = None,
    about: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[int, Apex]:
    """Fits an APEX at each of several blocks of an encoder and saves each in a folder of its own, `layer-06`.

    Each clip is decoded once and passes the model once for all layers; as in `fit_apex`, clips whose maps have no room
    in `cache_gb` pass it again when they are selected, once for each layer. Layers that are finished in `out`, of the
    same clips and settings, are loaded and not fitted again; a fit that was killed goes on in the midst of a layer.

    Parameters
    ----------
    classifier
        One whose blocks are known (`Classifier.blocks`).
    clips, held_out, config, changes
        As in `fit_apex`; channels are standardized unless `standardize=False`.
    layers
        Numbers of blocks, counted from 1, or `all`.
    out
        Where the folders `layer-01` ... go.
    cache_dir, cache_gb
        Where features are kept, and the most disk space for the maps of all layers together; by default inside `out`,
        and removed at the end.
    report
        Opens a reporter of progress for a part of the work, given its name.
    about
        What else the diagnostics of each layer are to tell, such as the name of the data.

    Returns
    -------
    dict
        The explainers by layer, shallow to deep.

    Raises
    ------
    ModelError
        If there is no such block, or its map has no axis for the view.
    DataError
        If there are too few clips.
    """
    config = layer_config(config, **changes)
    siblings = at_blocks(classifier, layers)
    _check_view(config, siblings)
    train, held = fitting._split(tuple(clips), held_out, config)
    out, sounds = Path(out), sounds_sha256((*train, *held))
    job = _Job(config, train, held, sounds, Path(cache_dir or out / CACHE), cache_gb / len(siblings), report, about)
    done = {i: job.finished(layer_folder(out, i), sibling) for i, sibling in siblings.items()}
    left = {i: siblings[i] for i, apex in done.items() if apex is None}
    job.scan(left)
    fitted = {i: job.fit(i, sibling, layer_folder(out, i)) for i, sibling in left.items()}
    if cache_dir is None:
        shutil.rmtree(out / CACHE, ignore_errors=True)
    found = {i: fitted.get(i) or done[i] for i in siblings}
    return {i: apex for i, apex in found.items() if apex is not None}


def fit_apex_layer(
    sibling: Classifier,
    clips: Iterable[Clip],
    config: ApexConfig,
    *,
    held_out: Iterable[Clip] | None = None,
    **how: Any,
) -> Apex:
    """Fits an APEX where a classifier's map lies, and measures that its basis changes nothing.

    Parameters
    ----------
    sibling
        As `Classifier.at_block` returns it.
    how
        What else `fit_apex` takes: `cache_dir`, `resume_dir`, `progress`.
    """
    train, held = fitting._split(tuple(clips), held_out, config)
    apex = fitting.fit_apex(sibling, train, config, held_out=held, **how)
    usable = [clip for clip in train if clip.id not in apex.diagnostics["broken"]]
    apex.diagnostics |= invariance(apex, usable).to_dict()
    return apex


def layer_config(config: ApexConfig | None = None, **changes: Any) -> ApexConfig:
    """Returns the settings for a block of an encoder: standardized, unless that is switched off."""
    config = fitting._configured(config, changes)
    return replace(config, standardize=True) if config.standardize is None else config


def layer_folder(out: Path, number: int) -> Path:
    """Returns the folder of a layer."""
    return out / f"layer-{number:02d}"


def parse_layers(text: str) -> Layers:
    """Returns the layers that a text means: `all`, or numbers.

    Raises
    ------
    InputError
        If it means none.

    Examples
    --------
    >>> parse_layers("3, 6")
    (3, 6)
    """
    if text.strip() == "all":
        return "all"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"Layers are numbers, as in 6 or 3,6,9, or the word all, got {text!r}.") from None


def at_blocks(classifier: Classifier, layers: Layers) -> dict[int, Classifier]:
    """Returns the classifier with its map at each of some blocks, shallow to deep.

    Raises
    ------
    ModelError
        If no blocks are known, or there is no such one.
    """
    n_blocks = len(classifier.blocks)
    if not n_blocks:
        raise ModelError(
            f"{classifier.name} has no blocks that are known, so a layer cannot be named by its number; choose it by "
            "its name, with map_layer= where the classifier is loaded or wrapped, and fit APEX as usual."
        )
    numbers = range(1, n_blocks + 1) if layers == "all" else sorted(set(layers))
    if not numbers:
        raise InputError("At least one layer was expected, got none.")
    wrong = [number for number in numbers if not 1 <= number <= n_blocks]
    if wrong:
        raise ModelError(f"{classifier.name} has blocks 1 to {n_blocks}, got {wrong[0]}; choose one of these.")
    return {number: classifier.at_block(number) for number in numbers}


def sounds_sha256(clips: Sequence[Clip]) -> str:
    """Returns a hash of the names and sounds of clips; one that cannot be read counts by its name."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.id):
        try:
            sound = clip_sha256(clip)
        except (EarmarkError, OSError):
            sound = "broken"
        digest.update(f"{clip.id}:{sound}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Job:
    """What all layers of a fit share."""

    config: ApexConfig
    train: Sequence[Clip]
    held: Sequence[Clip]
    sounds: str
    cache_dir: Path
    cache_gb: float  # of each layer
    report: Report | None
    about: Mapping[str, Any] | None

    def finished(self, folder: Path, sibling: Classifier) -> Apex | None:
        """Returns the APEX in a folder, if it is what would be fitted there."""
        try:
            about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            same = about["config"] == self.config.to_dict() and about["diagnostics"]["sounds_sha256"] == self.sounds
            if not same or about["fingerprint"] != sibling.fingerprint:
                return None
            return Apex.load(folder, sibling)
        except (OSError, ValueError, KeyError, TypeError, EarmarkError):
            return None

    def scan(self, siblings: Mapping[int, Classifier]) -> None:
        """Passes all clips through the model, once for all layers."""
        if len(siblings) < 2:
            return
        kind: Kind = "map" if self.config.view == "square" else "marginals"
        size = self.config.clips_per_batch
        caches = [
            FeatureCache(sibling, self.cache_dir, kind, cache_gb=self.cache_gb, batch_size=size)
            for sibling in siblings.values()
        ]
        with self._opened("features of all layers") as progress:
            scan_layers(caches, (*self.train, *self.held), progress)

    def fit(self, number: int, sibling: Classifier, folder: Path) -> Apex:
        """Fits one layer and saves it; what an unfinished fit left there is gone afterwards."""
        with self._opened(f"layer {number}") as progress:
            apex = fit_apex_layer(
                sibling,
                self.train,
                self.config,
                held_out=self.held,
                cache_dir=self.cache_dir,
                cache_gb=self.cache_gb,
                resume_dir=folder / RESUME,
                progress=progress,
            )
        apex.diagnostics |= {**(self.about or {}), "layer": number, "sounds_sha256": self.sounds}
        (folder / "config.json").unlink(missing_ok=True)  # what is there of an earlier fit counts no more
        apex.save(folder)
        shutil.rmtree(folder / RESUME, ignore_errors=True)
        return apex

    @contextmanager
    def _opened(self, name: str) -> Iterator[fitting.Progress | None]:
        with nullcontext() if self.report is None else self.report(name) as progress:
            yield progress


def load_apex_layers(out: str | Path, classifier: Classifier) -> dict[int, Apex]:
    """Reads the folders that `fit_apex_layers` wrote.

    Raises
    ------
    ModelError
        If there are none.
    MismatchError
        If they were fitted to another classifier.
    """
    folders = {int(path.name[6:]): path for path in Path(out).glob("layer-[0-9]*") if path.name[6:].isdigit()}
    whole = {number: path for number, path in sorted(folders.items()) if (path / "config.json").is_file()}
    if not whole:
        raise ModelError(f"{out} holds no layers (layer-01, ...); fit them with `earmark fit apex --layer all`.")
    return {number: Apex.load(path, at_its_layer(path, classifier)) for number, path in whole.items()}


def _check_view(config: ApexConfig, siblings: Mapping[int, Classifier]) -> None:
    for sibling in siblings.values():
        views.check_view(config.view, 2 if sibling.has_frequency else 1)
