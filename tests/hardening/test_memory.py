"""Explaining many clips takes no more memory than explaining some: measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.prototypes import tiny

STATM = Path("/proc/self/statm")
GROWTH_MB = 50.0  # what 450 more clips may add, after the first 50

#: Explains clips of one length, then clips whose lengths all differ (caches by length would grow), then saves some.
#: Prints the resident memory in MB after each part, and the size of one explanation.
SCRIPT = """
import gc, json, sys, tempfile
from pathlib import Path

import torch
from tests.prototypes import tiny

import earmark as em
from earmark.explainers.apex.config import ApexConfig
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash

PAGE = {page}
classifier = tiny.classifier(double=False)
U = torch.eye(6, dtype=torch.float64)
rules = BankRules("time-frequency")
bank = PrototypeBank((), torch.zeros(0, 6).double(), rules, classifier.fingerprint, basis_hash(U), 6, 0)
apex = em.Apex(classifier, U, U, ApexConfig(), bank, {})
generator = torch.Generator().manual_seed(0)


def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def explained(i, n_samples):
    rate = (classifier.sample_rate, 11025)[i % 10 == 9]
    sound = em.Waveform((0.1 * torch.randn(1, n_samples, generator=generator)).clamp(-1, 1), rate)
    explanation = apex.explain(sound)
    explanation.listen()
    if i % 10 == 0:
        explanation.complement()
    return explanation


lengths = [16000] * 275 + [9600 + 61 * i for i in range(225)]
order = [lengths[j] for pair in zip(range(225), range(275, 500)) for j in pair] + lengths[225:275]
sizes = []
for i, n_samples in enumerate(order):
    explanation = explained(i, n_samples)
    if i in (49, 274, 499):
        sizes.append(resident())
own = sum(t.nbytes for t in (
    explanation.waveform.samples, explanation.listen().samples, explanation.evidence.maps,
    explanation.evidence.stft_gain(explanation.grid)))
with tempfile.TemporaryDirectory() as folder:
    for i in range(30):
        explanation.save(Path(folder) / str(i % 3), page=False)
        if i == 9:
            sizes.append(resident())
sizes.append(resident())
print(json.dumps({"sizes": sizes, "one": own / 1e6, "lengths": len(set(order))}))
"""


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")
def test_explaining_500_clips_does_not_grow():
    script = SCRIPT.replace("{page}", str(os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["lengths"] == 226
    assert 450 * said["one"] > 1.5 * GROWTH_MB  # a leak of the sounds and maps would be seen
    after_50, after_275, after_500, saved_10, saved_30 = said["sizes"]
    assert after_500 - after_50 < GROWTH_MB, said
    assert after_500 - after_275 < GROWTH_MB / 2, said  # and it levels off
    assert saved_30 - saved_10 < GROWTH_MB / 5, said


def test_caches_by_length_are_bounded():
    classifier = tiny.classifier(double=False)
    for n_samples in range(8000, 8100):
        classifier.geometry(n_samples)
    info = classifier._geometry.cache_info()
    assert info.currsize <= info.maxsize == 64
