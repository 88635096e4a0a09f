"""A classifier with re-drawn weights: a copy, layer by layer, with statistics of normalization estimated anew.

A layer is a module with parameters of its own, in the order in which data reaches it; one that is never called (such as
the output projection inside an attention) stands where the module around it does. A layer of normalization counts with
the layer before it. The user's module is never touched, and no global random state is changed.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..classifiers.base import Classifier
from ..classifiers.surgery import at_rest, traceable
from ..errors import InputError, ModelError
from ..types import seeded

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
RESETS = ("reset_parameters", "_reset_parameters")
STREAM = 77  # of the seeds of new weights


@dataclass(frozen=True)
class Layer:
    """Modules that are re-drawn together.

    Parameters
    ----------
    names
        As in `module.named_modules()`, in the order of the data.
    n_parameters
        Numbers that are re-drawn.
    """

    names: tuple[str, ...]
    n_parameters: int

    @property
    def name(self) -> str:
        """The first module's name."""
        return self.names[0] or "(root)"


class Redraw:
    """Makes copies of a classifier with re-drawn layers.

    Parameters
    ----------
    classifier
        What is copied.
    statistics
        Batches `[batch, sample]` by which statistics of normalization are estimated.
    most
        Longer chains of layers are put together to at most so many.
    parity
        As published: layers of normalization and the head are left alone.

    Raises
    ------
    ModelError
        If the module cannot be copied, or has nothing that can be re-drawn.
    """

    def __init__(
        self, classifier: Classifier, statistics: Sequence[Tensor], *, most: int = 24, parity: bool = False
    ) -> None:
        self.classifier, self.statistics, self.parity = classifier, statistics, parity
        places = _places(classifier)
        self._place = {name: place for place, name in enumerate(places)}
        layers = _layers(classifier.module, places, parity)
        if not layers:
            raise ModelError(
                f"{classifier.name} has no layers whose parameters can be re-drawn"
                + (" beside its head" if parity else "")
                + "; leave out the check randomization."
            )
        self.layers = _together(layers, most)

    def draw(self, layers: Iterable[int], seed: int) -> Classifier:
        """Returns a copy in which some layers, by position, are re-drawn; a layer's draw depends on the seed alone."""
        chosen = [name for i in sorted(layers) for name in self.layers[i].names]
        other = copied(self.classifier)
        modules = dict(other.module.named_modules())
        with at_rest(), traceable():
            for name in chosen:
                _redraw(modules[name], seed, self._place[name])
        if not self.parity:
            self._estimate(other, min(self._place[name] for name in chosen))
        return other

    @property
    def by_normal(self) -> list[str]:
        """The modules without an initializer of their own."""
        modules = dict(self.classifier.module.named_modules())
        names = [name for layer in self.layers for name in layer.names]
        return [name or "(root)" for name in names if _initializer(modules[name]) is None]

    @property
    def n_statistics(self) -> int:
        """Clips by which statistics of normalization are estimated."""
        return sum(map(len, self.statistics))

    def _estimate(self, other: Classifier, first: int) -> None:
        """Estimates the statistics of all normalization behind the first re-drawn layer, in one pass over the clips."""
        norms = [
            part
            for name, part in other.module.named_modules()
            if isinstance(part, _NormBase) and part.running_mean is not None and self._place.get(name, first) >= first
        ]
        if norms:
            estimate(other, norms, self.statistics)


def estimate(classifier: Classifier, norms: Sequence[_NormBase], batches: Iterable[Tensor]) -> None:
    """Sets running means and variances to the mean of those of batches; each layer hears what the ones before it say.

    Raises
    ------
    InputError
        If no batch can be normalized by itself, since it has one value per channel.
    """
    momenta, n_done = [norm.momentum for norm in norms], 0
    with at_rest(classifier.module), traceable():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum, norm.training = None, True  # None: a plain mean over batches
            for samples in batches:
                try:
                    classifier._run(classifier._features(samples))
                    n_done += 1
                except ModelError as error:
                    if "more than 1 value per channel" not in str(error):
                        raise
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if not n_done:
        raise InputError(
            f"Statistics of normalization of {classifier.name} are estimated on batches of two or more clips of one "
            "length, and there is none; check more clips."
        )


