"""CLAP of the library transformers as a zero-shot classifier: its labels are prompts."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import ModelError
from ..layouts import TokenGrid
from ..surgery import plain_floats, same_chance
from ..zero_shot import TEMPLATE, Embeddings, Towers, ZeroShot, checked_prompts, checked_template, zero_shot
from . import load as shared
from .places import Place

_ENCODER = "model.audio_model.audio_encoder"
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt")


class ClapTowers(Towers):
    """A `ClapModel` and its tokenizer; embeddings have norm 1, so that their products are cosines.

    Parameters
    ----------
    model
        The model, both towers with their projections.
    tokenizer
        Of its text tower.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    def audio(self, features: Tensor) -> Embeddings:
        """Returns the embeddings of log-mel features `[batch, 1, frame, mel]`.

        A model with fusion gets four equal planes and is told that no clip is longer: its front end refuses those.
        """
        model: Any = self.model
        about: dict[str, Any] = {}
        if model.config.audio_config.enable_fusion:
            features = features.expand(-1, 4, -1, -1)
            about["is_longer"] = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        pooled = model.audio_model(input_features=features, **about).pooler_output
        return functional.normalize(model.audio_projection(pooled), dim=-1)

    def text(self, texts: Sequence[str]) -> Embeddings:
        """Returns the embeddings of texts, each in a pass of its own, so that none depends on the others.

        Raises
        ------
        ModelError
            If a text is empty, has more tokens than the tower takes, or one that is unknown.
        """
        return torch.cat([self._one(text) for text in texts])

    def scale(self) -> Tensor:
        """Returns the inverse of the temperature that the model learned."""
        model: Any = self.model
        return model.logit_scale_a.exp()

    @property
    def most_tokens(self) -> int:
        """How many tokens a text may have, those for its start and end included."""
        config: Any = self.model.config.text_config  # type: ignore[union-attr]
        positions = config.max_position_embeddings - (config.pad_token_id or 0) - 1  # behind that of the padding
        return int(min(positions, self.tokenizer.model_max_length))

    def _one(self, text: str) -> Embeddings:
        model: Any = self.model
        tokens = self._tokens(text)
        device = next(model.parameters()).device
        pooled = model.text_model(**{name: value.to(device) for name, value in tokens.items()}).pooler_output
        return functional.normalize(model.text_projection(pooled), dim=-1)

    def _tokens(self, text: str) -> dict[str, Tensor]:
        """Returns a text's tokens and their mask."""
        if not text.strip():
            raise ModelError("A prompt is empty; write words, or leave it out.")
        found = self.tokenizer(text, verbose=False)["input_ids"]
        if len(found) > self.most_tokens:
            raise ModelError(
                f"The prompt {text[:60]!r}... has {len(found)} tokens, and the text tower takes {self.most_tokens}; "
                "write fewer words."
            )
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown in found:
            raise ModelError(
                f"The prompt {text[:60]!r} has {found.count(unknown)} of {len(found)} tokens that this model's "
                "tokenizer does not know, so that others would sound the same to it; write it in the language of the "
                "model's training."
            )
        ids = torch.tensor([found])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def is_clap(name_or_folder: str | Path, options: dict[str, Any]) -> bool:
    """Says whether a folder holds a CLAP model; a name on the hub means one if prompts come with it."""
    config = Path(name_or_folder) / "config.json"
    if not config.is_file():
        return "prompts" in options
    return bool(json.loads(config.read_text(encoding="utf-8")).get("model_type") == "clap")


