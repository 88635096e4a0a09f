"""An LMAC-TD on disk: `config.json`, `model.safetensors` (autoencoder and masker), a card."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap
from ..fitted import load_fitted, readable, save_fitted
from .autoencoder import Autoencoder
from .config import LmacTdConfig
from .separator import Masker, Separator

if TYPE_CHECKING:
    from .explainer import LmacTd

KIND = "lmac-td"
COSTS = ("seconds",)  # differ between two runs of one fit, and are not kept

_CARD = """# LMAC-TD for {classifier}

A mask on a code of the waveform, drawn from the code and from the classifier's maps: what it keeps is decided as the
whole clip, and is a sound that is scored as it is heard.

| | |
|---|---|
| classifier | {classifier} (`{fingerprint}`) |
| preset | {preset}; alpha {alpha:g} (0: audio alone, 1: the classifier's maps alone) |
| reads | {layers} |
| basis | {basis}, {n_filters} filters of {n_window} samples, hop {hop_length} |
| reconstruction of held-out clips | {reconstruction_snr_db:.1f} dB |
| weights | {lambda_in:g} in, {lambda_out:g} out ({out_loss}), {lambda_l1:g} mask, {lambda_kept:g} kept |
| further weights | {lambda_spec:g} spectrogram, {lambda_sum:g} sum |
| what is left out | {left_out} |
| data | {data}; folds {folds} |
| clips | {n_clips} to learn from, {n_held_out} to choose the epoch by |
| parameters | {parameters:,} trained, {autoencoder_parameters:,} in the autoencoder |
| multiply-adds | {multiply_adds:,} for a clip of {probe_s:g} s ({multiply_adds_share:.0%} of the classifier's) |
| chosen epoch | {epoch}: {held_out} |
| cost of the fit | {forward_passes:,} forward passes of clips |

Masks on the spectrogram that go with its explanations are derived from the sounds, not applied.
"""


def save_lmac_td(explainer: "LmacTd", folder: Path) -> Path:
    """Writes the folder."""
    mine = explainer.separator
    kept = {name: value for name, value in explainer.diagnostics.items() if name not in COSTS}
    about = {
        "taps": [asdict(tap) for tap in mine.taps],
        "autoencoder": {"n_window": mine.code.n_window, "n_filters": mine.code.n_filters},
        "diagnostics": kept,
    }
    tensors = {f"autoencoder.{name}": value for name, value in mine.code.state_dict().items()}
    tensors |= {f"masker.{name}": value for name, value in mine.masker.state_dict().items()}
    return save_fitted(folder, KIND, explainer.classifier, explainer.config, tensors, about, card_of(explainer))


def load_lmac_td(folder: Path, classifier: Classifier) -> tuple[Separator, dict[str, Any]]:
    """Returns the separator and the diagnostics.

    Raises
    ------
    MismatchError
        If it was fitted to another classifier, or written by a newer version.
    ModelError
        If files are missing or damaged.
    """
    about, tensors = load_fitted(folder, KIND, classifier)
    with readable(folder, KIND):
        config = LmacTdConfig.from_dict(about["config"])
        taps = tuple(Tap(**tap) for tap in about["taps"])
        code = Autoencoder(**about["autoencoder"])
        masker = Masker(taps, classifier, code, config)
        for name, part in (("autoencoder.", code), ("masker.", masker)):
            part.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
        code, masker = code.to(classifier.device), masker.to(classifier.device)
        return Separator(classifier, config, taps, code, masker), dict(about["diagnostics"])


def card_of(explainer: "LmacTd") -> str:
    """Returns the card in Markdown."""
    mine, config = explainer.separator, explainer.config
    unknown = {"data": "-", "folds": "-", "n_clips": 0, "n_held_out": 0, "epoch": "-", "forward_passes": 0}
    d = {**unknown, "reconstruction_snr_db": float("nan"), **explainer.diagnostics}
    d |= {} if "parameters" in d else mine.cost()
    return _CARD.format_map(
        {
            **config.to_dict(),
            **d,
            "held_out": ", ".join(f"{name} {value:.3g}" for name, value in d.get("held_out", {}).items()) or "-",
            "classifier": explainer.classifier.name,
            "fingerprint": explainer.classifier.fingerprint[:12],
            "layers": ", ".join(f"`{tap.layer}`" for tap in mine.taps) if config.alpha else "no layer",
            "left_out": "the clip minus what is kept" if config.projection else "decoded from 1 - m",
            "n_filters": mine.code.n_filters,
            "n_window": mine.code.n_window,
            "hop_length": mine.code.hop_length,
            "probe_s": explainer.classifier.probe_s,
        }
    )
