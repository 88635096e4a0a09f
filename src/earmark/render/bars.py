"""Contributions as bars, each of which starts where the last one ended, so that one sees them sum to the score."""

from typing import Any

from ..evidence import PrototypeEvidence
from . import words
from .figures import COLORS


def bars_of(evidence: PrototypeEvidence) -> dict[str, Any]:
    """Returns the sum as bars: the shown channels, all others as one, the offset, and the total; places in percent."""
    shown = [c.channel for c in evidence.channels]
    others = evidence.contributions.double().clone()
    others[shown] = 0
    terms = [(f"Channel {c.channel}", c.contribution, COLORS[i % len(COLORS)]) for i, c in enumerate(evidence.channels)]
    if len(others) > len(shown):
        terms.append((f"{words.plural(len(others) - len(shown), 'other channel')}", float(others.sum()), ""))
    terms.append(("Offset", evidence.offset, ""))
    edges = [0.0]
    for _, value, _ in terms:
        edges.append(edges[-1] + value)
    total = edges[-1]
    low, high = min(edges), max(edges)
    places = words.decimals(evidence.score, *(value for _, value, _ in terms))
    bars = [
        _bar(name, value, edges[i], (low, high), places) | {"color": color, "note": ""}
        for i, (name, value, color) in enumerate(terms)
    ]
    if len(others) > len(shown):
        up, down = (words.signed(float(part.sum()), places) for part in (others.clamp_min(0), others.clamp_max(0)))
        bars[-2]["note"] = f"({up} and {down})"
    return {
        "rows": bars,
        "zero": 100 * (0 - low) / max(high - low, 1e-30),
        "total": _bar("Sum", total, 0.0, (low, high), places),
        "score": words.number(evidence.score, places),
        "residual": f"{evidence.residual:.1g}",
        "additive": evidence.exact,
        "mode": evidence.mode,
    }


def _bar(name: str, value: float, start: float, span: tuple[float, float], places: int) -> dict[str, Any]:
    left, width = min(start, start + value), abs(value)
    scale = 100 / max(span[1] - span[0], 1e-30)
    return {
        "name": name,
        "value": words.signed(value, places),
        "left": (left - span[0]) * scale,
        "width": width * scale,
        "negative": value < 0,
    }
