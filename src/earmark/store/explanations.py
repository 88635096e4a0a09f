"""An explanation as a folder: a page to look at, exact numbers to compute with, sounds, and tables for other tools.

`tensors.safetensors` holds the exact values, the clip's own samples among them, so what is loaded equals what was
saved bit for bit. The three FLAC files share one gain, recorded under `provenance.gain`, and are 24 bit: in whole
steps, evidence and complement add up to the original, sample by sample.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..audio.files import file_sha256
from ..audio.stft import Stft
from ..audio.waveform import Waveform
from ..classifiers.base import Grid
from ..errors import InputError, MismatchError
from ..evidence import EVIDENCE, PrototypeEvidence
from ..explanation import Explanation, Provenance
from ..masking import common_gain
from ..render.page import explanation_page, index_page
from ..types import Prediction, Target
from .beside import MASK, check_beside, written_masks
from .folders import check_free, replacing
from .sounds import FolderSounds, check_flac, save_prototypes, to_steps, write_flac
from .tables import audacity_labels, raven_table
from .whole import FILES, listed, sealed, to_json

SCHEMA = 1
MARKER = "explanation.json"
LIST = "explanations.json"  # of a folder with one explanation per label
OURS = (
    "index.html",
    MARKER,
    LIST,
    "tensors.safetensors",
    "original.flac",
    "evidence.flac",
    "complement.flac",
    "residual.flac",
    "prototypes",
    "regions.raven.txt",
    "regions.audacity.txt",
)


def save_explanation(
    explanation: Explanation,
    folder: str | Path,
    *,
    page: bool = True,
    made_from: Mapping[str, str] | None = None,
    beside: Explanation | None = None,
) -> Path:
    """Writes an explanation's folder, whole or not at all; who saves into the same place meanwhile waits.

    Parameters
    ----------
    folder
        A new or empty folder, or an explanation's, which is replaced; files that a person put there are kept.
    page
        Whether `index.html` is made, the part that takes longest.
    made_from
        What led to it, for whoever asks whether it has to be made again, see `earmark.run.known`.
    beside
        An explanation of the same clip and target by a mask: it becomes a folder of its own in this one, `mask/`, and
        a section of the page.

    Raises
    ------
    InputError
        If the folder holds other things, FLAC cannot hold the sound (more than 8 channels), a value that goes into
        `explanation.json` is not finite, or `beside` is of another clip or target.
    """
    folder = Path(folder)
    check_flac(explanation.waveform)
    check_free(folder, (MARKER, LIST))
    check_beside(explanation, beside)
    explanation = _finding_once(explanation)
    about, tensors = _parts(explanation)
    with replacing(folder, (MARKER, LIST), ours) as part:
        if beside is not None:
            save_explanation(beside, part / MASK, page=page)
            about[MASK] = MASK
        save_file(tensors, part / "tensors.safetensors")
        _save_sounds(explanation, about["provenance"]["gain"], part)
        if isinstance(explanation.evidence, PrototypeEvidence):
            save_prototypes(explanation.evidence, explanation.grid, part / "prototypes")
        regions, label = explanation.regions(), explanation.target.label
        _write(part / "regions.raven.txt", raven_table(regions, label))
        _write(part / "regions.audacity.txt", audacity_labels(regions, label))
        if page:
            _write(part / "index.html", explanation_page(explanation, beside))
        _write(part / MARKER, _json(sealed({**about, FILES: listed(part)}, made_from)))
    return folder


def save_explanations(
    explanations: Sequence[Explanation],
    folder: str | Path,
    *,
    page: bool = True,
    made_from: Mapping[str, str] | None = None,
    beside: Sequence[Explanation | None] = (),
) -> list[Path]:
    """Writes the explanations of one clip: one into `folder`, several into folders in it that are named by label.

    With several, `index.html` leads to their pages and `explanations.json` lists their folders.

    Parameters
    ----------
    beside
        For each of them the mask beside it, or `None`; empty where there are none.

    Returns
    -------
    folders
        One for each explanation, in their order.
    """
    folder = Path(folder)
    masks = beside or [None] * len(explanations)
    if len(explanations) == 1:
        return [save_explanation(explanations[0], folder, page=page, made_from=made_from, beside=masks[0])]
    names = _label_folders([explanation.target.label for explanation in explanations])
    with replacing(folder, (MARKER, LIST), ours) as part:
        for explanation, mask, name in zip(explanations, masks, names, strict=True):
            save_explanation(explanation, part / name, page=page, beside=mask)
        probs = [float(e.prediction.probs[e.target.index]) for e in explanations]
        labels = [e.target.label for e in explanations]
        _write(part / "index.html", index_page(explanations[0].name, list(zip(labels, probs, names, strict=True))))
        files = {name: file_sha256(part / name) for name in ("index.html", *(f"{name}/{MARKER}" for name in names))}
        _write(part / LIST, _json(sealed({"schema": SCHEMA, "folders": names, FILES: files}, made_from)))
    return [folder / name for name in names]


def _label_folders(labels: Sequence[str]) -> list[str]:
    """Returns a folder's name for each label, all of them different, also where case does not count."""
    taken = {name.casefold() for name in OURS}
    names = []
    for label in labels:
        plain = _label_folder(label)
        candidates = (plain if n == 1 else f"{plain}-{n}" for n in count(1))
        names.append(next(name for name in candidates if name.casefold() not in taken))
        taken.add(names[-1].casefold())
    return names


