"""What a reader must know before believing scores: one sentence for each thing. Imports no torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GAP = 0.05  # of the difference of scores, by which values may miss it

Row = Mapping[str, Any]

SAME = {"esc10": "esc50"}  # data sets whose clips and folds are those of another one


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
    learned, told = about.get("learned_from") or {}, about.get("told") or {}
    clips = {row["clip"]: row["fold"] for row in rows}
    ours, theirs = str(told.get("data")), str(learned.get("data"))
    if ours.startswith("scenes:") and theirs.startswith("scenes:"):
        n = sum(_is_training_scene(clip, theirs, learned.get("seed")) for clip in clips)
        where, instead = "training scenes", "score scenes of another seed"
    elif SAME.get(ours, ours) == SAME.get(theirs, theirs) and learned.get("folds"):
        folds = {int(fold) for fold in re.findall(r"\d+", str(learned["folds"]))}
        n = sum(fold in folds for fold in clips.values())
        where, instead = f"training folds ({learned['folds']})", "score other ones with --folds"
    else:
        return
    if n:
        yield (
            f"{n} of {len(clips)} clips are of the {where} of {about['classifier']}, where it is surer than elsewhere; "
            f"{instead}."
        )


def _is_training_scene(clip: str, data: str, seed: Any) -> bool:
    """Says whether a scene is one of those of which a training on `scenes:N` makes three sets, the first to learn."""
    found = re.match(r"scenes:(\d+):(\d+)", clip)
    n = data.partition(":")[2]
    if found is None or seed is None or not n.isdigit():
        return False
    return int(found[1]) == 3 * int(seed) and int(found[2]) < int(n)


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
