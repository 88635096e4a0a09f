"""Trains a small `EncodecModel` on sounds: waveform and spectra at three resolutions, codebooks as running means."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from ...audio.distances import si_sdr
from ...audio.waveform import Waveform
from ...training.config import LoopConfig
from ...training.loop import Progress, seeded_globals, train
from ...training.parallel import device_of
from ...types import Clip, Samples, seeded
from ..card import write_whole
from ..clips import check_parts
from ..decoded import TrainingSet, clips_sha256, decode
from ..hugging_face.load import import_transformers, quiet
from .base import straight_through
from .beginning import begin
from .codebooks import begin_codebooks, learned_codes
from .distances import heard_distance, log_noise, spectral_distance
from .encodec import Encodec
from .train_config import CodecConfig

EPS = 1e-5
N_BEGIN = 512  # crops from which a codec begins

_CARD = """# {name}

A small EnCodec (`EncodecModel` of transformers) trained by `earmark train codec` on {data}. It is a stand-in: published
codecs have seen a thousand times as much sound.

| | |
|---|---|
| sample rate, frame rate | {rate} Hz, {frame_rate:g} Hz |
| latents | {channels} channels, {codebooks} codebooks of {codebook_size}: {bandwidth:g} kbit/s |
| parameters | {parameters:,} |
| learned from | {n_training} clips, {steps:,} steps of {batch_size} times {crop_s:g} s |
| held-out clips | {n_selection} |
| their SI-SDR | {si_sdr_db:.2f} dB (median {si_sdr_median_db:.2f}); before training {begin_si_sdr_db:.2f} dB |
| their log-spectral distance | {distance_db:.2f} dB; before training {begin_distance_db:.2f} dB |

SI-SDR of held-out clips by label, mean in dB: {by_label}.

It begins as the principal components of pieces of {hop_length} samples, with codebooks by k-means ("before training").
"""


@dataclass
class _Learner:
    """The steps of the training."""

    model: Any
    config: CodecConfig

    def loss(self, batch: tuple[Samples, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of crops, some of which are not quantized, and its terms; codebooks follow what they see."""
        c, (samples, skipped) = self.config, batch
        latents = self.model.encoder(samples[:, None])
        codes = learned_codes(self.model, latents, c.decay if self.model.training else None)
        passed = torch.where(skipped[:, None, None], latents, straight_through(latents, codes))
        again = self.model.decoder(passed)[:, 0, : samples.shape[1]]
        spread = latents.detach().var((0, 2)).mean().clamp_min(EPS)
        terms = {
            "waveform": c.waveform_weight * log_noise(again, samples).mean(),
            "spectral": c.spectral_weight * spectral_distance(again, samples),
            "commitment": c.commitment * (latents - codes).square().mean() / spread,
        }
        return torch.stack(list(terms.values())).sum(), terms