def copied(classifier: Classifier) -> Classifier:
    """Returns a deep copy: other weights in the same memory layout, the same front end, labels and geometry.

    A head that is a plain function cannot be copied with the module: the copy is then entered through its map layer.

    Raises
    ------
    ModelError
        If the module cannot be copied.
    """
    head = classifier._given_head
    if isinstance(head, FunctionType | BuiltinFunctionType) or not _is_inside(head, classifier.module):
        head = None
    try:
        module, head = copy.deepcopy((classifier.module, head))
    except Exception as error:
        raise ModelError(
            f"The module of {classifier.name} cannot be copied ({type(error).__name__}: {error}), so no copy of it can "
            "be re-drawn; leave out the check randomization, or make its tensors leaves."
        ) from error
    other = Classifier(
        module,
        classifier.front_end,
        classifier.labels,
        map_layer=classifier.map_layer,
        head=head,
        task=classifier.task,
        threshold=classifier.threshold,
        map_axes=classifier.map_axes,
        feature_axes=classifier.feature_axes,
        name=classifier.name,
        probe_s=classifier.probe_s,
        card=classifier.card,
    )
    other._known_axes, other._geometry = classifier._known_axes, classifier._geometry
    return other


def _is_inside(head: Any, module: nn.Module) -> bool:
    """Says whether all parameters of a head that is a module are the module's own."""
    if not isinstance(head, nn.Module):
        return True
    own = {id(parameter) for parameter in module.parameters()}
    return all(id(parameter) in own for parameter in head.parameters())


# -- layers ---------------------------------------------------------------------------------------------------------


def _places(classifier: Classifier) -> list[str]:
    """Returns all module names in the order in which data first reaches them, by hooks on a copy."""
    other, first = copied(classifier), dict[str, int]()
    names = [name for name, _ in other.module.named_modules()]

    def reached(name: str, _module: nn.Module, _inputs: Any) -> None:
        first.setdefault(name, len(first))

    parts = other.module.named_modules()
    handles = [part.register_forward_pre_hook(partial(reached, name)) for name, part in parts]
    try:
        with traceable():
            other.logits(other._noise())
    finally:
        for handle in handles:
            handle.remove()
    return sorted(names, key=lambda name: (_reached(name, first), names.index(name)))


def _reached(name: str, first: dict[str, int]) -> int:
    """Returns when a module, or else the nearest one around it, was called."""
    while name and name not in first:
        name = name.rpartition(".")[0]
    return first.get(name, -1)


def _layers(module: nn.Module, places: Sequence[str], parity: bool) -> list[Layer]:
    modules = dict(module.named_modules())
    own = [name for name in places if any(p is not None for p in modules[name]._parameters.values())]
    if parity:
        plain = [name for name in own if not isinstance(modules[name], NORMS)]
        return [_layer(modules, [name]) for name in plain[:-1]]
    groups: list[list[str]] = []
    for name in own:
        if groups and isinstance(modules[name], NORMS):
            groups[-1].append(name)
        else:
            groups.append([name])
    return [_layer(modules, names) for names in groups]


def _layer(modules: dict[str, nn.Module], names: Sequence[str]) -> Layer:
    return Layer(tuple(names), sum(p.numel() for name in names for p in modules[name].parameters(recurse=False)))


def _together(layers: Sequence[Layer], most: int) -> list[Layer]:
    """Puts neighbors together until there are at most so many; the head stays alone."""
    if len(layers) <= most:
        return list(layers)
    body, size = layers[:-1], math.ceil((len(layers) - 1) / max(most - 1, 1))
    if most == 1:
        body, size = layers, len(layers)
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    joined = [
        Layer(tuple(name for one in part for name in one.names), sum(one.n_parameters for one in part))
        for part in parts
    ]
    return joined if most == 1 else [*joined, layers[-1]]


# -- new weights ----------------------------------------------------------------------------------------------------


def _initializer(module: nn.Module) -> Callable[[], Any] | None:
    """Returns a module's default initializer, if it has one that needs no arguments."""
    for name in RESETS:
        found = getattr(module, name, None)
        if callable(found):
            wanted = [p for p in inspect.signature(found).parameters.values() if p.default is p.empty]
            if not [p for p in wanted if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
                return found
    return None


def _redraw(module: nn.Module, seed: int, place: int) -> None:
    """Re-draws a module's own parameters, on the CPU, so that no generator of a GPU is touched."""
    initializer = _initializer(module)
    if initializer is None:
        _normal(module, seed, place)
        return
    device = next(module.parameters(recurse=False)).device
    with torch.random.fork_rng(devices=[]):  # initializers take no generator
        torch.default_generator.manual_seed(seeded(seed, STREAM, place).initial_seed())
        try:
            module.to("cpu")
            initializer()
        finally:
            module.to(device)


def _normal(module: nn.Module, seed: int, place: int) -> None:
    """Re-draws each tensor from a normal distribution with its own mean and deviation.

    A tensor of one value throughout has no deviation: its size is taken, or 1 where it is zero.
    """
    generator = seeded(seed, STREAM, place)
    for parameter in module.parameters(recurse=False):
        if not parameter.is_floating_point():
            continue
        mean, spread = float(parameter.double().mean()), float(parameter.double().std(correction=0))
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_((mean + (spread or abs(mean) or 1.0) * noise).to(parameter))
