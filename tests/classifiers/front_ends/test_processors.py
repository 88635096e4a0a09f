import warnings

import numpy as np
import pytest
import torch
from tests.classifiers.front_ends.sounds import SOUNDS, noise, speech
from transformers import (
    ASTFeatureExtractor,
    ClapFeatureExtractor,
    ConvNextImageProcessor,
    EncodecFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    SpeechT5FeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from earmark.audio.stft import Stft
from earmark.classifiers.front_ends import (
    FRONT_ENDS,
    PRESETS,
    KaldiFbank,
    Raw,
    front_end_from_dict,
    front_end_of,
    named,
    parity,
)
from earmark.classifiers.front_ends.parity import original
from earmark.errors import AudioError, InputError, ModelError

EXTRACTORS = {
    "wav2vec2": lambda: Wav2Vec2FeatureExtractor(),
    "wav2vec2-as-is": lambda: Wav2Vec2FeatureExtractor(do_normalize=False),
    "encodec": lambda: EncodecFeatureExtractor(),
    "encodec-chunks": lambda: EncodecFeatureExtractor(chunk_length_s=1.0, overlap=0.01),
    "ast": lambda: ASTFeatureExtractor(),
    "ast-small": lambda: ASTFeatureExtractor(num_mel_bins=40, max_length=100, do_normalize=False),
    "wav2vec2-bert": lambda: SeamlessM4TFeatureExtractor(),
    "whisper": lambda: WhisperFeatureExtractor(),
    "whisper-128": lambda: WhisperFeatureExtractor(feature_size=128, chunk_length=3),
    "clap": lambda: ClapFeatureExtractor(truncation="rand_trunc"),
    "clap-fusion": lambda: ClapFeatureExtractor(),
    "clap-repeat": lambda: ClapFeatureExtractor(truncation="rand_trunc", padding="repeat", max_length_s=3),
    "clap-pad": lambda: ClapFeatureExtractor(truncation="rand_trunc", padding="pad", max_length_s=2, feature_size=32),
}

# Largest distance in the features' own units. Samples are handed on, to the last bit or two. Whisper's original runs
# the same operations in float32. Those of AST, CLAP and Wav2Vec2-BERT run in float64; transforms in float32 round to
# 1e-7 of the loudest bin of a frame. AST has a floor above that. CLAP (dB) and Wav2Vec2-BERT (16-bit scale, each band
# divided by its own spread) have bands far below the loudest, of a tone or of resampled speech, that hold little but
# rounding; Slaney's filters, divided by their width, are 20 dB and more below those of fusion and reach the floor.
TOLERANCES = {
    "wav2vec2": {"noise": 2e-6, "tone": 2e-6, "speech": 4e-6},
    "wav2vec2-as-is": {"noise": 0.0, "tone": 0.0, "speech": 0.0},
    "encodec": {"noise": 0.0, "tone": 0.0, "speech": 0.0},
    "encodec-chunks": {"noise": 0.0, "tone": 0.0, "speech": 0.0},
    "ast": {"noise": 1e-4, "tone": 5e-4, "speech": 5e-4},
    "ast-small": {"noise": 1e-3, "tone": 5e-3, "speech": 5e-3},  # not divided by 9.1
    "wav2vec2-bert": {"noise": 1e-3, "tone": 0.1, "speech": 2e-3},
    "whisper": {"noise": 1e-6, "tone": 1e-6, "speech": 1e-6},
    "whisper-128": {"noise": 1e-6, "tone": 1e-6, "speech": 1e-6},
    "clap": {"noise": 1e-3, "tone": 0.2, "speech": 0.02},
    "clap-fusion": {"noise": 1e-3, "tone": 3.0, "speech": 3.0},
    "clap-repeat": {"noise": 1e-3, "tone": 0.2, "speech": 0.02},
    "clap-pad": {"noise": 1e-3, "tone": 0.2, "speech": 0.02},
}
SILENCE = 1e-5  # floors, offsets and paddings: the same numbers


@pytest.fixture(scope="module")
def extractors():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some of AST's filters hold no bin, as its authors have it
        return {name: make() for name, make in EXTRACTORS.items()}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_twins_equal_the_originals(extractors, name):
    front_end = front_end_of(extractors[name])
    for sound, make in SOUNDS.items():
        samples = make(front_end.sample_rate)
        expected = original(extractors[name], samples, front_end.sample_rate)
        features = front_end(samples[None])[0].double()
        assert features.shape == expected.shape
        tolerance = TOLERANCES[name].get(sound, SILENCE)
        assert float((features - expected).abs().max()) <= tolerance, sound
        assert float((features - expected).abs().mean()) <= max(2e-3 * float(expected.std()), SILENCE), sound


@pytest.mark.parametrize("name", ["wav2vec2", "encodec-chunks", "ast-small", "wav2vec2-bert", "whisper-128"])
@pytest.mark.parametrize("seconds", [0.1, 0.73, 4.01])
def test_twins_equal_the_originals_at_any_length(extractors, name, seconds):
    """Shorter and longer than what is padded and cut, at odd and even numbers of frames."""
    front_end = front_end_of(extractors[name])
    for extra in (0, front_end.sample_rate // 100):
        samples = noise(front_end.sample_rate, seconds=seconds)[: None if extra == 0 else -extra]
        measured = parity(front_end, extractors[name], samples[None], tolerance=2e-3)
        assert measured.ok, measured


def test_batches_equal_the_originals_batches(extractors):
    """Clips of one length are padded by nothing but the front end's own rule."""
    samples = torch.stack([noise(16000), noise(16000, 0.01)])
    for name in ("wav2vec2", "whisper-128", "ast"):
        batch = extractors[name](list(samples.numpy()), sampling_rate=16000, return_tensors="np")
        expected = np.asarray(batch[extractors[name].model_input_names[0]])
        expected = expected.swapaxes(1, 2) if name == "ast" else expected.reshape(2, -1, expected.shape[-1])
        features = front_end_of(extractors[name])(samples).numpy()
        np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)  # see TOLERANCES


def test_presets_are_those_of_default_extractors(extractors):
    for name in ("wav2vec2", "encodec", "ast", "wav2vec2-bert", "whisper", "clap", "clap-fusion"):
        assert named(name).to_dict() == front_end_of(extractors[name]).to_dict()


def test_a_processor_may_hold_the_extractor(extractors):
    class Processor:
        feature_extractor = extractors["whisper"]

    assert front_end_of(Processor()).to_dict() == named("whisper").to_dict()


def test_what_longer_clips_lose(extractors):
    lengths = {"ast": 164080, "whisper": 480000, "clap": 480000, "wav2vec2": None, "encodec": None}
    for name, n_samples in lengths.items():
        assert front_end_of(extractors[name]).max_samples == n_samples
    front_end = front_end_of(extractors["ast-small"])
    samples = noise(16000, seconds=2)[None]
    assert front_end.max_samples == 400 + 99 * 160
    assert torch.equal(front_end(samples), front_end(samples[:, : front_end.max_samples]))
    assert not torch.equal(front_end(samples), front_end(samples[:, : front_end.max_samples - 1]))


def test_columns_inside(extractors):
    samples = noise(16000)
    ast = front_end_of(extractors["ast"])
    features = ast(samples[None])[0]
    inside = ast.columns_inside(len(samples))
    assert inside == 1 + (len(samples) - 400) // 160
    padding = (0 - ast.config.mean) / ast.config.std
    assert torch.equal(features[:, inside:], torch.full_like(features[:, inside:], padding))
    assert (features[:, inside - 1] != features[0, -1]).any()
    assert front_end_of(extractors["whisper"]).columns_inside(16000) == 101
    assert front_end_of(extractors["clap"]).columns_inside(48000) == 101
    assert front_end_of(extractors["encodec-chunks"]).columns_inside(100) == 100
    odd = front_end_of(extractors["wav2vec2-bert"])
    assert odd.columns_inside(400 + 160 * 2) == odd(noise(16000)[None, :720]).shape[2] == 2


def test_stacked_frames_have_no_frequency_but_a_time(extractors):
    front_end = front_end_of(extractors["wav2vec2-bert"])
    assert not front_end.rows_are_hz and front_end.normalizes
    assert front_end.column_s() == pytest.approx((279.5 / 16000, 0.02))
    weights = front_end.bin_weights()
    assert torch.equal(weights[:80], weights[80:])


@pytest.mark.parametrize("name", [*PRESETS, "encodec-chunks"])
def test_front_ends_are_made_again_from_what_defines_them(extractors, name):
    front_end = named(name) if name in PRESETS else front_end_of(extractors[name])
    values = front_end.to_dict()
    assert values["kind"] in FRONT_ENDS
    again = front_end_from_dict(values)
    assert type(again) is type(front_end) and again.to_dict() == values and again.state_dict() == {}
    samples = noise(front_end.sample_rate, seconds=0.2)[None]
    assert torch.equal(again(samples), front_end(samples))


def test_gradients_equal_finite_differences():
    samples = noise(8000, seconds=0.03).double()[None].requires_grad_(True)
    small = {"sample_rate": 8000, "n_fft": 64, "window_length": 50, "hop_length": 20, "n_mels": 5}
    stacked = KaldiFbank(**small, window="povey", gain=100.0, normalize=True, stack=2, pad_value=1.0)
    for front_end in (Raw(normalize=True), Raw(chunk_length=100, chunk_stride=70), KaldiFbank(**small), stacked):
        assert torch.autograd.gradcheck(front_end, (samples,))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize(
    ("extractor", "words"),
    [
        (lambda: Wav2Vec2FeatureExtractor(feature_size=2), "feature_size=2"),
        (lambda: EncodecFeatureExtractor(feature_size=2), "feature_size=2"),
        (lambda: EncodecFeatureExtractor(padding_side="left"), "padding_side='left'"),
        (lambda: ASTFeatureExtractor(sampling_rate=32000), "sampling_rate=32000"),
        (lambda: SeamlessM4TFeatureExtractor(stride=3), "stride=3"),
        (lambda: WhisperFeatureExtractor(dither=1e-4), "dither=0.0001"),
        (lambda: WhisperFeatureExtractor(padding_value=1.0), "padding_value=1.0"),
        (lambda: ClapFeatureExtractor(truncation="none"), "truncation='none'"),
    ],
)
def test_options_that_are_not_covered_are_named(extractor, words):
    with pytest.raises(ModelError, match=rf"{words}, which has no differentiable twin .*; pass front_end="):
        front_end_of(extractor())


def test_processors_that_are_not_covered_are_named():
    with pytest.raises(ModelError, match=r"SpeechT5FeatureExtractor has no differentiable twin .* pass front_end="):
        front_end_of(SpeechT5FeatureExtractor())
    with pytest.raises(ModelError, match="takes images and does not say how sound becomes one; pass front_end="):
        front_end_of(ConvNextImageProcessor())
    with pytest.raises(ModelError, match="int has no differentiable twin"):
        front_end_of(3)


def test_names():
    assert named("panns", hop_length=160).config.hop_length == 160
    assert named("log-mel", n_mels=32).to_dict()["n_mels"] == 32
    with pytest.raises(ModelError, match="Front end 'cochlea' is unknown, expected one of log-mel"):
        named("cochlea")
    with pytest.raises(ModelError, match="'panns' has no option 'hop', expected one of sample_rate"):
        named("panns", hop=3)


def test_clips_without_a_frame_are_refused(extractors):
    with pytest.raises(AudioError, match="100 samples is shorter than the 400"):
        front_end_of(extractors["ast"])(torch.zeros(1, 100))
    with pytest.raises(AudioError, match="1 frame has no variance"):
        front_end_of(extractors["wav2vec2-bert"])(torch.zeros(1, 400))
    for changes in ({"window_length": 600}, {"stack": 0}, {"std": 0.0}, {"high_hz": 9000.0}):
        with pytest.raises(InputError, match=next(iter(changes))):
            KaldiFbank(**changes)
    with pytest.raises(Exception, match="hamming"):  # in tests, types are checked before
        KaldiFbank(window="hamming")
    with pytest.raises(InputError, match="eps must be above 0"):
        Raw(normalize=True, eps=0.0)


def test_masks_of_raw_samples_live_on_a_grid_of_32_ms(extractors):
    assert front_end_of(extractors["wav2vec2"]).stft == Stft(512, 128)
    assert front_end_of(extractors["encodec"]).stft == Stft(1024, 256)
    assert front_end_of(Wav2Vec2FeatureExtractor(sampling_rate=8000)).stft == Stft(256, 64)


def test_parity_tells_a_twin_from_another(extractors):
    clips = [speech(16000), noise(16000)]
    same = parity(front_end_of(extractors["ast"]), extractors["ast"], clips)
    assert same.ok and 0 < same.mean_abs < same.max_abs < same.tolerance * same.scale
    for changes in ({"window": "povey"}, {"low_hz": 0.0}, {"mean": -4.2}):
        other = parity(named("ast", **changes), extractors["ast"], clips)
        assert not other.ok, changes
    assert parity(named("yamnet"), lambda samples: named("yamnet")(torch.from_numpy(samples)[None])[0], clips).ok
    with pytest.raises(ModelError, match=r"gives \(64, 1024\) features and ASTFeatureExtractor \(128, 1024\)"):
        parity(named("ast", n_mels=64), extractors["ast"], clips)
    with pytest.raises(ModelError, match="No clips"):
        parity(named("ast"), extractors["ast"], [])


def test_parity_takes_a_function_and_leaves_randomness_alone(extractors):
    log_mel, clips = named("log-mel"), noise(32000)[None]
    measured = parity(log_mel, lambda samples: log_mel(torch.from_numpy(samples)[None])[0].numpy() + 0.5, clips)
    assert measured.max_abs == pytest.approx(0.5, abs=1e-5) and not measured.ok
    before = np.random.get_state()[1].copy()
    long = noise(48000, seconds=11)[None]
    assert parity(front_end_of(extractors["clap-fusion"]), extractors["clap-fusion"], long).ok
    assert np.array_equal(np.random.get_state()[1], before)
