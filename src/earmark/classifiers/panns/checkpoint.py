"""Checkpoints of PANNs: read safely, taken apart into network and front end, and named as the network is."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch raises where it refuses
from typing import Any, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import ModelError
from .network import CNNS, RESNETS, Architecture, PannsConfig

State = dict[str, Tensor]

#: Where training scripts put the weights among other things.
FOLDS = ("model", "state_dict", "model_state_dict")

FIRST = "conv_block1.conv1.weight"
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")
HEAD = "fc_audioset"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The parts of a checkpoint.

    Parameters
    ----------
    config
        The network that its names and shapes describe.
    state
        Weights of that network, by its own names.
    buffers
        Of the front end; may be empty.
    head
        What the last layer was called in the file.
    """

    config: PannsConfig
    state: State
    buffers: State
    head: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns the parts of a file of PANNs weights; nothing in it is run.

    Raises
    ------
    ModelError
        If it cannot be read safely, or does not hold a network of PANNs whose weights are finite and not halved.
    """
    return take_apart(_read_state(path), path.name)


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with _numpy_arrays():
            # A pickle can run any code when it is read; this reader builds tensors, plain containers, and the arrays
            # that are named below, and refuses every other name.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path.name} is not read, because it holds more than weights and what is unpickled can run any code "
            f"({_reason(error)}); save its state_dict alone, as safetensors or with torch.save."
        ) from error
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist; name a file of PANNs weights (.pth or .safetensors).") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{path.name} cannot be read as weights ({_reason(error)}); expected was a whole .pth or .safetensors "
            "file: copy or fetch it again."
        ) from error
    return content if isinstance(content, Mapping) else {}


def _numpy_arrays() -> AbstractContextManager[None]:
    """Lets plain arrays of numbers pass: the published CNN files keep the state of their sampler beside the weights."""
    rebuild: Any = np.array(0).__reduce__()[0]
    names = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    numbers = [type(np.dtype(kind)) for kind in ("i8", "i4", "f8", "f4", "?")]
    allowed: list[Any] = [*names, np.ndarray, np.dtype, *numbers]
    return torch.serialization.safe_globals(allowed)


def _reason(error: Exception) -> str:
    """Returns the one telling line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {telling[:160].rstrip('. ')}"


def take_apart(content: Mapping[str, Any], name: str) -> Checkpoint:
    """Returns the parts of a state dict, bare or under `model`; see `read_checkpoint`.

    Parameters
    ----------
    name
        The file's, for sentences.
    """
    tensors = _state_dict(content)
    first = next((key for key in tensors if key == FIRST or key.endswith(f".{FIRST}")), None)
    if first is None:
        raise ModelError(
            f"{name} is not a state dict of PANNs: {FIRST!r} was expected, "
            f"{_some(tensors) if tensors else 'no tensors were'} found; wrap the network in a Python file instead."
        )
    prefix = first.removesuffix(FIRST)
    inner = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    outer = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    buffers = {key: inner.pop(key) for key in list(inner) if key.startswith(FRONT_END)}
    state, head = _with_head(inner, outer, name)
    _check_values(state, name)
    return Checkpoint(_described(state, name), state, buffers, head)


def _state_dict(content: Mapping[str, Any]) -> State:
    for fold in FOLDS:
        if isinstance(content.get(fold), Mapping):
            content = content[fold]
            break
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _with_head(inner: State, outer: State, name: str) -> tuple[State, str]:
    """Returns the weights with the last layer under its published name, and the name that it had.

    Fine-tuned networks have a last layer of another name, inside or beside the published network, whose own last layer
    is then kept in the file but not used.
    """
    state = {**inner, **outer}
    heads = [head for head in _linears(state) if head != "fc1"]
    new = [head for head in heads if head != HEAD]
    twice = [key for key in inner if key in outer and not key.startswith(f"{HEAD}.")]
    if len(new) > 1 or not heads or twice:
        raise ModelError(
            f"{name} has {len(heads)} last layers ({', '.join(heads[:5] + twice[:5]) or 'none'}), one matrix such as "
            f"{HEAD}.weight was expected; wrap the network in a Python file instead."
        )
    if not new:
        return state, HEAD
    body = {key: value for key, value in state.items() if not key.startswith(f"{HEAD}.")}
    return {
        f"{HEAD}{key.removeprefix(new[0])}" if key.startswith(f"{new[0]}.") else key: body[key] for key in body
    }, new[0]


