"""Evaluations of the same explainers on several mixtures, side by side: one table per headline number."""

from collections.abc import Mapping, Sequence
from typing import Any

from .against import too_few
from .words import HEADLINES, cell, headline_rows, known, markdown, plain, verdict_lines

Summary = Mapping[str, Any]


def together(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Returns the headline numbers of several summaries side by side, as JSON values.

    Parameters
    ----------
    summaries
        By mixture, those of the same classifier and explainers.

    Returns
    -------
    together
        `classifier`, `explainers`, `mixtures` (by name what was scored, what beats the controls, and warnings),
        `tables` (by headline number, explainer and mixture: mean, interval and counts).
    """
    first = next(iter(summaries.values()))
    return {
        "classifier": first["card"]["classifier"],
        "data": first["card"].get("data", ""),
        "explainers": list(first["explainers"]),
        "mixtures": {name: _about(summary) for name, summary in summaries.items()},
        "tables": [table for headline in HEADLINES if (table := _table(summaries, *headline))["rows"]],
    }


def _about(summary: Summary) -> dict[str, Any]:
    few = too_few(summary)
    said = {"verdicts": verdict_lines(summary), "warnings": [*summary["warnings"], *([few] if few else [])]}
    return {"clips": summary["clips"], "decisions": summary["decisions"], **said}


def _table(summaries: Mapping[str, Summary], title: str, where: str, metric: str) -> dict[str, Any]:
    found = {name: headline_rows(summary, where) for name, summary in summaries.items()}
    rows: dict[str, dict[str, Any]] = {}
    for mixture, by_explainer in found.items():
        for explainer, row in by_explainer.items():
            if metric in row["metrics"]:
                rows.setdefault(explainer, {})[mixture] = row["metrics"][metric]
    return {"title": title, "metric": metric, "rows": rows}


def facts_table(found: Mapping[str, Any]) -> list[list[str]]:
    """Returns a row per mixture: what was scored, and how sure and right the classifier was; the head comes first."""
    head = ["mixture", "clips scored", "coverage", "N", "mean confidence", "accuracy", "decisions of the source"]
    return [head, *(_facts(name, about) for name, about in found["mixtures"].items())]


def _facts(name: str, about: Mapping[str, Any]) -> list[str]:
    clips, decisions = about["clips"], about["decisions"]
    share = f"{decisions['of_source']} of {decisions['mixtures']}" if decisions["mixtures"] else ""
    sure = [known(decisions["mean_prob"]), known(decisions["accuracy"], 100)]
    scored = [f"{clips['scored']} of {clips['n']}", f"{100 * clips['coverage']:.1f} %", str(decisions["n"])]
    return [name, *scored, *sure, share]


def side_by_side(found: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """Returns a title and a table for each headline number: a row per explainer, a column per mixture."""
    mixtures = list(found["mixtures"])
    return [(table["title"], [["explainer", *mixtures], *_rows(table, mixtures)]) for table in found["tables"]]


def _rows(table: Mapping[str, Any], mixtures: Sequence[str]) -> list[list[str]]:
    return [[name, *(_cell(row, mixture) for mixture in mixtures)] for name, row in table["rows"].items()]


def _cell(row: Mapping[str, Any], mixture: str) -> str:
    return cell(row[mixture]) if mixture in row else ""


def together_markdown(found: Mapping[str, Any], folders: Mapping[str, str]) -> str:
    """Returns the tables as Markdown, with a link to each mixture's own summary."""
    lines = [f"# Scores of explainers for {plain(found['classifier'])}, by mixture", "", *markdown(facts_table(found))]
    for title, table in side_by_side(found):
        lines += ["", f"## {title}", "", *markdown(table)]
    for name, about in found["mixtures"].items():
        said: Sequence[str] = [*about["warnings"], *about["verdicts"]]
        lines += ["", f"## {name}", "", *(f"- {plain(line)}" for line in said)]
        lines += ["", f"[All tables]({folders[name]}/summary.md)"]
    return "\n".join(lines) + "\n"
