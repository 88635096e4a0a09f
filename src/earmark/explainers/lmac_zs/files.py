"""An LMAC-ZS on disk: `config.json`, `model.safetensors` (the decoder), a card; for towers, whatever the prompts."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...classifiers.taps import Tap
from ...classifiers.zero_shot import ZeroShot
from ..fitted import load_fitted, readable, save_fitted
from .config import LmacZsConfig
from .decoder import zs_decoder_of

if TYPE_CHECKING:
    from .explainer import LmacZs

_CARD = """# LMAC-ZS for {classifier}

A decoder of the model's maps that is told a text, and draws what of a sound speaks for it: any text, any clip.

| | |
|---|---|
| model | {classifier} (`{fingerprint}`, both towers) |
| learned from prompts | {prompts}; in {template!r} |
| reads | {layers} |
| data | {data}; folds {folds} |
| clips | {n_clips} to learn from, {n_held_out} to choose the epoch by |
| parameters | {parameters:,} ({parameters_share:.1%} of the model's) |
| multiply-adds | {multiply_adds:,} for a clip of {probe_s:g} s ({multiply_adds_share:.1%} of the model's) |
| chosen epoch | {epoch}: {held_out} |
| cost of the fit | {forward_passes:,} forward passes of clips |
"""
_SHOWN = 20  # prompts on the card


def save_lmac_zs(lmac: "LmacZs", folder: Path) -> Path:
    """Writes the folder."""
    kept = {name: value for name, value in lmac.diagnostics.items() if name != "seconds"}
    about = {"taps": [asdict(tap) for tap in lmac.taps], "decoder": {"width": lmac.decoder.width}, "diagnostics": kept}
    towers = lmac.classifier.embedder
    return save_fitted(folder, "lmac-zs", towers, lmac.config, dict(lmac.decoder.state_dict()), about, card_of(lmac))


def load_lmac_zs(folder: Path, classifier: ZeroShot) -> dict[str, Any]:
    """Returns the arguments of `LmacZs`.

    Raises
    ------
    MismatchError
        If it was fitted to other towers, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    towers = classifier.embedder
    about, tensors = load_fitted(folder, "lmac-zs", towers)
    with readable(folder, "lmac-zs"):
        config = LmacZsConfig.from_dict(about["config"])
        taps = tuple(Tap(**tap) for tap in about["taps"])
        decoder = zs_decoder_of(config, taps, len(towers.labels), about["decoder"]["width"])
        decoder.load_state_dict(tensors)
        moved = decoder.to(classifier.device)
        return {"config": config, "taps": taps, "decoder": moved, "diagnostics": about["diagnostics"]}


def card_of(lmac: "LmacZs") -> str:
    """Returns the card in Markdown."""
    unknown = dict.fromkeys(("data", "folds", "epoch", "template"), "-")
    d = {**unknown, "n_clips": 0, "n_held_out": 0, "forward_passes": 0, "prompts": [], **lmac.diagnostics}
    d |= {} if "parameters" in d else lmac.masker.cost()
    prompts, more = d["prompts"][:_SHOWN], len(d["prompts"]) - _SHOWN
    told = {
        "held_out": ", ".join(f"{name} {value:.3g}" for name, value in d.get("held_out", {}).items()) or "-",
        "prompts": ", ".join(prompts) + (f" and {more} more" if more > 0 else ""),
        "classifier": lmac.classifier.name,
        "fingerprint": lmac.classifier.tower_fingerprint[:12],
        "layers": ", ".join(f"`{tap.layer}`" for tap in lmac.taps),
        "probe_s": lmac.classifier.probe_s,
    }
    return _CARD.format_map({**d, **told})