def fit_codec(
    training: Sequence[Clip],
    selection: Sequence[Clip],
    folder: Path,
    config: CodecConfig | None = None,
    loop: LoopConfig | None = None,
    *,
    steps: int = 0,
    name: str = "codec",
    data: str = "clips",
    resume_dir: Path | None = None,
    progress: Progress | None = None,
    log_folder: Path | None = None,
) -> dict[str, Any]:
    """Trains a codec, chooses its epoch by held-out SI-SDR, and writes it as `save_pretrained` does, with a card.

    Parameters
    ----------
    training, selection
        Sounds, with or without labels; no group may be in both.
    steps
        Steps in all, in place of the loop's epochs; 0: as many epochs as the loop says.
    name, data
        For the card.
    resume_dir, log_folder
        As for `fit_classifier`.

    Returns
    -------
    summary
        Its numbers, among them `si_sdr_db` on `selection`, and under `skipped` why clips could not be read.

    Raises
    ------
    DataError
        If there are no clips to learn from or to choose by.
    """
    config, loop = config or CodecConfig(), loop or LoopConfig(epochs=30, batch_size=8, learning_rate=1e-4)
    check_parts(training, selection)
    working = resume_dir or folder
    for needed in (folder, working):
        needed.mkdir(parents=True, exist_ok=True)
    files = [working / f".decoded-{part}.safetensors" for part in ("training", "selection")]
    try:
        parts = [_decoded(clips, config, path) for clips, path in zip((training, selection), files, strict=True)]
        loop = _loop(loop, len(parts[0].clips), steps)
        model: Any = made(config, loop.seed)
        begun(model, parts[0], config, loop.seed)
        before = means(measured(model, parts[1]))
        history = _trained(model, (parts[0], parts[1]), config, loop, (working, log_folder), progress)
        found = measured(model, parts[1])
        scores: dict[str, Any] = {**means(found), "by_label": _by_label(found[:, 0], parts[1], selection)}
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    scores |= {f"begin_{name}": value for name, value in before.items()}
    about = {"name": name, "data": data, "steps": len(history) * (len(parts[0].clips) // loop.batch_size)}
    summary = {**asdict(config), **scores, **about, **_numbers(model, parts, loop)}
    save_codec(model, folder, summary, {"loop": asdict(loop), "history": history})
    if resume_dir is None:
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return {**summary, "skipped": {**parts[0].skipped, **parts[1].skipped}}


def _trained(
    model: Any,
    parts: tuple[TrainingSet, TrainingSet],
    config: CodecConfig,
    loop: LoopConfig,
    folders: tuple[Path, Path | None],
    progress: Progress | None,
) -> list[dict[str, float]]:
    """Trains a model in place, and returns what each epoch came to."""
    learned, chosen = parts

    def validate() -> dict[str, float]:
        found = means(measured(model, chosen))
        return {"score": found["si_sdr_db"], **found}

    return train(
        model,
        lambda _epoch, generator: _shuffled(learned, loop.batch_size, generator),
        _Learner(model, config).loss,
        validate,
        loop,
        n_steps=len(learned.clips) // loop.batch_size,
        folder=folders[0],
        prepare=lambda batch, generator: _cropped(batch, config, generator),
        beside=(),
        progress=progress,
        log_folder=folders[1],
        settings={"clips": [clips_sha256(learned), clips_sha256(chosen)], "codec": asdict(config)},
    )


def _by_label(found: np.ndarray, data: TrainingSet, clips: Sequence[Clip]) -> dict[str, float]:
    """Returns the mean of the values of the clips of each label; silent clips are left out."""
    labels = {clip.id: clip.labels for clip in clips}
    rows: dict[str, list[float]] = {}
    for clip, value in zip(data.clips, found.tolist(), strict=True):
        for label in labels[clip.id] if np.isfinite(value) else ():
            rows.setdefault(label, []).append(value)
    return {label: round(float(np.mean(values)), 2) for label, values in sorted(rows.items())}


def _loop(loop: LoopConfig, n_clips: int, steps: int) -> LoopConfig:
    loop = replace(loop, batch_size=min(loop.batch_size, n_clips))
    return replace(loop, epochs=max(1, -(-steps // (n_clips // loop.batch_size)))) if steps else loop


def _numbers(model: Any, parts: Sequence[TrainingSet], loop: LoopConfig) -> dict[str, Any]:
    config = model.config
    return {
        "hop_length": config.hop_length,
        "frame_rate": config.sampling_rate / config.hop_length,
        "bandwidth": config.target_bandwidths[0],
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_training": len(parts[0].clips),
        "n_selection": len(parts[1].clips),
        "batch_size": loop.batch_size,
    }


def made(config: CodecConfig, seed: int) -> nn.Module:
    """Returns an untrained model."""
    transformers = import_transformers()
    bits = int(np.log2(config.codebook_size)) * -(-config.rate // config.hop_length)
    shape = transformers.EncodecConfig(
        target_bandwidths=[config.codebooks * bits / 1000],
        sampling_rate=config.rate,
        hidden_size=config.channels,
        num_filters=config.filters,
        upsampling_ratios=list(config.strides),
        num_lstm_layers=config.lstm_layers,
        codebook_size=config.codebook_size,
    )
    with quiet(), seeded_globals(seed, 0):
        model = transformers.EncodecModel(shape)
    found: nn.Module = model
    return found


def begun(model: Any, data: TrainingSet, config: CodecConfig, seed: int) -> None:
    """Sets weights and codebooks of an untrained model from what the first crops are made of."""
    generator, n_clips = seeded(seed, 3), len(data.clips)
    rows = torch.randperm(n_clips, generator=generator).repeat(-(-N_BEGIN // n_clips))[:N_BEGIN]
    crops, _ = _cropped(data.batch(rows.numpy())[0], config, generator)
    with seeded_globals(seed, 4), torch.no_grad():
        begin(model, crops)
        begin_codebooks(model, torch.cat([model.encoder(part[:, None]) for part in crops.split(16)]))


def means(found: np.ndarray) -> dict[str, float]:
    """Returns mean and median SI-SDR, and the mean log-spectral distance, of what `measured` returned."""
    found = found[np.isfinite(found).all(1)] if np.isfinite(found).all(1).any() else np.full((1, 2), np.nan)
    return {
        "si_sdr_db": float(found[:, 0].mean()),
        "si_sdr_median_db": float(np.median(found[:, 0])),
        "distance_db": float(found[:, 1].mean()),
    }


def measured(model: Any, data: TrainingSet) -> np.ndarray:
    """Returns SI-SDR and log-spectral distance of each clip, `[clip, 2]` in dB; NaN for silent ones."""
    was_training, found = model.training, []
    codec = Encodec(model, "codec")
    for first in range(0, len(data.clips), 8):
        rows = np.arange(first, min(first + 8, len(data.clips)))
        samples = data.batch(rows)[0].to(device_of(model))
        with torch.no_grad():
            again = codec.decode(codec.encode(samples), samples.shape[1])
        found.append(torch.stack([si_sdr(again, samples), heard_distance(again, samples).double()], 1))
    model.requires_grad_(True).train(was_training)
    return torch.cat(found).cpu().numpy()


def save_codec(model: Any, folder: Path, summary: dict[str, Any], training: dict[str, Any]) -> None:
    """Writes weights, configuration and card; `config.json` is the library's own."""
    with quiet():
        model.eval().save_pretrained(str(folder))
    about = {"numbers": summary, **training}
    write_whole(folder / "training.json", json.dumps(about, indent=2, default=str) + "\n")
    by_label = ", ".join(f"{label} {value:g}" for label, value in summary["by_label"].items()) or "no labels"
    write_whole(folder / "README.md", _CARD.format_map({**summary, "by_label": by_label}))


def _decoded(clips: Sequence[Clip], config: CodecConfig, path: Path) -> TrainingSet:
    unlabeled = [replace(clip, labels=()) for clip in clips]
    return decode(unlabeled, (), config.rate, config.clip_s, path, _repeated)


def _repeated(waveform: Waveform, n_samples: int) -> Waveform:
    """Returns the first samples of a clip, which is repeated where it is shorter: crops of padding teach silence."""
    times = -(-n_samples // max(waveform.n_samples, 1))
    return Waveform(waveform.samples.repeat(1, times)[:, :n_samples], waveform.sample_rate)


def _shuffled(data: TrainingSet, batch_size: int, generator: Generator) -> Iterator[Samples]:
    order = torch.randperm(len(data.clips), generator=generator).numpy()
    for start in range(0, len(order) - batch_size + 1, batch_size):
        yield data.batch(order[start : start + batch_size])[0]


def _cropped(
    samples: Samples, config: CodecConfig, generator: Generator
) -> tuple[Float[Tensor, "batch _"], Bool[Tensor, " batch"]]:
    """Returns a piece of each clip from a random place, at another level, and which are not quantized."""
    length = min(samples.shape[1], round(config.crop_s * config.rate))
    starts = torch.randint(samples.shape[1] - length + 1, (len(samples),), generator=generator)
    db = config.gain_db * (2 * torch.rand(len(samples), 1, generator=generator) - 1)
    rows = [row[start : start + length] for row, start in zip(samples, starts.tolist(), strict=True)]
    skipped = torch.rand(len(samples), generator=generator) < config.unquantized
    return torch.stack(rows) * 10 ** (db / 20), skipped
