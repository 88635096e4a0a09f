"""What is trained on: features of clips without (or with only) the first bins of a map, and the masks themselves.

The route is `waveform`: a mask on the STFT, its inverse, the whole front end. Everything is written to disk, batch by
batch; nothing holds a data set in memory.
"""

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...data import arrays
from ...explainers.base import Explainer
from ...masking import feature_gain
from ...masks import ranking_of
from ...types import Samples
from .config import RetrainingConfig
from .material import Material, chunks

Values = Float[Tensor, "batch freq frame"]
Maps = Callable[[Samples], Values]
Gain = Float[Tensor, "batch freq frame"]

KEPT = "kept.json"


@dataclass(frozen=True)
class Variant:
    """One way to change every clip.

    Parameters
    ----------
    mode
        `remove` or `keep` the first bins; `masks`: the mask is all that is left; `intact`.
    tau
        Share of the bins.
    fill
        What stands where nothing is let through; nothing to say for masks and intact clips.
    """

    mode: str
    tau: float = 0.0
    fill: str = ""

    @property
    def name(self) -> str:
        """A file's name."""
        return "-".join(str(part) for part in (self.mode, self.fill, self.tau) if part)


INTACT = Variant("intact")


def variants(config: RetrainingConfig) -> list[Variant]:
    """Returns every change of a run, masks last."""
    found = [Variant(mode, tau, fill) for mode in config.modes for fill in config.fills for tau in config.taus]
    return found + [Variant("masks", tau) for tau in config.taus if config.mask_seeds]


def maps_of(explainer: Explainer) -> Maps:
    """Returns what makes an explainer's maps of the labels that its classifier puts first."""

    def maps(samples: Samples) -> Values:
        grid = explainer.classifier.grid(samples.shape[1])
        told = explainer.evidence(samples, [None] * len(samples))
        return torch.stack([evidence.ranking(grid) for evidence in told]).detach().float().cpu()

    return maps


def no_maps(samples: Samples) -> Values:
    """Refuses: clips that are left as they are need no maps."""
    raise AssertionError("clips that are left as they are need no maps")


def write_features(material: Material, maps: Maps, wanted: Sequence[Variant], folder: Path, size: int = 8) -> None:
    """Explains all clips once and writes their features under every change; the folder appears whole or not at all.

    Clips whose map is not finite have no features that mean anything; `kept_rows` says which ones have.
    """
    whole = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    shape = _shape(material)
    kept: dict[str, list[bool]] = {name: [] for name, _ in material.parts}
    for name, part in material.parts:
        rows = {v: arrays.create(whole / _file(v, name), (len(part.samples), *shape)) for v in wanted}
        for index, samples in enumerate(chunks(part.samples, size)):
            found, finite = _changed(material, maps, samples, wanted)
            kept[name] += finite.tolist()
            for variant, features in found.items():
                rows[variant][index * size : index * size + len(samples)] = features.numpy()
    (whole / KEPT).write_text(json.dumps(kept), encoding="utf-8")
    whole.replace(folder)


def kept_rows(folder: Path, part: str) -> Bool[Tensor, " clip"]:
    """Returns of which `training` or `test` clips there are features: all but those whose map failed."""
    return torch.tensor(json.loads((folder / KEPT).read_text(encoding="utf-8"))[part], dtype=torch.bool)


def read_features(folder: Path, variant: Variant, part: str) -> np.ndarray:
    """Returns `[clip, mel, frame]` of `training` or `test` clips, as a memory map."""
    path = folder / _file(variant, part)
    with path.open("rb") as file:
        (n_header,) = struct.unpack("<Q", file.read(8))
        (about,) = json.loads(file.read(n_header)).values()
    return np.memmap(path, "<f4", "r", 8 + n_header, tuple(about["shape"]))


@torch.no_grad()
def changed_sound(material: Material, samples: Samples, gain: Gain, fill: str) -> Samples:
    """Returns what a gain lets through, and the fill where it lets nothing through."""
    stft = material.classifier.stft
    whole = stft(samples)
    masked = whole * gain
    if fill != "silence":
        masked = masked + material.band_mean * (1 - gain)
    return stft.inverse(masked, samples.shape[1])


def _changed(
    material: Material, maps: Maps, samples: Samples, wanted: Sequence[Variant]
) -> tuple[dict[Variant, Float[Tensor, "batch mel frame"]], Bool[Tensor, " batch"]]:
    """Returns the features of a batch under every change, its maps ranked once, and which maps are finite."""
    classifier = material.classifier
    if set(wanted) == {INTACT}:
        return {INTACT: classifier.at(samples, "features").detach()}, torch.ones(len(samples), dtype=torch.bool)
    values = maps(samples)
    finite = values.isfinite().flatten(1).all(1)
    ranking = ranking_of(values)
    masks = {tau: ranking.mask(tau) for tau in {variant.tau for variant in wanted}}
    found = {}
    with torch.no_grad():
        for variant in wanted:
            mask = masks[variant.tau]
            if variant.mode == "masks":
                found[variant] = feature_gain(mask, classifier.front_end, samples.shape[1], _shape(material))
                continue
            sound = changed_sound(material, samples, 1 - mask if variant.mode == "remove" else mask, variant.fill)
            found[variant] = classifier.at(sound, "features")
    return found, finite


def _shape(material: Material) -> tuple[int, int]:
    first = torch.from_numpy(np.array(material.training.samples[:1]))
    rows, columns = material.classifier.at(first, "features").shape[1:]
    return rows, columns


def _file(variant: Variant, part: str) -> str:
    return f"{variant.name}.{part}.safetensors"
