"""`earmark explain`: one folder with a page per clip."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import disk
from ..audio.names import printable
from ..errors import InputError, OutputError
from .masks import embedded_mask, masks_of
from .options import command, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..explainers.base import Explainer
    from ..run.known import Found
    from ..types import Clip

MAX_SECONDS = 30.0
UNFITTED = "integrated-gradients"  # what explains a classifier for which nothing was fitted


@command
def explain(
    inputs: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    *,
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    explainer: Annotated[
        str | None,
        typer.Option(help="A method's name, or the folder of a fitted explainer; default: what is embedded."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Label to explain; default: what the classifier decided.")] = None,
    against: Annotated[str | None, typer.Option(help="Explain the target rather than this label.")] = None,
    top: Annotated[int | None, typer.Option(help="APEX: channels to show; default 4.")] = None,
    mode: Annotated[str | None, typer.Option(help="APEX: signed (default; sums to the logit) or paper.")] = None,
    basis: Annotated[str | None, typer.Option(help="APEX: apex, or identity for the model's own channels.")] = None,
    prototypes: Annotated[int | None, typer.Option(help="APEX: prototypes per channel; default 4.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, as name=value; may be repeated.")
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask/--no-mask", help="Draw the embedded L-MAC's mask beside the prototypes.")
    ] = True,
    bank_audio: Annotated[
        list[Path] | None, typer.Option(help="Where prototypes' sounds are looked for, by content hash.")
    ] = None,
    start: Annotated[float | None, typer.Option(help="Start of the part to explain, in seconds.")] = None,
    end: Annotated[float | None, typer.Option(help="End of the part to explain, in seconds.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the explanation(s).")] = None,
    strict: Annotated[bool, typer.Option(help="Exit with code 2 if any input failed.")] = False,
    fresh: Annotated[bool, typer.Option(help="Make again what is there already.")] = False,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
    seed: Annotated[int | None, typer.Option(help="Of methods that draw at random; APEX does not.")] = None,
) -> dict[str, Any]:
    """Explain what a classifier heard in each clip: a page, sounds, tables and exact values.

    Without `--explainer`, by prototypes where they are embedded for the classifier (beside them the mask of an L-MAC),
    else by integrated gradients.
    Clips whose explanation is there already, of the same sound and with the same settings, are not explained again.
    """
    from ..store.filling import only_one

    found = named_sounds(inputs)
    out = out or Path(f"{inputs[0].stem or 'clips'}-explained")
    places = [(path, out if len(found) == 1 else out / name) for path, name in found]
    apex = {"top": top, "mode": mode, "basis": basis, "prototypes": prototypes}
    options = {name: value for name, value in apex.items() if value is not None} | parsed_settings(settings or [])
    asked = {"target": target, "against": against, "start": start, "end": end, "device": device, "seed": seed}
    with only_one(out):
        job = _job(classifier, explainer, bank_folders(bank_audio), options, asked, mask and explainer is None)
        job.fresh = fresh
        with progress("explaining") as report:
            for index, (path, folder) in enumerate(places):
                job.explain(path, folder, f"{index} of {len(places)} clips were explained")
                report(index + 1, len(places))
        if job.done:
            save_params(out, "explain", {**_given(locals(), inputs), **apex})
    if job.n_known:
        say(f"{job.n_known} of {len(places)} were there already")
    if job.done:
        say(f"open {job.done[0]['page']}" if len(job.done) == 1 else f"{len(job.done)} explanations in {out}")
    code = 2 if not job.done or (strict and job.failed) else 0
    return {"explained": job.done, "failed": job.failed, "exit_code": code}


@dataclass
class _Job:
    """What all clips of a run share, and what has come of them so far."""

    method: "Explainer"
    masker: "Explainer | None"  # draws the mask beside each explanation
    settings: str  # the hash of all that explanations depend on beside the sound
    target: str | None
    against: str | None
    part: tuple[float | None, float | None]
    fresh: bool = False
    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    n_known: int = 0

    def explain(self, path: Path, folder: Path, so_far: str) -> None:
        """Explains one clip, unless it is explained already; a disk that takes nothing more ends the run."""
        try:
            self.done.append({"input": str(path), **self._entry(path, folder)})
        except OutputError as error:
            raise OutputError(f"{error} So far, {so_far}; these are kept.") from error
        except (InputError, OSError) as error:
            self.failed.append({"input": str(path), "error": str(error)})
            say(f"earmark: {error}")

    def _entry(self, path: Path, folder: Path) -> dict[str, Any]:
        from ..audio.files import read
        from ..run.known import known, made_from
        from ..types import Clip

        began = time.perf_counter()
        made = made_from(path, self.settings) if path.is_file() else {}
        with _writing():
            there = known(folder, made)
        if there and not self.fresh:
            self.n_known += 1
            return _known_entry(folder, there, began)
        clip = Clip(path.name, read(path, *self.part, max_duration_s=MAX_SECONDS))
        return write_explanations(
            self.method,
            clip,
            folder,
            masker=self.masker,
            target=self.target,
            against=self.against,
            part=self.part,
            made_from=made,
        )


def _job(
    classifier: str,
    explainer: str | None,
    bank_audio: tuple[str, ...],
    options: dict[str, Any],
    asked: dict[str, Any],
    mask: bool,
) -> _Job:
    """Loads what is needed to explain."""
    from ..classifiers.load import load_classifier
    from ..explainers.load import embedded_folder, explainer_folder, kind_of, load_explainer
    from ..run.known import bank_state, settings_key

    model = load_classifier(classifier, device=asked["device"])
    chosen = explainer or embedded_folder("apex", model) or UNFITTED
    if chosen == UNFITTED and explainer is None:
        say(
            f"Nothing is embedded for {model.name}, so it is explained by {UNFITTED}; prototypes: "
            f"`earmark fit apex --classifier {classifier} --data FOLDER --out apex`, then --explainer apex."
        )
    fitted = explainer_folder(chosen, model)
    seeded = {} if fitted or asked["seed"] is None else {"seed": asked["seed"]}
    told = {"bank_audio": bank_audio} if fitted and kind_of(fitted) == "apex" else seeded
    method = load_explainer(chosen, classifier=model, **told, **options)
    if method.method == "apex" and method.classifier.head.notice:  # of the layer that it taps
        say(method.classifier.head.notice)
    masker = embedded_mask(model, asked["against"]) if mask else None
    beside = embedded_folder(masker.method, model) if masker else None
    told_by = {**options, **asked, "bank_audio": bank_state(bank_audio)}
    settings = settings_key(model, fitted or str(chosen), told_by, beside)
    return _Job(method, masker, settings, asked["target"], asked["against"], (asked["start"], asked["end"]))


@contextmanager
def _writing() -> Iterator[None]:
    """Turns what a full or unwritable disk raises into one kind of error."""
    try:
        yield
    except Exception as error:
        if refused := disk.problem(error):
            raise OutputError(refused) from error
        raise


def write_explanations(
    method: "Explainer",
    clip: "Clip",
    folder: Path,
    *,
    masker: "Explainer | None" = None,
    target: str | None = None,
    against: str | None = None,
    part: tuple[float | None, float | None] = (None, None),
    made_from: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Writes one folder, or one per label where a multi-label classifier heard several, and says what was heard.

    A mask that cannot be drawn is left out and named; the folder then counts as not made yet, as what failed does.
    """
    from ..store.beside import MASK
    from ..store.explanations import save_explanations

    began = time.perf_counter()
    if target is None and against is None:
        explanations = method.explain_all(clip)
    else:
        explanations = [method.explain(clip, target, against=against)]
    parts = [explanation.of_part(*part) for explanation in explanations]
    masks = masks_of(masker, parts)
    made_from = None if None in masks else made_from
    with _writing():
        folders = save_explanations(parts, folder, made_from=made_from, beside=masks)
    first = explanations[0]
    if first.provenance.resampled_from:
        say(f"{clip.id}: resampled from {first.provenance.resampled_from} to {first.grid.sample_rate} Hz")
    told = [
        _told(place, e.target.label, [r.to_dict() for r in e.regions()], place / MASK if mask else None)
        for e, place, mask in zip_longest(explanations, folders, masks)
    ]
    return _entry(folder, first.prediction.top(1)[0], told, began)


