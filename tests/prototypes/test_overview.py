import json
from dataclasses import replace

import pytest
import torch
from tests.prototypes import tiny

from earmark.classifiers.heads import Head
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.fit import fit_apex
from earmark.explainers.apex.overview import apex_overview, not_additive
from earmark.prototypes.bank import load_bank, save_bank
from earmark.prototypes.build import class_means
from earmark.prototypes.cache import FeatureCache
from earmark.prototypes.overview import EARLIER, Weights, histogram_of, overview, shares_of

LENGTHS = (0.8, 0.5)


@pytest.fixture(scope="module")
def clips():
    both = tiny.clips(24, LENGTHS)
    return [replace(clip, labels=("click", "tone")) if i == 5 else clip for i, clip in enumerate(both)]


@pytest.fixture(scope="module")
def apex(clips):
    config = ApexConfig(
        n_stages=1, epochs_per_stage=1, learning_rate=0.05, held_out=0, near_copy_cosine=None, bank_size=3
    )
    return fit_apex(tiny.classifier(), clips, config)


def mean_contributions(apex, clips, label):
    """Returns the plain way: each clip of the label explained, all channels, and the mean."""
    told = [apex.explain(clip, label).evidence for clip in clips if label in clip.labels]
    return torch.stack([evidence.contributions for evidence in told]).mean(0), told


@pytest.mark.parametrize("basis", ["apex", "identity"])
@pytest.mark.parametrize("label", tiny.LABELS)
def test_shares_are_those_of_the_mean_explanation(apex, clips, label, basis):
    own = apex.using(basis=basis, top=6)
    expected, told = mean_contributions(own, clips, label)
    overall = apex_overview(own, top=6)
    one = next(one for one in overall.classes if one.label == label)
    assert one.n_clips == len(told) == sum(label in clip.labels for clip in clips)
    shares = expected / expected.clamp_min(0).sum()
    # The bank's means are of float64 maps here, so only the order of a few sums differs.
    for row in one.channels:
        assert row.contribution == pytest.approx(float(expected[row.channel]), abs=1e-10)
        assert row.share == pytest.approx(float(shares[row.channel]), abs=1e-10)
    positive = sorted((float(s) for s in shares if s > 0), reverse=True)
    assert [row.share for row in one.channels] == pytest.approx(positive, abs=1e-10)
    assert one.covered == pytest.approx(1.0)
    assert one.logit == pytest.approx(sum(evidence.score for evidence in told) / len(told), abs=1e-10)
    torch.testing.assert_close(overall.shares[overall.labels.index(label)], shares, rtol=0, atol=1e-10)


def test_class_means_are_the_means_of_pooled_vectors(clips, tmp_path):
    scanned = FeatureCache(tiny.classifier(), tmp_path, "marginals").scan(clips)
    labels, counts, means = class_means(scanned)
    assert labels == tiny.LABELS and counts == (13, 12)
    for row, label in enumerate(labels):
        own = [
            vector.double() for clip, vector in zip(scanned.clips, scanned.pooled, strict=True) if label in clip.labels
        ]
        torch.testing.assert_close(means[row], torch.stack(own).mean(0), rtol=0, atol=1e-12)


def test_a_channel_below_zero_is_known_by_its_negative_prototypes(apex):
    rows = [row for one in apex_overview(apex, top=6).classes for row in one.channels]
    assert {row.sign for row in rows} == {"positive", "negative"}
    for row in rows:
        assert (row.activation < 0) == (row.sign == "negative")
        assert {p.sign for p in row.prototypes} <= {row.sign}
        assert sum(row.histogram.values()) == sum(len(p.label.split(";")) for p in row.prototypes)
        assert row.purity == pytest.approx(sum(p.purity for p in row.prototypes) / max(len(row.prototypes), 1))


