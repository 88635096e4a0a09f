"""Encoder and decoder: frames, lengths, exact reconstruction, linearity, and training of a basis that is not exact."""

import math

import numpy as np
import pytest
import torch
from tests.reference import lmac_td as slow

from earmark.explainers.lmac_td.autoencoder import (
    Autoencoder,
    autoencoder_of,
    fourier_filters,
    reconstruction_snr_db,
    window_of,
)
from earmark.explainers.lmac_td.config import LmacTdConfig
from earmark.types import seeded

LENGTHS = [1, 7, 63, 64, 65, 128, 999, 1000, 8001]


def noise(n_clips, n_samples, seed=1):
    return 0.1 * torch.randn(n_clips, n_samples, generator=seeded(seed))


def exact(sample_rate=8000, **changes):
    return autoencoder_of(LmacTdConfig(**changes), sample_rate)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_frames_follow_the_formula_and_the_length_comes_back(n_samples):
    code, samples = exact(), noise(2, n_samples)
    w = code.encode(samples)
    padded = (w.shape[2] - 1) * code.hop_length + code.n_window
    assert w.shape == (2, code.n_filters, code.n_frames(n_samples))
    assert w.shape[2] == (padded - code.n_window) // code.hop_length + 1
    assert padded >= n_samples + 2 * code.hop_length  # each sample lies in two windows
    assert code.decode(w, n_samples).shape == samples.shape


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_a_fourier_basis_is_exact_for_every_length(n_samples):
    samples = noise(2, n_samples)
    assert (
        float(reconstruction_snr_db(samples, exact()(samples).detach()).min()) > 80
    )  # sums of 128 products in float32


def test_published_sizes_give_published_frames():
    config = LmacTdConfig.of_preset("paper")
    assert window_of(config, 16000) == 16
    w = Autoencoder(16, 256).encoder(torch.zeros(1, 1, 80000))  # without padding, as published
    assert w.shape == (1, 256, 9999)


def test_encoder_and_decoder_are_the_plain_loops():
    code = autoencoder_of(LmacTdConfig(basis="random", filters=5, window_s=0.001), 8000)
    samples = noise(1, 21)
    enc, dec = (layer.weight[:, 0].detach().double().numpy() for layer in (code.encoder, code.decoder))
    w = slow.encode(samples[0].double().numpy(), enc)
    assert np.allclose(code.encode(samples)[0].detach().numpy(), w, atol=1e-6)  # float32
    assert np.allclose(code(samples)[0].detach().numpy(), slow.decode(w, dec, 21), atol=1e-6)


def test_fourier_filters_are_the_plain_cosines_and_their_negatives():
    filters = fourier_filters(12).double().numpy()
    for k in range(6):
        assert np.allclose(filters[k], slow.fourier_filter(k, 12), atol=1e-7)
        assert np.array_equal(filters[6 + k], -filters[k])
    assert np.allclose(filters[:6] @ filters[:6].T, np.eye(6), atol=1e-6)


@pytest.mark.parametrize("basis", ["fourier", "random"])
def test_masks_of_ones_and_zeros_and_any_two_that_add_up(basis):
    code, samples = exact(basis=basis), noise(2, 1001)
    w = code.encode(samples)
    whole, m = code.decode(w, 1001), torch.rand(w.shape, generator=seeded(3))
    assert torch.equal(code.decode(torch.ones_like(w) * w, 1001), whole)
    assert not bool(code.decode(torch.zeros_like(w) * w, 1001).any())
    both = code.decode(m * w, 1001) + code.decode((1 - m) * w, 1001)
    assert float((both - whole).detach().abs().max() / whole.detach().abs().max()) < 1e-5  # sums of 256 in float32


def test_a_random_basis_can_be_trained_to_25_db():
    code = autoencoder_of(LmacTdConfig(basis="learned", window_s=0.002), 8000)
    optimizer, generator = torch.optim.Adam(code.parameters(), 5e-3), seeded(5)
    first = float(reconstruction_snr_db(noise(8, 801), code(noise(8, 801)).detach()).mean())
    for _ in range(300):
        samples = 0.1 * torch.randn(8, 400, generator=generator)
        error = (code(samples) - samples).square().sum(1) / samples.square().sum(1)
        optimizer.zero_grad()
        error.log().mean().backward()
        optimizer.step()
    last = float(reconstruction_snr_db(noise(8, 801), code(noise(8, 801)).detach()).mean())
    assert first < 15 and last > 25, (first, last)


def test_snr_of_known_errors():
    samples = torch.ones(3, 10)
    again = torch.stack([0.9 * torch.ones(10), torch.zeros(10), torch.ones(10)])
    found = reconstruction_snr_db(samples, again).tolist()
    assert found[0] == pytest.approx(20, abs=1e-4) and found[1] == pytest.approx(0) and found[2] == pytest.approx(200)
    assert math.isnan(float(reconstruction_snr_db(torch.zeros(1, 4), torch.ones(1, 4))))
