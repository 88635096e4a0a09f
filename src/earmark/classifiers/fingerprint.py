"""The hash by which what is fitted to a classifier knows it again."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def fingerprint_of(about: dict[str, Any], parts: Sequence[nn.Module]) -> str:
    """Returns the sha256 of a description, and of everything in the modules' state."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for key, value in [item for part in parts for item in sorted(part.state_dict().items())]:
        if not isinstance(value, Tensor):  # a module's extra state
            digest.update(f"{key}:{json.dumps(value, sort_keys=True, default=_kind)}".encode())
            continue
        digest.update(f"{key}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kind(value: object) -> str:
    return type(value).__name__
