"""Who takes part in an evaluation: explainers under the names and seeds by which their rows are known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audio.names import printable
from ..classifiers.base import Classifier
from ..errors import InputError
from ..explainers.base import Explainer
from ..explainers.load import load_explainer

Given = str | Path | Explainer


@dataclass(frozen=True, eq=False)
class Entrant:
    """An explainer under the name and seed by which its rows are known."""

    name: str
    seed: int
    explainer: Explainer

    def about(self) -> dict[str, Any]:
        """Returns its method, settings, and what one explanation costs in passes of the classifier."""
        forward, backward = self.explainer._cost()
        cost = {"forward_passes": forward, "backward_passes": backward}
        return {"method": self.explainer.method, "seed": self.seed, "config": self.explainer._config(), **cost}


def entrants_of(
    classifier: Classifier, explainers: Sequence[Given] | Mapping[str, Given], seeds: Sequence[int]
) -> list[Entrant]:
    """Returns the explainers, those that draw at random once per seed.

    Names are those of a mapping, registry names, the names of folders (their whole paths where two would be the same),
    and the methods of explainers.

    Raises
    ------
    InputError
        If there is none, or two have one name.
    """
    named = _named(explainers)
    if not named:
        raise InputError("There is no explainer to score; name at least one.")
    if twice := sorted(name for name, n in Counter(name for name, _ in named).items() if n > 1):
        raise InputError(
            f"Explainers are told apart by name, and {', '.join(twice)} is there twice; name each once, or give "
            "several of one method as a mapping from names to explainers."
        )
    return [entrant for name, given in named for entrant in _seeded(classifier, name, given, seeds)]


def _named(explainers: Sequence[Given] | Mapping[str, Given]) -> list[tuple[str, Given]]:
    if isinstance(explainers, Mapping):
        return [(printable(name), given) for name, given in explainers.items()]
    short = [given.method if isinstance(given, Explainer) else Path(given).name or str(given) for given in explainers]
    several = Counter(short)
    return [
        (printable(name if several[name] == 1 or isinstance(given, Explainer) else str(given)), given)
        for name, given in zip(short, explainers, strict=True)
    ]


def _seeded(classifier: Classifier, name: str, given: Given, seeds: Sequence[int]) -> list[Entrant]:
    if isinstance(given, Explainer):
        if given.classifier.fingerprint != classifier.fingerprint:
            raise InputError(f"{name} explains {given.classifier.name}, not {classifier.name}; make it for this one.")
        return [Entrant(name, given._seed() or 0, given)]
    explainer = load_explainer(given, classifier=classifier)
    if not getattr(explainer, "random", False):
        return [Entrant(name, 0, explainer)]
    return [Entrant(name, seed, load_explainer(given, classifier=classifier, seed=seed)) for seed in seeds]
