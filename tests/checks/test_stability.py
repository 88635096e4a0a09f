"""Stability: what must not move does not, what must move does, and what ignores its sound is found out."""

import math
from dataclasses import replace

import pytest
import torch
from tests.evaluation.material import Told, clip, sound, toy
from tests.store import examples

from earmark.checks import stability_words
from earmark.checks.config import CheckConfig
from earmark.checks.memory import Memory
from earmark.checks.moved import prototypes_alike, region_overlap, slope, taken_back
from earmark.checks.stability import OTHER_CLIP, OTHER_SEED, check, stability
from earmark.checks.stability_config import StabilityConfig
from earmark.checks.subject import Subject
from earmark.errors import InputError
from earmark.explainers.load import load_explainer
from earmark.metrics.transforms import Change
from earmark.types import Clip, Region

RATE, N = 8000, 8192
NONE = {"shifts_ms": (), "stretches": (), "semitones": (), "white_db": (), "pink_db": (), "gains_db": ()}


def only(**changes):
    return StabilityConfig(**{**NONE, "polarity": False, **changes})


def burst(band, seed):
    """A tone in a band that sounds for a quarter of a second, far from both ends, in faint noise."""
    generator = torch.Generator().manual_seed(seed)
    start = 2000 + 400 * (seed % 8)
    samples = 0.001 * torch.randn(N, generator=generator)
    window = torch.hann_window(2000)
    samples[start : start + 2000] += (
        0.5 * window * torch.sin(2 * torch.pi * (250 + 500 * band) * torch.arange(2000) / RATE)
    )
    return samples


