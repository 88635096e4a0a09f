"""Clips: generated scenes with known evidence, folders and tables of recordings, published sets, and mixtures."""

from importlib import import_module
from typing import Any

_HOMES = {
    "SceneConfig": "config",
    "folder": "folders",
    "table": "folders",
    "labels_of": "folders",
    "parse_folds": "folders",
    "split_by_group": "folders",
    "Mixture": "mixtures",
    "Parts": "mixtures",
    "mix": "mixtures",
    "noise_split": "mixtures",
    "parts_of": "mixtures",
    "Recipe": "recipes",
    "parse_mixture": "recipes",
    "recipe": "recipes",
    "PUBLISHED": "published",
    "read_published": "published",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
