"""Methods that explain; one file or one folder each."""

#: Registry names and where each lives, as "module:attribute"; nothing is imported before it is asked for.
EXPLAINERS: dict[str, str] = {
    "apex": "earmark.explainers.apex.explainer:Apex",
}

#: Of these, the ones that are fitted to a classifier first, and loaded from a folder; the others are always ready.
FITTED = ("apex",)
