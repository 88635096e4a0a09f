"""PrototypeBank: per channel, the training clips that excite it most and least, and where in them.

A prototype is a clip, equation (14) of APEX; its region is where the view finds the channel in it. A clip that excites
a channel least is `negative` only if its score is below zero, else `weakest`.

A bank holds no sound and no absolute path: `find_audio` finds a prototype's sound in the user's own folders by its
hash, or renders it where it is a generated scene.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..audio.files import AUDIO_ENDINGS, file_sha256, load_clip, read
from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..errors import DataError, MismatchError, ModelError
from ..types import Clip, Region, View

Sign = Literal["positive", "negative", "weakest"]
Basis = Float[Tensor, "channel channel"]

SCHEMA = 1


@dataclass(frozen=True)
class Prototype:
    """A training clip that stands for a channel, and where in it.

    Parameters
    ----------
    channel, rank, sign
        Its channel; 0 is the first of its sign; `positive` (excites most), `negative` (least, score below 0) or
        `weakest` (least, score not below 0).
    clip_id, path, sha256
        The clip in its data set; its file relative to the data set, if there is one; the hash of its sound, as
        `earmark.audio.files.clip_sha256` gives it.
    start_s, end_s, duration_s
        The part of the file that the clip is (`None`: the file's own start or end), and the clip's length.
    freq, frame
        The cell of the map; `None` is the whole axis.
    regions
        Where that is in the clip, from the clip's start: one box, or column and row for time-frequency.
    score, purity
        `a_k` of the clip, equation (13), and purity there, equation (12).
    label, group
        The clip's labels, joined by `;`, and what recording it is of.
    """

    channel: int
    rank: int
    sign: Sign
    clip_id: str
    path: str | None
    sha256: str
    start_s: float | None
    end_s: float | None
    duration_s: float
    freq: int | None
    frame: int | None
    regions: tuple[Region, ...]
    score: float
    purity: float
    label: str = ""
    group: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**asdict(self), "regions": [region.to_dict() for region in self.regions]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Prototype":
        """Returns the prototype that `to_dict` or `dataclasses.asdict` wrote."""
        return cls(**{**values, "regions": tuple(Region(**region) for region in values["regions"])})


@dataclass(frozen=True)
class BankRules:
    """What a bank keeps.

    Parameters
    ----------
    view, schedule
        Recorded: how regions were found, and how the basis was trained.
    size
        Prototypes per channel and sign (m).
    per_group
        Most prototypes of one recording in a channel (q); `None` is no limit.
    near_copy_cosine
        A clip whose pooled vector has a larger cosine to a kept one is dropped; `None` keeps copies.
    candidates
        Chosen from this many times `size`.
    selection
        Scores are the `sum` over cells or their `mean`.
    """

    view: View
    schedule: str = "paper"
    size: int = 5
    per_group: int | None = 1
    near_copy_cosine: float | None = 0.98
    candidates: int = 4
    selection: Literal["sum", "mean"] = "sum"


@dataclass(frozen=True, eq=False)
class PrototypeBank:
    """The prototypes of all channels in one basis.

    Parameters
    ----------
    prototypes
        By channel, positive before negative or weakest, by rank.
    vectors
        `[prototype, channel]`, the vector p of each, in the basis.
    rules
        How they were chosen.
    fingerprint, basis_sha256
        The classifier and the basis U (`basis_hash`) that they belong to.
    n_channels, n_clips
        Width of the map; clips that they were chosen from.
    class_histograms
        Per channel, how many positive prototypes carry each label.
    class_purity
        Per channel, the share of its most frequent label (0 without labels).
    purity
        Per channel, the mean purity of its positive prototypes.
    dead
        Channels with purity below 0.1, or that no clip excites.
    duplicates
        Pairs of channels that are active together throughout.
    class_labels, class_counts
        The labels that the clips carry, sorted, and how many clips carry each.
    class_means
        `[label, channel]`, float64: the mean over these clips of the pooled vector `U GAP(Z)`, in the basis; `None` in
        a bank of an earlier version.
    notes
        How many channels fell short of prototypes, and the ids of broken clips.
    """

    prototypes: tuple[Prototype, ...] = field(repr=False)
    vectors: Float[Tensor, "prototype channel"] = field(repr=False)
    rules: BankRules
    fingerprint: str
    basis_sha256: str
    n_channels: int
    n_clips: int
    class_histograms: tuple[dict[str, int], ...] = field(default=(), repr=False)
    class_purity: tuple[float, ...] = field(default=(), repr=False)
    purity: tuple[float, ...] = field(default=(), repr=False)
    dead: tuple[int, ...] = ()
    duplicates: tuple[tuple[int, int], ...] = ()
    class_labels: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    class_means: Float[Tensor, "label channel"] | None = field(default=None, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.prototypes)

    @property
    def view(self) -> View:
        """The view in which regions were found."""
        return self.rules.view

    def of(self, channel: int, *, positive: bool = True) -> tuple[Prototype, ...]:
        """Returns a channel's prototypes, the strongest first, or those that excite it least, the weakest first."""
        return tuple(p for p in self._by_channel.get(channel, ()) if (p.sign == "positive") == positive)

    def vector(self, prototype: Prototype) -> Float[Tensor, " channel"]:
        """Returns the vector p of one of this bank's prototypes, in the basis."""
        return self.vectors[self._rows[prototype.channel, prototype.sign, prototype.rank]]

    def similarity(self, vector: Float[Tensor, " channel"], prototypes: Sequence[Prototype]) -> tuple[float, ...]:
        """Returns the cosine between a vector p, in the basis, and those of some of this bank's prototypes."""
        rows = [self._rows[p.channel, p.sign, p.rank] for p in prototypes]
        return tuple((self._units[rows] @ (vector / vector.norm().clamp_min(1e-8)).to(self._units)).tolist())

    def check(self, classifier: Classifier, U: Basis | None = None) -> None:
        """Refuses another classifier, or another basis.

        Raises
        ------
        MismatchError
            If the fingerprint, or the hash of U, differs.
        """
        if classifier.fingerprint != self.fingerprint:
            raise MismatchError(
                f"This prototype bank was made for a classifier with fingerprint {str(self.fingerprint)[:12]}, and "
                f"{classifier.name} has {classifier.fingerprint[:12]}; fit APEX to this classifier."
            )
        if U is not None and basis_hash(U) != self.basis_sha256:
            raise MismatchError("This prototype bank was made in another basis U; use the bank saved beside it.")

    @cached_property
    def _by_channel(self) -> dict[int, list[Prototype]]:
        found: dict[int, list[Prototype]] = {}
        for prototype in self.prototypes:
            found.setdefault(prototype.channel, []).append(prototype)
        return found

    @cached_property
    def _units(self) -> Float[Tensor, "prototype channel"]:
        return self.vectors / self.vectors.norm(dim=1, keepdim=True).clamp_min(1e-8)

    @cached_property
    def _rows(self) -> dict[tuple[int, str, int], int]:
        return {(p.channel, p.sign, p.rank): row for row, p in enumerate(self.prototypes)}


def basis_hash(U: Basis) -> str:
    """Returns the sha256 of U's values in float64."""
    return hashlib.sha256(U.detach().cpu().double().contiguous().numpy().tobytes()).hexdigest()


# -- on disk --------------------------------------------------------------------------------------------------------


def save_bank(bank: PrototypeBank, folder: str | Path) -> Path:
    """Writes `tensors.safetensors`, `prototypes.parquet` and, last, `bank.json`; each in one rename."""
    import pyarrow.parquet as pq

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"vectors": bank.vectors.contiguous(), "purity": torch.tensor(bank.purity, dtype=torch.float64)}
    if bank.class_means is not None:
        tensors["class_means"] = bank.class_means.contiguous()
    _written(folder / "tensors.safetensors", lambda path: save_file(tensors, path))
    _written(folder / "prototypes.parquet", lambda path: pq.write_table(_table(bank.prototypes), path))
    text = json.dumps(_about(bank), indent=2) + "\n"
    _written(folder / "bank.json", lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def load_bank(folder: str | Path, classifier: Classifier | None = None) -> PrototypeBank:
    """Reads a bank.

    Parameters
    ----------
    classifier
        Checked, if given, see `PrototypeBank.check`.

    Raises
    ------
    ModelError
        If files are missing or damaged.
    MismatchError
        If it is another classifier's, or was written by a newer version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    try:
        about = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        if about["schema"] > SCHEMA:
            raise MismatchError(f"{folder} was written by a newer earmark (schema {about['schema']}); update earmark.")
        rows = pq.read_table(folder / "prototypes.parquet").to_pylist()
        tensors = load_file(folder / "tensors.safetensors")
        bank = _from_parts(about, rows, tensors)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        if isinstance(error, MismatchError):
            raise
        raise ModelError(f"{folder} holds no readable prototype bank ({error}); fit APEX again.") from error
    if classifier is not None:
        bank.check(classifier)
    return bank


def _written(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    temporary.replace(path)


def _about(bank: PrototypeBank) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **asdict(bank.rules),
        "fingerprint": bank.fingerprint,
        "basis_sha256": bank.basis_sha256,
        "n_channels": bank.n_channels,
        "n_clips": bank.n_clips,
        "n_prototypes": len(bank),
        "notes": bank.notes,
        "dead": list(bank.dead),
        "duplicates": [list(pair) for pair in bank.duplicates],
        "class_purity": list(bank.class_purity),
        "class_histograms": list(bank.class_histograms),
        "class_labels": list(bank.class_labels),
        "class_counts": list(bank.class_counts),
    }


def _from_parts(
    about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> PrototypeBank:
    rules = BankRules(**{name: about[name] for name in BankRules.__dataclass_fields__})
    if len(rows) != len(tensors["vectors"]):
        raise ValueError(f"{len(rows)} rows and {len(tensors['vectors'])} vectors")
    labels, means = tuple(about.get("class_labels", ())), tensors.get("class_means")
    if means is not None and means.shape != (len(labels), about["n_channels"]):
        raise ValueError(f"class means of shape {tuple(means.shape)} for {len(labels)} labels")
    return PrototypeBank(
        prototypes=tuple(Prototype.from_dict(row) for row in rows),
        vectors=tensors["vectors"],
        rules=rules,
        purity=tuple(tensors["purity"].tolist()),
        class_histograms=tuple(about["class_histograms"]),
        class_purity=tuple(about["class_purity"]),
        dead=tuple(about["dead"]),
        duplicates=tuple((first, second) for first, second in about["duplicates"]),
        class_labels=labels,
        class_counts=tuple(about.get("class_counts", ())),
        class_means=means,
        **{name: about[name] for name in ("fingerprint", "basis_sha256", "n_channels", "n_clips", "notes")},
    )


def _table(prototypes: Sequence[Prototype]) -> Any:
    """Returns one row for each prototype; its regions are a list of boxes."""
    import pyarrow as pa

    box = pa.struct(
        [(n, pa.float64()) for n in ("start_s", "end_s", "low_hz", "high_hz", "weight")] + [("label", pa.string())]
    )
    integers, texts = ("channel", "rank", "freq", "frame"), ("sign", "clip_id", "path", "sha256", "label", "group")
    kinds = dict.fromkeys(integers, pa.int32()) | dict.fromkeys(texts, pa.string()) | {"regions": pa.list_(box)}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in Prototype.__dataclass_fields__])
    return pa.Table.from_pylist([prototype.to_dict() for prototype in prototypes], schema)


# -- finding sounds -------------------------------------------------------------------------------------------------


def find_audio(prototype: Prototype, folders: Iterable[str | Path]) -> Waveform | None:
    """Returns the sound of a prototype's clip, or `None` where it is not at hand.

    A generated scene is rendered from its id. A file is looked for in each folder by its relative path, then by its
    name anywhere below, then among all sounds; it is taken only if its hash is the prototype's.
    """
    if prototype.path is None:
        return _rendered(prototype)
    wanted = prototype.sha256.partition(":")[0]  # behind the colon is the cut
    roots = [Path(folder) for folder in folders]
    for look in (_by_path, _by_name, _all_sounds):
        for root in roots:
            for path in look(root, prototype.path):
                if _known_sha256(path) == wanted:
                    return read(path, prototype.start_s, prototype.end_s)
    return None


def _rendered(prototype: Prototype) -> Waveform | None:
    from ..data.scenes import render_id

    if not prototype.clip_id.startswith("scenes:"):
        return None
    try:
        waveform = render_id(prototype.clip_id)
    except DataError:
        return None
    return load_clip(Clip(prototype.clip_id, waveform, start_s=prototype.start_s, end_s=prototype.end_s))


def _by_path(folder: Path, path: str) -> Iterator[Path]:
    relative = PurePosixPath(path)
    if not relative.is_absolute() and ".." not in relative.parts and (folder / relative).is_file():
        yield folder / relative


def _by_name(folder: Path, path: str) -> Iterator[Path]:
    name = PurePosixPath(path).name
    yield from (found for found in _all_sounds(folder, path) if found.name == name)


def _all_sounds(folder: Path, path: str) -> Iterator[Path]:
    sounds = (found for found in folder.rglob("*") if found.suffix.lower() in AUDIO_ENDINGS and found.is_file())
    yield from sorted(sounds)


def _known_sha256(path: Path) -> str | None:
    """Returns the hash of a file, computed once for each state of it; `None` if it cannot be read."""
    try:
        state = path.stat()
        return _sha256_of_state(path, state.st_size, state.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1 << 16)
def _sha256_of_state(path: Path, n_bytes: int, modified_ns: int) -> str:
    return file_sha256(path)
