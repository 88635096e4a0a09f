from earmark.metrics.identities import broken_identities


def test_the_worked_example_breaks_nothing():
    row = {"average_increase": 25, "average_drop": 11.25, "average_drop_legacy": 4.8947, "average_gain": 12.5}
    row |= {"faithfulness": 0.325, "input_fidelity": 0.5, "mask_mean": 0.5, "complexity_normalized": float("nan")}
    assert broken_identities(row, n=4, mean_prob=0.6) == []


def test_published_rows_that_cannot_be():
    """Guided Grad-CAM on mel features in the in-domain table of L-MAC: an average gain above the average increase."""
    (sentence,) = broken_identities({"average_increase": 0.125, "average_gain": 6.67})
    assert sentence == "average_gain is 6.67, but it cannot exceed average_increase, 0.125."


def test_each_identity_is_looked_at():
    bad = {
        "average_increase": 60.0,
        "average_gain": 61.0,
        "average_drop": 41.0,
        "average_drop_legacy": 64.0,
        "faithfulness": 0.7,
        "input_fidelity": 0.3,
        "mask_mean": 1.2,
        "energy_kept": -0.1,
    }
    found = broken_identities(bad, n=4, mean_prob=0.6)
    names = {sentence.split()[0] for sentence in found}
    assert names == set(bad) - {"average_increase"}
    assert len(found) == 7


def test_rounding_is_allowed_for():
    assert broken_identities({"average_increase": 12.5, "average_gain": 12.51}) == []
    assert broken_identities({"input_fidelity": 0.33}, n=3) == []
