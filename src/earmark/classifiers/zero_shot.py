"""Zero-shot classifiers: labels are prompts, and a logit says how near sound and prompt lie in a space of both."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..audio.waveform import Waveform
from ..errors import ModelError
from ..types import Samples, Stage
from .base import Classifier
from .front_ends import FrontEnd
from .geometry import Axis, Geometry
from .layouts import FeatureAxes, MapAxes, TokenGrid
from .surgery import at_rest, traceable

TEMPLATE = "this is the sound of {}"

Embeddings = Float[Tensor, "row dimension"]


class Towers(nn.Module, ABC):
    """Two encoders into one space: one of features, one of texts. Subclass it for a dual encoder of your own."""

    @abstractmethod
    def audio(self, features: Tensor) -> Embeddings:
        """Returns the embeddings of features in the order of axes that `zero_shot` was told."""

    @abstractmethod
    def text(self, texts: Sequence[str]) -> Embeddings:
        """Returns the embeddings of texts, each as it would be alone.

        Raises
        ------
        ModelError
            If a text cannot be read.
        """

    @abstractmethod
    def scale(self) -> Tensor:
        """Returns what similarities are multiplied with to be logits: the inverse of the temperature."""


class PromptLogits(nn.Module):
    """Two towers, and embeddings of prompts that were computed once: features to logits `[batch, prompt]`.

    Parameters
    ----------
    towers
        Shared by all classifiers of other prompts.
    text
        `[prompt, dimension]`.
    template
        Into which a prompt's words are put.
    """

    def __init__(self, towers: Towers, text: Embeddings, template: str = TEMPLATE) -> None:
        super().__init__()
        self.towers, self.template = towers, template
        self.register_buffer("text", text)
        self.text: Tensor

    def forward(self, features: Tensor) -> Float[Tensor, "batch prompt"]:
        """Returns the logits."""
        return self.of_embeddings(self.towers.audio(features))

    def of_embeddings(self, audio: Embeddings) -> Float[Tensor, "batch prompt"]:
        """Returns the logits of sounds whose embeddings are at hand."""
        return self.towers.scale() * (audio @ self.text.T)


class Embedding(nn.Module):
    """Features to their embedding alone."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, features: Tensor) -> Embeddings:
        """Returns the embeddings."""
        return self.towers.audio(features)


class ZeroShot(Classifier):
    """A classifier whose labels are prompts, so that any other prompt can be asked for too; made by `zero_shot`.

    To every method it is a classifier as any other.
    """

    module: PromptLogits

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        module: PromptLogits | None = None,
        labels: Sequence[str] | None = None,
    ) -> "ZeroShot":
        """Returns a classifier with the places and names of another one around its module, or one of other prompts.

        Raises
        ------
        ModelError
            If its module is not that of a zero-shot classifier.
        """
        module = module or classifier.module  # type: ignore[assignment]
        if not isinstance(module, PromptLogits):
            raise ModelError(
                f"{classifier.name} has labels that were learned, and a classifier whose labels are prompts was "
                "expected; load a CLAP model with prompts=[...]."
            )
        other = cls(module, classifier.front_end, tuple(labels or classifier.labels), **_same(classifier))
        other.extractor = classifier.extractor
        other._known_axes = classifier._known_axes
        return other

    @property
    def towers(self) -> Towers:
        """Both encoders."""
        return self.module.towers

    @property
    def template(self) -> str:
        """Into which words are put to be a prompt."""
        return self.module.template

    @property
    def prompts(self) -> tuple[str, ...]:
        """The texts that labels stand for."""
        return tuple(filled_in(self.template, label) for label in self.labels)

    @cached_property
    def embedder(self) -> Classifier:
        """The same with the dimensions of the space in place of logits: what masks of any prompt are trained on.

        Entry at any stage gives embeddings, and its fingerprint is that of both towers without prompts.
        """
        labels = tuple(f"dimension {i}" for i in range(self.module.text.shape[1]))
        return Classifier(Embedding(self.towers), self.front_end, labels, **_same(self))

    @property
    def tower_fingerprint(self) -> str:
        """The sha256 of weights, front end and map layer, not of prompts: what fits any prompts carries it."""
        return self.embedder.fingerprint

    def embed_text(self, texts: Sequence[str]) -> Embeddings:
        """Returns the embeddings of texts as they stand, without the template.

        Raises
        ------
        ModelError
            If a text is empty, too long, or made of unknown words.
        """
        with self._at_rest(), traceable():
            return self.towers.text(list(texts)).detach()

    def embed_audio(self, x: Waveform | Tensor, at: Stage = "waveform", n_samples: int | None = None) -> Embeddings:
        """Returns the embeddings of a clip, or of a stage's tensor as in `logits`; differentiable in it."""
        x = self.prepare(x) if isinstance(x, Waveform) else x
        return self.embedder.logits(x, at, n_samples)

    def similarity(self, x: Waveform | Samples, texts: Sequence[str] | None = None) -> Float[Tensor, "batch text"]:
        """Returns the products of embeddings, in CLAP cosines in [-1, 1]; of the prompts, or of texts as they stand."""
        text = self.module.text if texts is None else self.embed_text(texts)
        return self.embed_audio(x) @ text.T

    def with_prompts(self, prompts: Sequence[str], template: str | None = None) -> "ZeroShot":
        """Returns the same classifier with other labels; towers are shared, and embeddings of prompts that are known.

        Raises
        ------
        ModelError
            If there are none, one occurs twice, or one cannot be read.
        """
        labels, template = checked_prompts(prompts), self.template if template is None else checked_template(template)
        known = dict(zip(self.labels, self.module.text, strict=True)) if template == self.template else {}
        new = [label for label in labels if label not in known]
        if new:
            known |= dict(zip(new, self.embed_text([filled_in(template, label) for label in new]), strict=True))
        module = PromptLogits(self.towers, torch.stack([known[label] for label in labels]), template)
        return ZeroShot.of(self, module, labels)

    def with_labels(self, labels: Sequence[str]) -> "ZeroShot":
        """Returns a classifier that has these prompts too; itself, if it has them all."""
        new = [label for label in dict.fromkeys(labels) if label not in self.labels]
        return self.with_prompts([*self.labels, *new]) if new else self

    def with_map(self, layer: str, axes: MapAxes | None = None) -> "ZeroShot":
        """Returns the same classifier with its map at another layer."""
        other = ZeroShot.of(super().with_map(layer, axes))
        other._known_axes = None
        return other

    def _probe_geometry(self, n_samples: int) -> Geometry:
        """Returns the geometry: of a square picture's tokens it is known, and attention hides it from probes."""
        if not isinstance(self.map_axes, TokenGrid) or not self.map_axes.square:
            return super()._probe_geometry(n_samples)
        with traceable():
            samples = self._noise(n_samples)
            sizes = zip(self.at(samples, "map").shape[2:], self.at(samples, "features").shape[1:], strict=True)
        return self._geometry_of((_even(*next(sizes)), _even(*next(sizes))), n_samples)


