"""Which channels of two layers belong together: planted orders are found, and chance is told as chance."""

import math
from dataclasses import replace

import pytest
import torch
from tests.explainers.apex import encoders

from earmark.errors import DataError, InputError, MismatchError
from earmark.explainers.apex import consistency as measured
from earmark.explainers.apex.consistency import consistency, pooled_activations
from earmark.explainers.apex.explainer import Apex
from earmark.explainers.apex.layers import fit_apex_layers
from earmark.explainers.apex.matchings import Consistency, Matching
from earmark.prototypes.bank import BankRules, Prototype, PrototypeBank
from earmark.types import Region, seeded

#: One batch holds all pairs, so that their order, which a reordering of channels changes, plays no part.
WHOLE = {"view": "time", "n_stages": 2, "epochs_per_stage": 3, "learning_rate": 1e-2, "batch_size": 100_000}


def turned(sign, tmp_path_factory):
    classifier, out = encoders.encoder(sign), tmp_path_factory.mktemp("layers")
    return fit_apex_layers(classifier, encoders.clips(24), out=out, bank_size=3, **WHOLE)


@pytest.fixture(scope="module")
def reordered(tmp_path_factory):
    """Two layers whose channels are the same in another order."""
    return turned(1.0, tmp_path_factory)


@pytest.fixture(scope="module")
def held_out():
    return encoders.clips(40, seed=300)


def test_a_planted_permutation_comes_back(reordered, held_out):
    found = consistency(reordered, held_out)
    one = found.of(2, 1)
    assert (one.layer, one.other, found.n_clips) == (1, 2, 40)
    assert [encoders.TURNED[other] for other in one.others.tolist()] == one.channels.tolist()
    torch.testing.assert_close(one.correlations, torch.ones(6).double(), rtol=0, atol=1e-9)
    assert one.overlap == 1.0 and one.iou == pytest.approx(1.0) and one.n_shared == 6 * 3
    assert one.p_value <= 0.05 and one.overlap_shuffled < 1 and one.correlation_chance < 0.9
    assert found.emergence == 1
    assert [chain.weakest for chain in found.chains()] == pytest.approx([1.0] * 6)
    assert {chain.channels for chain in found.chains()} == {(encoders.TURNED[j], j) for j in range(6)}
    assert found.table("overlap") == [[1.0, 1.0], [1.0, 1.0]]


def test_a_layer_turned_around_is_the_same_layer(tmp_path_factory, held_out):
    """Channels of opposite sign correlate by -1; what excites one most excites the other least."""
    fitted = turned(-1.0, tmp_path_factory)
    eye = torch.eye(6, dtype=torch.double)
    own = {
        i: Apex(a.classifier, eye, eye, a.config, a.identity_bank, {}, identity_bank=a.identity_bank)
        for i, a in fitted.items()
    }
    one = consistency(own, held_out).of(1, 2)
    torch.testing.assert_close(one.correlations, -torch.ones(6).double(), rtol=0, atol=1e-12)
    assert one.overlap == 1.0 and one.iou == pytest.approx(1.0)


def test_activations_are_those_of_the_basis_and_need_one_pass(reordered, held_out, tmp_path):
    runs = []
    apexes = list(reordered.values())
    handle = apexes[0].classifier.module.register_forward_hook(lambda _m, inputs, _o: runs.append(len(inputs[0])))
    active = pooled_activations(apexes, held_out, tmp_path)
    handle.remove()
    assert sum(runs) == len(held_out)
    samples = torch.cat([apexes[0].classifier.prepare(c.source) for c in sorted(held_out, key=lambda c: c.id)])
    for apex, one in zip(apexes, active, strict=True):
        torch.testing.assert_close(one, apex.classifier.tap(samples).map.mean((2, 3)) @ apex.U.T, rtol=0, atol=1e-12)


def bank(channels, n_clips=40, size=5):
    """A bank of channels that each name some clips, all of the first half second."""
    regions = (Region(0.0, 0.5, 0.0, 1.0),)
    prototypes = tuple(
        Prototype(k, rank, sign, str(c), None, str(c), None, None, 1.0, None, 0, regions, 1.0, 1.0)
        for k, of in enumerate(channels)
        for sign, chosen in (("positive", of[:size]), ("weakest", of[size:]))
        for rank, c in enumerate(chosen)
    )
    vectors = torch.zeros(len(prototypes), len(channels))
    return PrototypeBank(prototypes, vectors, BankRules("time", size=size), "f", "b", len(channels), n_clips)


def test_layers_that_share_nothing_look_like_chance():
    """Twelve channels of noise in each of two layers: whatever is matched, no number rises above its chance."""
    draws = [[torch.randperm(40, generator=seeded(layer, k))[:10].tolist() for k in range(12)] for layer in (1, 2)]
    parts = [
        measured._Part(layer, torch.randn(200, 12, generator=seeded(9, layer), dtype=torch.double), bank(of))
        for layer, of in zip((1, 2), draws, strict=True)
    ]
    one = measured._matched(*parts, 0)
    assert one.correlation == pytest.approx(one.correlation_chance, abs=0.03) and one.correlation < 0.2
    assert one.p_value > 0.05 and one.overlap == pytest.approx(one.overlap_shuffled, abs=0.05)
    assert one.overlap_chance == pytest.approx(5 / 75)
    drawn = [[set(of[:5]) for of in layer] for layer in draws]
    every = [len(a & b) / len(a | b) for a in drawn[0] for b in drawn[1]]
    assert sum(every) / len(every) == pytest.approx(one.overlap_chance, abs=0.02)


