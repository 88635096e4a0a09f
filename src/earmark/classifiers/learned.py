"""Which clips a classifier learned from, as far as its card tells. Imports no torch."""

import re
from collections.abc import Mapping
from typing import Any

SAME = {"esc10": "esc50"}  # data sets whose clips and folds are those of another one


def learned_from(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a card tells of the clips that were learned: data, folds, and the seed of scenes."""
    loop = card.get("training", {}).get("loop", {})
    return {"data": card.get("data"), "folds": card.get("folds"), "seed": loop.get("seed")}


def learned_warning(name: str, learned: Mapping[str, Any], data: object, folds: Mapping[str, int | None]) -> str | None:
    """Returns a sentence if clips are those from which a classifier learned, as far as is known.

    Parameters
    ----------
    name
        The classifier's.
    learned
        What `learned_from` returned.
    data
        What the clips' data are called.
    folds
        The fold of each clip, by id.
    """
    ours, theirs = str(data), str(learned.get("data"))
    if ours.startswith("scenes:") and theirs.startswith("scenes:"):
        n = sum(_is_training_scene(clip, theirs, learned.get("seed")) for clip in folds)
        where, instead = "training scenes", "take scenes of another seed"
    elif SAME.get(ours, ours) == SAME.get(theirs, theirs) and learned.get("folds"):
        known = {int(fold) for fold in re.findall(r"\d+", str(learned["folds"]))}
        n = sum(fold in known for fold in folds.values())
        where, instead = f"training folds ({learned['folds']})", "take other ones with --folds"
    else:
        return None
    if not n:
        return None
    return f"{n} of {len(folds)} clips are of the {where} of {name}, where it is surer than elsewhere; {instead}."


def _is_training_scene(clip: str, data: str, seed: Any) -> bool:
    """Says whether a scene is one of those of which a training on `scenes:N` makes three sets, the first to learn."""
    found = re.match(r"scenes:(\d+):(\d+)", clip)
    n = data.partition(":")[2]
    if found is None or seed is None or not n.isdigit():
        return False
    return int(found[1]) == 3 * int(seed) and int(found[2]) < int(n)
