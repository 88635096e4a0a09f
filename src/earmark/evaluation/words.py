"""The summary of an evaluation in words: what beats the controls, and tables with intervals and counts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .against import difference, too_few, verdicts

HEADLINES = (  # title, where its numbers are, metric
    ("average drop, own mask, %", "soft", "average_drop"),
    ("average drop, equal area, %", "matched", "average_drop"),
    ("faithfulness, equal area", "matched", "faithfulness"),
    ("input fidelity, equal area", "matched", "input_fidelity"),
    ("insertion - deletion", "curve", "insertion_minus_deletion"),
    ("contrast, equal area, dB", "matched", "contrast_db"),
    ("AUC, ideal mask", "ideal", "ideal_auc"),
    ("localization AUC", "localization", "localization_auc"),
)


TITLES = {"wall_s": "wall time", "parity": "parity of the front end", "silence_score": "mean confidence on silence"}


def summary_markdown(summary: Mapping[str, Any]) -> str:
    """Returns the summary as Markdown: each value with its interval, beside N and what was left out."""
    lines = [f"# Scores of explainers for {plain(summary['card']['classifier'])}", "", *reading(summary)]
    lines += ["", *(f"- {plain(line)}" for line in verdict_lines(summary))]
    lines += ["", "## Result card", "", "| | |", "|---|---|"]
    lines += [f"| {plain(name)} | {plain(value)} |" for name, value in card_lines(summary)]
    lines += ["", "## At a glance", "", *markdown(headline_table(summary))]
    for title, table in tables_of(summary):
        lines += ["", f"## {title}", "", *markdown(table)]
    return "\n".join(lines) + "\n"


def reading(summary: Mapping[str, Any]) -> list[str]:
    """Returns paragraphs that say what was scored, and what was not."""
    clips, decisions = summary["clips"], summary["decisions"]
    lines = [
        f"{clips['scored']} of {clips['n']} clips scored (coverage {100 * clips['coverage']:.1f} %), "
        f"{decisions['n']} explained decisions, mean confidence {known(decisions['mean_prob'])}, accuracy "
        f"{known(decisions['accuracy'], 100)}. Intervals are 95 % bootstraps over recordings."
    ]
    if clips["excluded"] or clips["broken"]:
        reasons = [f"{n} {reason}" for reason, n in clips["excluded"].items()]
        reasons += [f"{len(clips['broken'])} unreadable"] if clips["broken"] else []
        lines += ["", f"Left out: {', '.join(reasons)}."]
    if decisions["mean_prob"] is not None and decisions["mean_prob"] > 0.99:
        lines += ["", "Confidence is near 1, so average increase and gain are near 0 for every method."]
    if decisions.get("mixtures"):
        n, of_source = decisions["mixtures"], decisions["of_source"]
        lines += [
            "",
            f"{of_source} of {n} decisions on mixtures ({100 * of_source / n:.1f} %) are labels of the source; "
            "contrast and what is kept of either sound are of these alone.",
        ]
    lines += [f"\n{plain(sentence)}" for sentence in summary.get("warnings", ())]
    if few := too_few(summary):
        lines += ["", few]
    lines += [f"\nThis table contradicts itself: {plain(sentence)}" for sentence in summary["broken_identities"]]
    return lines


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each explainer about the controls."""
    found = [verdict["sentence"] for verdict in verdicts(summary)]
    nothing = "No explainer was compared with energy or random at equal area: name them too, and two areas or more."
    return found or [nothing]


def card_lines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the result card as names and values."""
    clips, decisions, card = summary["clips"], summary["decisions"], summary["card"]
    numbers = {
        "clips": f"{clips['scored']} of {clips['n']} (coverage {100 * clips['coverage']:.1f} %)",
        "explained decisions": f"{decisions['n']}, of which {decisions['undecided']} below the threshold",
        "mean confidence": known(decisions["mean_prob"]),
        "accuracy": known(decisions["accuracy"], 100),
    }
    settings = {_title(name): _value(name, value) for name, value in card.items() if value is not None}
    passes = {f"passes of {name}": _passes(entrants) for name, entrants in summary["explainers"].items()}
    return list({**settings, **numbers, **passes}.items())


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def headline_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """Returns one row per explainer with the headline numbers at the first re-entry stage; the head comes first."""
    found = {(where, metric): headline_rows(summary, where) for _, where, metric in HEADLINES}
    shown = [(t, w, m) for t, w, m in HEADLINES if any(m in row["metrics"] for row in found[w, m].values())]
    head = ["explainer", "N", *(title for title, _, _ in shown)]
    rows = []
    for name in summary["explainers"]:
        own = [found[where, metric].get(name) for _, where, metric in shown]
        counted = next((row for row in own if row), {"n": 0})
        cells = [cell(row["metrics"].get(m)) if row else "" for row, (_, _, m) in zip(own, shown, strict=True)]
        rows.append([noted(name, _noted(summary, name)), str(counted["n"]), *cells])
    return [head, *rows]


def headline_rows(summary: Mapping[str, Any], where: str) -> dict[str, Mapping[str, Any]]:
    """Returns the rows of a protocol by explainer, at the first stage; those of `matched` are areas under curves."""
    stage = summary["card"]["reentry"][0]
    tables = summary["curves"] if where == "matched" else [t for t in summary["tables"] if t["protocol"] == where]
    rows: Sequence[Any] = next((t["rows"] for t in tables if t["reentry"] in (stage, None)), ())
    return {row["explainer"]: row for row in rows}


def _noted(summary: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns the row of an explainer that counts the most failures and flags."""
    rows = [row for table in summary["tables"] for row in table["rows"] if row["explainer"] == name]
    return max(rows, key=lambda row: (row["failed"], row["flagged"]), default={})


