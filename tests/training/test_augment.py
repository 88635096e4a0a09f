from dataclasses import replace

import numpy as np
import pytest
import torch

from earmark.training import augment
from earmark.training.config import AugmentConfig, LatentAugmentConfig


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sounds(batch=6, n_samples=4000):
    return 0.3 * torch.randn(batch, n_samples, generator=generator(99))


def features(batch=6):
    return torch.randn(batch, 20, 50, generator=generator(98))


def one_hot(batch=6, n_labels=4):
    return torch.eye(n_labels)[torch.arange(batch) % n_labels]


NOTHING = AugmentConfig(shift=0, gain_db=0, noise_share=0, mixup=0, mel_mask=0, frame_mask=0, n_masks=0)


def test_everything_set_to_zero_is_nothing():
    assert torch.equal(augment.augment_samples(sounds(), NOTHING, generator()), sounds())
    x, y = augment.augment_features(features(), one_hot(), NOTHING, generator())
    assert torch.equal(x, features())
    assert torch.equal(y, one_hot())


def test_the_generator_decides():
    config = AugmentConfig(mixup_share=1.0)
    for seed in (0, 1):
        first = augment.augment_samples(sounds(), config, generator(seed))
        assert torch.equal(first, augment.augment_samples(sounds(), config, generator(seed)))
        assert not torch.equal(first, augment.augment_samples(sounds(), config, generator(seed + 10)))
        a = augment.augment_features(features(), one_hot(), config, generator(seed))
        b = augment.augment_features(features(), one_hot(), config, generator(seed))
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
        assert first.shape == sounds().shape
        assert a[0].shape == features().shape


def test_neither_inputs_nor_global_random_state_change():
    state, x, y, f = torch.get_rng_state(), sounds(), one_hot(), features()
    augment.augment_samples(x, AugmentConfig(), generator())
    augment.augment_features(f, y, AugmentConfig(mixup_share=1.0), generator())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, sounds())
    assert torch.equal(y, one_hot())
    assert torch.equal(f, features())


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_time_shift_is_a_rotation(share):
    x = torch.arange(1000.0).expand(8, -1).contiguous()
    shifted = augment.time_shift(x, share, generator())
    offsets = [int(row.argmin()) for row in shifted]
    assert len(set(offsets)) > 1
    assert max(offsets) <= share * 1000
    for row, offset in zip(shifted, offsets, strict=True):
        assert torch.equal(row, x[0].roll(offset))


def test_gains_stay_within_their_limits():
    config = AugmentConfig(shift=0, gain_db=6.0, noise_share=0)
    gains = (augment.augment_samples(sounds(200), config, generator()) / sounds(200)).mean(1)
    db = 20 * gains.log10()
    assert db.abs().max() <= 6.0 + 1e-4  # float32
    assert db.min() < -5
    assert db.max() > 5


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 40.0])
@pytest.mark.parametrize("n_samples", [4000, 4001])
def test_noise_has_the_stated_level(snr_db, n_samples):
    x = sounds(n_samples=n_samples).double()
    noise = augment.background_noise(x.float(), (snr_db, snr_db), 1.0, generator()).double() - x
    measured = 10 * torch.log10(x.square().mean(1) / noise.square().mean(1))
    torch.testing.assert_close(measured, torch.full_like(measured, snr_db), rtol=0, atol=0.01)  # float32 at -40 dB


def test_noise_is_between_white_and_brown():
    """Power falls with frequency, by up to 6 dB an octave."""
    x = sounds(60, 8192)
    noise = augment.background_noise(x, (0.0, 0.0), 1.0, generator()) - x
    power = torch.fft.rfft(noise).abs().square()
    octaves = torch.stack([power[:, 2**k : 2 ** (k + 1)].mean(1) for k in range(6, 12)], 1)
    slope = np.polyfit(range(6), 10 * octaves.log10().T.numpy(), 1)[0]
    assert slope.min() > -7.5
    assert slope.max() < 1.5
    assert slope.max() - slope.min() > 3


