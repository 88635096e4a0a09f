"""The front end of a Hugging Face feature extractor: read from its attributes, transformers itself is not imported."""

from collections.abc import Callable
from typing import Any

from ...errors import ModelError
from ..config import KaldiConfig, MelConfig, RawConfig
from .base import FrontEnd
from .registry import front_end_of_config

REMEDY = "pass front_end= (a FrontEnd, such as earmark.classifiers.front_ends.named('panns'))"


def front_end_of(processor: Any) -> FrontEnd:
    """Returns the differentiable twin of a feature extractor.

    Parameters
    ----------
    processor
        An instance such as `ASTFeatureExtractor`, or a processor that holds one as `feature_extractor`.

    Raises
    ------
    ModelError
        If its class, or one of its options, is not covered.
    """
    extractor = extractor_of(processor)
    name = type(extractor).__name__
    if name not in EXTRACTORS:
        raise ModelError(_unknown(name))
    return front_end_of_config(EXTRACTORS[name](extractor))


def extractor_of(processor: Any) -> Any:
    """Returns the feature extractor itself, also of a processor that holds one."""
    return getattr(processor, "feature_extractor", processor)


def _unknown(name: str) -> str:
    known = f"{', '.join(EXTRACTORS)} are covered"
    if "ImageProcessor" in name or name.endswith("ImageFeatureExtractor"):
        return f"{name} takes images and does not say how sound becomes one; {REMEDY}."
    return f"{name} has no differentiable twin here, {known}; {REMEDY}."


def _wav2vec2(extractor: Any) -> RawConfig:
    _require(extractor, "feature_size", (1,))
    return _raw(extractor, normalize=bool(extractor.do_normalize))


def _encodec(extractor: Any) -> RawConfig:
    _require(extractor, "feature_size", (1,))
    _require_zeros_behind(extractor)
    if extractor.chunk_stride is None:
        return _raw(extractor)
    return _raw(extractor, chunk_length=extractor.chunk_length, chunk_stride=extractor.chunk_stride)


def _raw(extractor: Any, **numbers: Any) -> RawConfig:
    """Returns the configuration, with a mask grid of about 32 ms and a quarter of it."""
    n_fft = 1 << round(0.032 * extractor.sampling_rate - 1).bit_length()
    return RawConfig(sample_rate=extractor.sampling_rate, n_fft=n_fft, hop_length=n_fft // 4, **numbers)


def _ast(extractor: Any) -> KaldiConfig:
    _require(extractor, "sampling_rate", (16000,))
    mean, std = (extractor.mean, 2 * extractor.std) if extractor.do_normalize else (0.0, 1.0)
    return KaldiConfig(n_mels=extractor.num_mel_bins, mean=mean, std=std, n_frames=extractor.max_length)


def _seamless(extractor: Any) -> KaldiConfig:
    _require(extractor, "sampling_rate", (16000,))
    _require(extractor, "stride", (2,))
    _require(extractor, "padding_side", ("right",))
    return KaldiConfig(
        window="povey",
        gain=32768.0,
        n_mels=extractor.num_mel_bins,
        normalize=True,
        stack=2,
        pad_value=extractor.padding_value,
    )


def _whisper(extractor: Any) -> MelConfig:
    _require(extractor, "dither", (0.0,))
    _require_zeros_behind(extractor)
    return MelConfig(
        extractor.sampling_rate,
        extractor.n_fft,
        extractor.hop_length,
        n_mels=extractor.feature_size,
        low_hz=0.0,
        high_hz=8000.0,
        logarithm="log10",
        dynamic_range=8.0,
        mean=-4.0,
        std=4.0,
        length=extractor.n_samples,
        drop_last=True,
    )


def _clap(extractor: Any) -> MelConfig:
    """Returns the configuration; `top_db` is stored by the original and has no effect there.

    The original takes random parts of clips above its length. Under `rand_trunc` their beginning is taken here; under
    `fusion`, which stacks three random parts and a shrunk whole, they are refused.
    """
    _require(extractor, "truncation", ("rand_trunc", "fusion"))
    fusion = extractor.truncation == "fusion"
    return MelConfig(
        extractor.sampling_rate,
        extractor.fft_window_size,
        extractor.hop_length,
        n_mels=extractor.feature_size,
        low_hz=float(extractor.frequency_min),
        high_hz=float(extractor.frequency_max),
        scale="htk" if fusion else "slaney",
        area_norm=not fusion,
        length=int(extractor.nb_max_samples),
        fill=_FILLS.get(extractor.padding, "zeros"),
        longer="refuse" if fusion else "cut",
    )


_FILLS: dict[Any, Any] = {"repeatpad": "repeat-whole", "repeat": "repeat"}

EXTRACTORS: dict[str, Callable[[Any], RawConfig | KaldiConfig | MelConfig]] = {
    "Wav2Vec2FeatureExtractor": _wav2vec2,  # also HuBERT, WavLM, SEW, SEW-D, UniSpeech, Data2Vec, Wav2Vec2-Conformer
    "ASTFeatureExtractor": _ast,
    "WhisperFeatureExtractor": _whisper,
    "ClapFeatureExtractor": _clap,
    "EncodecFeatureExtractor": _encodec,
    "SeamlessM4TFeatureExtractor": _seamless,  # also Wav2Vec2-BERT
}


def _require(extractor: Any, option: str, covered: tuple[Any, ...]) -> None:
    value = getattr(extractor, option, covered[0])
    if value not in covered:
        raise ModelError(
            f"{type(extractor).__name__} has {option}={value!r}, which has no differentiable twin here "
            f"({' or '.join(map(repr, covered))} has); {REMEDY}."
        )


def _require_zeros_behind(extractor: Any) -> None:
    _require(extractor, "padding_value", (0.0,))
    _require(extractor, "padding_side", ("right",))