def test_top_keeps_the_strongest_and_says_how_much_they_hold(apex):
    whole, few = (apex_overview(apex, top=top).classes[0] for top in (6, 2))
    assert few.channels == whole.channels[:2]
    assert few.covered == pytest.approx(sum(row.share for row in whole.channels[:2]))
    assert [one.label for one in apex_overview(apex, labels=("tone",)).classes] == ["tone"]


def test_class_means_survive_saving_bit_for_bit(apex, tmp_path):
    bank = load_bank(save_bank(apex.bank, tmp_path / "bank"))
    assert bank.class_labels == tiny.LABELS and bank.class_counts == apex.bank.class_counts
    assert torch.equal(bank.class_means, apex.bank.class_means)


def test_a_bank_of_an_earlier_version_loads_and_asks_for_a_new_fit(apex, tmp_path):
    old = replace(apex.bank, class_means=None, class_labels=(), class_counts=())
    folder = save_bank(old, tmp_path / "bank")
    about = json.loads((folder / "bank.json").read_text())
    del about["class_labels"], about["class_counts"]
    (folder / "bank.json").write_text(json.dumps(about))
    bank = load_bank(folder)
    assert bank.class_means is None and bank.prototypes == apex.bank.prototypes
    told = overview(bank, tiny.LABELS, None, note="", top=3)
    assert told.note == EARLIER and told.shares is None
    for one in told.classes:
        assert one.logit is None and one.covered is None
        counts = [row.histogram.get(one.label, 0) for row in one.channels]
        assert counts == sorted(counts, reverse=True) and all(row.share is None for row in one.channels)


def test_heads_that_are_not_additive_have_no_shares(apex):
    per_cell = Head("T1", lambda maps: maps, torch.ones(2, 6, 3, 4), torch.zeros(2))
    assert "T0" in not_additive(Head("T0", lambda maps: maps)) and "cell" in not_additive(per_cell)
    told = overview(apex.bank, tiny.LABELS, None, note="why", top=2)
    assert told.note == "why" and told.shares is None
    assert all(row.share is None and row.activation is not None for one in told.classes for row in one.channels)


def test_a_label_without_clips_and_a_clip_without_a_logit(apex):
    head = apex.classifier.head
    weights = Weights(tiny.LABELS, head.weight.double() @ apex.U_inv, head.bias.double())
    other = overview(replace(apex.bank, class_labels=("click", "owl")), tiny.LABELS, weights)
    assert other.others == ("owl",)
    tone = other.classes[1]
    assert (tone.n_clips, tone.logit) == (0, None)
    assert float(other.shares[1].abs().max()) == 0


def test_shares_sum_to_one_over_what_speaks_for_a_class():
    contributions = torch.tensor([[3.0, 1.0, -2.0], [-1.0, -2.0, -3.0]], dtype=torch.float64)
    shares = shares_of(contributions)
    assert shares[0].tolist() == [0.75, 0.25, -0.5]
    assert shares[1].tolist() == [0, 0, 0]  # nothing speaks for it


def test_what_is_shared_is_listed(apex):
    told = apex_overview(apex, top=6)
    for channel, labels in told.shared.items():
        assert [one.label for one in told.classes if channel in [row.channel for row in one.channels]] == list(labels)
    sizes = [len(channels) for channels in told.recordings.values()]
    assert sizes == sorted(sizes, reverse=True) and min(sizes) > 1
    doubled = replace(told, bank=replace(told.bank, duplicates=((0, 1), (1, 2)), dead=(4,)))
    rows = doubled.to_dict()["channels"]
    assert rows[1]["duplicates"] == [0, 2] and rows[4]["dead"] and not rows[3]["dead"]
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["n_channels"] == 6


def test_histograms_count_labels_most_frequent_first(apex):
    prototype = apex.bank.prototypes[0]
    made = [replace(prototype, label=label) for label in ("tone", "click;tone", "", "tone")]
    assert list(histogram_of(made).items()) == [("tone", 3), ("click", 1)]
