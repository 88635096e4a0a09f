import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from earmark.training.scores import accuracy, macro_average_precision


def test_accuracy_counts_top_labels():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0], [9.0, 0.0, 0.0]])
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert accuracy(logits, labels) == 0.5


def test_average_precision_of_a_known_ranking():
    """Ranks of the positives are 1 and 3: (1/1 + 2/3) / 2."""
    logits = torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    labels = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert macro_average_precision(logits, labels) == pytest.approx(5 / 6)


def test_average_precision_equals_scikit_learn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((60, 5)).astype(np.float32)
    labels = (generator.random((60, 5)) < 0.3).astype(np.float32)
    expected = average_precision_score(labels, logits, average="macro")
    assert macro_average_precision(torch.tensor(logits), torch.tensor(labels)) == pytest.approx(expected)


def test_labels_that_never_occur_are_left_out():
    logits = torch.tensor([[1.0, 5.0], [0.0, 6.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert macro_average_precision(logits, labels) == 1.0


def test_ties_are_in_the_order_of_the_clips():
    labels = torch.tensor([[0.0], [1.0]])
    assert macro_average_precision(torch.zeros(2, 1), labels) == 0.5
    assert macro_average_precision(torch.zeros(2, 1), labels.flip(0)) == 1.0
