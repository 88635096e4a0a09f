"""What a reader must know before believing scores: one sentence for each thing. Imports no torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..classifiers.learned import learned_warning

GAP = 0.05  # of the difference of scores, by which values may miss it

Row = Mapping[str, Any]


def warnings_of(about: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Returns a sentence for each thing that makes scores worth less than they look; none where all is well.

    Parameters
    ----------
    about
        That of the scores.
    rows
        The rows of the table.
    """
    return [*_learned(about, rows), *_incomplete(rows), *_missing_ends(about)]


def _learned(about: Mapping[str, Any], rows: Sequence[Row]) -> Iterable[str]:
    """Yields a sentence where clips are those from which the classifier learned, as far as its card tells."""
    data, folds = (about.get("told") or {}).get("data"), {row["clip"]: row["fold"] for row in rows}
    said = learned_warning(about["classifier"], about.get("learned_from") or {}, data, folds)
    yield from [said] if said else []


def _incomplete(rows: Sequence[Row]) -> Iterable[str]:
    """Yields a sentence for each method whose values miss their sum."""
    gaps: dict[str, dict[Any, float]] = {}
    for row in rows:
        if row["completeness_gap"] is not None:
            gaps.setdefault(row["explainer"], {})[row["clip"], row["target"], row["seed"]] = row["completeness_gap"]
    for name, found in gaps.items():
        n = sum(gap > GAP for gap in found.values())
        if n:
            yield (
                f"{n} of {len(found)} maps of {name} are flagged: their values miss the difference of scores that they "
                f"should sum to by more than {100 * GAP:g} %."
            )


def _missing_ends(about: Mapping[str, Any]) -> Iterable[str]:
    """Yields a sentence where the rows that mark both ends of the scale are missing."""
    methods = {entrants[0]["method"] for entrants in about["explainers"].values()}
    missing = [name for name in ("all-ones", "all-zeros") if name not in methods]
    if missing:
        rows = "rows are" if len(missing) > 1 else "row is"
        yield (
            f"The {' and '.join(missing)} {rows} missing; add {','.join(missing)} to the explainers to see between "
            "which ends numbers lie."
        )
