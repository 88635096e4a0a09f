"""The network and its loss: against slow twins, any length, no negative activations."""

import numpy as np
import pytest
import torch
from tests.reference import l2i as twin

from earmark.classifiers.taps import Tap
from earmark.explainers.l2i.config import L2iConfig
from earmark.explainers.l2i.decoder import Attention, Interpreter, Mean
from earmark.explainers.l2i.loss import agreement, fidelity, overlap, reconstruction, relative_error
from earmark.explainers.l2i.nmf import normalized
from earmark.training.loop import seeded_globals
from earmark.types import seeded

TAPS = (Tap("deep", 3, 2, 4), Tap("shallow", 2, 4, 8))


def network(**changes):
    with seeded_globals(0):
        W = normalized(torch.rand(9, 5))
        return Interpreter(TAPS, W, 3, L2iConfig(width=4, attention=6, **changes)).eval()


def maps(n_clips=2, n_frames=8, seed=1):
    g = seeded(seed)
    return torch.randn(n_clips, 3, 2, n_frames // 2, generator=g), torch.randn(n_clips, 2, 4, n_frames, generator=g)


def test_attention_is_that_of_the_slow_twin():
    with seeded_globals(0):
        pool = Attention(5, 6).double().requires_grad_(False)
    H = torch.rand(1, 5, 7, generator=seeded(0), dtype=torch.float64)
    layers = [p.numpy() for layer in (pool.V, pool.U) for p in (layer.weight, layer.bias)]
    expected = twin.attention(H[0].numpy(), *layers, pool.u.weight[0].numpy(), float(pool.u.bias))
    np.testing.assert_allclose(pool(H)[0].numpy(), expected, rtol=1e-12)


def test_attention_over_equal_frames_is_their_mean():
    with seeded_globals(0):
        pool = Attention(5, 6)
    H = torch.rand(2, 5, 1, generator=seeded(0)).expand(-1, -1, 9)
    torch.testing.assert_close(pool(H), Mean()(H))


@pytest.mark.parametrize("activations", ["gated", "decoded"])
@pytest.mark.parametrize("n_frames", [1, 8, 21])
def test_codes_are_not_negative_for_any_length(activations, n_frames):
    net = network(activations=activations)
    log1p = torch.rand(2, 9, n_frames, generator=seeded(2))
    heard = net(maps(n_frames=2 * max(1, n_frames // 2)), log1p)
    assert heard.codes.shape == (2, 5, n_frames) and bool((heard.codes >= 0).all())
    assert heard.said.shape == (2, 3)
    torch.testing.assert_close(heard.model, net.W @ heard.codes)


def test_gated_codes_are_silent_where_the_clip_is():
    log1p = torch.rand(2, 9, 8, generator=seeded(2))
    log1p[..., 3] = 0
    with torch.no_grad():
        codes = network(activations="gated")(maps(), log1p).codes
    assert bool((codes[..., 3] == 0).all()) and bool((codes[..., :3] > 0).any())


def test_decoded_codes_depend_on_maps_alone():
    net = network(activations="decoded")
    first, second = (net(maps(), scale * torch.ones(2, 9, 8)).codes for scale in (1, 3))
    assert torch.equal(first, second)


def test_the_dictionary_is_not_trained():
    net = network()
    assert "W" in net.state_dict() and "W" not in dict(net.named_parameters())


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_fidelity_is_that_of_the_slow_twin(task):
    said, decided = torch.randn(2, 4, 3, generator=seeded(0), dtype=torch.float64)
    expected = [twin.fidelity(*rows, task) for rows in zip(said.numpy(), decided.numpy(), strict=True)]
    np.testing.assert_allclose(fidelity(said, decided, task), expected, rtol=1e-12)


def test_agreement():
    decided = torch.tensor([[2.0, 1.0, -1.0], [-1.0, 3.0, 0.5]])
    said = torch.tensor([[1.0, 0.9, 0.0], [4.0, 3.0, -0.5]])
    assert agreement(said, decided, "multiclass", 0.5).tolist() == [1, 0]
    torch.testing.assert_close(agreement(said, decided, "multilabel", 0.5), torch.tensor([2 / 3, 1 / 3]))


def test_overlap_of_probabilities():
    decided = torch.tensor([[0.7, 0.2, 0.1]]).log()
    said = torch.tensor([[0.5, 0.1, 0.4]]).log()
    torch.testing.assert_close(overlap(said, decided, "multiclass"), torch.tensor([0.7]))  # .5 + .1 + .1
    torch.testing.assert_close(overlap(decided, decided, "multilabel"), torch.ones(1))
    torch.testing.assert_close(overlap(torch.zeros(1, 2), torch.tensor([[50.0, -50.0]]), "multilabel").item(), 0.5)


def test_errors_of_the_model():
    log1p = torch.stack([torch.full((2, 2), 2.0), torch.zeros(2, 2), torch.zeros(2, 2)])
    model = torch.stack([torch.full((2, 2), 1.0), torch.zeros(2, 2), torch.ones(2, 2)])
    assert reconstruction(log1p, model).tolist() == [1, 0, 1]
    assert relative_error(log1p, model).tolist() == [0.25, 0, 1]
