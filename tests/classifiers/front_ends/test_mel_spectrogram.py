import librosa
import numpy as np
import pytest
import torch
from tests.classifiers.front_ends.sounds import SOUNDS, noise, speech, tone
from tests.reference import front_ends as twin

from earmark.classifiers.front_ends import PRESETS, FrontEnd, Mel, MelConfig, Mfcc, MfccConfig, named
from earmark.classifiers.front_ends.frames import filled, mirrored
from earmark.errors import AudioError, InputError, ModelError

SMALL = MelConfig(8000, 128, 32, n_mels=12, high_hz=4000.0)


def by_librosa(samples, config, top_db=None):
    """Returns mel dB as librosa defines it, float64 from magnitudes on."""
    padding = {"reflect": "reflect", "zeros": "constant"}[config.padding]
    stft = librosa.stft(
        samples.double().numpy(), n_fft=config.n_fft, hop_length=config.hop_length, pad_mode=padding, dtype=complex
    )
    bank = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.low_hz,
        fmax=config.high_hz,
        htk=config.scale == "htk",
        norm="slaney" if config.area_norm else None,
        dtype=float,
    )
    db = librosa.power_to_db(bank @ np.abs(stft) ** 2, amin=config.floor, top_db=top_db)
    return (db - config.mean) / config.std


# Transforms in float32 round to 1e-7 of the loudest bin of a frame, 130 to 140 dB below it. Bands that stand clear of
# that differ by 1e-4 dB; most bands of a pure tone lie at -90 dB and below and hold little but rounding.
DB = {"noise": 1e-3, "tone": 0.5, "speech": 1e-2, "silence": 1e-5}


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize(
    "name", ["panns", "panns-16k", "panns-8k", "birdset", "birdset-efficientnet", "audioprotopnet"]
)
def test_presets_equal_librosa(name, sound):
    front_end = named(name)
    config = front_end.config
    samples = SOUNDS[sound](config.sample_rate)
    expected = by_librosa(samples, config, top_db=config.dynamic_range)
    features = front_end(samples[None])[0].numpy()
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, rtol=0, atol=DB[sound] / config.std)
    assert np.abs(features - expected).mean() * config.std < max(0.02 * DB[sound], 1e-5)  # few bands are that far off


@pytest.mark.parametrize("sound", SOUNDS)
def test_yamnet_equals_its_definition(sound):
    samples = SOUNDS[sound](16000)
    features = named("yamnet")(samples[None])[0].numpy()
    expected = twin.yamnet(samples.double().numpy())
    # Magnitudes of float32 round to 1e-7 of the loudest, which is 100 here for the tone; the offset is 1e-3.
    np.testing.assert_allclose(features, expected, rtol=0, atol=2e-2 if sound == "tone" else 1e-4)


@pytest.mark.parametrize("sound", SOUNDS)
def test_mfcc_equals_librosa(sound):
    samples = SOUNDS[sound](22050)
    expected = librosa.feature.mfcc(y=samples.double().numpy(), sr=22050)
    features = Mfcc()(samples[None])[0].numpy()
    # 80 dB below the loudest band all is cut off, where float32 still has 50 dB to spare; sums over 128 bands
    np.testing.assert_allclose(features, expected, rtol=0, atol=5e-3)


def test_the_log_mel_of_earmark_is_a_case_of_it():
    front_end, samples = named("log-mel"), noise(32000)[None]
    same = Mel(
        n_fft=2048, hop_length=640, padding="zeros", high_hz=None, scale="htk", area_norm=False, floor=1e-3, std=20.0
    )
    assert same.native_stft
    torch.testing.assert_close(same(samples), front_end(samples), rtol=0, atol=1e-6)  # one formula, in one order


