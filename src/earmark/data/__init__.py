"""Clips: generated scenes with known evidence, and folders and tables of recordings."""

from importlib import import_module
from typing import Any

_HOMES = {
    "SceneConfig": "config",
    "folder": "folders",
    "table": "folders",
    "labels_of": "folders",
    "parse_folds": "folders",
    "split_by_group": "folders",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
