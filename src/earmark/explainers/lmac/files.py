"""An L-MAC on disk: `config.json`, `model.safetensors` (the decoder), a card."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap
from ..fitted import load_fitted, readable, save_fitted
from .config import LmacConfig
from .decoder import decoder_of

if TYPE_CHECKING:
    from .explainer import Lmac

_CARD = """# L-MAC for {classifier}

A decoder of the classifier's maps that draws a mask on the sound's spectrogram: what it keeps is decided as the whole.

| | |
|---|---|
| classifier | {classifier} (`{fingerprint}`) |
| preset, objective | {preset}, {objective} |
| reads | {layers} |
| data | {data}; folds {folds} |
| clips | {n_clips} to learn from, {n_held_out} to choose the epoch by |
| parameters | {parameters:,} ({parameters_share:.1%} of the classifier's) |
| multiply-adds | {multiply_adds:,} for a clip of {probe_s:g} s ({multiply_adds_share:.1%} of the classifier's) |
| chosen epoch | {epoch}: {held_out} |
| cost of the fit | {forward_passes:,} forward passes of clips |
"""


def save_lmac(lmac: "Lmac", folder: Path) -> Path:
    """Writes the folder."""
    sizes = {"width": getattr(lmac.decoder, "width", 0)}
    kept = {name: value for name, value in lmac.diagnostics.items() if name != "seconds"}
    about = {"taps": [asdict(tap) for tap in lmac.taps], "decoder": sizes, "diagnostics": kept}
    tensors = dict(lmac.decoder.state_dict())
    return save_fitted(folder, "lmac", lmac.classifier, lmac.config, tensors, about, card_of(lmac))


def load_lmac(folder: Path, classifier: Classifier) -> dict[str, Any]:
    """Returns the arguments of `Lmac`.

    Raises
    ------
    MismatchError
        If it was fitted to another classifier, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    about, tensors = load_fitted(folder, "lmac", classifier)
    with readable(folder, "lmac"):
        config = LmacConfig.from_dict(about["config"])
        taps = tuple(Tap(**tap) for tap in about["taps"])
        decoder = decoder_of(config, taps, len(classifier.labels), about["decoder"]["width"])
        decoder.load_state_dict(tensors)
        return {
            "config": config,
            "taps": taps,
            "decoder": decoder.to(classifier.device),
            "diagnostics": about["diagnostics"],
        }


def card_of(lmac: "Lmac") -> str:
    """Returns the card in Markdown."""
    d = {
        "data": "-",
        "folds": "-",
        "n_clips": 0,
        "n_held_out": 0,
        "epoch": "-",
        "forward_passes": 0,
        **lmac.diagnostics,
    }
    d |= {} if "parameters" in d else lmac.masker.cost()
    held_out = ", ".join(f"{name} {value:.3g}" for name, value in d.get("held_out", {}).items()) or "-"
    return _CARD.format_map(
        {
            **d,
            "held_out": held_out,
            "classifier": lmac.classifier.name,
            "fingerprint": lmac.classifier.fingerprint[:12],
            "preset": lmac.config.preset,
            "objective": lmac.config.objective,
            "layers": ", ".join(f"`{tap.layer}`" for tap in lmac.taps),
            "probe_s": lmac.classifier.probe_s,
        }
    )