def load_clap(
    name_or_folder: str | Path,
    *,
    prompts: Sequence[str] | str | Path | None = None,
    template: str = TEMPLATE,
    revision: str | None = None,
    probe_s: float | None = None,
) -> ZeroShot:
    """Loads a `ClapModel` with its tokenizer and feature extractor as a classifier of prompts.

    Logits are cosines times the scale that the model learned, so that softmax gives its own probabilities.

    Parameters
    ----------
    name_or_folder
        A local folder, or a name on the hub, `owner/model`.
    prompts
        A list of words, one text with commas between them, or a text file with one prompt in each line.
    template
        Has `{}` where the words go.
    revision
        Commit, tag or branch on the hub; pin it, and the same weights are loaded tomorrow.
    probe_s
        Seconds of noise with which it is probed.

    Raises
    ------
    ModelError
        If it is not there, has no tokenizer, no prompts are given, or one of them is of no use.
    InputError
        If transformers is not installed.
    """
    name = str(name_or_folder)
    words, template = read_prompts(prompts, name), checked_template(template)
    with shared.quiet(), plain_floats(), same_chance([]):
        model = shared._read_model(name, revision, False, _auto_class)
        tokenizer = _tokenizer(name, revision)
        extractor = shared._extractor(name, revision, model)
        front_end = shared._front_end(None, extractor)
        place = find_clap_place(model)
        heard_s = (front_end.max_samples or math.inf) / front_end.sample_rate
        classifier = zero_shot(
            ClapTowers(model, tokenizer),
            front_end,
            words,
            template=template,
            map_layer=place.layer,
            map_axes=place.axes,
            feature_axes=place.feature_axes,
            blocks=place.blocks,
            name=Path(name).name or name,
            card={**shared._card(name, revision, model.config), "template": template},
            probe_s=min(5.0, heard_s) if probe_s is None else probe_s,
        )
    classifier.extractor = extractor
    return classifier


def find_clap_place(model: nn.Module) -> Place:
    """Returns where the map of a `ClapModel` lies: the last tokens of its audio encoder, behind its normalization.

    HTS-AT cuts a clip into parts and lays them one below the other in a square picture; each stage but the last halves
    both of its sides.
    """
    config: Any = model.config.audio_config  # type: ignore[union-attr]
    stride = config.patch_stride if isinstance(config.patch_stride, int) else config.patch_stride[0]
    n_stages, folds = len(config.depths), config.spec_size // config.num_mel_bins
    n_freq = config.spec_size // stride // 2 ** (n_stages - 1) // folds
    if n_freq < 1:
        raise ModelError(
            f"The last stage of this CLAP model has fewer rows than its picture has parts ({folds}), so that its cells "
            "mix times that are far apart; wrap it with earmark.classifiers.zero_shot.zero_shot at an earlier layer."
        )
    blocks = tuple(f"{_ENCODER}.layers.{i}" for i in range(n_stages - 1))
    return Place(f"{_ENCODER}.norm", TokenGrid(n_freq, folds=folds, square=True), "CTF", blocks)


def read_prompts(prompts: object, name: str) -> tuple[str, ...]:
    """Returns prompts that are given as a list, as one text with commas, or as a text file.

    Raises
    ------
    ModelError
        If none are given, or they are of no use.
    """
    if prompts is None:
        raise ModelError(needs_prompts(name))
    if isinstance(prompts, str | Path):
        given = Path(prompts)
        is_file = given.suffix == ".txt" and given.is_file()
        text = given.read_text(encoding="utf-8-sig") if is_file else str(prompts)
        prompts = [part for part in text.splitlines() if part.strip()] if is_file else text.split(",")
    return checked_prompts(prompts)


def needs_prompts(name: str) -> str:
    """Returns what to say where there are no prompts."""
    return (
        f"{name} is a CLAP model, whose labels are prompts; pass prompts=['dog', 'rain', ...], or on the command line "
        f"{name}?prompts=dog,rain."
    )


def _auto_class(transformers: Any, config: Any, name: str) -> Any:
    if config.model_type != "clap":
        raise ModelError(f"{name} is a {config.model_type!r}, which takes no prompts; leave prompts out.")
    return transformers.ClapModel


def _tokenizer(name: str, revision: str | None) -> Any:
    """Returns the tokenizer of the text tower."""
    folder = Path(name)
    is_missing = folder.is_dir() and not any((folder / file).is_file() for file in _VOCABULARIES)
    try:
        if is_missing:
            raise OSError("no vocabulary")
        return shared.import_transformers().AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name} has no tokenizer that could be read (tokenizer.json), so that no prompt can be embedded; copy "
            "that file, and tokenizer_config.json, beside the weights."
        ) from error
