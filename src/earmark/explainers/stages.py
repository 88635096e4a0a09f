"""A batch of clips at one stage as one real tensor, how logits follow from it, and how its values reach the STFT grid.

At `stft` the real tensor is the magnitude; the phase is the clip's own and held fixed. Where a bin is zero its phase is
taken as zero, so that gradients are finite there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..classifiers.base import Classifier, Grid
from ..classifiers.front_ends import FrontEnd, Raw
from ..classifiers.geometry import Axis, Geometry
from ..types import Logits, Samples, Target
from .config import InputStage

Values = Float[
    Tensor, "batch ..."
]  # one real value for each element of a stage: [batch, sample] or [batch, row, column]
Which = Int[Tensor, " row"]


@dataclass(frozen=True, eq=False)
class Entry:
    """Clips at a stage, as a real tensor.

    Parameters
    ----------
    classifier
        What is entered.
    stage
        `waveform`, `stft` or `features`.
    samples
        `[batch, sample]`, the clips themselves.
    x
        Samples, magnitudes `[batch, freq, frame]` or features `[batch, mel, frame]`.
    unit
        `[batch, freq, frame]`, complex numbers of size 1 that carry the phase; `None` but at `stft`.
    logits
        `[batch, label]`, the classifier's own logits of the samples.
    """

    classifier: Classifier
    stage: InputStage
    samples: Samples
    x: Values
    unit: Tensor | None
    logits: Logits

    @classmethod
    def of(cls, classifier: Classifier, samples: Samples, stage: InputStage) -> "Entry":
        """Returns samples `[batch, sample]` at a stage; costs one forward pass."""
        with torch.no_grad():
            at_stage = classifier.at(samples, stage)
            logits = classifier.logits(samples)
        if stage != "stft":
            return cls(classifier, stage, samples, at_stage.clone(), None, logits)
        magnitude = at_stage.abs()
        unit = torch.where(magnitude > 0, at_stage / magnitude.clamp_min(1e-30), torch.ones_like(at_stage))
        return cls(classifier, stage, samples, magnitude, unit, logits)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_samples(self) -> int:
        """Length of the clips."""
        return self.samples.shape[-1]

    @property
    def grid(self) -> Grid:
        """The STFT grid of the clips."""
        return self.classifier.grid(self.n_samples)

    def rows(self, rows: slice | Tensor) -> "Entry":
        """Returns some of the clips, in the order given."""
        unit = None if self.unit is None else self.unit[rows]
        return replace(self, samples=self.samples[rows], x=self.x[rows], unit=unit, logits=self.logits[rows])

    def moved(self, x: Values) -> "Entry":
        """Returns other values at the stage with this one clip's phase; magnitudes are clamped at zero."""
        n = len(x)
        unit = None if self.unit is None else self.unit.expand(n, *self.unit.shape[1:])
        x = x.clamp_min(0) if self.stage == "stft" else x
        samples, logits = self.samples.expand(n, -1), self.logits.expand(n, -1)
        return replace(self, samples=samples, x=x, unit=unit, logits=logits)

    def heard(self) -> Samples:
        """Returns the sounds `[batch, sample]` of magnitudes with the clips' phases."""
        assert self.unit is not None
        return self.classifier.stft.inverse(self.x * self.unit, self.n_samples)

    def to_logits(self, x: Values, which: Which) -> Logits:
        """Returns logits of values at the stage; row i has the phase of clip `which[i]`."""
        if self.unit is None:
            return self.classifier.logits(x.clone(), at=self.stage)  # layers in place must not meet a leaf
        lifted = x + torch.finfo(x.dtype).tiny  # a magnitude of zero has no gradient: its absolute value has a corner
        return self.classifier.logits(lifted * self.unit[which], at="stft", n_samples=self.n_samples)

    def scores(self, x: Values, which: Which, targets: Sequence[Target]) -> Float[Tensor, " row"]:
        """Returns the score of each row for the target of its clip."""
        return scored(self.to_logits(x, which), [targets[i] for i in which.tolist()], self.classifier)

    def own_scores(self, targets: Sequence[Target]) -> Float[Tensor, " batch"]:
        """Returns the clips' scores, from the logits at hand."""
        return scored(self.logits, targets, self.classifier)

    def to_grid(self, values: Values) -> Float[Tensor, "batch freq frame"]:
        """Returns the stage's values on the STFT grid."""
        if self.stage == "stft":
            return values
        if self.stage == "waveform":
            return frames_of(values, self.grid)
        return bins_of(values, self.classifier, self.n_samples)


def scored(logits: Logits, targets: Sequence[Target], classifier: Classifier) -> Float[Tensor, " row"]:
    """Returns the scalar that each row's target means."""
    rows = zip(logits.split(1), targets, strict=True)
    return torch.cat([target.of(row, classifier.task) for row, target in rows])


