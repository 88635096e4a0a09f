"""Explainers: one file or one folder per published method, found by name in `EXPLAINERS`."""

#: Registry names and where each lives, as "module:attribute"; nothing is imported before it is asked for.
EXPLAINERS: dict[str, str] = {
    "apex": "earmark.explainers.apex.explainer:Apex",
}
