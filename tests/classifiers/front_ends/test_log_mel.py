import librosa
import numpy as np
import pytest
import torch
from tests.reference import mel as twin

from earmark.audio.stft import Stft
from earmark.classifiers.front_ends import FrontEnd, LogMel, LogMelConfig, front_end_from_dict, is_invertible
from earmark.errors import InputError, ModelError

SMALL = LogMelConfig(sample_rate=8000, n_fft=128, hop_length=32, n_mels=12, low_hz=60.0)
KINDS = {
    "small": SMALL,
    "slaney": LogMelConfig(8000, 128, 50, 10, 0.0, 3500.0, scale="slaney", area_norm=True, mean_db=-4.3, std_db=4.6),
    "clamped": LogMelConfig(8000, 100, 25, 8, 20.0, top_db=30.0, floor=1e-10),
}


def noise(n_samples, batch=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(n_samples)
    return (0.3 * torch.randn(batch, n_samples, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("n_samples", [1, 31, 320, 777])
def test_log_mel_equals_the_definition(name, n_samples):
    samples = noise(n_samples, dtype=torch.float64)
    features = LogMel(KINDS[name])(samples)
    expected = twin.log_mel(samples[0].numpy(), KINDS[name])
    assert features.shape == (1, *expected.shape)
    # filters are kept in float32: 6e-8 relative, 3e-7 dB, times 1 / std_db
    np.testing.assert_allclose(features[0].numpy(), expected, rtol=0, atol=1e-5)


def test_log_mel_equals_librosa():
    config = LogMelConfig(sample_rate=22050, n_fft=1024, hop_length=256, n_mels=64, scale="slaney", area_norm=True)
    samples = noise(22050)
    magnitude = np.abs(librosa.stft(samples[0].numpy(), n_fft=1024, hop_length=256, pad_mode="constant"))
    power = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=64, fmin=50.0) @ magnitude**2
    expected = librosa.power_to_db(power, amin=config.floor, top_db=None) / 20
    # float32 sums of a thousand squares: 1e-5 relative, 5e-5 dB
    np.testing.assert_allclose(LogMel(config)(samples)[0].numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 32, 33, 1000])
def test_number_of_columns(n_samples):
    assert LogMel(SMALL)(noise(n_samples)).shape == (1, 12, 1 + n_samples // 32)


@pytest.mark.parametrize("n_samples", [31, 320, 777])
def test_entry_at_the_stft_is_the_same(n_samples):
    front_end, samples = LogMel(SMALL), noise(n_samples, batch=2)
    assert torch.equal(front_end.from_stft(front_end.stft(samples), n_samples), front_end(samples))


@pytest.mark.parametrize("name", KINDS)
def test_a_loud_batch_mate_changes_nothing(name):
    samples = noise(1000, batch=7)
    samples[3] *= 1e3
    front_end = LogMel(KINDS[name])
    together = front_end(samples)
    for i in range(7):
        # To the rounding of float32 (threads share a batch); a leak of the mate, 60 dB louder, would be of order 1.
        torch.testing.assert_close(front_end(samples[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(front_end(samples[4:]), together[4:], rtol=1e-5, atol=1e-5)


def test_a_tone_lands_in_its_row_and_column():
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=40)
    edges = front_end.row_edges_hz()
    assert len(edges) == 41
    seconds = torch.arange(16000) / 16000
    for row in (5, 20, 38):
        hz = float((edges[row] + edges[row + 1]) / 2)
        inside = (seconds > 0.4) & (seconds < 0.6)
        features = front_end(torch.where(inside, torch.sin(2 * torch.pi * hz * seconds), 0)[None])[0]
        assert features.amax(1).argmax() == row
        start, step = front_end.column_s()
        heard = (features[row] > features[row].max() - 0.05).nonzero().flatten()  # within 1 dB of the loudest
        assert start + step * float(heard.double().mean()) == pytest.approx(0.5, abs=step / 2)


def test_the_sample_rate_moves_the_filters():
    assert not torch.equal(LogMel(sample_rate=16000).filters, LogMel(sample_rate=32000).filters)


def test_features_are_differentiable_also_at_silence():
    front_end = LogMel(SMALL)
    for samples in (noise(500), torch.zeros(1, 500)):
        samples.requires_grad_(True)
        front_end(samples).sum().backward()
        assert torch.isfinite(samples.grad).all()
    quiet = noise(200, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(LogMel(SMALL, floor=1e-9), (quiet,))


def test_a_front_end_is_made_again_from_what_defines_it():
    for config in KINDS.values():
        front_end = LogMel(config)
        again = front_end_from_dict(front_end.to_dict())
        assert again.to_dict() == front_end.to_dict()
        assert torch.equal(again(noise(400)), front_end(noise(400)))
    with pytest.raises(ModelError, match="Front end 'cochlea' is unknown, expected one of log-mel"):
        front_end_from_dict({"kind": "cochlea"})
    with pytest.raises(ModelError, match="Front end None is unknown"):
        front_end_from_dict({})


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="hop_length"):
        LogMel(hop_length=4000)
    with pytest.raises(InputError, match="high_hz"):
        LogMel(high_hz=20000.0)


def test_it_has_no_state_of_its_own():
    """Filters follow from the configuration, so weights of a model do not contain them."""
    assert LogMel().state_dict() == {}


class Samples(FrontEnd):
    """Takes the sound itself, in columns of 100 samples."""

    def __init__(self):
        super().__init__()
        self.sample_rate, self.stft = 8000, Stft(256, 64)

    def forward(self, samples):
        return samples[:, : samples.shape[1] // 100 * 100].unflatten(1, (-1, 100)).transpose(1, 2)

    def row_edges_hz(self):
        return torch.linspace(0, 4000, 101)

    def column_s(self):
        return 50 / 8000, 100 / 8000

    def to_dict(self):
        return {"kind": "samples"}


def test_front_ends_that_do_not_start_from_the_stft_are_entered_through_its_inverse():
    front_end, samples = Samples(), noise(1030)
    assert not front_end.native_stft
    back = front_end.from_stft(front_end.stft(samples), 1030)
    torch.testing.assert_close(back, front_end(samples), rtol=0, atol=1e-5)  # the inverse STFT in float32
    assert is_invertible(front_end)
    assert is_invertible(LogMel())
