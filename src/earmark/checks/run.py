"""check: an explainer through several checks -> verdicts, with what they rest on. A killed run goes on.

What is finished lies in `.parts-*` inside the folder until all of it becomes `check.json`. A later run with the same
settings reads the checks that are there, and makes only those that are not.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from ..audio.files import clip_sha256
from ..classifiers.base import Classifier
from ..classifiers.card import write_whole
from ..classifiers.learned import learned_from, learned_warning
from ..errors import EarmarkError, InputError
from ..explanation import package_versions
from ..types import Clip
from . import CHECKS, TRAINING, USUAL
from .config import CheckConfig
from .memory import Memory
from .results import CheckResult, Progress
from .subject import Given, Subject

CHECK_JSON, PICTURES = "check.json", "pictures.json"
SCHEMA = 1
OF_ALL = "clips_sha256"  # of all clips, on the results that read all of them
Bars = Callable[[str], AbstractContextManager[Progress | None]]


@dataclass(frozen=True)
class CheckReport:
    """What all checks of one explainer found.

    Parameters
    ----------
    results
        One for each check, in the order asked for.
    about
        Classifier, explainer, settings, data, coverage, versions.
    pictures
        Small maps for the page, by check.
    """

    results: tuple[CheckResult, ...]
    about: Mapping[str, Any]
    pictures: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether all checks with a verdict hold; `None` where none has one."""
        verdicts = [result.passed for result in self.results if result.passed is not None]
        return all(verdicts) if verdicts else None

    @property
    def mark(self) -> str:
        """What tells its page from those of other reports."""
        clips = {(result.about or {}).get(OF_ALL, "") for result in self.results} - {""}
        return ":".join([self.about["key"], ",".join(result.name for result in self.results), *sorted(clips)])

    def __getitem__(self, name: str) -> CheckResult:
        return next(result for result in self.results if result.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, without pictures."""
        return {"schema": SCHEMA, **self.about, "results": [result.to_dict() for result in self.results]}

    def save(self, folder: Path) -> None:
        """Writes `check.json`, last, and the pictures of its page."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PICTURES, json.dumps(self.pictures, separators=(",", ":")) + "\n")
        write_whole(folder / CHECK_JSON, json.dumps(self.to_dict(), indent=2, default=str) + "\n")


def check(
    classifier: Classifier,
    explainer: Given,
    clips: Iterable[Clip],
    checks: Sequence[str] = USUAL,
    config: CheckConfig | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    training: Iterable[Clip] = (),
    folder: str | Path | None = None,
    told: Mapping[str, Any] | None = None,
    bars: Bars | None = None,
    **changes: Any,
) -> CheckReport:
    """Checks an explainer: is it deterministic, complete, stable, and does it depend on what the model has learned?

    Parameters
    ----------
    classifier
        What is explained; it is not changed.
    explainer
        A registry name, the folder of a fitted explainer, or an explainer.
    clips
        Of more than `n_clips`, evenly spaced ones are explained; checks that train may use all of them.
    checks
        Names of `earmark.checks.CHECKS`; those that train models run only when named.
    config, changes
        The settings; keyword changes replace single ones.
    options
        Settings of an explainer that is named.
    training
        Clips that the classifier learned from, for `decoder-refits`; by default those of `clips` in its own folds.
    folder
        Where results are written; a run that was killed goes on there, and one that is finished is read. One process
        at a time may write there.
    told
        What the card says of the data.
    bars
        Opens a display of progress under a name.

    Raises
    ------
    InputError, ModelError
        If a check or the explainer is unknown, or does not fit the classifier: before any work.
    DataError
        If clips are too few, or two have one id.
    """
    config = replace(config or CheckConfig(), **changes)
    names = checked_names(checks)
    subject = Subject(classifier, explainer, options, tuple(clips), most=config.n_clips, batch=config.batch)
    subject.training = tuple(sorted(training, key=lambda clip: clip.id))
    about = plain(_about(subject, config, dict(told or {})))
    about["key"] = _key(about, subject)
    place = None if folder is None else Path(folder)
    known = None if place is None else finished(place, about["key"])
    there = [result.name for result in known.results] if known else []
    of_all = _sha256_of_all((*subject.clips, *subject.training)) if {*names, *there} & set(TRAINING) else None
    known = known and _still_true(known, of_all)
    if known and {result.name for result in known.results} >= set(names):
        return known
    subject.memory = Memory(place, about["key"])
    report = _checked(subject, config, names, known, bars or (lambda _name: nullcontext(None)), about, of_all)
    if place is not None:
        report.save(place)
        subject.memory.clear()
    return report


def checked_names(checks: Sequence[str]) -> list[str]:
    """Returns names of checks, each once.

    Raises
    ------
    InputError
        If there is none, or one is unknown.
    """
    for name in checks:
        if name not in CHECKS:
            near = get_close_matches(name, CHECKS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "choose among these."
            raise InputError(f"{name!r} is no check; there are {', '.join(CHECKS)}; {hint}")
    if not checks:
        raise InputError(f"There is no check to run; name some of {', '.join(CHECKS)}.")
    return list(dict.fromkeys(checks))


def finished(place: Path, key: str | None = None) -> CheckReport | None:
    """Returns the report that a folder holds, if it is whole and, where a key is given, made with the same settings."""
    try:
        about = json.loads((place / CHECK_JSON).read_text(encoding="utf-8"))
        pictures = json.loads((place / PICTURES).read_text(encoding="utf-8"))
        results = tuple(CheckResult.from_dict(told) for told in about.pop("results"))
        if about.pop("schema") != SCHEMA or key not in (None, about["key"]):
            return None
        return CheckReport(results, about, pictures)
    except (OSError, ValueError, KeyError, TypeError):
        return None


# -- the work -------------------------------------------------------------------------------------------------------


def _checked(
    subject: Subject,
    config: CheckConfig,
    names: Sequence[str],
    known: CheckReport | None,
    bars: Bars,
    about: dict[str, Any],
    of_all: str | None,
) -> CheckReport:
    results = {result.name: result for result in known.results} if known else {}
    pictures = dict(known.pictures) if known else {}
    for name in names:
        if name in results:
            continue
        with bars(name) as bar:
            found = _function(name)(subject, config, bar)
        told = dict(found.about or {})
        if shown := told.pop("pictures", None):
            pictures[name] = shown
        told |= {OF_ALL: of_all} if name in TRAINING else {}
        results[name] = CheckResult.from_dict(plain(replace(found, about=told).to_dict()))
    ordered = tuple(results[name] for name in CHECKS if name in results)
    return CheckReport(ordered, {**about, "clips": subject.coverage(), "warnings": _warnings(subject, about)}, pictures)


def _warnings(subject: Subject, about: dict[str, Any]) -> list[str]:
    """Returns a sentence for each thing that a reader must know."""
    learned, folds = learned_from(subject.classifier.card), {clip.id: clip.fold for clip in subject.chosen}
    said = learned_warning(subject.classifier.name, learned, about["told"].get("data"), folds)
    return [said] if said else []


def plain(value: Any) -> Any:
    """Returns JSON values; a number that is not finite becomes `None`."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def _function(name: str) -> Callable[[Subject, CheckConfig, Progress | None], CheckResult]:
    module, _, attribute = CHECKS[name].partition(":")
    return getattr(import_module(module), attribute)


# -- what the results depend on -------------------------------------------------------------------------------------


def _about(subject: Subject, config: CheckConfig, told: dict[str, Any]) -> dict[str, Any]:
    classifier, explainer = subject.classifier, subject.explainer
    return {
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint,
        "task": classifier.task,
        "front_end": classifier.front_end.to_dict(),
        "explainer": {
            "name": subject.name,
            "method": explainer.method,
            "seed": explainer._seed(),
            "config": explainer._config(),
        },
        "config": config.to_dict(),
        "told": told,
        "versions": package_versions(),
    }


def _key(about: dict[str, Any], subject: Subject) -> str:
    """Returns the sha256 of all that the results depend on but the names of the checks, and the clips not explained."""
    clips = [[clip.id, clip.labels, clip.group, clip.fold] for clip in subject.clips]
    known = [about, subject.explainer._learned(), clips, [_sha256(clip) for clip in subject.chosen]]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _sha256_of_all(clips: Sequence[Clip]) -> str:
    """Returns the sha256 of the contents of all clips."""
    return hashlib.sha256("".join(map(_sha256, clips)).encode()).hexdigest()


def _still_true(known: CheckReport, of_all: str | None) -> CheckReport:
    """Returns a report without the results that rest on all clips, if these are others by now."""
    kept = [r for r in known.results if of_all in (None, (r.about or {}).get(OF_ALL)) or r.name not in TRAINING]
    return replace(known, results=tuple(kept))


def _sha256(clip: Clip) -> str:
    try:
        return clip_sha256(clip)
    except (EarmarkError, OSError) as error:
        return type(error).__name__
