"""The columns of `scores.parquet`: the one place where they are named. Imports nothing.

Columns are only ever added, at the end, so that older tables stay readable; see `docs/glossary.md` for what they mean.
"""

KEYS = ("explainer", "seed", "clip", "target", "protocol", "reentry", "area")  # a row, and the order of rows
TEXTS = ("clip", "group", "labels", "target", "explainer", "protocol", "reentry", "failed")
INTEGERS = ("fold", "seed", "map_flags", "pass_flags")
BOOLEANS = ("correct", "undecided")

# what masked clips score
PASSES = (
    "average_increase",
    "average_drop",
    "average_drop_legacy",
    "average_gain",
    "faithfulness",
    "faithfulness_logit",
    "input_fidelity",
    "output_fidelity",
)
SHAPES = ("sparseness", "complexity", "complexity_normalized", "mask_mean")  # of native masks
ENERGY = "energy_kept"
STEPS = ("insertion", "deletion", "insertion_minus_deletion")
STEPS_LOGIT = tuple(f"{name}_logit" for name in STEPS)
PLACES = (  # beside known truth
    "iou_match",
    "iou_half",
    "pointing",
    "mass_inside",
    "energy_inside",
    "localization_auc",
    "localization_precision",
)
SEPARATION = ("source_kept", "contaminant_kept", "contrast_db")  # of masks, applied to the parts of mixtures
IDEAL = ("ideal_auc", "ideal_correlation")  # beside the ideal ratio mask of a mixture

_FIRST = (*PASSES, *SHAPES, ENERGY, *STEPS, *STEPS_LOGIT, *PLACES)
METRIC_COLUMNS = (*_FIRST, *SEPARATION, *IDEAL)
NUMBERS = ("area", "prob", "logit", *_FIRST, "truth_area", *SEPARATION, *IDEAL, "silence_prob", "completeness_gap")
ADDED_TEXTS = ("mixture",)  # recipe of a mixture's clip, such as `white:6`

COLUMNS = (*TEXTS, *INTEGERS, *BOOLEANS, *NUMBERS, *ADDED_TEXTS)  # in the order of the file
