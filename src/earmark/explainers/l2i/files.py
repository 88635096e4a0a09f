"""An L2I on disk: `config.json`, `model.safetensors` (dictionary, psi and theta), a card."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap
from ...training.loop import seeded_globals
from ..fitted import load_fitted, readable, save_fitted
from .config import L2iConfig
from .decoder import Interpreter

if TYPE_CHECKING:
    from .explainer import L2i

COSTS = ("seconds",)  # diagnostics that differ between two runs of one fit, and are not kept

_CARD = """# L2I for {classifier}

A dictionary of {n_components} spectra, how active each is by what the classifier hears, and a linear imitation of its
output by which components are found relevant. Components are heard one by one.

| | |
|---|---|
| classifier | {classifier} (`{fingerprint}`) |
| preset, activations | {preset}, {activations} |
| reads | {layers} |
| data | {data}; folds {folds} |
| clips | {n_clips} to learn from, {n_held_out} to choose the epoch by |
| dictionary | {n_columns} frames, relative error {nmf_error}, {n_dead} dead components |
| parameters | {parameters} |
| multiply-adds | {multiply_adds} for a clip of {probe_s:g} s |
| chosen epoch | {epoch}: {held_out} |
| cost of the fit | {forward_passes} forward passes of clips |
"""


def save_l2i(l2i: "L2i", folder: Path) -> Path:
    """Writes the folder."""
    kept = {name: value for name, value in l2i.diagnostics.items() if name not in COSTS}
    about = {"taps": [asdict(tap) for tap in l2i.taps], "diagnostics": kept}
    return save_fitted(folder, "l2i", l2i.classifier, l2i.config, l2i.network.state_dict(), about, card_of(l2i))


def load_l2i(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Returns the arguments of `L2i`.

    Raises
    ------
    MismatchError
        If it was fitted to another classifier, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    about, tensors = load_fitted(folder, "l2i", classifier)
    with readable(folder, "l2i"):
        config = L2iConfig.from_dict(about["config"])
        taps = tuple(Tap(**tap) for tap in about["taps"])
        with seeded_globals(config.seed):  # first weights are drawn, and replaced at once
            network = Interpreter(taps, tensors["W"], len(classifier.labels), config)
        network.load_state_dict(tensors)
        network = network.to(classifier.device)
        return {"config": config, "taps": taps, "network": network, "diagnostics": dict(about["diagnostics"])}


def card_of(l2i: "L2i") -> str:
    """Returns the card in Markdown."""
    values = {key: _short(value) for key, value in l2i.diagnostics.items() if key != "held_out"}
    held_out = ", ".join(f"{name} {value:.3g}" for name, value in l2i.diagnostics.get("held_out", {}).items())
    return _CARD.format_map(
        _Blank(
            {
                **values,
                "held_out": held_out or "-",
                "classifier": l2i.classifier.name,
                "fingerprint": l2i.classifier.fingerprint[:12],
                "n_components": l2i.dictionary.shape[1],
                "preset": l2i.config.preset,
                "activations": l2i.config.activations,
                "layers": ", ".join(f"`{tap.layer}`" for tap in l2i.taps),
                "probe_s": l2i.classifier.probe_s,
            }
        )
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


class _Blank(dict[str, Any]):
    """Shows a value that was not measured as a dash."""

    def __missing__(self, key: str) -> str:
        return "-"
