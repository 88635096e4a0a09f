"""Where the map of a transformers model lies: which layer, in which order of axes, and which blocks come before it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...errors import ModelError
from ..layouts import FeatureAxes, MapAxes, TokenGrid


@dataclass(frozen=True)
class Place:
    """What has to be known of a model to tap it.

    Parameters
    ----------
    layer, axes
        The map layer and its order of axes.
    feature_axes
        How the model takes features.
    blocks
        Names of the layers of a transformer encoder, shallow to deep, whose outputs have these axes too.
    """

    layer: str
    axes: MapAxes
    feature_axes: FeatureAxes
    blocks: tuple[str, ...] = ()


def find_place(model: nn.Module, n_rows: int) -> Place:
    """Returns where the map of a transformers model lies.

    Parameters
    ----------
    model
        A model with a classification head.
    n_rows
        Rows of the features that it gets.

    Raises
    ------
    ModelError
        If the kind of model is not known.
    """
    config: Any = model.config
    kind = config.model_type
    if kind in _PLACES:
        return _PLACES[kind](model, n_rows)
    if getattr(model, "main_input_name", "") == "pixel_values" and hasattr(model, f"{_base(model)}"):
        encoder = f"{_base(model)}.encoder"
        if encoder in dict(model.named_modules()):
            return Place(encoder, "FT", "CFT")
    raise ModelError(
        f"Where the map of a {kind!r} model lies is not known to this version (it knows {', '.join(sorted(_PLACES))}); "
        "name map_layer= and map_axes=, or wrap the module with earmark.wrap."
    )


def _base(model: nn.Module) -> str:
    return str(model.base_model_prefix)


def _blocks(model: nn.Module) -> tuple[str, ...]:
    """Returns the names of the blocks of an encoder: the members of its longest list of layers."""
    lists: dict[str, int] = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.ModuleList) and re.search(r"(^|\.)layers?$", name) and "conv" not in name:
            lists[name] = len(part)
    if not lists:
        return ()
    longest = max(lists, key=lambda name: lists[name])
    return tuple(f"{longest}.{i}" for i in range(lists[longest]))


def _sequence(model: nn.Module, _n_rows: int) -> Place:
    """Wav2Vec2 and its kin: the last hidden state, or behind a weighted sum of all of them the projector."""
    config: Any = model.config
    layer = "projector" if getattr(config, "use_weighted_layer_sum", False) else _base(model)
    return Place(layer, "TC", "S", _blocks(model))


def _whisper(model: nn.Module, _n_rows: int) -> Place:
    config: Any = model.config
    layer = "projector" if getattr(config, "use_weighted_layer_sum", False) else "encoder"
    return Place(layer, "TC", "FT", _blocks(model))


def _fbank_sequence(model: nn.Module, n_rows: int) -> Place:
    """Wav2Vec2-BERT: as `_sequence`, from stacked filter bank frames."""
    place = _sequence(model, n_rows)
    return Place(place.layer, place.axes, "TF", place.blocks)


def _ast(model: nn.Module, _n_rows: int) -> Place:
    """Class and distillation tokens are read, so that the map lies before the last block mixes it into them."""
    config: Any = model.config
    n_freq = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return _before_the_last(model, TokenGrid(n_freq, 2), "TF")


def _vit(model: nn.Module, n_rows: int) -> Place:
    config: Any = model.config
    special = 2 if config.model_type == "deit" else 1
    return _before_the_last(model, TokenGrid(n_rows // config.patch_size, special), "CFT")


def _before_the_last(model: nn.Module, axes: TokenGrid, feature_axes: FeatureAxes) -> Place:
    blocks = _blocks(model)
    if len(blocks) < 2:
        raise ModelError(
            f"A map before the last of at least 2 blocks was expected, and this model has {len(blocks)}; name "
            "map_layer= and map_axes=."
        )
    return Place(blocks[-2], axes, feature_axes, blocks[:-1])


def _swin(model: nn.Module, n_rows: int) -> Place:
    config: Any = model.config
    n_freq = -(-n_rows // config.patch_size)
    for _ in config.depths[1:]:
        n_freq = -(-n_freq // 2)
    return Place(f"{_base(model)}.layernorm", TokenGrid(n_freq), "CFT")


def _layer(name: str) -> Callable[[nn.Module, int], Place]:
    """Returns the rule of a convolutional network whose map is one layer's output."""
    return lambda model, _n_rows: Place(f"{_base(model)}.{name}", "FT", "CFT")


_SEQUENCES = ("data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wavlm")

_PLACES: dict[str, Callable[[nn.Module, int], Place]] = {
    **dict.fromkeys((*_SEQUENCES, "wav2vec2-conformer"), _sequence),
    "wav2vec2-bert": _fbank_sequence,
    "whisper": _whisper,
    "audio-spectrogram-transformer": _ast,
    "vit": _vit,
    "deit": _vit,
    "swin": _swin,
    "swinv2": _swin,
    "convnext": _layer("encoder"),
    "convnextv2": _layer("encoder"),
    "resnet": _layer("encoder"),
    "regnet": _layer("encoder"),
    "efficientnet": _layer("encoder"),
    "mobilenet_v1": _layer("layer.25"),
    "mobilenet_v2": _layer("conv_1x1"),
}
