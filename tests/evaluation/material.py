"""Clips whose evidence is known, and explainers that do as they are told."""

import torch

from earmark.audio.waveform import Waveform
from earmark.evidence import Mask
from earmark.explainers.base import Explainer, Pass
from earmark.testing.toys import band_classifier
from earmark.types import Clip, Region

RATE = 8000


def toy(**options):
    """Eight labels, each the power in a band of 500 Hz, raised so that decisions are clear."""
    weight = 2000 * torch.eye(8, dtype=torch.float64)
    return band_classifier(weight=weight, **options)


def tone(band, n_samples=1024, seed=0):
    """A tone in the middle of a band, in noise 40 dB softer."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.005 * torch.randn(n_samples, generator=generator)
    return 0.5 * torch.sin(2 * torch.pi * (250 + 500 * band) * torch.arange(n_samples) / RATE) + noise


def sound(samples):
    return Waveform(samples[None].float(), RATE)


def clip(index, n_samples=1024, *, group=None, truth=False):
    """A tone in band `index % 8`, whose place is known if `truth`."""
    band = index % 8
    label = f"band {band}"
    events = (Region(0, n_samples / RATE, 500 * band, 500 * band + 500, label=label),) if truth else ()
    samples = sound(tone(band, n_samples, index))
    return Clip(f"clip-{index:02}", samples, (label,), group or f"group-{index}", events=events)


def clips(n=4, **options):
    return [clip(i, **options) for i in range(n)]


class Told(Explainer):
    """Says what a function of samples and target says: a plane of gains."""

    method = "told"

    def __init__(self, classifier, say, method="told"):
        self.classifier, self.say, self.method, self.calls = classifier, say, method, 0

    def _forward(self, samples):
        with torch.no_grad():
            return Pass(self.classifier.logits(samples), samples)

    def _evidence(self, done, index, target, n_samples):
        self.calls += 1
        grid = self.classifier.grid(n_samples)
        return Mask(self.say(done.state[index], target, grid), grid)

    def _config(self):
        return {}


def band_map(samples, target, grid):
    """Ones in the target's band, zeros elsewhere: the truth about a toy."""
    inside = (grid.hz >= 500 * target.index) & (grid.hz < 500 * target.index + 500)
    return inside[:, None].float().expand(grid.shape).clone()