@pytest.mark.parametrize("name", PRESETS)
def test_all_that_a_front_end_promises(name):
    front_end = named(name)
    rate = front_end.sample_rate
    samples = noise(rate, seconds=0.4)[None]
    features = front_end(samples)
    assert isinstance(front_end, FrontEnd)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    edges = front_end.row_edges_hz()
    assert len(edges) == features.shape[1] + 1
    assert (edges.diff() > 0).all() and edges[0] >= 0 and edges[-1] <= rate / 2
    weights = front_end.bin_weights()
    assert weights is None or weights.shape == (features.shape[1], front_end.stft.n_freq)
    inside = front_end.columns_inside(samples.shape[1])
    assert 1 <= inside <= features.shape[2]
    start, step = front_end.column_s()
    assert 0 <= start + step * (inside - 1) <= 0.4 + 1e-9  # columns inside the clip are centered in it
    loud = front_end(4 * samples)
    assert torch.allclose(loud, features, atol=1e-3) == front_end.normalizes
    back = front_end.from_stft(front_end.stft(samples), samples.shape[1])
    torch.testing.assert_close(back, features, rtol=0, atol=0.02)  # the inverse STFT in float32, and a logarithm


@pytest.mark.parametrize("name", ["panns", "yamnet", "whisper", "clap", "ast", "log-mel", "birdset"])
def test_a_beep_lands_in_its_row_and_column(name):
    front_end = named(name)
    rate, edges = front_end.sample_rate, front_end.row_edges_hz()
    row = len(edges) // 2
    time_s = torch.arange(rate) / rate
    beep = torch.sin(2 * torch.pi * float((edges[row] + edges[row + 1]) / 2) * time_s)
    beep = beep * torch.exp(-0.5 * ((time_s - 0.5) / 0.03) ** 2)
    features = front_end(beep[None])[0, :, : front_end.columns_inside(rate)].double()
    assert features.amax(1).argmax() == row
    start, step = front_end.column_s()
    weight = torch.exp(features[row] - features[row].max())
    weight = weight * (features[row] > features[row].min() + 0.7 * (features[row].max() - features[row].min()))
    center = (weight * torch.arange(len(weight))).sum() / weight.sum()
    assert start + step * float(center) == pytest.approx(0.5, abs=step / 4)


