"""`fit_apex`: clips through the backbone once, the basis learned from what is kept, the banks built in it."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ... import disk
from ...classifiers.base import Classifier
from ...data.folders import split_by_group
from ...errors import DataError, InputError, ModelError
from ...locks import locked
from ...prototypes.bank import BankRules, PrototypeBank
from ...prototypes.build import build_bank
from ...prototypes.cache import ClipFeatures, FeatureCache, Kind, ScannedClips
from ...prototypes.pictures import Picture, pictures_of
from ...types import Clip, View
from . import disentangle, scaling, views
from .config import ApexConfig
from .disentangle import BasisState, TrainingClips

if TYPE_CHECKING:
    from .explainer import Apex

Progress = Callable[[int, int, dict[str, float]], None]  # done, in all, latest values

MIN_CLIPS = 10
LOCATE_CHUNK = 64  # clips whose maps are in memory while prototypes are located
_BEYOND, _OWNED = ".beyond-", ".owned"  # folders beside the cache's shards, and the file by which one is in use
CHECK_CLIPS = 8  # clips on which the folded model is compared with the model itself


def fit_apex(
    classifier: Classifier,
    clips: Iterable[Clip],
    config: ApexConfig | None = None,
    *,
    held_out: Iterable[Clip] | None = None,
    cache_dir: str | Path | None = None,
    cache_gb: float = 4.0,
    progress: Progress | None = None,
    resume_dir: str | Path | None = None,
    **changes: Any,
) -> "Apex":
    """Learns a basis of pure channels for a frozen classifier and collects their prototypes.

    Parameters
    ----------
    classifier
        Tapped, never changed. A head of any tier will do; how contributions are then measured depends on it.
    clips
        What the basis and the prototypes are taken from: training clips.
    config
        The numbers; keyword `changes` replace single ones, as in `view="square"`.
    held_out
        Clips for the diagnostics alone; by default a share of `clips` (`config.held_out`), by group, seeded.
    cache_dir, cache_gb
        Where features are kept, and the most disk space for maps in units of 1e9 bytes; by default a temporary folder.
        Clips without room pass the backbone once more when they are selected, and what comes of them lies in a folder
        there until the fit ends.
    progress
        Called with steps done, steps in all, and the latest purity; first for clips, then for optimizer steps.
    resume_dir
        Keeps a checkpoint of each stage; a fit that was killed goes on from there to the same result.

    Raises
    ------
    DataError
        If there are too few clips, or the clips cannot be split by group.
    ModelError
        If the map has no axis for the view, is the same for all clips, or no clip can be used.
    MismatchError
        If `resume_dir` belongs to another fit.
    """
    from .explainer import Apex

    told = config is not None or "view" in changes
    config = _configured(config, changes)
    config = config if told else suited(config, classifier)
    views.check_view(config.view, 2 if classifier.has_frequency else 1)
    train, held = _split(clips, held_out, config)
    with _folder(cache_dir) as folder, _beyond(folder) as beyond:
        kind: Kind = "map" if config.view == "square" else "marginals"
        batch_size = config.clips_per_batch
        cache = FeatureCache(classifier, folder, kind, cache_gb=cache_gb, batch_size=batch_size, beyond=beyond)
        fit = _Fit(cache, config, progress)
        fit.scan(train, held)
        state = fit.learn(None if resume_dir is None else Path(resume_dir))
        U, U_inv = scaling.folded(disentangle.final_basis(state.A, config.form), fit.scale)
        diagnostics = fit.diagnose(state)
        duplicates = [(first, second) for first, second in diagnostics["duplicate_channels"]]
        bank = fit.bank(U, duplicates)
        identity = fit.bank(torch.eye(len(U), dtype=U.dtype), [])
        pictures = fit.pictures(bank, identity) if config.pictures else {}
    diagnostics |= fit.about(bank, diagnostics["seconds"])
    apex = Apex(classifier, U, U_inv, config, bank, diagnostics, identity_bank=identity, pictures=pictures)
    diagnostics["folded"] = _folding_error(apex, fit.train)
    return apex


class _Fit:
    """What the parts of one fit share: the cache, the scanned clips, and how long each part took."""

    def __init__(self, cache: FeatureCache, config: ApexConfig, progress: Progress | None) -> None:
        self.cache, self.config, self.progress = cache, config, progress
        self.classifier = cache.classifier
        self.seconds: dict[str, float] = {}
        self.scale: Tensor | None = None  # of each channel, where channels are standardized
        self.train: ScannedClips
        self.held: ScannedClips | None = None

    def scan(self, train: Sequence[Clip], held: Sequence[Clip]) -> None:
        """Computes, or finds, the features of all clips."""
        with self._timed("features"):
            every = len(train) + len(held)
            self.train = self.cache.scan(train, self._part(0, every))
            _refuse_useless(self.train, self.config)
            if held:
                self.held = self.cache.scan(held, self._part(len(train), every))
            if self.config.standardize:
                self.scale = scaling.scale_of(self.clips(self.train))

    def learn(self, folder: Path | None) -> BasisState:
        """Learns the basis, from the folder's checkpoint if there is one."""
        state, save = None, None
        if folder is not None:
            path, key = folder / "basis.safetensors", self._key()
            state = disentangle.load_state(path, self.config, key)
            save = lambda state: disentangle.save_state(state, path, key)  # noqa: E731
        clips = self.clips(self.train)
        return disentangle.train_basis(clips, self.config, state=state, on_stage=save, progress=self.progress)

    def diagnose(self, state: BasisState) -> dict[str, Any]:
        """Returns what is known of the basis, and the cost of the fit."""
        with self._timed("diagnostics"):
            held = None if self.held is None else self.clips(self.held)
            found = disentangle.diagnose(self.clips(self.train), held, state, self.config)
            if self.scale is None:
                return found
            own = [None if clips is None else self.clips(clips, scaled=False) for clips in (self.train, self.held)]
            return found | scaling.diagnosed(found, own, state, self.scale, self.config)

    def bank(self, U: views.Basis, duplicates: Sequence[tuple[int, int]]) -> PrototypeBank:
        """Returns the prototypes of a basis among the training clips."""
        c = self.config
        rules = BankRules(c.view, c.schedule, c.bank_size, c.per_group, c.near_copy_cosine, c.candidates, c.selection)

        def locate(wanted: dict[int, list[int]], least: bool) -> Iterator[tuple[int, views.Found]]:
            return self.locate(wanted, -U if least else U)

        with self._timed("bank"):
            alike = None if self.scale is None else scaling.centered(self.train.pooled)
            return build_bank(self.train, U, locate, rules, self.classifier, duplicates=duplicates, alike=alike)

    def pictures(self, *banks: PrototypeBank) -> dict[str, Picture]:
        """Returns small pictures of the prototypes that explanations show, for where their sound is not at hand."""
        shown = {p.sha256 for bank in banks for p in bank.prototypes if p.sign != "weakest"}
        clips = {e.sha256: clip for clip, e in zip(self.train.clips, self.train.entries, strict=True)}
        with self._timed("pictures"):
            return pictures_of(self.classifier, ((sha256, clips[sha256]) for sha256 in sorted(shown)))

    def locate(self, wanted: dict[int, list[int]], U: views.Basis) -> Iterator[tuple[int, views.Found]]:
        """Yields where channels are strongest in clips, in the precision of U."""
        positions = sorted(wanted)
        for first in range(0, len(positions), LOCATE_CHUNK):
            part = positions[first : first + LOCATE_CHUNK]
            for position, features in zip(part, self.cache.features(self.train, part), strict=True):
                tables = tuple(table.to(U) for table in tables_of(features, self.config.view))
                n_frames = self.train.entries[position].n_frames
                channels = torch.tensor(wanted[position])
                yield position, views.find_in_tables(tables, U, channels, self.config.view, n_frames)

    def clips(self, scanned: ScannedClips, *, scaled: bool = True) -> TrainingClips:
        """Returns what the optimizer reads of scanned clips."""

        def load(positions: Sequence[int]) -> list[views.Tables]:
            return [tables_of(features, self.config.view) for features in self.cache.features(scanned, positions)]

        clips = TrainingClips(scanned.pooled, scanned.n_cells, load)
        return clips if self.scale is None or not scaled else scaling.scaled(clips, self.scale)

    def about(self, bank: PrototypeBank, seconds: dict[str, float]) -> dict[str, Any]:
        """Returns diagnostics of the fit as a whole: clips that fell out, channels that fell short, costs."""
        return {
            **bank.notes,
            "broken": self.train.broken | ({} if self.held is None else self.held.broken),
            "n_backbone_passes": self.cache.n_backbone_passes,
            "seconds": {**seconds, **self.seconds},
        }

    def _key(self) -> dict[str, Any]:
        """Returns what a checkpoint belongs to."""
        sounds = "".join(f"{c.id}:{e.sha256}\n" for c, e in zip(self.train.clips, self.train.entries, strict=True))
        digest = hashlib.sha256(sounds.encode()).hexdigest()
        return {"fingerprint": self.classifier.fingerprint, "clips": digest, "config": self.config.to_dict()}

    def _part(self, first: int, every: int) -> Progress | None:
        """Returns a reporter for a part of the clips."""
        report = self.progress
        return None if report is None else lambda done, _, values: report(first + done, every, values)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def tables_of(features: ClipFeatures, view: View) -> views.Tables:
    """Returns the candidates of a clip for a view, from what the cache keeps of its map."""
    if view == "square":
        assert features.map is not None
        return (features.map.flatten(0, 1),)
    assert features.time is not None and features.frequency is not None
    return views.tables_of_marginals(features.time, features.frequency, view)


