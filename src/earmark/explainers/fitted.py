"""What trained explainers share: clips decoded once, drawn in batches with crops and mixtures, and a folder on disk.

The classifier is used as it is, and explained for what it decides: no label is ever read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ..audio.files import load_clip
from ..classifiers.base import Classifier
from ..classifiers.decoded import TrainingSet, clips_sha256, decode
from ..data.folders import split_by_group
from ..data.mixtures import Mixture, parts_of
from ..errors import DataError, EarmarkError, InputError, MismatchError, ModelError
from ..training.augment import background_noise
from ..types import Clip, Logits, Samples, probabilities
from .fitted_config import FitConfig

SCHEMA = 1
LONGEST_S = 10.0  # of clips whose length is not set
NOISE_SNR_DB = (10.0, 40.0)
MIX_SNR_DB = (0.0, 12.0)
MIN_CLIPS = 2  # in each part: fewer are no batch


@dataclass(frozen=True, eq=False)
class Material:
    """Clips for a fit, decoded to one length.

    Parameters
    ----------
    training, held_out
        Samples `[clip, sample]` in memory maps.
    sources
        The clips of `training` without what was mixed into them; `None` where they are no mixtures.
    """

    training: TrainingSet
    held_out: TrainingSet
    sources: TrainingSet | None = None

    @property
    def skipped(self) -> dict[str, str]:
        """Why clips could not be read, by id."""
        return {**self.training.skipped, **self.held_out.skipped}

    def sha256(self) -> list[str]:
        """Returns what a checkpoint must agree with."""
        return [clips_sha256(part) for part in (self.training, self.held_out)]


@dataclass(frozen=True, eq=False)
class Drawn:
    """One training batch with every random number that a loss needs.

    Parameters
    ----------
    samples
        `[batch, sample]`, moved, mixed and cropped.
    choice, budget
        One number in [0, 1) for each clip: which label is asked for, and how much may be kept; budgets are stratified,
        so that each batch has small and large ones.
    sources
        The samples without what was mixed in, where that is known.
    """

    samples: Samples
    choice: Float[Tensor, " batch"]
    budget: Float[Tensor, " batch"]
    sources: Samples | None = None

    @classmethod
    def of(cls, batch: Sequence[Tensor], classifier: Classifier) -> "Drawn":
        """Returns a batch that `drawn` prepared, where the classifier is and in its precision."""
        return cls(*(part.to(device=classifier.device, dtype=classifier.dtype) for part in batch))


@contextmanager
def material(
    clips: Iterable[Clip],
    classifier: Classifier,
    config: FitConfig,
    folder: Path,
    held_out: Iterable[Clip] | None = None,
) -> Iterator[Material]:
    """Yields the clips of a fit; decoded samples lie in `folder` meanwhile.

    Raises
    ------
    DataError
        If there are too few clips, they cannot be split by group, or none can be read.
    """
    rest, held = (clips, held_out) if held_out is not None else split_by_group(clips, config.held_out, config.seed)
    parts = [tuple(replace(clip, labels=()) for clip in part) for part in (rest, held)]
    for name, part in zip(("to learn from", "to choose the epoch by"), parts, strict=True):
        if len(part) < MIN_CLIPS:
            raise DataError(f"{len(part)} clips {name} are left, at least {MIN_CLIPS} were expected; add clips.")
    clip_s = config.clip_s or _longest_s(parts[0])
    _refuse_short(clip_s, classifier)
    paths = [folder / f".decoded-{name}.safetensors" for name in ("training", "held-out", "sources")]
    try:
        sets = [
            decode(part, (), classifier.sample_rate, clip_s, path) for part, path in zip(parts, paths[:2], strict=True)
        ]
        sources = None
        if all(isinstance(clip.source, Mixture) for clip in sets[0].clips):
            clean = [replace(clip, source=_Source(clip)) for clip in sets[0].clips]
            sources = decode(clean, (), classifier.sample_rate, clip_s, paths[2])
        yield Material(sets[0], sets[1], sources)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Source:
    """The sound of a mixture's source, as loud as it is there."""

    clip: Clip

    def __call__(self) -> Any:
        return parts_of(self.clip).source


