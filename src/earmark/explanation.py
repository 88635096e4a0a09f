"""Explanation: one clip, one target, and the evidence for it, to be seen, heard, stored and checked."""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .audio.waveform import Waveform
from .classifiers.base import Grid
from .evidence import Evidence, Resynthesis
from .masking import complement_of, evidence_of
from .types import Prediction, Region, Target


@dataclass(frozen=True)
class Provenance:
    """How an explanation was made: enough to make it again.

    Parameters
    ----------
    method, config, seed
        The explainer's registry name, its settings, its seed (`None` where nothing is random).
    classifier, fingerprint
        Name and hash of what is explained.
    reentry
        The stage at which masked sound re-enters the classifier when this evidence is scored.
    resampled_from
        The clip's own rate in Hz where the classifier's differs, else `None`.
    start_s, end_s
        The part of the recording that the clip is, in seconds, where it is a part; all times of the explanation count
        from its start.
    forward_passes, backward_passes
        What it cost, in passes of the classifier.
    versions
        Of the packages that took part.
    """

    method: str
    config: dict[str, Any]
    classifier: str
    fingerprint: str
    seed: int | None = None
    reentry: str = "waveform"
    resampled_from: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    forward_passes: int = 0
    backward_passes: int = 0
    versions: dict[str, str] = field(default_factory=lambda: package_versions())


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, metadata.version(name)) for name in ("earmark", "torch", "numpy"))


def package_versions() -> dict[str, str]:
    """Returns the versions of earmark, torch and numpy."""
    return dict(_versions())


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gave one target to one clip.

    Parameters
    ----------
    waveform
        The clip as it came.
    target, prediction
        What is explained, and all that the classifier said.
    evidence
        Attribution, mask, prototypes or resynthesis.
    grid
        The STFT grid of the clip at the classifier's rate.
    provenance
        How it was made.
    name
        What the clip is called, for pictures and tables.
    """

    waveform: Waveform
    target: Target
    prediction: Prediction
    evidence: Evidence
    grid: Grid
    provenance: Provenance
    name: str = "clip"

    def __repr__(self) -> str:
        return (
            f"Explanation({self.name!r}: {self.target.label}, {self.provenance.method}, {len(self.regions())} regions)"
        )

    @cached_property
    def _evidence_sound(self) -> Waveform:
        if isinstance(self.evidence, Resynthesis):
            return self.evidence.kept
        return evidence_of(self.waveform, self.evidence.stft_gain(self.grid), self.grid)

    def listen(self) -> Waveform:
        """Returns the evidence as sound: what counted, with the clip's own phase, rate, channels and length."""
        return self._evidence_sound

    def complement(self) -> Waveform:
        """Returns the clip minus the evidence."""
        return complement_of(self.waveform, self.listen())

    def sounds(self) -> dict[str, Waveform]:
        """Returns `original`, `evidence`, `complement`, and for a resynthesis its `residual`."""
        sounds = {"original": self.waveform, "evidence": self.listen(), "complement": self.complement()}
        if isinstance(self.evidence, Resynthesis):
            sounds["residual"] = self.evidence.residual
        return sounds

    def regions(self) -> list[Region]:
        """Returns where the evidence is, in seconds and hertz, the weightiest first."""
        return list(self._regions)

    @cached_property
    def _regions(self) -> tuple[Region, ...]:
        return tuple(self.evidence.regions())

    def renamed(self, name: str) -> "Explanation":
        """Returns the same explanation under another clip name."""
        return replace(self, name=name)

    def of_part(self, start_s: float | None, end_s: float | None) -> "Explanation":
        """Returns the same explanation, which then says what part of a recording its clip is."""
        return replace(self, provenance=replace(self.provenance, start_s=start_s, end_s=end_s))

    def save(self, folder: str | Path, *, page: bool = True) -> Path:
        """Writes the explanation's folder: page, JSON, tensors, sounds, prototype sounds and label tables."""
        from .store.explanations import save_explanation

        return save_explanation(self, Path(folder), page=page)

    def show(self) -> Any:
        """Opens the page: in a notebook as the cell's output, else in the browser; returns the page's file.

        Where there is no browser to open (a server without a display), the file is written all the same.
        """
        from .render.show import show_explanation

        return show_explanation(self)

    def figure(self) -> Any:
        """Returns a matplotlib figure for documents: the spectrogram with its boxes and heat."""
        from .render.figures import draw_explanation

        return draw_explanation(self)

    def _repr_html_(self) -> str:
        """Returns the page for notebooks, in a frame of its own."""
        from .render.show import notebook_html

        return notebook_html(self)
