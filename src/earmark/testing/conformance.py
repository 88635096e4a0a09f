"""`check_explainer`: what every explainer promises, whoever wrote it, one small check for each promise.

    check_explainer(MyExplainer, classifier).raise_if_failed()

`check_metric` is its sibling for metrics.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..classifiers.base import Classifier
from ..errors import InputError, ModelError
from ..explainers.base import Explainer
from . import explainer_checks as checks
from .explainer_checks import sentence
from .metric_conformance import check_metric as check_metric
from .oracles import linear_oracle, planted_oracle
from .report import Report, Result, run_checks
from .subject import Source, Subject
from .untouched import untouched

Check = Callable[[Subject], str | None]

#: All checks by name, in the order in which they run.
CHECKS: dict[str, Check] = {
    check.__name__.replace("_", "-"): check
    for check in (
        checks.well_formed,
        checks.deterministic,
        checks.seeded,
        checks.batch_is_single,
        checks.leaves_model_alone,
        checks.leaves_model_alone_on_error,
        checks.keeps_device_and_dtype,
        checks.odd_inputs,
        checks.serves_scores,
        checks.complete,
        checks.saves_and_loads,
        checks.memory_plateau,
        checks.counts_passes,
        checks.refuses_misfits,
        linear_oracle,
        planted_oracle,
    )
}


def check_explainer(
    explainer: Source,
    classifier: Classifier,
    *,
    rounding: float = 0.0,
    n_explanations: int = 50,
    without: Iterable[str] = (),
    **options: Any,
) -> Report:
    """Checks what every explainer promises.

    Parameters
    ----------
    explainer
        A registry name, a class, or a function `make(classifier, **options)`. An explainer that is made already will
        do too; checks that need another one are then not applicable.
    classifier
        What is explained. Its module is run in odd states, which are restored.
    rounding
        How far the values of a batch may be from those of single clips, relative to the largest; 0 is bit for bit.
        Layers whose sums depend on the size of the batch need about 1e-5 in float32.
    n_explanations
        How many are made to see whether memory grows.
    without
        Names of checks that are left out, from `CHECKS`.
    options
        Settings of the explainer; where it draws samples, few will do.

    Returns
    -------
    report
        A line for each check; `report.raise_if_failed()` is for tests. Where the explainer refuses the classifier,
        nothing else is checked.

    Raises
    ------
    InputError
        If a check that is left out does not exist, or a ready-made explainer is another classifier's.
    """
    without = frozenset(without)
    _check_arguments(explainer, classifier, without, options)
    subject = Subject(explainer, classifier, options, rounding, n_explanations)
    name = f"{explainer if isinstance(explainer, str) else _name(explainer)} on {classifier.name}"
    try:
        with untouched(classifier.module):
            subject.make()
    except ModelError as refusal:
        sentence(refusal)
        return Report(name, (Result("fits", "not applicable", f"refused: {refusal}"),))
    return run_checks(name, subject, CHECKS, without)


def _check_arguments(explainer: Source, classifier: Classifier, without: frozenset[str], options: Any) -> None:
    if unknown := sorted(without - set(CHECKS)):
        raise InputError(f"There is no check {', '.join(unknown)}; there are {', '.join(CHECKS)}.")
    if isinstance(explainer, Explainer) and (explainer.classifier is not classifier or options):
        raise InputError(f"{explainer!r} is made already, for its own classifier and settings; give its class instead.")


def _name(explainer: Any) -> str:
    return str(getattr(explainer, "method", None) or getattr(explainer, "__name__", type(explainer).__name__))