def test_noise_hits_its_share_of_clips_and_leaves_silence_silent():
    x = sounds(400, 100)
    hit = (augment.background_noise(x, (10.0, 20.0), 0.3, generator()) != x).any(1)
    assert 80 < int(hit.sum()) < 160  # 120 expected, five standard deviations of 9
    silent = augment.background_noise(torch.zeros(2, 100), (10.0, 20.0), 1.0, generator())
    assert torch.equal(silent, torch.zeros(2, 100))


def test_stripes_are_set_to_the_mean_of_their_clip():
    config = AugmentConfig(mel_mask=5, frame_mask=12, n_masks=1)
    x = features(400)
    masked = augment.spec_augment(x, config, generator())
    changed = masked != x
    assert torch.equal(masked[~changed], x[~changed])
    mean = x.mean((1, 2), keepdim=True).expand_as(x)
    assert torch.equal(masked[changed], mean[changed])
    rows, columns = changed.all(2), changed.all(1)
    assert torch.equal(changed, rows[:, :, None] | columns[:, None])
    for stripe, widest in ((rows, 5), (columns, 12)):
        widths = stripe.sum(1)
        assert set(widths.tolist()) == set(range(widest + 1))
        steps = torch.nn.functional.pad(stripe.int(), (1, 1)).diff(dim=1)
        assert ((steps == 1).sum(1) <= 1).all()  # each is one piece


def test_stripes_fit_small_features():
    x = torch.randn(30, 3, 1, generator=generator())
    masked = augment.spec_augment(x, AugmentConfig(n_masks=1), generator())
    assert masked.shape == x.shape
    assert (masked == x).any(1).all()  # never everything


def test_mixup_mixes_features_and_labels_alike():
    x, y = features(8), one_hot(8)
    marked = torch.cat([x, torch.nn.functional.pad(y, (0, 46))[:, None]], 1)
    mixed, labels = augment.mixup(marked, y, 0.3, generator())
    torch.testing.assert_close(mixed[:, -1, :4], labels)
    torch.testing.assert_close(labels.sum(1), torch.ones(8))  # labels keep their sum
    assert labels.shape == y.shape
    assert ((labels > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
def test_shares_follow_the_beta_distribution_folded_at_one_half(alpha):
    n = 20000
    shares = augment._beta(alpha, n, generator())
    assert shares.min() >= 0.5
    assert shares.max() <= 1.0
    draws = np.random.default_rng(0).beta(alpha, alpha, n)
    expected = np.maximum(draws, 1 - draws)
    # two-sample Kolmogorov-Smirnov at the level 1e-6: 2.7 / sqrt(n / 2)
    grid = np.linspace(0.5, 1, 400)
    ours = np.searchsorted(np.sort(shares.numpy()), grid, "right") / n
    theirs = np.searchsorted(np.sort(expected), grid, "right") / n
    assert np.abs(ours - theirs).max() < 2.7 / np.sqrt(n / 2)


def test_mixup_hits_its_share_of_batches():
    config = AugmentConfig(n_masks=0, mixup_share=0.7)
    g = generator()
    hit = sum(
        not torch.equal(augment.augment_features(features(), one_hot(), config, g)[1], one_hot()) for _ in range(300)
    )
    assert 170 < hit < 250  # 210 expected, five standard deviations of 8


def test_latents_are_shifted_masked_and_mixed():
    latents, labels = features(), one_hot()
    nothing = LatentAugmentConfig(shift=0, mixup=0, channel_mask=0, frame_mask=0, n_masks=0)
    same, truth = augment.augment_latents(latents, labels, nothing, generator())
    assert torch.equal(same, latents) and torch.equal(truth, labels)
    moved, _ = augment.augment_latents(latents, labels, replace(nothing, shift=0.2), generator())
    offsets = [
        next(k for k in range(-10, 11) if torch.equal(a, b.roll(k, 1))) for a, b in zip(moved, latents, strict=True)
    ]
    assert len(set(offsets)) > 1 and max(map(abs, offsets)) <= 10  # a fifth of 50 frames, all channels together
    _, truth = augment.augment_latents(latents, labels, LatentAugmentConfig(mixup_share=1.0), generator())
    assert truth.max(1).values.min() >= 0.5 and not torch.equal(truth, labels)
    torch.testing.assert_close(truth.sum(1), torch.ones(6))
