"""A `ClapModel` of small configuration with first weights, a tokenizer made from its prompts, and its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ...training.loop import seeded_globals
from ...types import Features
from ..front_ends import FrontEnd, front_end_of
from ..hugging_face.load import import_transformers, quiet
from .config import ClapSize

MOST_TOKENS = 32  # of a text, with its two marks
MARKS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
WORD_SIZE = 0.02  # deviation of token embeddings as the library draws them
LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789'-,.")
FEW_LETTERS = len(LETTERS) + len(MARKS) + 1  # and the mark of a word's beginning

Embeddings = Float[Tensor, "row dimension"]


@dataclass(eq=False)
class SmallClap:
    """What is trained, and what reads for it.

    Parameters
    ----------
    model
        A `ClapModel`.
    tokenizer, extractor
        Of texts and of sounds, as its folder holds them.
    """

    model: Any
    tokenizer: Any
    extractor: Any

    @property
    def front_end(self) -> FrontEnd:
        """The differentiable twin of the extractor."""
        return front_end_of(self.extractor)

    def tokens(self, texts: Sequence[str]) -> Int[Tensor, "text token"]:
        """Returns texts as tokens, padded to one length.

        Raises
        ------
        InputError
            If a text has more tokens than the model takes, or unknown ones.
        """
        rows = [self.tokenizer(text)["input_ids"] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > MOST_TOKENS or self.tokenizer.unk_token_id in row:
                raise InputError(
                    f"The prompt {text[:60]!r} has {len(row)} tokens, {row.count(self.tokenizer.unk_token_id)} of them "
                    f"unknown; at most {MOST_TOKENS} in the letters a to z were expected."
                )
        longest = max(map(len, rows))
        return torch.tensor([row + [self.tokenizer.pad_token_id] * (longest - len(row)) for row in rows])

    def audio(self, features: Features) -> Embeddings:
        """Returns the embeddings of log-mel features `[batch, mel, frame]`."""
        pooled = self.model.audio_model(input_features=features.transpose(1, 2)[:, None]).pooler_output
        return functional.normalize(self.model.audio_projection(pooled), dim=-1)

    def text(self, tokens: Int[Tensor, "text token"]) -> Embeddings:
        """Returns the embeddings of texts."""
        mask = (tokens != self.tokenizer.pad_token_id).long()
        pooled = self.model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
        return functional.normalize(self.model.text_projection(pooled), dim=-1)

    @torch.no_grad()
    def calibrate(self, features: Features, tokens: Int[Tensor, "text token"]) -> None:
        """Lets features come standardized, and embeddings differ as much as they can, before anything is learned.

        A fresh tower says nearly the same of all sounds, and of all texts: hundreds of steps would go into that.
        """
        self.model.eval()
        norm = self.model.audio_model.audio_encoder.batch_norm
        norm.running_mean.copy_(features.mean((0, 2)))
        norm.running_var.copy_(features.var((0, 2)).clamp_min(1e-3))
        pooled = self.model.audio_model(input_features=features.transpose(1, 2)[:, None]).pooler_output
        _standardize(self.model.audio_projection, pooled)
        mask = (tokens != self.tokenizer.pad_token_id).long()
        pooled = self.model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
        _standardize(self.model.text_projection, pooled)

    def save(self, folder: Path) -> None:
        """Writes weights, configuration, tokenizer and extractor as `save_pretrained` does."""
        with quiet():
            self.model.eval().save_pretrained(str(folder))
            self.tokenizer.save_pretrained(str(folder))
            self.extractor.save_pretrained(str(folder))


def untrained(size: ClapSize, texts: Sequence[str], seed: int) -> SmallClap:
    """Returns a model with first weights, and a tokenizer that has seen these texts alone."""
    transformers = import_transformers()
    tokenizer = tokenizer_of(texts, size.vocabulary)
    config = transformers.ClapConfig(
        text_config=_text_config(size, len(tokenizer)), audio_config=_audio_config(size), projection_dim=size.dimensions
    )
    with quiet(), seeded_globals(seed, 0):
        model = transformers.ClapModel(config)
        _spread(model)
    words = model.text_model.embeddings.word_embeddings
    words.weight.data.mul_(size.word_size / WORD_SIZE)
    return SmallClap(model, tokenizer, _extractor(size))


def _spread(model: nn.Module) -> None:
    """Draws weights that keep the size of what passes; those of the library are meant for wide networks."""
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=part.weight[0].numel() ** -0.5)


def _standardize(projection: Any, rows: Float[Tensor, "row _"]) -> None:
    """Scales and shifts both layers so that what they say of some rows has mean 0 and deviation 1."""
    for layer in (projection.linear1, projection.linear2):
        said = rows @ layer.weight.T
        deviation = said.std(0).clamp_min(1e-6)
        layer.weight.div_(deviation[:, None])
        layer.bias.copy_(-said.mean(0) / deviation)
        rows = projection.activation(layer(rows))


def tokenizer_of(texts: Sequence[str], vocabulary: int) -> Any:
    """Returns a tokenizer of letters and of the pieces of words that are most frequent in some texts.

    Any word of its letters is known, as pieces.

    Raises
    ------
    InputError
        If there is no room for the letters.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if vocabulary < FEW_LETTERS:
        raise InputError(f"A vocabulary has at least {FEW_LETTERS} tokens, got {vocabulary}; raise it.")
    own = Tokenizer(models.BPE(unk_token=MARKS["unk_token"]))
    own.normalizer = normalizers.Sequence([normalizers.Replace("_", " "), normalizers.Lowercase()])
    own.pre_tokenizer, own.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    rules: dict[str, Any] = {"special_tokens": list(MARKS.values()), "show_progress": False}
    own.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=LETTERS, **rules))
    own.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    transformers = import_transformers()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=MOST_TOKENS, **MARKS)


def _text_config(size: ClapSize, n_tokens: int) -> dict[str, Any]:
    return {
        "vocab_size": n_tokens,
        "hidden_size": size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * size.text_width,
        "max_position_embeddings": MOST_TOKENS + 2,  # positions begin behind that of the padding
        "hidden_dropout_prob": size.text_dropout,
        "attention_probs_dropout_prob": size.text_dropout,
        "pad_token_id": 1,
    }


def _audio_config(size: ClapSize) -> dict[str, Any]:
    return {
        "num_mel_bins": size.n_mels,
        "spec_size": size.spec_size,
        "patch_size": size.patch,
        "patch_stride": [size.patch, size.patch],
        "window_size": size.window,
        "depths": list(size.stages),
        "num_attention_heads": list(size.heads_of),
        "patch_embeds_hidden_size": size.width,
        "hidden_size": size.width * 2 ** (len(size.stages) - 1),
        "num_hidden_layers": len(size.stages),
        "mlp_ratio": 2.0,
        "drop_path_rate": size.drop_path,
        "hidden_dropout_prob": 0.0,
    }


def _extractor(size: ClapSize) -> Any:
    return import_transformers().ClapFeatureExtractor(
        feature_size=size.n_mels,
        sampling_rate=size.rate,
        hop_length=size.hop_length,
        max_length_s=size.clip_s,
        fft_window_size=size.n_fft,
        frequency_min=50,
        frequency_max=size.rate // 2,
        truncation="rand_trunc",
    )