@contextmanager
def working(folder: str | Path | None) -> Iterator[Path]:
    """Yields the folder, or a temporary one."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
        return
    with TemporaryDirectory(prefix="earmark-") as name:
        yield Path(name)


def batches(data: Material, config: FitConfig) -> Callable[[int, Generator], Iterator[tuple[Tensor, ...]]]:
    """Returns what yields the clips of an epoch in a random order: samples, and their sources where known."""

    def epoch(_epoch: int, generator: Generator) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(data.training.clips), generator=generator).numpy()
        size = batch_size(data, config)
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            kept = (data.training,) if data.sources is None else (data.training, data.sources)
            yield tuple(torch.from_numpy(part.samples[index]) for part in kept)

    return epoch


def batch_size(data: Material, config: FitConfig) -> int:
    """Returns the number of clips in one step."""
    return min(config.batch_size, len(data.training.clips))


def n_steps(data: Material, config: FitConfig) -> int:
    """Returns the number of steps of one epoch."""
    return len(data.training.clips) // batch_size(data, config)


def drawn(batch: Sequence[Tensor], config: FitConfig, sample_rate: int, generator: Generator) -> tuple[Tensor, ...]:
    """Returns the parts of a `Drawn`: clips are shifted around, made louder or softer, mixed, and cropped.

    What is done to a clip in place and level is done to its source too; where sources are known nothing is mixed in.
    """
    n_clips = len(batch[0])
    sounds = _moved(torch.stack(list(batch)), config, sample_rate, generator)
    samples = sounds[0]
    if len(batch) == 1:
        samples = _with_others(samples, config.mix_share, generator)
        samples = background_noise(samples, NOISE_SNR_DB, config.noise_share, generator)
    choice = torch.rand(n_clips, generator=generator)
    budget = (torch.randperm(n_clips, generator=generator) + torch.rand(n_clips, generator=generator)) / n_clips
    return samples, choice, budget, *sounds[1:]


def _moved(
    sounds: Float[Tensor, "kind batch sample"], config: FitConfig, sample_rate: int, generator: Generator
) -> Float[Tensor, "kind batch part"]:
    """Returns each clip, and its source, rotated in time by one amount, cropped, and at one level."""
    n_clips, n_samples = sounds.shape[1:]
    wanted = round(config.crop_s * sample_rate) or n_samples
    wanted = min(wanted, n_samples)
    reach = config.shift * n_samples or wanted - n_samples  # rotated, or else a part from within the clip
    offset = (torch.rand(n_clips, 1, generator=generator) * reach).long()
    index = (torch.arange(wanted)[None] - offset) % n_samples
    gain_db = (2 * torch.rand(n_clips, 1, generator=generator) - 1) * config.gain_db
    return sounds.gather(2, index.expand(len(sounds), -1, -1)) * 10 ** (gain_db / 20)


def _with_others(samples: Samples, share: float, generator: Generator) -> Samples:
    """Returns clips, a share of them with another clip of the batch mixed in, 0 to 12 dB below it."""
    n_clips = len(samples)
    chosen = torch.rand(n_clips, 1, generator=generator) < share
    other = samples.roll(1, 0)
    db = MIX_SNR_DB[0] + (MIX_SNR_DB[1] - MIX_SNR_DB[0]) * torch.rand(n_clips, 1, generator=generator)
    ratio = samples.square().mean(1, keepdim=True) / other.square().mean(1, keepdim=True).clamp_min(1e-12)
    return samples + chosen * other * (ratio * 10 ** (-db / 10)).sqrt()


def asked_label(logits: Logits, choice: Float[Tensor, " batch"], classifier: Classifier) -> Int[Tensor, " batch"]:
    """Returns the label that each clip is explained for: the decision of the classifier, never the truth.

    Of several labels at or above the threshold one is drawn by `choice`; where there is none, it is the top one.
    """
    if classifier.task == "multiclass":
        return logits.argmax(1)
    present = present_labels(logits, classifier)
    rank = (choice.to(logits) * present.sum(1)).floor()
    nth = (present.cumsum(1) - 1 == rank[:, None]) & present
    return torch.where(present.any(1), nth.int().argmax(1), logits.argmax(1))


def is_decided(logits: Logits, classifier: Classifier) -> Float[Tensor, " batch"]:
    """Returns 1 where some label is decided for, and 0 where none of several labels reaches the threshold."""
    return present_labels(logits, classifier).any(1).to(logits)


def present_labels(logits: Logits, classifier: Classifier) -> Bool[Tensor, "batch label"]:
    """Returns which labels are decided for: the largest one, or all at or above the threshold."""
    if classifier.task == "multiclass":
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).bool()
    return probabilities(logits, classifier.task) >= classifier.threshold


def one_hot(labels: Int[Tensor, " batch"], n_labels: int, like: Tensor) -> Float[Tensor, "batch label"]:
    """Returns 1 at each clip's label, else 0."""
    return torch.nn.functional.one_hot(labels, n_labels).to(like)