def tables_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
    """Yields titles and tables of all that was measured; the first row of a table is its head."""
    for table in summary["curves"]:
        span = f"{100 * table['from']:g} to {100 * table['to']:g} %"
        title = f"Equal area, {span} of all bins, re-entry `{table['reentry']}`: mean height of curves"
        yield title, table_rows(table["rows"])
    if len(stages := summary["card"]["reentry"]) > 1 and summary["curves"]:
        yield "Re-entry stages side by side: area under faithfulness, equal area", _by_stage(summary, stages)
    for table in summary.get("stages", ()):
        yield (
            f"Re-entry `{table['stage']}` minus `{table['first']}`, equal area, on the same clips",
            table_rows(table["rows"]),
        )
    for table in summary["against"]:
        stage = "" if table["reentry"] is None else f", re-entry `{table['reentry']}`"
        rows = [[row["explainer"], str(row["n"]), difference(row)] for row in table["rows"]]
        title = f"Beside `{plain(table['control'])}`: {table['metric'].replace('_', ' ')}{stage}"
        yield title, [["explainer", "N", "difference, p (Holm)"], *rows]
    for table in summary["tables"]:
        area = "" if table["area"] is None else f", area {100 * table['area']:g} %"
        stage = "" if table["reentry"] is None else f", re-entry `{table['reentry']}`"
        yield f"`{table['protocol']}`{area}{stage}", table_rows(table["rows"])


def _by_stage(summary: Mapping[str, Any], stages: Sequence[str]) -> list[list[str]]:
    """Returns a row per explainer, a column per stage."""
    found = {(t["reentry"], row["explainer"]): row for t in summary["curves"] for row in t["rows"]}
    rows = [(name, [found[stage, name] for stage in stages]) for name in summary["explainers"]]
    cells = [[n, str(own[0]["n"]), *(cell(row["metrics"].get("faithfulness")) for row in own)] for n, own in rows]
    return [["explainer", "N", *stages], *cells]


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns a head and a row per explainer."""
    metrics = list(dict.fromkeys(metric for row in rows for metric in row["metrics"]))
    head = ["explainer", "N", *(metric.replace("_", " ") for metric in metrics)]
    return [
        head,
        *([noted(r["explainer"], r), str(r["n"]), *(cell(r["metrics"].get(m)) for m in metrics)] for r in rows),
    ]


def noted(name: str, row: Mapping[str, Any]) -> str:
    """Returns a name with how many of its maps failed or were unusual."""
    notes = [f"{row[what]} {what}" for what in ("failed", "flagged") if row.get(what)]
    return f"{name} ({', '.join(notes)})" if notes else name


def cell(told: Mapping[str, Any] | None) -> str:
    """Returns a mean with its interval, and how many values were not defined."""
    if told is None or told["mean"] is None:
        return "undefined"
    if told["low"] is None or told["high"] is None:
        return "no interval"
    missing = f" ({told['n_missing']} undefined)" if told["n_missing"] else ""
    return f"{number(told['mean'])} [{number(told['low'])}, {number(told['high'])}]{missing}"


def number(value: float | None) -> str:
    """Returns a number with three digits or so."""
    return "?" if value is None else f"{value:.1f}" if abs(value) >= 10 else f"{value + 0.0:.3f}"


def markdown(table: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table as lines of Markdown; its first row is the head."""
    head, *rows = [[plain(text) for text in row] for row in table]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def plain(text: str) -> str:
    """Returns a text that stays in its cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def known(value: float | None, percent: int = 1) -> str:
    """Returns a share, or a percentage where `percent` is 100, in words."""
    if value is None:
        return "unknown"
    return f"{value:.3f}" if percent == 1 else f"{percent * value:.1f} %"


def _value(name: str, value: Any) -> str:
    if name == "wall_s":
        each = ", ".join(f"{key} {one:.4g}" for key, one in value.items())
        return f"{sum(value.values()):.4g} s: {each}"
    if name == "silence_score":
        return known(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "areas":
        return ", ".join(f"{100 * area:g}" for area in value) + " %"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _passes(entrants: Sequence[Mapping[str, Any]]) -> str:
    seeds = f", seeds {', '.join(str(one['seed']) for one in entrants)}" if len(entrants) > 1 else ""
    return f"{entrants[0]['forward_passes']} forward, {entrants[0]['backward_passes']} backward{seeds}"