def clips(n=4):
    """Two clips of each label, each from a recording of its own."""
    return [Clip(f"clip-{i}", sound(burst(i // 2, i)), (f"band {i // 2}",), group=f"recording-{i}") for i in range(n)]


@pytest.fixture(scope="module")
def classifier():
    return toy()


@pytest.fixture(scope="module")
def energy(classifier):
    return load_explainer("energy", classifier=classifier)


def of(rows, change):
    return [row for row in rows if row["change"] == change]


def stays_put(samples, target, grid):
    """A map that lies at one place, whatever sounds."""
    values = torch.zeros(grid.shape)
    values[20:40, 30:50] = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) + 0.5
    return values


def test_gain_and_polarity_leave_a_map_of_energy_as_it_is(classifier, energy):
    rows = stability(classifier, {"energy": energy}, clips(), only(gains_db=(6,), polarity=True))["energy"]
    for change, n in (("gain", 8), ("polarity", 4)):
        assert len(of(rows, change)) == n
        for row in of(rows, change):
            assert row["rank_correlation"] == pytest.approx(1, abs=1e-6)  # float32 ranks of scaled values
            assert row["iou_of_top"] == 1 and row["ssim"] == pytest.approx(1, abs=1e-6) and row["unchanged"] == 1
    assert all(row["confidence_change"] == pytest.approx(0, abs=1e-12) for row in of(rows, "polarity"))


def test_a_map_of_energy_moves_with_its_sound_and_a_fixed_one_does_not(classifier, energy):
    explainers = {"energy": energy, "fixed": Told(classifier, stays_put)}
    found = stability(classifier, explainers, clips(6), only(shifts_ms=(32, 80)))  # 4 and 10 frames of 8 ms
    for row in of(found["energy"], "time_shift"):
        assert row["moved_s"] == pytest.approx(row["amount"], abs=1e-9)  # whole frames
        assert row["rank_correlation"] > 0.99 > row["as_it_lies"]  # the faint noise at one end is new
    for row in of(found["fixed"], "time_shift"):
        assert row["moved_s"] == 0 and row["as_it_lies"] == pytest.approx(1)
        assert row["rank_correlation"] < 0.8
    verdicts = {name: stability_words.result_of(rows, {}) for name, rows in found.items()}
    assert verdicts["energy"].passed is True and "1.00 [1.00, 1.00] s" in verdicts["energy"].sentence
    few = [row for row in found["energy"] if row["clip"] in ("clip-0", "clip-1", "clip-2", "clip-3")]
    assert stability_words.result_of(few, {}).passed is None
    assert verdicts["fixed"].passed is False and "does not move with the sound" in verdicts["fixed"].sentence


def test_planted_evidence_is_where_it_was_after_every_change(classifier, energy):
    changes = only(shifts_ms=(80,), stretches=(1.1,), semitones=(1,), white_db=(30,), pink_db=(30,), both_signs=False)
    rows = stability(classifier, {"energy": energy}, clips(), changes)["energy"]
    for name in ("time_shift", "time_stretch", "pitch_shift", "white_noise", "pink_noise"):
        for row in of(rows, name):
            assert row["ssim"] > 0.9, row  # ssim looks at where the tone is; the noise around it is ranked at random
    shifted = of(rows, "pitch_shift")
    assert all(row["rank_correlation"] == row["rank_correlation"] for row in shifted)


def test_references_are_another_seed_and_another_recording_of_the_label(classifier, energy):
    random = load_explainer("random", classifier=classifier)
    found = stability(classifier, {"energy": energy, "random": random}, [*clips(), clip(6, N)], only(polarity=True))
    assert of(found["energy"], OTHER_SEED) == []
    assert all(abs(row["rank_correlation"]) < 0.05 for row in of(found["random"], OTHER_SEED))
    other = {row["clip"]: row["rank_correlation"] for row in of(found["energy"], OTHER_CLIP)}
    assert all(-1 < other[f"clip-{i}"] < 0.9 for i in range(4))
    assert math.isnan(other["clip-06"])  # the only one of its label
    assert other["clip-0"] == pytest.approx(other["clip-1"])  # a pair


def test_failures_and_flat_maps_are_counted_not_scored(classifier):
    def fails(samples, target, grid):
        if target.index == 1:
            raise RuntimeError("no")
        return torch.zeros(grid.shape)

    rows = stability(classifier, {"told": Told(classifier, fails)}, clips(), only(polarity=True))["told"]
    assert all(math.isnan(row["rank_correlation"]) for row in rows)
    assert [row["failed"] for row in of(rows, "polarity")] == [None, None, "RuntimeError: no", "RuntimeError: no"]
    result = stability_words.result_of(rows, {})
    assert result.passed is None and result.about["n_failed"] == 4


def test_changed_sounds_are_made_once_and_finished_batches_are_not_done_again(classifier, tmp_path):
    first, second = Told(classifier, stays_put), Told(classifier, stays_put)
    made = []

    class Counting(StabilityConfig):
        def changes(self):
            return tuple(_counted(change, made) for change in super().changes())

    config = Counting(**{**NONE, "polarity": True})
    both = {"first": first, "second": second}
    rows = stability(classifier, both, clips(), config, batch=4, memory=Memory(tmp_path, "key"))
    assert made == ["polarity"] and rows["first"] == rows["second"]
    calls = first.calls
    again = stability(classifier, both, clips(), config, batch=4, memory=Memory(tmp_path, "key"))
    assert first.calls == calls and made == ["polarity"]
    assert [row["clip"] for row in again["first"]] == [row["clip"] for row in rows["first"]]


def _counted(change, made):
    class Counted(Change):
        def __call__(self, samples, sample_rate, seed=0):
            made.append(self.name)
            return super().__call__(samples, sample_rate, seed)

    return Counted(change.name, change.amount)


def test_the_check_tells_its_tables(classifier):
    config = CheckConfig(stability=only(shifts_ms=(80,), gains_db=(6,)))
    subject = Subject(classifier, Told(classifier, stays_put), clips=clips())
    seen = []
    result = check(subject, config, lambda done, total, values=None: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [table.title for table in result.tables][-1] == "References"
    assert {line.name for line in result.charts[0].lines} == {"taken back", "as it lies", OTHER_CLIP}
    assert result.about["stability"]["shifts_ms"] == [80] and result.about["scored"] == 4


def test_channels_contributions_and_regions_are_like_themselves():
    explanation = examples.explanation("prototypes")
    evidence, grid = explanation.evidence, explanation.grid
    same = prototypes_alike(evidence, evidence, Change("gain", 6), grid)
    assert same == pytest.approx({"channels": 1, "contributions": 1, "regions": 1})
    fewer = replace(evidence, channels=evidence.channels[:1], contributions=-evidence.contributions)
    other = prototypes_alike(evidence, fewer, Change("gain", 6), grid)
    assert other["channels"] == pytest.approx(1 / len(evidence.channels)) and other["contributions"] == pytest.approx(
        -1
    )
    assert prototypes_alike(None, evidence, Change("gain", 6), grid) == {}


def test_the_slope_is_that_of_least_squares_through_zero():
    shifts = torch.tensor([0.1, -0.1, 0.25], dtype=torch.float64)
    assert slope(0.5 * shifts, shifts) == pytest.approx(0.5)
    assert slope(torch.tensor([0.2, math.nan, 0.25], dtype=torch.float64), shifts) == pytest.approx(
        (0.02 + 0.0625) / (0.01 + 0.0625)
    )
    assert math.isnan(slope(torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)))


def test_regions_are_taken_back_as_maps_are(classifier):
    grid = classifier.grid(N)
    region = Region(0.3, 0.5, 1000, 1500)
    moved = Region(0.4, 0.6, 1000, 1500)
    assert taken_back(moved, Change("time_shift", 0.1)).start_s == pytest.approx(0.3)
    assert region_overlap([region], [moved], Change("time_shift", 0.1), grid) == pytest.approx(1, abs=0.1)  # one frame
    assert region_overlap([region], [moved], Change("gain", 3), grid) == pytest.approx(1 / 3, abs=0.05)
    higher = Region(0.33, 0.55, 1000 * 2 ** (1 / 12), 1500 * 2 ** (1 / 12))
    assert region_overlap([region], [higher], Change("pitch_shift", 1), grid) > 0.6
    assert taken_back(higher, Change("time_stretch", 1.1)).end_s == pytest.approx(0.5)
    assert math.isnan(region_overlap([], [], Change("gain", 3), grid))


def test_the_grid_is_that_of_the_protocol():
    from earmark.metrics.transforms import CHANGES

    assert sorted(StabilityConfig().changes(), key=str) == sorted(CHANGES, key=str)
    assert len(StabilityConfig.reduced().changes()) == 6
    with pytest.raises(InputError, match="positive"):
        StabilityConfig(shifts_ms=(-10,))
    with pytest.raises(InputError, match="at least one change"):
        only()