def _linears(state: State) -> list[str]:
    """Returns the names of linear layers."""
    return [key.removesuffix(".weight") for key, value in state.items() if key.endswith(".weight") and value.ndim == 2]


def _check_values(state: State, name: str) -> None:
    for key, value in state.items():
        if value.is_floating_point() and value.dtype not in (torch.float32, torch.float64):
            raise ModelError(
                f"{name} has weights in {value.dtype} ({key}), float32 or float64 were expected; save them with "
                ".float()."
            )
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{name} has NaN or infinite weights ({key}), finite ones were expected; train it again.")


def _described(state: State, name: str) -> PannsConfig:
    """Returns the network that names and shapes describe."""
    needed = ("bn0.weight", "fc1.weight", f"{HEAD}.weight")
    missing = [key for key in needed if key not in state]
    if missing:
        raise ModelError(f"{name} lacks {', '.join(missing)} of a PANNs network; save its whole state_dict.")
    return PannsConfig(
        architecture=_architecture(state, name),
        n_labels=len(state[f"{HEAD}.weight"]),
        n_mels=len(state["bn0.weight"]),
        width=len(state[FIRST]),
        embedding=len(state["fc1.weight"]),
    )


def _architecture(state: State, name: str) -> Architecture:
    """Returns which network has these names: by its residual blocks, or by number and size of its convolutions."""
    if any(key.startswith("resnet.") for key in state):
        found: Any = tuple(
            len({key.split(".")[2] for key in state if key.startswith(f"resnet.layer{i}.")}) for i in range(1, 5)
        )
        known: dict[Any, str] = {n_blocks: kind for kind, n_blocks in RESNETS.items()}
        bottleneck = any(key.endswith("conv3.weight") for key in state)
        found = (*found, "bottleneck") if bottleneck else found
    else:
        convolutions = 2 if "conv_block1.conv2.weight" in state else 1
        blocks = {key.split(".")[0] for key in state if key.startswith("conv_block")}
        found = convolutions, state[FIRST].shape[-1], len(blocks)
        known = {shape: kind for kind, shape in CNNS.items()}
    for kind in get_args(Architecture):
        if known.get(found) == kind:
            return kind
    raise ModelError(
        f"{name} is a PANNs network that is not known here (blocks {found}), "
        f"one of {', '.join(get_args(Architecture))} was expected; wrap the network in a Python file instead."
    )


def check_shapes(network: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Refuses weights that are not exactly those of a network, by name and shape.

    Raises
    ------
    ModelError
        If one is missing, beyond these, or of another shape.
    """
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in checkpoint.state.items()}
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    more = [key for key in found if key not in expected]
    other = [f"{key} {found[key]}, not {expected[key]}" for key in found if found[key] != expected.get(key, found[key])]
    wrong = [
        f"{len(keys)} {what} ({', '.join(keys[:3])})"
        for what, keys in (("are missing", missing), ("are beyond these", more), ("have other shapes", other))
        if keys
    ]
    if wrong:
        raise ModelError(
            f"{name} does not hold the weights of {checkpoint.config.architecture.upper()} with width "
            f"{checkpoint.config.width}: {'; '.join(wrong)}; save its whole state_dict, or wrap the network in a "
            "Python file instead."
        )


def _some(tensors: State) -> str:
    return ", ".join(repr(key) for key in list(tensors)[:3])
