"""Determinism: the same seed gives the same bits, a batch what each clip gives alone; and what another seed changes.

Between two runs the global random state is another one: what depends on it is not the same twice. The change by another
seed is the Monte Carlo error of a method, in the measures of the other checks.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..classifiers.surgery import at_rest
from ..metrics.intervals import bootstrap
from ..types import Samples, Target
from .compared import joined
from .config import CheckConfig
from .results import CheckResult, Progress, Table
from .similarity import MEASURES, similarity
from .subject import Subject, Values
from .words import number, several, spread

MOST_CLIPS = 8  # what holds for these holds for the others: no path depends on the clip

#: How far a map may be from the one that its clip has alone, relative to its largest value: kernels for other batch
#: sizes sum in another order, and float32 rounding (6e-8) grows through some tens of layers and a backward pass.
BATCH_LIMIT = 1e-3

PerClip = Float[Tensor, " batch"]
SMALL = 1e-30


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Explains a few clips several times.

    It passes if the same seed gives the same bits twice, and a batch the maps of single clips up to `BATCH_LIMIT`. A
    method that fails on all of them is not judged.
    """
    samples, targets = _few(subject)
    seeds = [seed for seed in config.seeds if seed != subject.explainer._seed()] if subject.is_random else []
    kept = subject.memory.json("determinism", lambda: _measured(subject, samples, targets, seeds, progress))
    return _told(subject, kept, len(targets))


def _few(subject: Subject) -> tuple[Samples, list[Target]]:
    """Returns the first clips of the largest batch, and their labels."""
    samples = max((samples for _, samples in subject.batches()), key=len)[:MOST_CLIPS]
    return samples, subject.decisions(samples)


def _measured(
    subject: Subject, samples: Samples, targets: list[Target], seeds: list[int], progress: Progress | None
) -> dict[str, Any]:
    done, total, before = 0, 3 + len(seeds), Counter(subject.failures)

    def step(values: Values) -> Values:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)
        return values

    first = step(subject.maps(subject.explainer, samples, targets))
    with at_rest():
        torch.default_generator.manual_seed(20)  # another state of the world; `at_rest` restores it
        second = step(subject.maps(_anew(subject), samples, targets))
    alone = [subject.maps(_anew(subject), samples[i : i + 1], [target]) for i, target in enumerate(targets)]
    batch = apart(step(torch.cat(alone)), first)
    others = [step(subject.maps(subject.with_seed(seed), samples, targets)) for seed in seeds]
    return {
        "same_bits": bool((first == second).all()),
        "twice": float(apart(second, first).max()),
        "batch": batch.tolist(),
        "seeds": seeds,
        "similarity": joined([similarity(first, other) for other in others]) if others else {},
        "error": torch.cat([apart(other, first) for other in others]).tolist() if others else [],
        "failures": dict(subject.failures - before),
        "silent": not bool(first.any()),
    }


def _anew(subject: Subject) -> Any:
    """Returns the explainer without what it remembers of clips."""
    return subject.on(subject.classifier)


def apart(values: Values, known: Values) -> PerClip:
    """Returns the largest difference of each map relative to the largest value of the known one."""
    largest = known.double().abs().amax((1, 2)).clamp_min(SMALL)
    return (values.double() - known.double()).abs().amax((1, 2)) / largest


def _told(subject: Subject, kept: dict[str, Any], n: int) -> CheckResult:
    if kept["failures"] and kept.get("silent"):
        sentence = f"{subject.name} fails on all of {several(n, 'clip')}, so there is nothing to compare."
        return CheckResult("determinism", None, sentence, about={"n": n, "failures": kept["failures"]})
    worst = max(kept["batch"])
    batch_holds = worst <= BATCH_LIMIT
    passed = kept["same_bits"] and batch_holds
    same = "gives the same bits" if kept["same_bits"] else f"does not give the same twice ({kept['twice']:.1e} apart)"
    rows = (
        ("same seed twice, largest difference", f"{kept['twice']:.1e}", "0", _yes(kept["same_bits"])),
        ("in a batch and alone, largest difference", f"{worst:.1e}", f"{BATCH_LIMIT:.0e}", _yes(batch_holds)),
    )
    tables = [Table("Repeated", ("what", "relative to the largest value", "limit", "holds"), rows)]
    if kept["error"]:
        tables.append(Table("Another seed", ("measure", "same clip, other seed"), tuple(_seed_rows(kept))))
    sentence = (
        f"{subject.name} {same} for the same seed, and a batch gives what each clip gives alone"
        f"{_batch_words(worst)}; {_seed_words(subject, kept)} ({several(n, 'clip')}.)"
    )
    about = {"n": n, "limit": BATCH_LIMIT, "random": subject.is_random, "failures": kept["failures"]}
    return CheckResult("determinism", passed, sentence, tuple(tables), (), {**about, "other_seeds": kept["seeds"]})


def _batch_words(worst: float) -> str:
    if worst == 0:
        return ", bit for bit"
    above = "" if worst <= BATCH_LIMIT else f", above {BATCH_LIMIT:.0e}"
    return f" up to {worst:.0e} of the largest value{above}"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _seed_rows(kept: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for measure, name in MEASURES.items():
        yield name, spread(bootstrap(torch.tensor(kept["similarity"][measure], dtype=torch.float64)))
    error = torch.tensor(kept["error"], dtype=torch.float64)
    yield "largest difference, relative to the largest value", spread(bootstrap(error))


def _seed_words(subject: Subject, kept: dict[str, Any]) -> str:
    if not subject.is_random:
        return "it draws nothing at random."
    if not kept["error"]:
        return "no other seed was tried."
    if max(kept["error"]) == 0:
        return "another seed changes nothing."
    mean = sum(kept["similarity"]["rank_correlation"]) / len(kept["error"])
    return f"maps of other seeds correlate with its own by {number(mean)}, which is its Monte Carlo error."
