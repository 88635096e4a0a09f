import librosa
import numpy as np
import pytest
import torch
from tests.reference import mel as twin

from earmark.audio import mel
from earmark.errors import InputError

BANKS = [
    (32000, 1024, 64, 50.0, 14000.0),
    (32000, 2048, 256, 0.0, 16000.0),
    (16000, 400, 40, 0.0, 8000.0),
    (22050, 1024, 80, 80.0, 7600.0),
]


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("area_norm", [False, True])
@pytest.mark.parametrize("rate, n_fft, n_mels, low_hz, high_hz", BANKS)
@pytest.mark.filterwarnings("ignore:Empty filters detected")  # librosa's, of narrow filters between two bins
def test_filters_equal_librosa(rate, n_fft, n_mels, low_hz, high_hz, area_norm, scale):
    ours = mel.filter_bank(rate, n_fft, n_mels, low_hz=low_hz, high_hz=high_hz, scale=scale, area_norm=area_norm)
    theirs = librosa.filters.mel(
        sr=rate,
        n_fft=n_fft,
        n_mels=n_mels,
        fmin=low_hz,
        fmax=high_hz,
        htk=scale == "htk",
        norm="slaney" if area_norm else None,
    )
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)  # both are float32 of values up to 1


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("area_norm", [False, True])
def test_filters_equal_the_definition(area_norm, scale):
    ours = mel.filter_bank(8000, 128, 12, low_hz=30.0, high_hz=3900.0, scale=scale, area_norm=area_norm)
    expected = twin.filters(8000, 128, 12, 30.0, 3900.0, scale, area_norm)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-7)  # rounding to float32


def test_neighboring_filters_add_up_to_one():
    filters = mel.filter_bank(16000, 1024, 30)
    points = mel.mel_points_hz(32, 0.0, 8000.0)
    inside = (torch.arange(513) * (16000 / 1024) > points[1]) & (torch.arange(513) * (16000 / 1024) < points[-2])
    torch.testing.assert_close(filters.sum(0)[inside], torch.ones(int(inside.sum())))


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_and_hertz_are_inverse(scale):
    hz = torch.tensor([0.0, 1.0, 440.0, 999.999, 1000.0, 1000.001, 4000.0, 22050.0], dtype=torch.float64)
    mels = mel.hz_to_mel(hz, scale)
    torch.testing.assert_close(mel.mel_to_hz(mels, scale), hz)
    assert (mels.diff() > 0).all()
    np.testing.assert_allclose(mels.numpy(), [twin.to_mel(float(f), scale) for f in hz], rtol=1e-12)


def test_known_mels():
    assert float(mel.hz_to_mel(torch.tensor(1000.0, dtype=torch.float64))) == pytest.approx(999.9855, abs=1e-4)
    assert float(mel.hz_to_mel(torch.tensor(1000.0), "slaney")) == 15.0
    assert float(mel.hz_to_mel(torch.tensor(6400.0, dtype=torch.float64), "slaney")) == pytest.approx(42.0)


def test_eight_rows_of_256_htk_mels_meet_at_the_published_frequencies():
    edges = mel.band_edges_hz(256, 0.0, 16000.0)
    assert len(edges) == 257
    assert [round(float(f)) for f in edges[32:256:32]] == [345, 852, 1603, 2719, 4375, 6833, 10482]
    assert (float(edges[0]), float(edges[-1])) == (0.0, 16000.0)
    assert (edges.diff() > 0).all()


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_edges_lie_halfway_in_mels_between_centers(scale):
    centers = [twin.to_mel(f, scale) for f in twin.points(12, 100.0, 6000.0, scale)[1:-1]]
    edges = [twin.to_mel(float(f), scale) for f in mel.band_edges_hz(10, 100.0, 6000.0, scale)]
    np.testing.assert_allclose(edges[1:-1], (np.array(centers[1:]) + np.array(centers[:-1])) / 2, rtol=1e-12)


@pytest.mark.parametrize("low_hz, high_hz", [(100.0, 100.0), (-1.0, 4000.0), (0.0, 4001.0), (500.0, 20.0)])
def test_bands_beyond_the_spectrum_are_refused(low_hz, high_hz):
    with pytest.raises(InputError, match="0 <= low_hz < high_hz <= 4000 Hz"):
        mel.filter_bank(8000, 256, 10, low_hz=low_hz, high_hz=high_hz)


def test_decibels():
    power = torch.tensor([[[1.0, 10.0, 1e-12, 0.0]]])
    assert mel.power_to_db(power).flatten().tolist() == [0.0, 10.0, -100.0, -100.0]
    assert mel.power_to_db(power, floor=0.1).flatten().tolist() == [0.0, 10.0, -10.0, -10.0]
    assert mel.power_to_db(power, top_db=30).flatten().tolist() == [0.0, 10.0, -20.0, -20.0]


def test_a_loud_batch_mate_changes_no_bit():
    clips = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) ** 8
    clips[1] *= 1e9
    together = mel.power_to_db(clips, top_db=20)
    for i in range(3):
        assert torch.equal(together[i], mel.power_to_db(clips[i : i + 1], top_db=20)[0])
    assert together[0].max() - together[0].min() == pytest.approx(20, abs=1e-5)  # the clamp is at work; float32 dB