def _label_folder(label: str) -> str:
    """Returns a label as the name of a folder."""
    safe = "".join(c if c.isalnum() or c in "-_. " else "_" for c in label).strip(". ")
    return safe[:80].encode()[:200].decode(errors="ignore") or "label"  # a name has at most 255 bytes


def ours(folder: Path) -> tuple[str, ...]:
    """Returns what earmark wrote into a folder, the folders of labels among them; of a damaged list, what looks so."""
    mask = written_masks(folder, MARKER)
    try:
        return (*OURS, *mask, *listed_folders(folder))
    except InputError:
        return (*OURS, *mask, *sorted(path.parent.name for path in folder.glob(f"*/{MARKER}")))


def listed_folders(folder: str | Path) -> tuple[str, ...]:
    """Returns the names of the folders of labels in a folder with several explanations; of another one, none.

    Raises
    ------
    InputError
        If the list is damaged.
    """
    path = Path(folder) / LIST
    if not path.is_file():
        return ()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["folders"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"{LIST} lists no folders")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(Path(folder), error) from error
    return tuple(names)


def load_explanation(folder: str | Path) -> Explanation:
    """Reads a folder that `save_explanation` wrote.

    Raises
    ------
    InputError
        If it is not an explanation's folder, holds several, or is damaged.
    MismatchError
        If a newer earmark wrote it.
    """
    folder = Path(folder)
    about, tensors = _read_about(folder), _read_tensors(folder)
    try:
        return _fitting(_explanation(about, tensors, folder))
    except Exception as error:  # whatever the files hold
        raise _damaged(folder, error) from error


def _fitting(explanation: Explanation) -> Explanation:
    """Returns the explanation if its parts belong together."""
    logits, labels = explanation.prediction.logits, explanation.prediction.labels
    if logits.shape != (len(labels),):
        raise ValueError(f"logits of shape {tuple(logits.shape)} for {len(labels)} labels")
    shape = explanation.evidence.ranking(explanation.grid).shape
    if shape != explanation.grid.shape:
        raise ValueError(f"evidence of shape {tuple(shape)} on a grid of {explanation.grid.shape}")
    return explanation


def _finding_once(explanation: Explanation) -> Explanation:
    """Returns the explanation with prototypes' sounds kept once they are found: folder and page both need them."""
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence) or evidence.find_sound is None:
        return explanation
    return replace(explanation, evidence=replace(evidence, find_sound=lru_cache(maxsize=None)(evidence.find_sound)))