def _known_entry(folder: Path, there: "Found", began: float) -> dict[str, Any]:
    """Returns what is said of a clip that was explained before."""
    from ..store.beside import mask_folder

    told = [
        _told(place, about["target"]["label"], about["regions"], mask_folder(place, about)) for place, about in there
    ]
    return _entry(folder, there[0][1]["prediction"], told, began)


def _told(folder: Path, label: str, regions: list[dict[str, Any]], mask: Path | None) -> dict[str, Any]:
    """Returns what is said of one explanation; where there is a mask beside it, its folder."""
    return {"target": label, "folder": str(folder), "regions": regions, "mask": str(mask) if mask else None}


def _entry(folder: Path, heard: dict[str, Any], told: list[dict[str, Any]], began: float) -> dict[str, Any]:
    """Returns what is said of a clip: the label put first, and each of its explanations."""
    return {
        "folder": str(folder),
        "page": str(folder / "index.html"),
        "label": heard["label"],
        "prob": heard["prob"],
        "explanations": told,
        "seconds": round(time.perf_counter() - began, 3),
    }


def named_sounds(inputs: list[Path]) -> list[tuple[Path, str]]:
    """Returns each file and the name of its explanation's folder: its path below the input, without the ending.

    Where two would have the same name, or one would lie in another, the ending is kept, and then numbered.

    Raises
    ------
    InputError
        If a folder holds no sound file.
    """
    found = [(path, path.relative_to(given) if given.is_dir() else Path(path.name)) for given, path in _found(inputs)]
    bare = Counter(_key(relative.with_suffix("")) for _, relative in found)
    taken = {_key(parent) for _, relative in found for parent in relative.parents} | {"run.json"}
    named = []
    for path, relative in found:
        plain = relative.with_suffix("")
        wanted = plain if bare[_key(plain)] == 1 else relative
        numbered = (relative.with_name(f"{relative.name}-{n}") for n in count(2))
        name = next(name for name in chain((wanted, relative), numbered) if _key(name) not in taken)
        taken.add(_key(name))
        named.append((path, printable(name.as_posix())))
    return named


