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

from ...training.config import LoopConfig
from ...training.loop import Progress, seeded_globals, train
from ...training.parallel import device_of
from ...types import Clip, Samples
from ..card import write_whole
from ..clips import check_parts
from ..decoded import TrainingSet, clips_sha256, decode
from ..hugging_face.load import import_transformers, quiet
from .base import straight_through
from .encodec import Encodec
from .train_config import CodecConfig

RESOLUTIONS = (256, 512, 1024)  # window lengths in samples; the hop is a quarter
EPS = 1e-5
LEAST_USED = 0.2  # running count, relative to the mean of all entries, below which an entry is drawn anew

_CARD = """# {name}

A small EnCodec (`EncodecModel` of transformers) trained by `earmark train codec` on {data}. It is a stand-in: published
codecs have seen a thousand times as much sound.

| | |
|---|---|
| sample rate, frame rate | {rate} Hz, {frame_rate:g} Hz |
| latents | {channels} channels, {codebooks} codebooks of {codebook_size}: {bandwidth:g} kbit/s |
| parameters | {parameters:,} |
| learned from | {n_training} clips, {steps:,} steps of {batch_size} times {crop_s:g} s |
| held-out clips | {n_selection}: SI-SDR {si_sdr_db:.2f} dB, log-spectral distance {distance_db:.2f} dB |
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
        size = samples.abs().mean(1).clamp_min(EPS)
        spread = latents.detach().var((0, 2)).mean().clamp_min(EPS)
        terms = {
            "waveform": c.waveform_weight * ((again - samples).abs().mean(1) / size).mean(),
            "spectral": c.spectral_weight * spectral_distance(again, samples),
            "commitment": c.commitment * (latents - codes).square().mean() / spread,
        }
        return torch.stack(list(terms.values())).sum(), terms


def spectral_distance(sounds: Samples, clips: Samples) -> Float[Tensor, ""]:
    """Returns the mean over resolutions of the relative difference of magnitudes, and of that of their logarithms."""
    total = sounds.new_zeros(())
    for n_fft in RESOLUTIONS:
        window = torch.hann_window(n_fft, device=sounds.device)
        ours, theirs = (
            torch.stft(x, n_fft, n_fft // 4, window=window, return_complex=True).abs() for x in (sounds, clips)
        )
        relative = (ours - theirs).abs().mean((1, 2)) / theirs.mean((1, 2)).clamp_min(EPS)
        floor = 1e-2 * theirs.mean((1, 2), keepdim=True) + EPS
        total = total + relative.mean() + ((ours + floor).log() - (theirs + floor).log()).abs().mean()
    return total / len(RESOLUTIONS)


@torch.no_grad()
def learned_codes(model: Any, latents: Tensor, decay: float | None) -> Tensor:
    """Returns what codes stand for `latents`; with a decay, codebooks move towards what they stand for."""
    left, total = latents.detach(), torch.zeros_like(latents)
    for layer in model.quantizer.layers:
        book = layer.codebook
        rows = left.transpose(1, 2).reshape(-1, left.shape[1])
        if decay is not None and not bool(book.inited):
            _begin(book, rows)
        codes = layer.encode(left)
        entry = layer.decode(codes)
        if decay is not None:
            _follow(book, rows, codes.flatten(), decay)
        total, left = total + entry, left - entry
    return total


def _begin(book: Any, rows: Tensor) -> None:
    book.embed.copy_(rows[torch.randint(len(rows), (len(book.embed),), device=rows.device)])
    book.cluster_size.fill_(len(rows) / len(book.embed))
    book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
    book.inited.fill_(1)


def _follow(book: Any, rows: Tensor, codes: Tensor, decay: float) -> None:
    """Moves each entry towards the mean of its rows; entries that nobody uses are drawn anew among rows."""
    counts = torch.zeros_like(book.cluster_size).index_add_(0, codes, torch.ones_like(codes, dtype=rows.dtype))
    sums = torch.zeros_like(book.embed).index_add_(0, codes, rows)
    book.cluster_size.mul_(decay).add_(counts, alpha=1 - decay)
    book.embed_avg.mul_(decay).add_(sums, alpha=1 - decay)
    drawn = rows[torch.randint(len(rows), (len(book.embed),), device=rows.device)]
    even = len(rows) / len(book.embed)
    unused = book.cluster_size < LEAST_USED * even
    book.cluster_size[unused] = even
    book.embed_avg[unused] = even * drawn[unused]
    book.embed.copy_(book.embed_avg / book.cluster_size[:, None])


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
    config, loop = config or CodecConfig(), loop or LoopConfig(epochs=30, batch_size=8, learning_rate=1e-3)
    check_parts(training, selection)
    working = resume_dir or folder
    for needed in (folder, working):
        needed.mkdir(parents=True, exist_ok=True)
    files = [working / f".decoded-{part}.safetensors" for part in ("training", "selection")]
    try:
        parts = [_decoded(clips, config, path) for clips, path in zip((training, selection), files, strict=True)]
        loop = _loop(loop, len(parts[0].clips), steps)
        model: Any = made(config, loop.seed)
        history = _trained(model, (parts[0], parts[1]), config, loop, (working, log_folder), progress)
        scores = held_out(model, parts[1])
    finally:
        for path in files:
            path.unlink(missing_ok=True)
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
        found = held_out(model, chosen)
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


def _loop(loop: LoopConfig, n_clips: int, steps: int) -> LoopConfig:
    loop = replace(loop, batch_size=min(loop.batch_size, n_clips))
    return replace(loop, epochs=max(1, -(-steps // (n_clips // loop.batch_size)))) if steps else loop


def _numbers(model: Any, parts: Sequence[TrainingSet], loop: LoopConfig) -> dict[str, Any]:
    config = model.config
    return {
        "frame_rate": config.sampling_rate / config.hop_length,
        "bandwidth": config.target_bandwidths[0],
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_training": len(parts[0].clips),
        "n_selection": len(parts[1].clips),
        "batch_size": loop.batch_size,
    }


def made(config: CodecConfig, seed: int) -> nn.Module:
    """Returns an untrained model; its codebooks are drawn from what the encoder first says."""
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
    for layer in model.quantizer.layers:
        layer.codebook.inited.fill_(0)
    found: nn.Module = model
    return found


def held_out(model: Any, data: TrainingSet) -> dict[str, float]:
    """Returns the mean SI-SDR and log-spectral distance of clips that are coded and decoded."""
    was_training, found = model.training, []
    codec = Encodec(model, "codec")
    for first in range(0, len(data.clips), 8):
        rows = np.arange(first, min(first + 8, len(data.clips)))
        samples = data.batch(rows)[0].to(device_of(model))
        with torch.no_grad():
            again = codec.decode(codec.encode(samples), samples.shape[1])
        found += list(zip(si_sdr_db(again, samples).tolist(), _distance_db(again, samples).tolist(), strict=True))
    model.requires_grad_(True).train(was_training)
    ratios, distances = np.array([row for row in found if np.isfinite(row).all()] or [(float("nan"),) * 2]).T
    return {"si_sdr_db": float(ratios.mean()), "distance_db": float(distances.mean())}


def si_sdr_db(sounds: Samples, clips: Samples) -> Float[Tensor, " batch"]:
    """Returns the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019); NaN for silent clips."""
    sounds, clips = sounds.double(), clips.double()
    energy = clips.square().sum(1)
    target = clips * ((sounds * clips).sum(1) / energy)[:, None]
    return 10 * (target.square().sum(1) / (sounds - target).square().sum(1).clamp_min(1e-20)).log10()


def save_codec(model: Any, folder: Path, summary: dict[str, Any], training: dict[str, Any]) -> None:
    """Writes weights, configuration and card; `config.json` is the library's own."""
    with quiet():
        model.eval().save_pretrained(str(folder))
    about = {"numbers": summary, **training}
    write_whole(folder / "training.json", json.dumps(about, indent=2, default=str) + "\n")
    write_whole(folder / "README.md", _CARD.format_map(summary))


def _distance_db(sounds: Samples, clips: Samples) -> Float[Tensor, " batch"]:
    window = torch.hann_window(512, device=clips.device)
    ours, theirs = (torch.stft(x, 512, 128, window=window, return_complex=True).abs() for x in (sounds, clips))
    floor = (1e-4 * theirs.amax((1, 2), keepdim=True)).clamp_min(1e-10)
    difference = 20 * (ours.clamp_min(floor) / theirs.clamp_min(floor)).log10()
    return difference.square().mean(1).sqrt().mean(1)


def _decoded(clips: Sequence[Clip], config: CodecConfig, path: Path) -> TrainingSet:
    unlabeled = [replace(clip, labels=()) for clip in clips]
    return decode(unlabeled, (), config.rate, config.clip_s, path)


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
