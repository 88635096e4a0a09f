"""Does a model, or an explainer, do what it promises? The checks of explainers are found by name in `CHECKS`."""

#: Names of checks and where each lives, as "module:function"; nothing is imported before it is asked for.
CHECKS: dict[str, str] = {
    "determinism": "earmark.checks.determinism:check",
    "completeness": "earmark.checks.completeness:check",
    "randomization": "earmark.checks.randomization:check",
    "stability": "earmark.checks.stability:check",
    "decoder": "earmark.checks.decoder:check",
    "decoder-refits": "earmark.checks.decoder_refits:check",
    "labels": "earmark.checks.retraining.labels:check",
    "roar": "earmark.checks.retraining.roar:check",
}

#: Those that run where none is named; the others train models, and run only when named.
USUAL = ("determinism", "completeness", "randomization", "stability", "decoder")

#: Those that read all clips, and not only the ones that are explained.
TRAINING = ("decoder-refits", "labels", "roar")
