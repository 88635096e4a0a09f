"""The model card of a small CLAP: what it learned from, and what words it understands."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..card import write_whole

KINDS = {
    "names": "names of the labels",
    "other names": "other prompts of the training",
    "other sentences": "names in sentences that were held out",
    "seen words": "held-out prompts of words that the training has",
    "some unseen words": "held-out prompts of which it lacks some words",
    "unseen words": "held-out prompts of which it lacks all words but such as *the*",
}

_CARD = """# {name}

A small CLAP (`ClapModel` of transformers) trained by `earmark train clap`: a stand-in. Published models have heard a
thousand times as much sound, and read far more than these {n_texts} texts: words that they know are unknown here.

| | |
|---|---|
| labels | {labels} |
| learned from | {n_training} clips of {data}; {folds} |
| epoch chosen on | {n_selection} clips of {select}: {score:.4f}, mean over labels, at epoch {epoch} |
| parameters | {parameters:,} |
| hears | {clip_s} s at {rate} Hz |
| seed | {seed} |

{test}
Prompts, also those held out, are in `training.json`.
"""
_TEST = """Zero-shot accuracy on {where}, clips of each set among its own labels:

| prompts | {sets} |
|---|{lines}|
{rows}
"""


def write_clap_card(folder: Path, summary: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes `README.md` and `training.json`.

    Parameters
    ----------
    summary
        What `fit_clap` returned, and under `test` by set what `score_clap` did.
    about
        `name`, `data`, `folds`, `select` and `where` in words; `size`, `numbers` with the seed, `prompts`, `n_texts`.
    """
    test = summary.get("test")
    write_whole(folder / "training.json", json.dumps({**about, **summary}, indent=2, default=str) + "\n")
    values = {**summary, **about, **about["numbers"], "labels": ", ".join(summary["labels"])}
    values["test"] = _test(test, about["where"]) if test else "Not tested on clips of their own.\n"
    write_whole(folder / "README.md", _CARD.format_map(values))


def _test(test: Mapping[str, Mapping[str, Any]], where: str) -> str:
    """Returns the table of accuracies, a column for each data set."""
    rows = []
    for kind, words in KINDS.items():
        cells = [_cell(own.get(kind)) for own in test.values()]
        rows.append(f"| {words} | {' | '.join(cells)} |")
    sets = " | ".join(f"{name} (N = {own['n']})" for name, own in test.items())
    return _TEST.format(where=where, sets=sets, lines="|".join(["---"] * len(test)), rows="\n".join(rows))


def _cell(told: Mapping[str, float] | None) -> str:
    return "-" if told is None else f"{100 * told['accuracy']:.1f} % ({told['prompts']} prompts)"
