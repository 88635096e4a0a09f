"""Metrics: pure functions that return one number per clip; averages and intervals are made elsewhere.

A value that is not defined for a clip is NaN, and is counted by whoever averages. Each function says when that is.
"""

#: Names and where each lives, as "module:attribute"; nothing is imported before it is asked for.
METRICS: dict[str, str] = {
    # what masked clips score: metric(passes)
    "average_increase": "earmark.metrics.faithfulness:average_increase",
    "average_drop": "earmark.metrics.faithfulness:average_drop",
    "average_drop_legacy": "earmark.metrics.faithfulness:average_drop_legacy",
    "average_gain": "earmark.metrics.faithfulness:average_gain",
    "faithfulness": "earmark.metrics.faithfulness:faithfulness_prob",
    "faithfulness_logit": "earmark.metrics.faithfulness:faithfulness_logit",
    "input_fidelity": "earmark.metrics.faithfulness:input_fidelity",
    "output_fidelity": "earmark.metrics.faithfulness:output_fidelity",
    # what a mask is like: metric(gain), energy_kept(gain, power)
    "sparseness": "earmark.metrics.complexity:sparseness",
    "complexity": "earmark.metrics.complexity:complexity",
    "complexity_normalized": "earmark.metrics.complexity:complexity_normalized",
    "mask_mean": "earmark.metrics.complexity:mask_mean",
    "energy_kept": "earmark.metrics.complexity:energy_kept",
    # where a map lies: metric(values, truth), energy_inside(gain, truth, power)
    "iou_match": "earmark.metrics.localization:iou_at_match",
    "iou_half": "earmark.metrics.localization:iou_at_half",
    "pointing": "earmark.metrics.localization:pointing",
    "mass_inside": "earmark.metrics.localization:mass_inside",
    "energy_inside": "earmark.metrics.localization:energy_inside",
    "localization_auc": "earmark.metrics.localization:roc_auc",
    "localization_precision": "earmark.metrics.localization:average_precision",
    # what masks and maps have of a mixture's parts: metric(gain, source, contaminant), powers of both
    "source_kept": "earmark.metrics.separation:source_kept",
    "contaminant_kept": "earmark.metrics.separation:contaminant_kept",
    "contrast_db": "earmark.metrics.separation:contrast_db",
    "ideal_auc": "earmark.metrics.separation:ideal_auc",
    "ideal_correlation": "earmark.metrics.separation:ideal_correlation",
    # how maps of a changed clip compare: metric(first, second)
    "ssim": "earmark.metrics.stability:ssim",
    "rank_correlation": "earmark.metrics.stability:rank_correlation",
    "iou_top": "earmark.metrics.stability:iou_of_top",
}
