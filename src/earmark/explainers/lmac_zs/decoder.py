"""The decoder of LMAC-ZS: that of L-MAC, scaled and shifted by a text's embedding behind each projection."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap, find_taps
from ...training.loop import seeded_globals
from ..lmac.decoder import CompactDecoder, Masker, widest
from .config import LmacZsConfig

ZsMasker = Masker[LmacZsConfig]


def zs_decoder_of(config: LmacZsConfig, taps: Sequence[Tap], n_dimensions: int, width: int) -> CompactDecoder:
    """Returns a decoder with random weights, whose masks do not depend on the text yet."""
    return CompactDecoder(taps, width, detail=config.detail, n_conditions=n_dimensions)


def untrained(embedder: Classifier, config: LmacZsConfig) -> ZsMasker:
    """Returns a decoder with first weights around the encoder of sounds, of the size that is asked for."""
    taps = find_taps(embedder, config.tap_layers)

    def masker_of(width: int, seed: int) -> ZsMasker:
        with seeded_globals(seed, 0):
            decoder = zs_decoder_of(config, taps, len(embedder.labels), width)
        return Masker(embedder, config, taps, decoder.to(embedder.device).eval())

    return masker_of(config.width or widest(masker_of), config.seed)


def for_each(text: Float[Tensor, "text dimension"], index: Int[Tensor, "batch prompt"]) -> Tensor:
    """Returns the embeddings of drawn prompts, `[batch, prompt, dimension]`."""
    return torch.nn.functional.embedding(index, text)
