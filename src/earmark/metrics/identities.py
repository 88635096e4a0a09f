"""What every table of these metrics must satisfy, whoever printed it: a table that does not was computed otherwise.

The identities hold for each clip, hence for means over the same clips: `average_gain <= average_increase`,
`average_drop <= 100 - average_increase`, `average_drop_legacy <= 100 (1 - 1/e)`, `faithfulness` at most the mean
probability, `input_fidelity` a multiple of one over the number of clips, and shares between 0 and 1.
"""

import math
from collections.abc import Mapping

LEGACY_CEILING = 100 * (1 - math.exp(-1))
SHARES = ("input_fidelity", "output_fidelity", "mask_mean", "energy_kept", "sparseness", "complexity_normalized")


def broken_identities(
    row: Mapping[str, float], *, n: int | None = None, mean_prob: float | None = None, rounding: float = 0.005
) -> list[str]:
    """Returns a sentence for each identity that a row of a table breaks; none for a sound one.

    Parameters
    ----------
    row
        Means by metric name, average_* in percent; what is missing or NaN is not checked.
    n
        Clips in the mean.
    mean_prob
        Mean probability of the explained label.
    rounding
        Half of the last printed digit.
    """
    known = {name: value for name, value in row.items() if not math.isnan(value)}
    found = [
        f"{name} is {known[name]:g}, but it cannot exceed {what}, {limit:g}."
        for name, what, limit in _limits(known, mean_prob)
        if name in known and known[name] > limit + 2 * rounding
    ]
    found += [f"{name} is {known[name]:g}, but it cannot be negative." for name in SHARES if known.get(name, 0) < 0]
    hits = known.get("input_fidelity", 0.0) * (n or 0)
    if abs(hits - round(hits)) > rounding * (n or 0) + 1e-9:
        found.append(f"input_fidelity is {known['input_fidelity']:g}, which is no multiple of 1/{n}.")
    return found


def _limits(known: Mapping[str, float], mean_prob: float | None) -> list[tuple[str, str, float]]:
    limits = [(name, "its largest value", 1.0) for name in SHARES]
    limits.append(("average_drop_legacy", "100 (1 - 1/e)", LEGACY_CEILING))
    if "average_increase" in known:
        limits.append(("average_gain", "average_increase", known["average_increase"]))
        limits.append(("average_drop", "100 - average_increase", 100 - known["average_increase"]))
    if mean_prob is not None:
        limits.append(("faithfulness", "the mean probability", mean_prob))
    return limits
