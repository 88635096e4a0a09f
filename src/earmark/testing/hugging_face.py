"""Small models of transformers with random weights, saved as their own folders are: for tests, without a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LABELS = ("rain", "dog", "word")
RATE = 16000

_SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
_SEQUENCE = {
    **_SIZES,
    "conv_dim": (8, 8, 8),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}
_WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 16,
    "max_source_positions": 100,
    "classifier_proj_size": 8,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def _parts(kind: str) -> tuple[str, str, dict[str, Any], str | None, dict[str, Any]]:
    """Returns the names of configuration and model, their sizes, and the preprocessor's name and settings."""
    raw = ("Wav2Vec2FeatureExtractor", {"sampling_rate": RATE, "do_normalize": True})
    sequences = {
        "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", _SEQUENCE),
        "wav2vec2-weighted": (
            "Wav2Vec2Config",
            "Wav2Vec2ForSequenceClassification",
            {**_SEQUENCE, "use_weighted_layer_sum": True},
        ),
        "hubert": ("HubertConfig", "HubertForSequenceClassification", _SEQUENCE),
        "wavlm": ("WavLMConfig", "WavLMForSequenceClassification", _SEQUENCE),
        "sew": ("SEWConfig", "SEWForSequenceClassification", {**_SEQUENCE, "squeeze_factor": 2}),
        "sew-d": ("SEWDConfig", "SEWDForSequenceClassification", {**_SEQUENCE, "squeeze_factor": 2}),
    }
    pictures: dict[str, tuple[str, str, dict[str, Any]]] = {
        "convnext": (
            "ConvNextConfig",
            "ConvNextForImageClassification",
            {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
        ),
        "efficientnet": (
            "EfficientNetConfig",
            "EfficientNetForImageClassification",
            {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
        ),
        "mobilenet": (
            "MobileNetV2Config",
            "MobileNetV2ForImageClassification",
            {"depth_multiplier": 0.2, "finegrained_output": False},
        ),
        "resnet": (
            "ResNetConfig",
            "ResNetForImageClassification",
            {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        ),
        "swin": (
            "SwinConfig",
            "SwinForImageClassification",
            {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        ),
    }
    if kind in sequences:
        return *sequences[kind], *raw
    if kind in pictures:
        config, model, sizes = pictures[kind]
        return config, model, {**sizes, "num_channels": 1}, None, {}
    if kind == "ast":
        sizes = {**_SIZES, "num_mel_bins": 64, "max_length": 200, "frequency_stride": 10, "time_stride": 10}
        settings = {"num_mel_bins": 64, "max_length": 200, "sampling_rate": RATE}
        return "ASTConfig", "ASTForAudioClassification", sizes, "ASTFeatureExtractor", settings
    settings = {"feature_size": 16, "sampling_rate": RATE, "chunk_length": 2}
    return "WhisperConfig", "WhisperForAudioClassification", _WHISPER, "WhisperFeatureExtractor", settings


#: Families, each with the front end that has to be named, since nothing in the folder does.
KINDS: dict[str, str | None] = {
    "ast": None,
    "wav2vec2": None,
    "wav2vec2-weighted": None,
    "hubert": None,
    "wavlm": None,
    "sew": None,
    "sew-d": None,
    "whisper": None,
    "convnext": "birdset",
    "efficientnet": "birdset",
    "mobilenet": "birdset",
    "resnet": "birdset",
    "swin": "birdset",
}


def save_tiny(kind: str, folder: Path, *, seed: int = 0, change: Callable[[Any], None] | None = None) -> Path:
    """Writes a small random model of a family, with its preprocessor, as `save_pretrained` does.

    Parameters
    ----------
    kind
        One of `KINDS`.
    folder
        Where.
    seed
        Of its weights.
    change
        Changes the configuration before the model is made.
    """
    import transformers

    config_name, model_name, sizes, processor, settings = _parts(kind)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    config = getattr(transformers, config_name)(**sizes, **names, problem_type="single_label_classification")
    if change is not None:
        change(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, model_name)(config).eval()
        _spread(model)
        if KINDS[kind] is not None:
            _settle(model)
    model.save_pretrained(folder)
    if processor is not None:
        getattr(transformers, processor)(**settings).save_pretrained(folder)
    return folder


#: What the tokenizer of `save_tiny_clap` knows, beside its marks.
WORDS = ("this", "is", "the", "sound", "of", "a", "dog", "rain", "word", "siren", "train", "barking")


def save_tiny_clap(
    folder: Path, *, seed: int = 0, fusion: bool = False, change: Callable[[Any], None] | None = None
) -> Path:
    """Writes a small random `ClapModel` with its tokenizer (of `WORDS`) and feature extractor.

    It hears 2 s at 16 kHz: 16 mel bands in 4 parts of a picture of 64 by 64, whose last stage has 8 by 8 cells.

    Parameters
    ----------
    folder
        Where.
    seed
        Of its weights.
    fusion
        Whether it has the layers for clips that are longer.
    change
        Changes the configuration before the model is made.
    """
    import transformers

    text = {**_SIZES, "num_hidden_layers": 1, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 24}
    audio = {
        "num_mel_bins": 16,
        "spec_size": 64,
        "window_size": 4,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "enable_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None,
    }
    sizes: dict[str, Any] = {"text_config": {**text, "pad_token_id": 1}, "audio_config": audio, "projection_dim": 8}
    config = transformers.ClapConfig(**sizes)
    if change is not None:
        change(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.ClapModel(config).eval()
        _spread(model)
        model.audio_model.audio_encoder.batch_norm.running_mean.fill_(-20.0)  # of features in dB, as training leaves it
        model.audio_model.audio_encoder.batch_norm.running_var.fill_(400.0)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=RATE,
        hop_length=128,
        max_length_s=2,
        fft_window_size=512,
        frequency_min=50,
        frequency_max=8000,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """Returns a tokenizer that knows whole words alone, with marks as RoBERTa has them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = {word: i for i, word in enumerate((*names.values(), *WORDS))}
    own = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    own.normalizer = normalizers.Lowercase()
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=20, **names)


def _spread(model: torch.nn.Module) -> None:
    """Makes weights large enough that decisions differ between sounds, which a fresh initialization's do not."""
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, torch.nn.Linear | torch.nn.Conv1d):
            torch.nn.init.xavier_normal_(part.weight, 2.0)
        elif isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(part.weight)


def _settle(model: torch.nn.Module) -> None:
    """Gives normalization layers the statistics of noise, so that signals neither vanish nor grow."""
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for part in norms:
        part.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(8, 1, 128, 64))
    model.eval()


_ENCODEC = {
    "target_bandwidths": [0.8, 1.6],
    "sampling_rate": RATE,
    "hidden_size": 8,
    "num_filters": 4,
    "upsampling_ratios": [8, 5, 4],
    "num_lstm_layers": 1,
    "codebook_size": 16,
}


def save_tiny_encodec(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Writes a small random `EncodecModel`: 8 channels at 100 Hz, two codebooks of 16 entries, 0.8 kbit/s and up.

    Parameters
    ----------
    folder
        Where.
    seed
        Of its weights.
    changes
        Of its configuration, such as `audio_channels=2` or `chunk_length_s=1.0, overlap=0.01`.
    """
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.EncodecModel(transformers.EncodecConfig(**{**_ENCODEC, **changes})).eval()
        _fill_codebooks(model)
    model.save_pretrained(folder)
    return folder


def _fill_codebooks(model: Any) -> None:
    """Gives codebooks entries that the encoder says of noise, soft and loud; a fresh model's are all zero."""
    config = model.config
    size = config.codebook_size
    levels = torch.cat([torch.full((size - size // 4,), 0.1), torch.logspace(-4, 0, size // 4)])
    with torch.no_grad():
        noise = torch.randn(size, config.audio_channels, 16 * config.hop_length)
        left = model.encoder(noise * levels[:, None, None])[:, :, 8]
        for layer in model.quantizer.layers:
            layer.codebook.embed.copy_(left)
            codes = layer.encode(left.roll(1, 0)[:, :, None])
            left = 0.5 * (left - layer.decode(codes)[:, :, 0]).roll(1, 0) + 0.05 * torch.randn_like(left)
