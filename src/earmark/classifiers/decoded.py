"""Labeled clips as samples of one length, decoded once into a memory map."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.files import load_clip
from ..audio.waveform import Waveform
from ..data import arrays
from ..errors import DataError, EarmarkError
from ..types import Clip


@dataclass(frozen=True)
class TrainingSet:
    """Clips as samples of one length, in a memory map, with their labels.

    Parameters
    ----------
    samples
        `[clip, sample]` at the front end's rate, mono, cut or zero-padded to one length.
    labels
        `[clip, label]`, 0 or 1.
    clips
        Those that could be read, in the order of the rows.
    skipped
        Why each of the others could not, by its id.
    """

    samples: np.ndarray
    labels: Float[Tensor, "clip label"]
    clips: tuple[Clip, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def batch(self, index: np.ndarray) -> tuple[Float[Tensor, "batch sample"], Float[Tensor, "batch label"]]:
        """Returns samples and labels of the clips at `index`."""
        return torch.from_numpy(self.samples[index]), self.labels[torch.from_numpy(index)]


def decode(
    clips: Sequence[Clip],
    labels: tuple[str, ...],
    sample_rate: int,
    clip_s: float,
    path: Path,
    fitted: Callable[[Waveform, int], Waveform] = Waveform.fit,
) -> TrainingSet:
    """Decodes every clip once into a memory map beside the checkpoint; clips pass through two threads.

    Clips that cannot be read are left out, and named under `skipped`; `fitted` brings a clip to its number of samples.

    Raises
    ------
    DataError
        If a clip has a label that training does not know, or no clip can be read.
    """
    truth = _truth(clips, labels)
    n_samples = round(clip_s * sample_rate)
    rows = arrays.create(path, (len(clips), n_samples))

    def put(index: int) -> str | None:
        try:
            waveform = fitted(load_clip(clips[index]).mono().resample(sample_rate), n_samples)
        except (EarmarkError, OSError) as error:
            return str(error)
        rows[index] = waveform.samples[0].numpy()
        return None

    with ThreadPoolExecutor(2) as pool:
        problems = list(pool.map(put, range(len(clips))))
    skipped = {clip.id: problem for clip, problem in zip(clips, problems, strict=True) if problem}
    good = [index for index, problem in enumerate(problems) if not problem]
    if not good:
        raise DataError(f"None of {len(clips)} clips can be read; the first: {next(iter(skipped.values()))}")
    for row, index in enumerate(good):
        if row != index:
            rows[row] = rows[index]
    return TrainingSet(rows[: len(good)], truth[good], tuple(clips[index] for index in good), skipped)


def _truth(clips: Sequence[Clip], labels: tuple[str, ...]) -> Float[Tensor, "clip label"]:
    truth = torch.zeros(len(clips), len(labels))
    for index, clip in enumerate(clips):
        unknown = set(clip.labels) - set(labels)
        if unknown:
            raise DataError(f"Clip {clip.id} has labels {sorted(unknown)} that no training clip has; add some.")
        truth[index, [labels.index(label) for label in clip.labels]] = 1
    return truth


def clips_sha256(data: TrainingSet) -> str:
    """Returns the sha256 of the clips' ids, cuts, labels and samples, in order."""
    about = [(clip.id, clip.start_s, clip.end_s, clip.labels) for clip in data.clips]
    digest = hashlib.sha256(json.dumps(about).encode())
    for row in data.samples:
        digest.update(np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()
