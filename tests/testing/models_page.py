"""docs/models.md: the families, and which methods explain them, as the tests of the matrix found it."""

from collections.abc import Sequence

from tests.testing.matrix import HUB, Row, has_rows, sound

from earmark.classifiers.layouts import TokenGrid
from earmark.errors import ModelError
from earmark.explainers import EXPLAINERS
from earmark.explainers.apex.views import check_view
from earmark.testing.families import FAMILIES, PRETRAINED

HEAD = """\
# Models, and what explains them

This page is written by its test (`EARMARK_WRITE_MODELS=1 pytest tests/testing/test_matrix.py`), which makes a small random model
of each family, runs `earmark verify` on it, and every explainer. Your own model may be larger; what its family is made of is the same.
How to load it: [bring your model](how-to/bring-your-model.md). What each method answers: [methods](methods.md).

## Families

- **Tier**: what the head allows. T1 and T2: contributions are exact, with one set of weights for all clips. T3 and T4: exact, with
  rectifiers and maxima (T3) or also gates, attention and norms (T4) held as they are in a clip. T0: contributions are measured by
  removing one channel at a time.
- **Map** of a clip of 1 s: rows x frames. *1 x ...* has time alone, and so has a map whose rows are no bands.
- **Places**: center of the first frame and the step to the next; ≈ where they were fitted to gradients instead of followed through
  the layers.
- **Views** that APEX can take: *all* is `square`, `time`, `frequency` and `time-frequency`.
- **Beside the map**: tokens that stand for no place, and the length to which shorter clips are padded. No explanation points
  into the padding.
"""  # noqa: E501 - lines of a page

MATRIX = """\
## Which methods work

✓: it works: values are finite and on the clip's grid, gains lie in 0 ... 1, boxes inside the clip and its band, evidence and
complement add up to the clip, the same clip has the same bits again, another label or clip has another map, and the model is left
as it was, bit for bit. A letter: it does not apply, and says why; the sentences are below. `lmac`, `lmac-td`, `l2i` and `apex` are
fitted in one pass over a few clips, so that this says that they run, not that they explain well.
Every test run repeats all of it, but for `lmac-td`, `l2i` and `codec-latent`, which it repeats on one family of each kind of map.
"""  # noqa: E501 - lines of a page

HUB_NOTE = """\
Saved by `save_pretrained` and loaded from their folders by `load_classifier`; image models with `front_end="birdset"`.
"""


def written(rows: Sequence[Row]) -> str:
    """Returns the page."""
    plain = [row for row in rows if not row.name.startswith(HUB)]
    hub = [row for row in rows if row.name.startswith(HUB)]
    letters = _letters(rows)
    parts = [
        *(HEAD, "### Plain torch modules\n", _families(plain)),
        *("### Models of transformers\n", HUB_NOTE, _families(hub)),
        *(MATRIX, "### On plain torch modules\n", _matrix(plain, letters)),
        *("### On models of transformers\n", _matrix(hub, letters), "### Why not\n", _reasons(letters)),
    ]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _families(rows: Sequence[Row]) -> str:
    header = (
        "family",
        "tier",
        "why",
        "map of 1 s",
        "map layer",
        "places of frames",
        "bands",
        "views",
        "beside the map",
    )
    return _table(header, [_family(row) for row in rows])


def _family(row: Row) -> list[str]:
    classifier, name = row.classifier, _short(row)
    geometry = classifier.geometry(classifier.sample_rate)
    known = FAMILIES.get(row.name) or PRETRAINED[name]
    frame = geometry.frame
    first, step = (1000 * geometry.column_s[1] * x for x in (frame.start, frame.jump))
    first += 1000 * geometry.column_s[0]
    places = f"{first:.0f} ms, then every {step:.0f} ms" if frame.exact or frame.walked else f"≈ {step:.0f} ms apart"
    return [
        f"{name} ({_task(row)})" if _task(row) else name,
        row.report.tier,
        known.why,
        f"{geometry.freq.n_cells} x {frame.n_cells}{_inside(row)}",
        f"`{classifier.map_layer}`",
        places,
        _bands(row),
        _views(row),
        _beside(row),
    ]


def _inside(row: Row) -> str:
    """Returns how many frames lie in a clip of 1 s, where others stand for padding."""
    classifier = row.classifier
    if classifier.front_end.max_samples is None:
        return ""
    maps = classifier.at(sound(classifier.sample_rate, 1.0), "map").detach()
    return f" ({classifier.inside(maps, classifier.sample_rate).shape[3]} in the clip)"


def _short(row: Row) -> str:
    return row.name.removeprefix(HUB)


def _task(row: Row) -> str:
    return "several labels" if row.classifier.task == "multilabel" else ""


def _bands(row: Row) -> str:
    if not row.classifier.has_frequency:
        return "none"
    low, *_, high = row.classifier.geometry(row.classifier.sample_rate).hz_edges
    n = row.classifier.geometry(row.classifier.sample_rate).freq.n_cells
    return f"{n} from {low / 1000:.1f} to {high / 1000:.1f} kHz"


def _views(row: Row) -> str:
    allowed = []
    for view in ("square", "time", "frequency", "time-frequency"):
        try:
            check_view(view, 2 if has_rows(row.classifier, 1.0) else 1)
            allowed.append(f"`{view}`")
        except ModelError:
            continue
    return "all" if len(allowed) == 4 else ", ".join(allowed)


def _beside(row: Row) -> str:
    axes, front_end = row.classifier.map_axes, row.classifier.front_end
    parts = []
    if isinstance(axes, TokenGrid) and axes.n_special:
        parts.append(f"{axes.n_special} special tokens")
    if front_end.max_samples is not None:
        parts.append(f"padded to {front_end.max_samples / front_end.sample_rate:.3g} s")
    return ", ".join(parts) or "-"


def _letters(rows: Sequence[Row]) -> dict[str, str]:
    """Returns a letter for each reason, in the order in which they are met method by method."""
    met = dict.fromkeys(_reason(row, method) for method in EXPLAINERS for row in rows)
    return {reason: "abcdefghijklmnopqrstuvwxyz"[i] for i, reason in enumerate(r for r in met if r)}


def _reason(row: Row, method: str) -> str:
    """Returns why a method does not apply, said of any model."""
    reason = row.reasons.get(method, "").replace(row.classifier.name, "the model")
    return reason[:1].upper() + reason[1:]


def _matrix(rows: Sequence[Row], letters: dict[str, str]) -> str:
    cells = {m: [letters.get(_reason(row, m), "✓") for row in rows] for m in EXPLAINERS}
    return _table(["", *(_short(row) for row in rows)], [[f"`{m}`", *cells[m]] for m in EXPLAINERS])


def _reasons(letters: dict[str, str]) -> str:
    return "".join(f"- **{letter}**: {reason}\n" for reason, letter in letters.items())
