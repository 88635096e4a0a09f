"""A classifier that listens to one band and decides by its energy, clips with one burst there, and an APEX on it."""

import torch

from earmark.audio.waveform import Waveform
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.explainer import Apex
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash
from earmark.testing.toys import band_classifier
from earmark.types import Clip

RATE, N = 8000, 4096  # 8 cells of 512 samples
CELL = (2, 3)  # band of 500 Hz, cell of 64 ms


def classifier(**options):
    """Label `band 0` is the energy of band 2, `band 1` a threshold for it."""
    weight = torch.zeros(2, 8, dtype=torch.float64)
    weight[0, CELL[0]] = 130000
    return band_classifier(weight=weight, bias=torch.tensor([0.0, 5.0], dtype=torch.float64), **options)


def burst(seed=0, band=CELL[0], cell=CELL[1], level=0.5):
    """A tone in the middle of a cell, in noise 60 dB softer."""
    time_s = torch.arange(N) / RATE
    envelope = torch.exp(-((torch.arange(N) - (512 * cell + 224)) ** 2) / (2 * 60.0**2))
    tone = level * envelope * torch.sin(2 * torch.pi * (250 + 500 * band) * time_s)
    return tone + 5e-4 * torch.randn(N, generator=torch.Generator().manual_seed(seed))


def two_bursts(seed=0):
    """One burst that counts, and one as loud in a band that nobody hears."""
    return burst(seed) + burst(seed + 100, band=5, cell=6)


def clip(index, samples=None):
    made = two_bursts(index) if samples is None else samples
    return Clip(f"clip-{index}", Waveform(made[None].float(), RATE), ("band 0",), f"group-{index}")


def clips(n=3):
    return [clip(i) for i in range(n)]


def apex(model, A=None, view="square"):
    """An APEX with a basis `exp(A)` and no prototypes; the identity if no A is given."""
    A = torch.zeros(8, 8, dtype=torch.float64) if A is None else A
    U, U_inv = torch.matrix_exp(A), torch.matrix_exp(-A)
    empty = torch.zeros(0, 8, dtype=torch.float64)
    bank = PrototypeBank((), empty, BankRules(view), model.fingerprint, basis_hash(U), 8, 0)
    return Apex(model, U, U_inv, ApexConfig(view=view), bank, {})


def mixing(seed=0, norm=2.0):
    A = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return A * (norm / torch.linalg.matrix_norm(A, 2))