def frames_of(values: Samples, grid: Grid) -> Float[Tensor, "batch freq frame"]:
    """Returns values of samples as sums over frames, spread evenly over frequency: they say when, not at which pitch.

    Each sample's value is shared among the frames that hold it, by their Hann windows, so that sums are kept.
    """
    n_fft, hop, n_frames = grid.stft.n_fft, grid.stft.hop_length, grid.shape[1]
    window = torch.hann_window(n_fft, dtype=values.dtype, device=values.device)[None, None]
    left, total = n_fft // 2, n_fft + hop * (n_frames - 1)
    weight = torch.nn.functional.conv_transpose1d(values.new_ones(1, 1, n_frames), window, stride=hop)
    padded = torch.nn.functional.pad(values, (left, total - left - values.shape[1])) / weight[0].clamp_min(1e-12)
    summed = torch.nn.functional.conv1d(padded[:, None], window, stride=hop)
    return summed.expand(-1, grid.shape[0], -1) / grid.shape[0]


def bins_of(values: Values, classifier: Classifier, n_samples: int) -> Float[Tensor, "batch freq frame"]:
    """Returns values of features on the STFT grid.

    Where rows have filters and columns are frames of the STFT, each band's value is shared among its bins by the
    weights of its filter, so that sums are kept, as those of samples are over frames; for others, values are read off
    at bin centers, bilinearly and with the true geometry, zero beyond the rows.
    """
    grid, front_end = classifier.grid(n_samples), classifier.front_end
    if isinstance(front_end, Raw):
        return frames_of(values[:, 0], grid)
    if front_end.bin_weights() is not None and front_end.column_s() == (0.0, grid.stft.hop_length / grid.sample_rate):
        bins = _sharing(front_end).to(values) @ values
        return torch.nn.functional.pad(bins, (0, grid.shape[1] - bins.shape[2]))
    edges = tuple(front_end.row_edges_hz().tolist())
    read = feature_plane(classifier, values.shape[1:], n_samples).sample(values, grid.hz, grid.seconds)
    inside = (grid.hz >= edges[0]) & (grid.hz <= edges[-1])
    return read * inside.to(read)[:, None]


def feature_plane(classifier: Classifier, shape: Sequence[int], n_samples: int) -> Geometry:
    """Returns where feature rows and columns lie, as the geometry of a map with one cell for each."""
    rows, columns = (Axis(n, n, 0.0, 1.0, 0.5) for n in shape)
    front_end, duration_s = classifier.front_end, n_samples / classifier.sample_rate
    edges = tuple(front_end.row_edges_hz().tolist())
    return Geometry(rows, columns, edges, front_end.column_s(), duration_s, front_end.rows_are_hz)


def _sharing(front_end: FrontEnd) -> Float[Tensor, "freq mel"]:
    """Returns how a band's value is shared among bins; each column sums to 1.

    A filter too narrow to hold a bin gives all to the bin nearest to its center.
    """
    filters = front_end.bin_weights()
    assert filters is not None
    filters = filters.double()
    edges = front_end.row_edges_hz().to(filters)
    step = front_end.sample_rate / front_end.stft.n_fft
    nearest = ((edges[1:] + edges[:-1]) / 2 / step).round().long().clamp(max=filters.shape[1] - 1)
    empty = filters.sum(1) == 0
    filters = filters + torch.nn.functional.one_hot(nearest, filters.shape[1]) * empty[:, None]
    return (filters / filters.sum(1, keepdim=True)).T


def silence(entry: Entry, baseline: str) -> Values:
    """Returns the baseline `[1, ...]` of clips at a stage: digital silence through the front end, or zeros."""
    if baseline == "zeros" or entry.stage != "features":
        return torch.zeros_like(entry.x[:1])
    with torch.no_grad():
        return entry.classifier.at(torch.zeros_like(entry.samples[:1]), "features").clone()


def probe(classifier: Classifier, n_samples: int | None = None, *, level: float = 0.1, n_clips: int = 1) -> Samples:
    """Returns `[n_clips, sample]`, noise on which a classifier is tried before any work."""
    n_samples = n_samples or round(classifier.probe_s * classifier.sample_rate)
    noise = torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(5))
    return (level * noise).to(device=classifier.device, dtype=classifier.dtype)


#: Levels of noise and numbers of clips on which a classifier is tried: one quiet clip, then some loud ones.
TRIALS = ((0.1, 1), (10.0, 8))


def no_gradient(classifier: Classifier, stage: InputStage) -> str | None:
    """Returns a sentence if no gradient of any logit reaches a stage, else `None`.

    Costs a forward and a backward pass over noise; where all gradients are zero, eight more over louder noise.
    """
    why = "a part of it runs without gradients or on whole numbers"
    for level, n_clips in TRIALS:
        entry = Entry.of(classifier, probe(classifier, level=level, n_clips=n_clips), stage)
        x = entry.x.requires_grad_()
        logits = entry.to_logits(x, torch.arange(n_clips))
        if not logits.requires_grad:
            break
        signs = torch.randn(logits.shape[1], generator=torch.Generator().manual_seed(6)).to(logits)
        try:
            (gradient,) = torch.autograd.grad((logits * signs).sum(), x, allow_unused=True)
        except RuntimeError as error:  # such as a value that a layer in place has overwritten
            why = str(error).splitlines()[0].rstrip(".")
            break
        if gradient is not None and bool((gradient != 0).any()):
            return None
    return f"{classifier.name} gives no gradient at {stage}: {why}; use a method that needs none, such as occlusion."