def _parts(explanation: Explanation) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns what goes into `explanation.json`, and the tensors."""
    evidence, grid = explanation.evidence, explanation.grid
    evidence_about, evidence_tensors = evidence.to_saved()
    about = {
        "schema": SCHEMA,
        "name": explanation.name,
        "target": asdict(explanation.target),
        "prediction": _prediction(explanation.prediction),
        "provenance": {**asdict(explanation.provenance), "gain": common_gain(*explanation.sounds().values())},
        "regions": [region.to_dict() for region in explanation.regions()],
        "sound": {
            "sample_rate": explanation.waveform.sample_rate,
            "n_channels": explanation.waveform.n_channels,
            "n_samples": explanation.waveform.n_samples,
        },
        "grid": {"sample_rate": grid.sample_rate, "n_samples": grid.n_samples, "stft": asdict(grid.stft)},
        "evidence": {"kind": evidence.kind, **evidence_about},
    }
    tensors = {"logits": explanation.prediction.logits, "samples": explanation.waveform.samples}
    tensors |= {f"evidence.{name}": values for name, values in evidence_tensors.items()}
    return about, {name: values.detach().cpu().contiguous().clone() for name, values in tensors.items()}


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {
        **prediction.top(1)[0],
        "top": prediction.top(),
        "labels": list(prediction.labels),
        "task": prediction.task,
        "threshold": prediction.threshold,
    }


def _save_sounds(explanation: Explanation, gain: float, folder: Path) -> None:
    """Writes the sounds; the complement is taken between whole steps, so that the sum is exact."""
    steps = {name: to_steps(sound, gain) for name, sound in explanation.sounds().items()}
    steps["complement"] = steps["original"] - steps["evidence"]
    for name, values in steps.items():
        write_flac(folder / f"{name}.flac", values, explanation.waveform.sample_rate)


def _json(about: Mapping[str, Any]) -> str:
    try:
        return to_json(about)
    except ValueError as error:
        raise InputError(
            f"The explanation cannot be stored, for a number in it is not finite ({error}); "
            "check the classifier's logits with `earmark verify`."
        ) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")  # lone surrogates


def _read_about(folder: Path) -> dict[str, Any]:
    if not (folder / MARKER).is_file():
        if names := listed_folders(folder):
            raise InputError(
                f"{folder} holds an explanation for each of several labels; name one of its folders: "
                f"{', '.join(names)}."
            )
        raise InputError(
            f"{folder} is not an explanation's folder (it holds no {MARKER}); "
            "name one that `earmark explain` or `explanation.save` wrote."
        )
    try:
        about = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        schema = int(about["schema"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from error
    if schema > SCHEMA:
        raise MismatchError(
            f"{folder} was written by a newer earmark (schema {schema}, this one reads up to {SCHEMA}); update earmark."
        )
    return about


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / "tensors.safetensors")
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> InputError:
    what = f"{type(error).__name__}: {error}"
    return InputError(f"{folder} holds a damaged explanation ({what}); make it again with `earmark explain`.")


def _explanation(about: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Explanation:
    grid = Grid(**{**about["grid"], "stft": Stft(**about["grid"]["stft"])})
    said = about["prediction"]
    evidence_about = {key: value for key, value in about["evidence"].items() if key != "kind"}
    evidence_tensors = {k.removeprefix("evidence."): v for k, v in tensors.items() if k.startswith("evidence.")}
    evidence = EVIDENCE[about["evidence"]["kind"]].from_saved(evidence_about, evidence_tensors, grid)
    if isinstance(evidence, PrototypeEvidence):
        evidence = replace(evidence, find_sound=FolderSounds(folder.resolve() / "prototypes"))
    return Explanation(
        Waveform(tensors["samples"], about["sound"]["sample_rate"]),
        Target(**about["target"]),
        Prediction(tensors["logits"], tuple(said["labels"]), said["task"], said["threshold"]),
        evidence,
        grid,
        Provenance(**{key: value for key, value in about["provenance"].items() if key != "gain"}),
        about["name"],
    )
