"""`earmark compare`: several explainers on the same clips, side by side on one page."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .explain import named_sounds, parsed_settings
from .options import command, refuse_other, save_params, say
from .progress import progress

if TYPE_CHECKING:
    from ..classifiers.base import Classifier
    from ..evaluation.compare import Comparison
    from ..explainers.base import Explainer

PAGE = "index.html"
MAX_SECONDS = 30.0


def _words(result: dict[str, Any]) -> str:
    """Returns one line per clip and method, and where the page is."""
    lines = []
    for clip in result["clips"]:
        lines.append(f"{clip['clip']}: {clip['target']}, p = {clip['prob']:.3f}")
        lines += [f"  {_line(side)}" for side in clip["explainers"]]
    return "\n".join([*lines, f"page: {result['page']}"])


def _line(side: dict[str, Any]) -> str:
    if side["failed"]:
        return f"{side['explainer']}: failed, {side['failed']}"
    return f"{side['explainer']}: alone {side['prob_inside']:.3f}, removed {side['prob_outside']:.3f}"


@partial(command, show=_words)
def compare(
    inputs: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    *,
    explainers: Annotated[str, typer.Option(help="Names and folders, separated by commas.")] = "apex,grad-cam,lime",
    classifier: Annotated[str, typer.Option(help="Embedded name, folder, or file.py:function.")] = "esc10-cnn",
    target: Annotated[str | None, typer.Option(help="Label to explain; default: what the classifier decided.")] = None,
    area: Annotated[float, typer.Option(help="Percent of all bins that each mask keeps.")] = 10.0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of one method, as METHOD.name=value; may be repeated.")
    ] = None,
    save: Annotated[bool, typer.Option(help="Also save each explanation as a folder.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the page and its numbers.")] = Path("compared"),
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
) -> dict[str, Any]:
    """Show several explainers on the same clips side by side: pictures, evidence as sound at equal area, scores."""
    options = {name: value for name, value in locals().items() if name != "inputs"}
    from ..classifiers.load import load_classifier
    from ..evaluation.compare import compare as run
    from ..store.filling import only_one

    refuse_other(out, "compare")
    places = refused(named_sounds(inputs), area)
    model = load_classifier(classifier, device=device)
    methods = loaded(model, explainers, settings or [])
    _refuse_label(model, target)
    with only_one(out), progress("comparing") as report:
        compared = run(model, _clips(places), methods, target=target, area=area / 100, progress=report)
        page = _written(compared, out, [name for _, name in places] if save else [])
        given = {"inputs": [str(path) for path in inputs], "settings": list(settings or ())}
        save_params(out, "compare", {**options, **given, "out": str(out)})
    say(f"open {page}")
    return {"folder": str(out), "page": str(page), "clips": [one.to_dict() for one in compared]}


def _written(compared: "list[Comparison]", out: Path, saved: list[str]) -> Path:
    """Writes numbers and page, and the explanations of clips into the folders `saved` names."""
    from ..classifiers.card import write_whole
    from ..render.compare_page import compare_page

    out.mkdir(parents=True, exist_ok=True)
    for comparison, name in zip(compared, saved, strict=False):
        for side in comparison.sides:
            if side.explanation:
                side.explanation.save(out / name / side.name)
    text = json.dumps([one.to_dict() for one in compared], indent=2, allow_nan=False)
    write_whole(out / "compare.json", text + "\n")
    write_whole(out / PAGE, compare_page(compared))
    return out / PAGE


# -- what is asked for ----------------------------------------------------------------------------------------------


def refused(places: list[tuple[Path, str]], area: float) -> list[tuple[Path, str]]:
    """Returns the sounds, if they can be compared."""
    from ..render.compare_page import MOST_CLIPS

    if len(places) > MOST_CLIPS:
        raise InputError(
            f"A page compares at most {MOST_CLIPS} clips, got {len(places)}; name fewer, or score all of them with "
            "`earmark evaluate`."
        )
    if not 0 < area < 100:
        raise InputError(f"--area is a percentage between 0 and 100, got {area:g}; 10 keeps a tenth of all bins.")
    return places


def _refuse_label(classifier: "Classifier", target: str | None) -> None:
    from ..types import label_index

    if target is not None:
        label_index(target, classifier.labels)


def _clips(places: list[tuple[Path, str]]) -> list[Any]:
    """Returns the clips; one that cannot be read ends the run before any work."""
    from ..audio.files import read
    from ..types import Clip

    return [Clip(name, read(path, max_duration_s=MAX_SECONDS)) for path, name in places]


def loaded(classifier: "Classifier", explainers: str, settings: list[str]) -> "dict[str, Explainer]":
    """Returns the explainers by name, each with its settings."""
    from ..explainers.load import load_explainer

    given = [part.strip() for part in explainers.split(",") if part.strip()]
    names = [Path(part).name or part for part in given]
    if not given or len(set(names)) < len(names):
        raise InputError(f"--explainers names each method once, got {explainers!r}; separate two or more by commas.")
    options = settings_by_method(settings, names)
    return {
        name: load_explainer(part, classifier=classifier, **options[name])
        for name, part in zip(names, given, strict=True)
    }


def settings_by_method(settings: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """Returns the settings of each method.

    Raises
    ------
    InputError
        If one names no method, or one that does not take part.

    Examples
    --------
    >>> settings_by_method(["lime.n_samples=50"], ["apex", "lime"])
    {'apex': {}, 'lime': {'n_samples': 50}}
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for text in settings:
        left, equals, value = text.partition("=")
        name, dot, setting = left.strip().rpartition(".")
        if not dot or name not in found:
            raise InputError(
                f"A setting is given as METHOD.name=value, such as --set {names[0]}.seed=1, for one of "
                f"{', '.join(names)}; got {text!r}."
            )
        found[name] |= parsed_settings([f"{setting}{equals}{value}"])
    return found