@pytest.mark.parametrize("name", PRESETS)
def test_a_loud_batch_mate_changes_nothing(name):
    front_end = named(name)
    samples = noise(front_end.sample_rate, seconds=0.3).expand(3, -1).clone()
    samples[1] *= 1e3
    together = front_end(samples)
    # To the rounding of float32; a leak of the mate, 60 dB louder, would be of order 1.
    torch.testing.assert_close(together[2:], front_end(samples[2:]), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(together[:1], together[2:], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_are_finite_also_at_silence(name):
    front_end = named(name)
    for samples in (noise(front_end.sample_rate, seconds=0.2), torch.zeros(round(0.2 * front_end.sample_rate))):
        samples = samples[None].clone().requires_grad_(True)
        features = front_end(samples)
        assert torch.isfinite(features).all()
        (features * torch.linspace(0, 1, features.shape[2])).sum().backward()
        assert torch.isfinite(samples.grad).all()


GRADIENTS = {
    "mel": SMALL,
    "short window": MelConfig(8000, 128, 32, 100, "none", 1, 8, logarithm="ln", offset=1e-3, floor=0.0, high_hz=None),
    "clip": MelConfig(8000, 64, 32, n_mels=6, high_hz=4000.0, length=300, fill="repeat", dynamic_range=200.0),
    "mfcc": MfccConfig(8000, 64, 32, n_mels=10, n_mfcc=5, dynamic_range=None),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_equal_finite_differences(name):
    config = GRADIENTS[name]
    front_end = (Mfcc if name == "mfcc" else Mel)(config)
    samples = noise(8000, seconds=0.03).double()[None].requires_grad_(True)
    assert torch.autograd.gradcheck(front_end, (samples,))


@pytest.mark.parametrize("n_samples", [1, 2, 5, 30])
@pytest.mark.parametrize("margin", [1, 7, 64])
def test_mirrors_are_those_of_numpy(n_samples, margin):
    samples = torch.arange(2.0 * n_samples).view(2, n_samples)
    expected = np.pad(samples.numpy(), ((0, 0), (margin, margin)), mode="reflect")
    np.testing.assert_array_equal(mirrored(samples, margin).numpy(), expected)


def test_ways_to_fill_a_clip():
    samples = torch.tensor([[1.0, 2.0, 3.0]])
    assert filled(samples, 8, "zeros").tolist() == [[1, 2, 3, 0, 0, 0, 0, 0]]
    assert filled(samples, 8, "repeat").tolist() == [[1, 2, 3, 1, 2, 3, 1, 2]]
    assert filled(samples, 8, "repeat-whole").tolist() == [[1, 2, 3, 1, 2, 3, 0, 0]]


@pytest.mark.parametrize("n_samples", [200, 1000, 1001, 1031])
@pytest.mark.parametrize("padding", ["reflect", "zeros", "none"])
@pytest.mark.parametrize("window", [128, 99])
def test_columns_are_counted(padding, n_samples, window):
    front_end = Mel(SMALL, padding=padding, window_length=window)
    columns = front_end(noise(8000, seconds=n_samples / 8000)[None]).shape[2]
    assert columns == front_end.n_columns(n_samples) == front_end.columns_inside(n_samples)
    assert front_end.max_samples is None


def test_columns_behind_a_clip_are_padding():
    front_end = Mel(SMALL, length=4000)
    samples = torch.stack([noise(8000, seconds=0.2), noise(8000, 0.5, seconds=0.2)])
    features = front_end(samples)
    inside = front_end.columns_inside(1600)
    assert inside == 51 and features.shape[2] == 126 and front_end.max_samples == 4000
    behind = features[:, :, inside + 2 :]  # windows of 4 hops reach two columns further
    assert torch.equal(behind, torch.full_like(behind, -100.0))
    assert torch.equal(front_end(samples.repeat(1, 3)), front_end(samples.repeat(1, 4)))  # the end has no say
    assert front_end.columns_inside(100000) == 126


def test_longer_clips_are_refused_where_nothing_can_be_reproduced():
    front_end = Mel(SMALL, length=400, longer="refuse")
    assert front_end(noise(8000, seconds=0.05)[None]).shape == (1, 12, 13)
    assert front_end(noise(8000, seconds=410 / 8000)[None]).shape == (1, 12, 13)  # as many frames
    with pytest.raises(ModelError, match=r"A clip of 0\.1 s is longer than the 0\.05 s .* set longer='cut'"):
        front_end(noise(8000, seconds=0.1)[None])


def test_coefficients_have_no_frequency():
    front_end = Mfcc()
    assert not front_end.rows_are_hz and front_end.native_stft
    weights = front_end.bin_weights()
    assert torch.equal(weights, weights[:1].expand_as(weights))
    low, high = front_end(torch.stack([tone(22050, 300.0), tone(22050, 3000.0)])).mean(2)
    assert ((low - high).abs() > 1).sum() > 10  # a shift in frequency moves nearly all of them


def test_a_clip_shorter_than_a_frame_is_refused_and_short_ones_are_mirrored():
    with pytest.raises(AudioError, match="399 samples is shorter than the 400"):
        named("yamnet")(torch.zeros(1, 399))
    assert named("panns")(noise(32000, seconds=1e-3)[None]).shape == (1, 64, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"floor": 0.0}, "logarithm of silence"),
        ({"window_length": 2000}, "window_length must lie in"),
        ({"std": 0.0}, "std is 0"),
        ({"high_hz": 20000.0}, "high_hz"),
        ({"high_hz": 20000.0, "triangles": "mel"}, "high_hz"),
    ],
)
def test_numbers_that_cannot_be_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        Mel(**changes)


@pytest.mark.parametrize("changes", [{"padding": "edge"}, {"power": 3}, {"logarithm": "log2"}, {"fill": "ones"}])
def test_words_that_mean_nothing_are_refused(changes):
    with pytest.raises(Exception, match=next(iter(changes))):  # in tests, types are checked before
        Mel(**changes)


def test_speech_is_there():
    assert speech(16000).abs().max() > 0.01
