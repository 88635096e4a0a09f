import librosa
import numpy as np
import pytest
import torch
from tests.reference import stft as twin

from earmark.audio.stft import Stft
from earmark.errors import InputError


def noise(n_samples, batch=1, dtype=torch.float32):
    samples = torch.rand(batch, n_samples, generator=torch.Generator().manual_seed(n_samples), dtype=torch.float64)
    return (2 * samples - 1).to(dtype)


@pytest.mark.parametrize("n_fft, hop_length", [(256, 1), (256, 64), (256, 77), (256, 128), (255, 127), (2, 1)])
@pytest.mark.parametrize("n_samples", [1, 5, 100, 255, 256, 257, 997])
def test_inverse_is_the_identity(n_fft, hop_length, n_samples):
    stft, samples = Stft(n_fft, hop_length), noise(n_samples, batch=2)
    back = stft.inverse(stft(samples), n_samples)
    assert back.shape == samples.shape
    assert (back - samples).abs().max() <= 1e-5  # float32 sounds of full scale 1: what the class promises


@pytest.mark.parametrize("n_samples", [1, 7, 31, 64, 101])
@pytest.mark.parametrize("n_fft, hop_length", [(32, 8), (32, 16), (31, 15), (16, 5)])
def test_equals_the_definition(n_fft, hop_length, n_samples):
    stft, samples = Stft(n_fft, hop_length), noise(n_samples, dtype=torch.float64)
    values = stft(samples)
    expected = twin.analysis(samples[0].numpy(), n_fft, hop_length)
    assert values.shape == (1, stft.n_freq, stft.n_frames(n_samples)) == (1, *expected.shape)
    np.testing.assert_allclose(values[0].numpy(), expected, atol=1e-12)  # float64 rounding of sums of 32 terms
    generator = torch.Generator().manual_seed(1)
    masked = values * torch.rand(values.shape, generator=generator, dtype=torch.float64)
    expected = twin.synthesis(masked[0].numpy(), n_fft, hop_length, n_samples)
    np.testing.assert_allclose(stft.inverse(masked, n_samples)[0].numpy(), expected, atol=1e-12)  # the same


@pytest.mark.parametrize("n_samples, hop_length", [(4096, 256), (4099, 256), (5000, 320), (2048, 512)])
def test_equals_librosa_on_common_frames(n_samples, hop_length):
    samples = noise(n_samples, dtype=torch.float64)
    ours = Stft(1024, hop_length)(samples)[0].numpy()
    theirs = librosa.stft(samples[0].numpy(), n_fft=1024, hop_length=hop_length, pad_mode="constant")
    assert theirs.shape[1] == 1 + n_samples // hop_length
    assert ours.shape[1] - theirs.shape[1] == (n_samples % hop_length > 0)
    np.testing.assert_allclose(ours[:, : theirs.shape[1]], theirs, atol=1e-10)  # float64 rounding, FFT of 1024


@pytest.mark.parametrize("n_samples", [1, 63, 64, 65, 128, 1000])
def test_number_of_frames(n_samples):
    stft = Stft(256, 64)
    assert stft.n_frames(n_samples) == 1 + int(np.ceil(n_samples / 64)) == twin.n_frames(n_samples, 64)
    assert stft(noise(n_samples)).shape[-1] == stft.n_frames(n_samples)


@pytest.mark.parametrize("bin_", [3, 7, 64, 125])
def test_a_tone_lands_in_its_bin(bin_):
    stft, rate = Stft(256, 64), 8000
    hz = float(stft.frequencies_hz(rate)[bin_])
    assert hz == bin_ * rate / 256
    seconds = torch.arange(2048, dtype=torch.float64) / rate
    magnitude = stft(torch.cos(2 * torch.pi * hz * seconds)[None]).abs()[0]
    inner = magnitude[:, 2:-3]  # windows that lie inside the clip
    assert (inner.argmax(0) == bin_).all()
    # a Hann window sums to n_fft / 2, and a cosine is two exponentials of one half
    torch.testing.assert_close(inner[bin_], torch.full_like(inner[bin_], 64.0), rtol=1e-6, atol=0)


def test_a_click_lands_in_its_frame():
    stft = Stft(256, 64)
    samples = torch.zeros(1, 1024)
    samples[0, 5 * 64] = 1.0
    power = stft(samples).abs().square().sum(1)[0]
    assert power.argmax() == 5
    torch.testing.assert_close(power[4], power[6])  # the window is symmetric about the frame's center
    times_s = stft.times_s(1024, 8000)
    assert float(times_s[5]) == pytest.approx(5 * 64 / 8000)
    assert len(times_s) == stft.n_frames(1024)


def test_a_shift_by_one_hop_is_a_shift_by_one_frame():
    stft, sound = Stft(128, 32), noise(300, dtype=torch.float64)
    early = torch.nn.functional.pad(sound, (200, 232))
    late = torch.nn.functional.pad(sound, (232, 200))
    torch.testing.assert_close(stft(late)[..., 1:], stft(early)[..., :-1])


def test_gradients_are_those_of_finite_differences():
    stft = Stft(8, 3)
    gain = torch.rand(1, 5, stft.n_frames(13), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = noise(13, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: stft.inverse(stft(x) * gain, 13), (samples,))


def test_batches_do_not_mix():
    stft, samples = Stft(64, 16), noise(200, batch=3)
    alone = torch.cat([stft(row[None]) for row in samples])
    # To the rounding of float32: threads share a batch, and sums are then taken in another order.
    torch.testing.assert_close(stft(samples), alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(stft.inverse(alone, 200)[1:2], stft.inverse(alone[1:2], 200), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_fft, hop_length", [(256, 0), (256, 129), (256, -1), (1, 1), (0, 1)])
def test_hops_without_an_inverse_are_refused(n_fft, hop_length):
    with pytest.raises(InputError, match="hop_length must lie in 1"):
        Stft(n_fft, hop_length)


def test_a_length_that_does_not_fit_the_frames_is_refused():
    stft = Stft(64, 16)
    with pytest.raises(InputError, match=r"400 samples have 26 frames, got 8"):
        stft.inverse(stft(noise(100)), 400)
