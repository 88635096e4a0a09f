import itertools

import torch

from earmark.classifiers.small import SmallCnn, SmallCnnConfig, n_parameters


def test_shapes_of_the_default():
    """As its docstring says: 64 mel bands and 5 s at a hop of 20 ms give 8 x 31 cells."""
    module = SmallCnn().eval()
    features = torch.zeros(2, 64, 251)
    maps = module.backbone(features)
    assert maps.shape == (2, 192, 8, 31)
    assert (maps >= 0).all()
    assert module(features).shape == (2, 10)
    assert torch.equal(module.head(maps), module(features))


def test_number_of_parameters():
    """Counted by hand: two batch-normed convolutions per block, one norm before, one linear layer behind."""
    widths, count = (1, 4, 8), 2 * 16
    for a, b in itertools.pairwise(widths):
        count += 9 * a * b + 2 * b + 9 * b * b + 2 * b
    count += 8 * 3 + 3
    assert n_parameters(SmallCnn(SmallCnnConfig(16, 3, (4, 8)))) == count


def test_the_configuration_is_plain():
    assert SmallCnnConfig(16, 3, (4, 8)).to_dict() == {"n_mels": 16, "n_labels": 3, "channels": (4, 8), "dropout": 0.1}