def zero_shot(
    towers: Towers,
    front_end: FrontEnd,
    prompts: Sequence[str],
    *,
    template: str = TEMPLATE,
    map_layer: str,
    map_axes: MapAxes = "FT",
    feature_axes: FeatureAxes = "FT",
    **options: Any,
) -> ZeroShot:
    """Returns a classifier whose labels are prompts.

    Parameters
    ----------
    towers
        Both encoders; never changed.
    front_end
        Turns samples into the features that the encoder of sounds takes.
    prompts
        Words, one for each label; they are put into the template, and embedded once.
    template
        Has `{}` where the words go.
    map_layer
        Name of a layer of the encoder of sounds, as in `towers.named_modules()`.
    map_axes, feature_axes, options
        As in `wrap`.

    Raises
    ------
    ModelError
        If a prompt or the template is of no use, or what `wrap` refuses.
    """
    from .wrap import wrap

    labels = checked_prompts(prompts)
    checked_template(template)
    with at_rest(towers), traceable():
        text = towers.text([filled_in(template, label) for label in labels])
    module = PromptLogits(towers, text.detach(), template)
    options = {"name": type(towers).__name__, **options}
    options["blocks"] = tuple(f"towers.{block}" for block in options.get("blocks", ()))
    place: dict[str, Any] = {"map_layer": f"towers.{map_layer}", "map_axes": map_axes, "feature_axes": feature_axes}
    return ZeroShot.of(wrap(module, front_end, labels, **place, **options))


def filled_in(template: str, words: str) -> str:
    """Returns a prompt's whole text."""
    return template.replace("{}", words)


def checked_template(template: str) -> str:
    """Returns a template; refuses one without a place for words.

    Raises
    ------
    ModelError
        If it has none.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ModelError(f"A template has one {{}} where a prompt's words go, got {template!r}; as in {TEMPLATE!r}.")
    return template


def checked_prompts(prompts: object) -> tuple[str, ...]:
    """Returns prompts without blanks around them; refuses none, empty ones, and duplicates.

    Raises
    ------
    ModelError
        If there is one of these.
    """
    if isinstance(prompts, str) or not isinstance(prompts, Sequence) or any(not isinstance(p, str) for p in prompts):
        raise ModelError(f"Prompts are a list of texts, got {str(prompts)[:80]!r}; write prompts=['dog', 'rain'].")
    words = tuple(" ".join(prompt.split()) for prompt in prompts)
    if not words:
        raise ModelError("No prompt was given, and these are the labels; write prompts=['dog', 'rain'].")
    if "" in words:
        raise ModelError(f"Prompt {words.index('') + 1} of {len(words)} is empty; write words, or leave it out.")
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise ModelError(f"Prompts occur more than once: {', '.join(map(repr, twice[:5]))}; give each of them once.")
    return words


def _even(n_cells: int, n_inputs: int) -> Axis:
    """Returns an axis whose cells share the inputs evenly, and see all of them."""
    jump = n_inputs / n_cells
    return Axis(n_cells, n_inputs, (jump - 1) / 2, jump, float(n_inputs), walked=True)


def _same(classifier: Classifier) -> dict[str, Any]:
    """Returns what a classifier of the same towers shares with another."""
    return {
        "map_layer": classifier.map_layer,
        "task": classifier.task,
        "threshold": classifier.threshold,
        "map_axes": classifier.map_axes,
        "feature_axes": classifier.feature_axes,
        "name": classifier.name,
        "probe_s": classifier.probe_s,
        "card": classifier.card,
        "blocks": classifier.blocks,
    }
