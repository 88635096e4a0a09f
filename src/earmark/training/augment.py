"""Augmentation of training batches, in plain tensors with a generator of its own."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..types import Features, Samples
from .config import AugmentConfig, LatentAugmentConfig

Labels = Float[Tensor, "batch label"]


def augment_samples(samples: Samples, config: AugmentConfig, generator: Generator) -> Samples:
    """Returns the clips shifted around in time, louder or softer, and some with colored noise."""
    shifted = time_shift(samples, config.shift, generator)
    noisy = background_noise(shifted, config.noise_snr_db, config.noise_share, generator)
    gain_db = (2 * torch.rand(len(samples), 1, generator=generator) - 1) * config.gain_db
    return noisy * 10 ** (gain_db / 20)


def augment_features(
    features: Features, labels: Labels, config: AugmentConfig, generator: Generator
) -> tuple[Features, Labels]:
    """Returns features with stripes masked, and, for a share of batches, clips and labels mixed in pairs."""
    features = spec_augment(features, config, generator)
    if config.mixup and float(torch.rand((), generator=generator)) < config.mixup_share:
        features, labels = mixup(features, labels, config.mixup, generator)
    return features, labels


def augment_latents(
    latents: Float[Tensor, "batch channel frame"], labels: Labels, config: LatentAugmentConfig, generator: Generator
) -> tuple[Tensor, Labels]:
    """Returns latents of clips shifted around in time, channels and frames masked, and some clips mixed in pairs."""
    n_frames = latents.shape[2]
    offsets = ((2 * torch.rand(len(latents), 1, generator=generator) - 1) * config.shift * n_frames).round().long()
    index = (torch.arange(n_frames)[None] - offsets) % n_frames
    shifted = latents.gather(2, index[:, None].expand_as(latents))
    plain = AugmentConfig(
        mixup=config.mixup,
        mixup_share=config.mixup_share,
        mel_mask=config.channel_mask,
        frame_mask=config.frame_mask,
        n_masks=config.n_masks,
    )
    return augment_features(shifted, labels, plain, generator)


def time_shift(samples: Samples, share: float, generator: Generator) -> Samples:
    """Returns each clip rotated by its own random amount, up to `share` of its length."""
    n_samples = samples.shape[1]
    offsets = (torch.rand(len(samples), 1, generator=generator) * share * n_samples).long()
    index = (torch.arange(n_samples)[None] - offsets) % n_samples
    return samples.gather(1, index)


def background_noise(samples: Samples, snr_db: tuple[float, float], share: float, generator: Generator) -> Samples:
    """Returns the clips with noise of a random color (power ~ 1/f^0 to 1/f^2) at a random signal-to-noise ratio."""
    batch, n_samples = samples.shape
    chosen = torch.rand(batch, 1, generator=generator) < share
    if not bool(chosen.any()):
        return samples
    spectrum = torch.fft.rfft(torch.randn(batch, n_samples, generator=generator))
    slope = torch.rand(batch, 1, generator=generator)
    noise = torch.fft.irfft(spectrum * torch.arange(1, spectrum.shape[1] + 1)[None].float() ** -slope, n_samples)
    snr = snr_db[0] + (snr_db[1] - snr_db[0]) * torch.rand(batch, 1, generator=generator)
    level = samples.square().mean(1, keepdim=True) / noise.square().mean(1, keepdim=True).clamp_min(1e-20)
    return samples + chosen * noise * (level * 10 ** (-snr / 10)).sqrt()


def spec_augment(features: Features, config: AugmentConfig, generator: Generator) -> Features:
    """Returns features with random bands and stripes set to the clip's mean (SpecAugment without warping)."""
    mean = features.mean((1, 2), keepdim=True)
    for _ in range(config.n_masks):
        rows = _stripe(features, 1, config.mel_mask, generator)
        columns = _stripe(features, 2, config.frame_mask, generator)
        features = torch.where(rows[:, :, None] | columns[:, None, :], mean, features)
    return features


def mixup(features: Features, labels: Labels, alpha: float, generator: Generator) -> tuple[Features, Labels]:
    """Returns `l x + (1 - l) x[permuted]` for features and labels, with one l ~ Beta(alpha, alpha) per clip."""
    order = torch.randperm(len(features), generator=generator)
    share = _beta(alpha, len(features), generator)
    mixed = share[:, None, None] * features + (1 - share)[:, None, None] * features[order]
    return mixed, share[:, None] * labels + (1 - share)[:, None] * labels[order]


def _stripe(features: Features, axis: int, widest: int, generator: Generator) -> Tensor:
    size = features.shape[axis]
    width = torch.randint(0, min(widest, size - 1) + 1, (len(features), 1), generator=generator)
    start = (torch.rand(len(features), 1, generator=generator) * (size - width + 1)).long()
    position = torch.arange(size)[None]
    return (position >= start) & (position < start + width)


def _beta(alpha: float, n: int, generator: Generator) -> Float[Tensor, " batch"]:
    """Returns draws from Beta(alpha, alpha), at least one half: the first clip of each pair dominates.

    Johnk's method, vectorized: of 64 proposals per draw the first accepted one is taken; for alpha <= 1 the chance
    that none is accepted is below 1e-15.
    """
    powers = torch.rand(2, 64, n, generator=generator) ** (1 / alpha)
    total = powers.sum(0)
    first = ((total <= 1) & (total > 0)).int().argmax(0)[None]
    share = (powers[0] / total.clamp_min(1e-30)).gather(0, first)[0]
    return torch.maximum(share, 1 - share)
