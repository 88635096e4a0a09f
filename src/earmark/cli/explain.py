"""`earmark explain`: one folder with a page per clip."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .options import command, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..explainers.base import Explainer
    from ..explanation import Explanation
    from ..types import Clip

MAX_SECONDS = 30.0


@command
def explain(
    inputs: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    *,
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    explainer: Annotated[
        str | None, typer.Option(help="Folder of a fitted explainer; default: what is embedded for the classifier.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Label to explain; default: what the classifier decided.")] = None,
    against: Annotated[str | None, typer.Option(help="Explain the target rather than this label.")] = None,
    top: Annotated[int, typer.Option(help="Channels to show.")] = 4,
    mode: Annotated[str, typer.Option(help="signed (sums to the logit) or paper.")] = "signed",
    basis: Annotated[str, typer.Option(help="apex, or identity for the model's own channels.")] = "apex",
    prototypes: Annotated[int, typer.Option(help="Prototypes to show per channel.")] = 4,
    bank_audio: Annotated[
        list[Path] | None, typer.Option(help="Where prototypes' sounds are looked for, by content hash.")
    ] = None,
    start: Annotated[float | None, typer.Option(help="Start of the part to explain, in seconds.")] = None,
    end: Annotated[float | None, typer.Option(help="End of the part to explain, in seconds.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the explanation(s).")] = None,
    strict: Annotated[bool, typer.Option(help="Exit with code 2 if any input failed.")] = False,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
    seed: Annotated[int, typer.Option(help="For methods that draw at random; APEX does not.")] = 0,
) -> dict[str, Any]:
    """Explain what a classifier heard in each clip: a page, sounds, tables and exact values."""
    from ..audio.files import read
    from ..classifiers.load import load_classifier
    from ..explainers.load import embedded_folder, load_explainer
    from ..types import Clip

    found = named_sounds(inputs)
    out = out or Path(f"{inputs[0].stem or 'clips'}-explained")
    model = load_classifier(classifier, device=device)
    options = {"top": top, "mode": mode, "basis": basis, "prototypes": prototypes}
    chosen = explainer or embedded_folder("apex", model) or "apex"
    method = load_explainer(chosen, classifier=model, bank_audio=bank_folders(bank_audio), **options)
    if model.head.notice:
        say(model.head.notice)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress("explaining") as report:
        for index, (path, name) in enumerate(found):
            folder = out if len(found) == 1 else out / name
            try:
                waveform = read(path, start, end, max_duration_s=MAX_SECONDS)
                clip = Clip(path.name, waveform)
                written = write_explanations(method, clip, folder, target, against, part=(start, end))
                done.append({"input": str(path), **written})
            except (InputError, OSError) as error:
                failed.append({"input": str(path), "error": str(error)})
                say(f"earmark: {error}")
            report(index + 1, len(found))
    if done:
        save_params(out, "explain", {**_given(locals(), inputs), **options})
        say(f"open {done[0]['page']}" if len(done) == 1 else f"{len(done)} explanations in {out}")
    return {"explained": done, "failed": failed, "exit_code": 2 if not done or (strict and failed) else 0}


def write_explanations(
    method: "Explainer",
    clip: "Clip",
    folder: Path,
    target: str | None = None,
    against: str | None = None,
    *,
    part: tuple[float | None, float | None] = (None, None),
) -> dict[str, Any]:
    """Writes one folder, or one per label where a multi-label classifier heard several, and says what was heard."""
    from ..store.explanations import save_explanations

    began = time.perf_counter()
    if target is None and against is None:
        explanations = method.explain_all(clip)
    else:
        explanations = [method.explain(clip, target, against=against)]
    folders = save_explanations([explanation.of_part(*part) for explanation in explanations], folder)
    first = explanations[0]
    if first.provenance.resampled_from:
        say(f"{clip.id}: resampled from {first.provenance.resampled_from} to {first.grid.sample_rate} Hz")
    return {
        "folder": str(folder),
        "page": str(folder / "index.html"),
        "label": first.prediction.label,
        "prob": float(first.prediction.probs.max()),
        "explanations": [_summary(e, place) for e, place in zip(explanations, folders, strict=True)],
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
        named.append((path, name.as_posix()))
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


def bank_folders(given: list[Path] | None) -> tuple[str, ...]:
    """Returns where prototypes' sounds are looked for: the folders given, then `EARMARK_DATA`."""
    import os

    from_environment = [os.environ["EARMARK_DATA"]] if os.environ.get("EARMARK_DATA") else []
    return (*(str(p) for p in given or ()), *from_environment)


def _summary(explanation: "Explanation", folder: Path) -> dict[str, Any]:
    return {
        "target": explanation.target.label,
        "folder": str(folder),
        "regions": [region.to_dict() for region in explanation.regions()],
    }


def _given(values: dict[str, Any], inputs: list[Path]) -> dict[str, Any]:
    names = ("classifier", "explainer", "target", "against", "start", "end", "strict", "device", "seed")
    folders = {"inputs": [str(p) for p in inputs], "bank_audio": [str(p) for p in values["bank_audio"] or ()]}
    return {**folders, **{name: values[name] for name in names}}