# -- on disk ----------------------------------------------------------------------------------------------------------


def save_fitted(
    folder: str | Path,
    kind: str,
    classifier: Classifier,
    config: FitConfig,
    tensors: dict[str, Tensor],
    about: dict[str, Any],
    card: str,
) -> Path:
    """Writes `model.safetensors`, `README.md` and, last, `config.json`, each under a temporary name first.

    Parameters
    ----------
    about
        What else is needed to load it (JSON values), among it `diagnostics`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a folder is to be written there; choose another place.")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".model.part"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    temporary.replace(folder / "model.safetensors")
    (folder / "README.md").write_text(card, encoding="utf-8")
    whole = {
        "kind": kind,
        "schema": SCHEMA,
        "fingerprint": classifier.fingerprint,
        "classifier": classifier.name,
        "config": config.to_dict(),
        **about,
    }
    temporary = folder / ".config.part"
    temporary.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / "config.json")
    return folder


def load_fitted(folder: str | Path, kind: str, classifier: Classifier) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns what `config.json` says, and the tensors.

    Raises
    ------
    MismatchError
        If it was fitted to another classifier, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    folder = Path(folder)
    with readable(folder, kind):
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if about["kind"] != kind:
            raise ModelError(f"{folder} holds {about['kind']!r}, and {kind!r} was expected; choose another folder.")
        if about.get("schema", 0) > SCHEMA:
            raise MismatchError(f"{folder} was written by a newer earmark (schema {about['schema']}); update earmark.")
        if about["fingerprint"] != classifier.fingerprint:
            raise MismatchError(
                f"{folder} was fitted to {about['classifier']} with fingerprint {about['fingerprint'][:12]}, and this "
                f"{classifier.name} has {classifier.fingerprint[:12]}; fit {kind} to this classifier."
            )
        return about, load_file(folder / "model.safetensors")


@contextmanager
def readable(folder: Path, kind: str) -> Iterator[None]:
    """Turns whatever a damaged folder raises into a `ModelError` of one sentence."""
    try:
        yield
    except EarmarkError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelError(f"{folder} holds a damaged {kind} ({what}); fit it again.") from error


# -- inside -----------------------------------------------------------------------------------------------------------


def _longest_s(clips: Sequence[Clip]) -> float:
    """Returns the length of the longest of some clips, at most 10 s."""
    longest = 0.0
    for clip in clips[:: max(1, len(clips) // 16)]:
        try:
            longest = max(longest, load_clip(clip).duration_s)
        except (EarmarkError, OSError):
            continue
    return min(longest, LONGEST_S) or LONGEST_S


def _refuse_short(clip_s: float, classifier: Classifier) -> None:
    window_s = classifier.stft.n_fft / classifier.sample_rate
    if clip_s < window_s:
        raise DataError(
            f"Clips of {clip_s:.3g} s are shorter than a window of {classifier.name} ({window_s:.3g} s), so no mask "
            "can be learned; use longer clips."
        )
