"""The summary of an ablation in words and tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...metrics.intervals import least_p
from ..against import difference
from ..words import cell, number
from .config import CONTROLS, REGION
from .summary import HEADLINE

LEVEL = 0.05
NAMES = {REGION: "APEX's region"} | {name: name.replace("-", " ") for name in CONTROLS}
CONDITION_HEAD = ("condition", "N", "unmatched", "area, %", "softer, dB", "prob", "prob lost", "logit lost")


def summary_markdown(summary: Mapping[str, Any]) -> str:
    """Returns the summary as Markdown: what beats the controls, and tables with intervals and counts."""
    lines = [f"# Masking ablation of APEX on {_plain(summary['card']['classifier'])}", "", *reading(summary), ""]
    lines += [f"- {_plain(sentence)}" for _, sentence in verdicts(summary)]
    lines += ["", "## Result card", "", "| | |", "|---|---|"]
    lines += [f"| {_plain(name)} | {_plain(value)} |" for name, value in card_lines(summary)]
    for title, table in tables_of(summary):
        lines += ["", f"## {title}", "", *_markdown(table)]
    return "\n".join(lines) + "\n"


def reading(summary: Mapping[str, Any]) -> list[str]:
    """Returns sentences that say what was done, and how to read it."""
    clips, decisions, passes = summary["clips"], summary["decisions"], summary["passes"]
    lines = [
        f"{clips['scored']} of {clips['n']} clips scored (coverage {100 * clips['coverage']:.1f} %), "
        f"{decisions['n']} decisions, mean confidence {decisions['mean_prob']:.3f}; {passes['whole']} passes of whole "
        f"clips and {passes['masked']} of masked ones.",
        "Regions of views differ in area, so numbers are compared within a view, or per percent of area. Intervals are "
        "95 % bootstraps over recordings and draws; p-values are corrected over the controls of a table after Holm.",
    ]
    rows = [row for table in summary["views"] for one in table["against"] for row in one["rows"]]
    n_clusters = max((row["n_clusters"] for row in rows), default=0)
    if len(CONTROLS) * least_p(n_clusters) >= LEVEL:
        lines.append(
            f"There are too few recordings ({n_clusters}): whatever the scores, no p-value can be below {LEVEL}."
        )
    if clips["excluded"] or clips["broken"]:
        reasons = [f"{n} {reason}" for reason, n in clips["excluded"].items()]
        reasons += [f"{len(clips['broken'])} unreadable"] if clips["broken"] else []
        lines.append(f"Left out: {', '.join(reasons)}.")
    return [*lines, *summary.get("warnings", ())]


def verdicts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns a mark and a sentence for each view and fill: which controls the region beats in logit lost."""
    return [_verdict(table) for table in summary["views"] if not table["kept"]]


def _verdict(table: Mapping[str, Any]) -> tuple[str, str]:
    rows = next(one["rows"] for one in table["against"] if one["outcome"] == HEADLINE)
    sure = {row["control"] for row in rows if row["p_holm"] is not None and row["p_holm"] < LEVEL}
    more = [row for row in rows if row["control"] in sure and row["mean"] > 0]
    less = [row for row in rows if row["control"] in sure and row["mean"] < 0]
    same = [row for row in rows if row["control"] not in sure]
    groups = (("costs more logit than", more), ("costs less than", less), ("is not told apart from", same))
    said = [f"{words} {', '.join(_control(row) for row in found)}" for words, found in groups if found]
    mark = "yes" if more and not less and not same else "no" if not more else ""
    return mark, f"{table['view']}, fill {table['fill']}: APEX's region {'; '.join(said)}."


def _control(row: Mapping[str, Any]) -> str:
    return f"{NAMES[row['control']]} ({difference(row)})"


def card_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the result card as names and values."""
    card = {**summary["card"], **{f"passes, {name}": n for name, n in summary["passes"].items()}}
    return [(name.replace("_", " "), _value(value)) for name, value in card.items() if value is not None]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def title_of(table: Mapping[str, Any]) -> str:
    """Returns what a table is called."""
    return f"{table['view']}, fill {table['fill']}, {'the region alone' if table['kept'] else 'without the region'}"


def tables_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """Yields titles and tables; the first row of a table is its head."""
    for table in summary["views"]:
        title = title_of(table)
        yield title, condition_table(table)
        yield f"{title}: APEX's region minus control", difference_table(table)
        if table["classification"]:
            yield f"{title}: classification, one mask per clip", classification_table(table)


def condition_table(table: Mapping[str, Any]) -> list[list[str]]:
    """Returns what each condition takes, and what it costs."""
    head = [*CONDITION_HEAD, "average drop, %", "decision changed", "logit lost per % of area", "per dB softer"]
    rows = []
    for row in table["rows"]:
        own = [cell(row["metrics"][m]) for m in ("prob", "prob_lost", "logit_lost", "drop", "flip")]
        sizes = [number(100 * row["area"]) if row["area"] is not None else "", number(row["softer_db"])]
        counts = [str(row["n"]), str(row["unmatched"])]
        per = [_ratio(row[what]) for what in ("per_area_percent", "per_db")]
        rows.append([NAMES[row["condition"]], *counts, *sizes, *own, *per])
    return [head, *rows]


def difference_table(table: Mapping[str, Any]) -> list[list[str]]:
    """Returns paired differences for each outcome."""
    outcomes = table["against"]
    head = ["control", "N", *(one["outcome"].replace("_", " ") for one in outcomes)]
    names = [row["control"] for row in outcomes[0]["rows"]]
    return [
        head,
        *(
            [NAMES[name], str(outcomes[0]["rows"][i]["n"]), *(difference(one["rows"][i]) for one in outcomes)]
            for i, name in enumerate(names)
        ),
    ]


def classification_table(table: Mapping[str, Any]) -> list[list[str]]:
    """Returns classification metrics of clips masked for their top label, and what the region loses beyond."""
    metrics = ("top1", "cmap", "auroc")
    head = [
        "condition",
        "N",
        "T1-Acc",
        "cmAP",
        "AUROC",
        *(f"region minus it: {m}" for m in ("T1-Acc", "cmAP", "AUROC")),
    ]
    rows = []
    for row in table["classification"]:
        own, beyond = ([_ratio(side.get(m)) for m in metrics] for side in (row["metrics"], row["region_minus"]))
        rows.append([NAMES.get(row["condition"], "no mask"), str(row["n"]), *own, *beyond])
    return [head, *rows]


def _ratio(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return ""
    if told["mean"] is None:
        return "undefined"
    return f"{number(told['mean'])} [{number(told['low'])}, {number(told['high'])}]"


def _markdown(table: Sequence[Sequence[str]]) -> list[str]:
    head, *rows = [[_plain(text) for text in row] for row in table]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def _plain(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