def _found(inputs: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yields each input with each of its files."""
    from ..audio.files import AUDIO_ENDINGS, sound_files

    for given in inputs:
        files = sound_files(given) if given.is_dir() else [given]
        if not files:
            raise InputError(
                f"{given} holds no sound file but hidden or explained ones; "
                f"expected endings are {', '.join(AUDIO_ENDINGS)}."
            )
        yield from ((given, path) for path in files)


def _key(name: Path) -> str:
    """Returns what two names share that are one where case does not count."""
    return name.as_posix().casefold()


def parsed_settings(given: list[str]) -> dict[str, Any]:
    """Returns settings given as `name=value`; a value is read as JSON where it is some, else as text.

    Raises
    ------
    InputError
        If one has no name or no value.

    Examples
    --------
    >>> parsed_settings(["n_steps=32", "stage=features"])
    {'n_steps': 32, 'stage': 'features'}
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"A setting is given as name=value, such as --set n_steps=32; got {text!r}.")
        try:
            found[name.strip().replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.strip().replace("-", "_")] = value
    return found


def bank_folders(given: list[Path] | None) -> tuple[str, ...]:
    """Returns where prototypes' sounds are looked for: the folders given, then `EARMARK_DATA`."""
    import os

    from_environment = [os.environ["EARMARK_DATA"]] if os.environ.get("EARMARK_DATA") else []
    return (*(str(p) for p in given or ()), *from_environment)


def _given(values: dict[str, Any], inputs: list[Path]) -> dict[str, Any]:
    names = ("classifier", "explainer", "target", "against", "start", "end", "strict", "device", "seed", "mask")
    folders = {"inputs": [str(p) for p in inputs], "bank_audio": [str(p) for p in values["bank_audio"] or ()]}
    folders["settings"] = list(values["settings"] or ())
    return {**folders, **{name: values[name] for name in names}}
