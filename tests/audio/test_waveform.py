import numpy as np
import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.errors import AudioError


def tone(hz, rate, n_samples, channels=1):
    seconds = np.arange(n_samples) / rate
    return Waveform(np.stack([0.5 * np.sin(2 * np.pi * hz * seconds)] * channels), rate)


def test_what_it_holds():
    sound = Waveform(np.zeros((2, 24000)), 16000)
    assert (sound.n_channels, sound.n_samples, sound.sample_rate, sound.duration_s) == (2, 24000, 16000, 1.5)
    assert sound.samples.dtype == torch.float32
    assert repr(sound) == "Waveform(1.500 s, 2 channels, 16000 Hz)"
    assert Waveform(np.zeros(8), 8).samples.shape == (1, 8)


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float64])
def test_it_does_not_share_memory_with_its_maker(kind):
    values = np.zeros(4, kind) if isinstance(kind, type) else torch.zeros(4, dtype=kind)
    sound = Waveform(values, 8000)
    values[0] = 1
    assert sound.samples.tolist() == [[0, 0, 0, 0]]


def test_read_only_arrays_and_tensors_with_a_gradient_are_taken():
    values = np.full(4, 0.5, np.float32)
    values.flags.writeable = False
    assert Waveform(values, 8000).peak == 0.5
    assert not Waveform(torch.ones(3, requires_grad=True), 8000).samples.requires_grad


def test_it_is_frozen():
    sound = Waveform(np.zeros(4), 8000)
    for name in ("samples", "sample_rate", "n_samples", "label"):
        with pytest.raises(AttributeError):
            setattr(sound, name, 1)


@pytest.mark.parametrize("shape", [(0,), (1, 0), (0, 5), (1, 1, 4), ()])
def test_empty_sounds_are_refused(shape):
    with pytest.raises(AudioError, match="at least one of each"):
        Waveform(np.zeros(shape), 8000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite_are_refused(value):
    with pytest.raises(AudioError, match="NaN or infinite"):
        Waveform(np.array([0.0, value]), 8000)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint8, bool, np.complex64])
def test_samples_that_are_no_floats_are_refused(kind):
    with pytest.raises(AudioError, match="floats with full scale 1"):
        Waveform(np.ones(4, kind), 8000)


@pytest.mark.parametrize("rate", [0, -8000])
def test_rates_that_are_not_positive_are_refused(rate):
    with pytest.raises(AudioError, match="positive number of Hz"):
        Waveform(np.zeros(4), rate)


def test_cuts():
    sound = Waveform(np.arange(10.0)[None] * [[1], [-1]], 10)
    assert sound[2:5].samples.tolist() == [[2, 3, 4], [-2, -3, -4]]
    assert sound[-2:].samples.tolist() == [[8, 9], [-8, -9]]
    assert sound[:].sample_rate == 10
    with pytest.raises(AudioError):
        sound[5:5]
    with pytest.raises(AudioError, match="without a step"):
        sound[::2]
    with pytest.raises(TypeError):
        sound[3]


def test_mono_is_the_mean_of_the_channels():
    sound = Waveform(np.array([[1.0, 0.0], [0.5, -1.0], [0.0, -0.5]]), 8000)
    assert sound.mono().samples.tolist() == [[0.5, -0.5]]
    assert sound.mono().mono().n_channels == 1


def test_fit_cuts_and_pads_at_the_end():
    sound = Waveform(np.array([1.0, 2.0, 3.0]), 8000)
    assert sound.fit(2).samples.tolist() == [[1, 2]]
    assert sound.fit(3).samples.tolist() == [[1, 2, 3]]
    assert sound.fit(5).samples.tolist() == [[1, 2, 3, 0, 0]]
    for n_samples in (0, -1):
        with pytest.raises(AudioError, match="at least one sample"):
            sound.fit(n_samples)


@pytest.mark.parametrize("new, old", [(8000, 32000), (32000, 44100), (48000, 8000), (44100, 48000), (16000, 22050)])
@pytest.mark.parametrize("n_samples", [4000, 9999])
def test_resampling_keeps_duration_and_frequency(new, old, n_samples):
    hz = 1234.5
    sound = tone(hz, old, n_samples, channels=2).resample(new)
    assert (sound.sample_rate, sound.n_channels) == (new, 2)
    assert abs(sound.n_samples - n_samples * new / old) < 1  # the nearest whole number of samples
    inner = slice(len(sound.samples[0]) // 4, -len(sound.samples[0]) // 4)  # away from the filter's ends
    expected = tone(hz, new, sound.n_samples).samples[0]
    # very high quality is 28 bits in the pass band; float32 samples and their product with 0.5 leave 1e-5
    torch.testing.assert_close(sound.samples[1][inner], expected[inner], rtol=0, atol=1e-5)


def test_resampling_to_its_own_rate_is_nothing():
    sound = tone(100, 8000, 800)
    assert sound.resample(8000) is sound


def test_resampling_leaves_nothing_above_the_new_nyquist_frequency():
    sound = tone(5000, 32000, 32000).resample(8000)
    assert sound[1000:-1000].peak < 1e-4  # -74 dB of 0.5


def test_a_sound_too_short_to_resample_is_refused():
    with pytest.raises(AudioError, match="too short to become 8 Hz"):
        Waveform(np.zeros(3), 48000).resample(8)


def test_levels():
    sound = Waveform(np.array([0.5, -0.5, 0.5, -0.5]), 8000)
    assert sound.peak == 0.5
    assert sound.rms_db == pytest.approx(20 * np.log10(0.5))
    assert sound.scale(-2).samples.tolist() == [[-1, 1, -1, 1]]
    assert Waveform(np.zeros(4), 8000).rms_db == -np.inf
