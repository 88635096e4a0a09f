"""The rows of an ablation as a table, and its folder on disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..results import Results

_KINDS: dict[str, pa.DataType] = {
    **dict.fromkeys(
        ("clip", "group", "labels", "target", "view", "fitted", "fill", "condition", "failed"), pa.string()
    ),
    **dict.fromkeys(("fold", "seed", "draw", "channel"), pa.int64()),
    **dict.fromkeys(("is_top", "undecided", "kept"), pa.bool_()),
    **dict.fromkeys(("freq", "frame", "height", "width", "area", "area_stft"), pa.float64()),
    **dict.fromkeys(("removed_db", "softer_db", "overlap", "whole_prob", "whole_logit"), pa.float64()),
    **dict.fromkeys(("prob", "logit", "drop", "prob_lost", "logit_lost", "flip", "top_hit"), pa.float64()),
    "logits": pa.list_(pa.float32()),
}
ARROW_SCHEMA = pa.schema(list(_KINDS.items()))
RESULTS = Results(
    "ablation",
    "earmark ablate",
    "ablation.parquet",
    "ablation.json",
    version=1,
    schema=ARROW_SCHEMA,
    keys=("view", "fill", "kept", "clip", "target", "condition", "seed", "draw"),
)
OLD = {"attenuate": "attenuation", "attenuate_db": "attenuation_db"}  # names that an older earmark wrote


@dataclass(frozen=True)
class Ablation:
    """What an ablation found.

    Parameters
    ----------
    table
        One row per clip, label, view, fill, condition, seed, draw, and whether the region is taken out or alone.
    about
        Settings, classifier, explainers, how many clips were scored and why others were not.
    """

    table: pa.Table = field(repr=False)
    about: dict[str, Any]

    def __len__(self) -> int:
        return self.table.num_rows

    def summary(self) -> dict[str, Any]:
        """Returns means with intervals, and paired differences to the controls."""
        from .summary import summarize

        return summarize(self)

    def save(self, folder: str | Path) -> Path:
        """Writes `ablation.parquet`, `summary.json`, `summary.md` and, last, `ablation.json`; each in one rename."""
        from .words import summary_markdown

        summary = self.summary()
        return RESULTS.save(folder, self.table, self.about, summary, summary_markdown(summary))


def load_ablation(folder: str | Path) -> Ablation:
    """Reads a folder that `Ablation.save` wrote; names of an older earmark are those of today.

    Raises
    ------
    InputError
        If it holds no readable ablation.
    MismatchError
        If a newer earmark wrote it.
    """
    table, about = RESULTS.load(folder)
    place = table.schema.get_field_index("fill")
    fills = pa.array([OLD.get(fill, fill) for fill in table["fill"].to_pylist()], pa.string())
    config = {OLD.get(name, name): value for name, value in about.get("config", {}).items()}
    if "fills" in config:
        config["fills"] = [OLD.get(fill, fill) for fill in config["fills"]]
    return Ablation(table.set_column(place, "fill", fills), {**about, "config": config})