def suited(config: ApexConfig, classifier: Classifier) -> ApexConfig:
    """Returns the settings with the view `time` in place of the default one where the map has no frequency axis."""
    if classifier.has_frequency or config.view != ApexConfig.view:
        return config
    return replace(config, view="time")


def _configured(config: ApexConfig | None, changes: dict[str, Any]) -> ApexConfig:
    known = [field.name for field in fields(ApexConfig)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise InputError(f"APEX has no setting {', '.join(unknown)}; its settings are {', '.join(known)}.")
    return replace(config or ApexConfig(), **changes)


def _split(
    clips: Iterable[Clip], held_out: Iterable[Clip] | None, config: ApexConfig
) -> tuple[Sequence[Clip], Sequence[Clip]]:
    """Returns the clips to learn from and those held out."""
    if held_out is not None:
        return tuple(clips), tuple(held_out)
    if config.held_out == 0:
        return tuple(clips), ()
    return split_by_group(clips, config.held_out, config.seed)


@contextmanager
def _folder(cache_dir: str | Path | None) -> Iterator[Path]:
    if cache_dir is not None:
        yield Path(cache_dir)
        return
    with TemporaryDirectory(prefix="earmark-") as name:
        yield Path(name)


@contextmanager
def _beyond(folder: Path) -> Iterator[Path]:
    """Yields a folder, as long as the fit lasts, for what has no room in the cache; removes those of killed fits."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with locked(folder / ".beyond.lock"):  # so that nobody takes a new folder for one that a kill left
            _sweep(folder)
            made = TemporaryDirectory(prefix=_BEYOND, dir=folder, ignore_cleanup_errors=True)
            path = Path(held.enter_context(made))
            held.enter_context(locked(path / _OWNED))
        yield path


def _sweep(folder: Path) -> None:
    """Removes what killed fits left in a cache: their folders, and, where no fit is running, unfinished files."""
    for path in folder.glob(f"{_BEYOND}*"):
        with suppress(BlockingIOError), locked(path / _OWNED, wait=False):
            shutil.rmtree(path, ignore_errors=True)
    if not list(folder.glob(f"{_BEYOND}*")):
        disk.sweep(folder)


def _refuse_useless(scanned: ScannedClips, config: ApexConfig) -> None:
    views.check_view(config.view, min(entry.n_freq for entry in scanned.entries))
    if len(scanned) < MIN_CLIPS:
        first = next(iter(scanned.broken.values()), "")
        raise DataError(
            f"{len(scanned)} clips are left to learn a basis from ({len(scanned.broken)} broken), at least {MIN_CLIPS} "
            f"were expected and some hundreds are useful; add clips. {first}".rstrip()
        )
    if bool((scanned.pooled == scanned.pooled[0]).all()):
        raise ModelError(
            f"The map is the same for all {len(scanned)} clips, so that nothing can be learned from it; check that "
            "the clips differ, and that the map layer depends on the sound."
        )


def _folding_error(apex: "Apex", scanned: ScannedClips) -> float | None:
    """Returns the largest change of a logit when U is folded into the model; `None` where it cannot be folded."""
    from ...audio.files import load_clip

    head = apex.classifier.head
    if head.weight is None or head.weight.ndim != 2:
        return None
    errors = []
    with torch.no_grad():
        for clip in scanned.clips[:: max(1, len(scanned) // CHECK_CLIPS)][:CHECK_CLIPS]:
            samples = apex.classifier.prepare(load_clip(clip))
            errors.append((apex.folded_logits(samples) - apex.classifier.tap(samples).logits).abs().max())
    return float(torch.stack(errors).max())