def test_overlaps_are_shared_over_all_members():
    a, b = bank([[0, 1, 2, 3, 4, 9], [5, 6, 7, 8, 9, 0]]), bank([[0, 1, 2, 10, 11, 5], [20, 21, 22, 23, 24, 0]])
    parts = [
        measured._Part(i, torch.randn(8, 2, generator=seeded(i), dtype=torch.double), x) for i, x in enumerate((a, b))
    ]
    same = measured._overlaps(*parts, torch.zeros(2, 2, dtype=torch.bool))
    torch.testing.assert_close(same, torch.tensor([[3 / 7, 0.0], [0.0, 0.0]]).double())
    opposite = measured._overlaps(*parts, torch.ones(2, 2, dtype=torch.bool))
    torch.testing.assert_close(opposite[1, 0], torch.tensor(1 / 5).double())  # {5 ... 9} and {5}, {0} and {0, 1, ...}
    torch.testing.assert_close(opposite[0, 1], torch.tensor(1 / 10).double())  # {0 ... 4} and {0}; {9} and {20 ...}


@pytest.mark.parametrize(
    ("a", "b", "iou"), [((0, 2), (1, 3), 1 / 3), ((0, 1), (2, 3), 0.0), ((1, 2), (0, 4), 0.25), ((1, 1), (1, 1), 1.0)]
)
def test_the_intersection_over_union_of_seconds(a, b, iou):
    assert measured._iou(tuple(map(float, a)), tuple(map(float, b))) == pytest.approx(iou)


def test_a_channel_that_never_changes_correlates_with_none():
    active = torch.randn(20, 3, generator=seeded(1), dtype=torch.double)
    active[:, 1] = 7.3
    products = measured._units(active).T @ measured._units(active)
    torch.testing.assert_close(products.diagonal(), torch.tensor([1.0, 0.0, 1.0]).double(), rtol=0, atol=1e-12)


def matching(layer, other, overlap, p_value=0.01, correlation=0.5, others=(0, 1)):
    values = torch.full((2,), overlap).double()
    return Matching(
        layer=layer,
        other=other,
        channels=torch.tensor([0, 1]),
        others=torch.tensor(others),
        correlations=torch.tensor([correlation, -0.9], dtype=torch.double),
        overlaps=values,
        ious=torch.tensor([math.nan, 0.5]).double(),
        correlation_chance=0.1,
        overlap_chance=0.1,
        overlap_shuffled=0.1,
        p_value=p_value,
        n_shared=1,
    )


def four(overlaps, p_values=(0.01, 0.01, 0.01)):
    """Four layers with given overlaps of the first three with the last."""
    to_last = [matching(i, 4, o, p) for i, o, p in zip((1, 2, 3), overlaps, p_values, strict=True)]
    before = [matching(1, 2, 0.0, others=(1, 0)), matching(1, 3, 0.0), matching(2, 3, 0.0, correlation=0.2)]
    return Consistency("net", "time", (1, 2, 3, 4), (*before, *to_last), 100, 0.25, 0)


def test_the_emergence_layer_is_the_first_above_the_threshold_and_above_chance():
    assert four((0.1, 0.3, 0.4)).emergence == 2
    assert four((0.3, 0.3, 0.4), (0.2, 0.01, 0.01)).emergence == 2
    assert four((0.1, 0.2, 0.25)).emergence == 4


def test_chains_follow_the_matchings_of_neighbors():
    strong, weak = four((0.1, 0.3, 0.4)).chains()
    assert (strong.channels, strong.correlations) == ((0, 1, 1, 1), (0.5, 0.9, 0.9))
    assert (weak.channels, weak.correlations) == ((1, 0, 0, 0), (0.9, 0.2, 0.5))
    assert weak.weakest == 0.2
    found = four((0.1, 0.3, 0.4))
    columns = ("channels", "others", "correlations", "overlaps", "ious")
    step = found.of(2, 3)
    shorter = replace(step, **{name: getattr(step, name)[:1] for name in columns})
    matchings = tuple(shorter if one is step else one for one in found.matchings)
    broken = replace(found, matchings=matchings).chains()[-1]
    assert broken.channels == (None, None, 1, 1) and broken.weakest == 0.0


def test_tables_are_plain_values():
    found = four((0.1, 0.3, 0.4))
    assert found.rows()[0] == {
        "layer": 1, "other": 2, "channel": 0, "other_channel": 1, "correlation": 0.5, "overlap": 0.0, "iou": None,
    }  # fmt: skip
    assert found.to_dict()["pairs_of_layers"][0]["iou"] == 0.5
    assert found.table("p_value")[0] == [None, 0.01, 0.01, 0.01]


def test_what_cannot_be_compared_is_refused(reordered, held_out):
    with pytest.raises(InputError, match="two layers"):
        consistency({1: reordered[1]}, held_out)
    with pytest.raises(DataError, match="3 clips"):
        consistency(reordered, held_out[:2])
    with pytest.raises(DataError, match="got 0"):
        consistency(reordered, [])
    other = reordered[2].using()
    other.config = replace(other.config, view="square")
    with pytest.raises(MismatchError, match="one view"):
        consistency({1: reordered[1], 2: other}, held_out)
    assert "so few" in consistency(reordered, held_out[:5]).notes[0]
