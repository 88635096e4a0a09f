"""`earmark verify`: does a model keep its promises?"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .options import command, say


def _words(result: dict[str, Any]) -> str:
    """Returns a report as lines for people."""
    lines = [f"{result['classifier']}: head of tier {result['tier']}, fingerprint {result['fingerprint'][:12]}"]
    for check in result["checks"]:
        sign = {True: "ok  ", False: "FAIL", None: "    "}[check["ok"]]
        value = f"{check['value']:.3g}" if isinstance(check["value"], float) else check["value"]
        lines.append(f"{sign} {check['name']}: {value} ({check['limit']}) - {check['meaning']}")
    return "\n".join(lines)


@partial(command, show=_words)
def verify(
    classifier: Annotated[str, typer.Argument(help="Embedded name, folder, file of weights, or file.py:function.")],
    *,
    explainer: Annotated[str | None, typer.Option(help="An APEX folder, or apex for the embedded one.")] = None,
    clips: Annotated[
        list[Path] | None, typer.Option(help="Sounds to measure on; default: noise, tone, clicks.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
) -> dict[str, Any]:
    """Measure logits at every entry, contributions, geometry and axis order; with an APEX, its invariance."""
    from ..audio.files import read
    from ..checks.verify import verify as measure
    from ..classifiers.load import load_classifier
    from ..explainers.apex.explainer import Apex
    from ..explainers.load import load_explainer

    model = load_classifier(classifier, device=device)
    fitted = load_explainer(explainer, classifier=model) if explainer else None
    if fitted is not None and not isinstance(fitted, Apex):
        raise InputError(f"{explainer} is {fitted.method}, and only an APEX is verified with its classifier.")
    tapped = fitted.classifier if fitted else model  # an APEX of another layer taps the model there
    report = measure(tapped, fitted, [read(path, max_duration_s=30.0) for path in clips or []])
    if report.notice:
        say(report.notice)
    return {**report.to_dict(), "exit_code": 0 if report.ok else 2}
