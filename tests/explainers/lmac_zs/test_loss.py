"""The loss of LMAC-ZS against its slow twin, and what is known of it beforehand."""

import pytest
import torch
from tests.reference import lmac_zs as slow

from earmark.errors import InputError
from earmark.explainers.lmac_zs.loss import (
    diversity,
    drawn_pairs,
    match_loss,
    outside_loss,
    overlap,
    similarities,
    size_loss,
)

N_CLIPS, N_PROMPTS, N_DIMENSIONS = 3, 5, 7


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


@pytest.fixture
def world():
    """Embeddings of norm 1: of prompts, of clips, and of clips masked for each prompt; and masks."""
    text, audio = unit(drawn(N_PROMPTS, N_DIMENSIONS)), unit(drawn(N_CLIPS, N_DIMENSIONS, seed=1))
    masked = unit(drawn(N_CLIPS, N_PROMPTS, N_DIMENSIONS, seed=2))
    return text, audio, masked, drawn(N_CLIPS, N_PROMPTS, 4, 6, seed=3).sigmoid()


def of_all(text, audio, values):
    """All pairs, in the order of nearness that `drawn_pairs` gives; `values` are those of all prompts."""
    pairs = drawn_pairs(audio @ text.T, torch.zeros(N_CLIPS, N_PROMPTS).double(), 0)
    index = pairs.index.reshape(*pairs.index.shape, *(1 for _ in values.shape[2:])).expand(-1, -1, *values.shape[2:])
    return pairs, values.gather(1, index)


def test_all_pairs_are_the_published_sums_as_means(world):
    text, audio, masked, masks = world
    pairs, chosen = of_all(text, audio, masked)
    asked, wanted = text[pairs.index], (audio @ text.T).gather(1, pairs.index)
    similarity = (audio @ text.T).numpy()
    expected = slow.match(masked.numpy(), text.numpy(), similarity)
    assert float(match_loss(wanted, chosen, asked, pairs.weight)) == pytest.approx(expected, rel=1e-12)
    assert float(size_loss(of_all(text, audio, masks)[1], pairs.weight)) == pytest.approx(slow.size(masks.numpy()))
    own = similarity.argmax(1)
    for clip in range(N_CLIPS):
        expected = slow.diversity(masked[clip].numpy(), text.numpy(), own[clip])
        assert float(diversity(chosen, asked)[clip]) == pytest.approx(expected, rel=1e-12)


def test_overlap_is_that_of_its_slow_twin(world):
    masks = world[3]
    for clip, value in zip(masks, overlap(masks), strict=True):
        assert float(value) == pytest.approx(slow.overlap(clip.numpy()), rel=1e-12)
    assert torch.equal(overlap(masks[:, :1].expand(-1, 4, -1, -1)), torch.ones(N_CLIPS).double())
    assert float(overlap(torch.zeros(1, 2, 3, 3))[0]) == 0  # nothing is kept, so nothing is shared


def test_masks_of_one_keep_every_similarity_and_their_diversity_is_known(world):
    """Known answer 1: the first term is 0 exactly, D is the mean of |t_i . t_j - 1| for embeddings of norm 1."""
    text, audio, _, _ = world
    pairs, whole = of_all(text, audio, audio[:, None].expand(-1, N_PROMPTS, -1))
    asked = text[pairs.index]
    assert float(match_loss(similarities(whole, asked), whole, asked, pairs.weight)) == 0
    expected = ((asked[:, :1] * asked[:, 1:]).sum(-1) - 1).abs().mean(1)
    torch.testing.assert_close(diversity(whole, asked), expected, rtol=0, atol=1e-14)


def test_some_prompts_stand_for_all_of_them_on_average(world):
    """Known answer 3: drawing prompts does not change what is expected; the mean of 1,500 draws within 4 errors."""
    text, audio, masked, _ = world
    similarity = audio @ text.T
    whole = slow.match(masked.numpy(), text.numpy(), similarity.numpy())
    generator, values = torch.Generator().manual_seed(4), []
    for _ in range(1500):
        pairs = drawn_pairs(similarity, torch.rand(N_CLIPS, N_PROMPTS, generator=generator), 3)
        chosen = masked.gather(1, pairs.index[:, :, None].expand(-1, -1, N_DIMENSIONS))
        values.append(match_loss(similarity.gather(1, pairs.index), chosen, text[pairs.index], pairs.weight))
    told = torch.stack(values)
    assert float((told.mean() - whole).abs()) < 4 * float(told.std()) / len(told) ** 0.5
    assert float(told.std()) > 0.01  # a draw is not the whole


def test_the_nearest_prompt_comes_first_and_none_twice(world):
    text, audio, _, _ = world
    similarity = audio @ text.T
    pairs = drawn_pairs(similarity, torch.rand(N_CLIPS, N_PROMPTS), 4)
    assert torch.equal(pairs.index[:, 0], similarity.argmax(1))
    assert all(len(set(row.tolist())) == 4 for row in pairs.index)
    torch.testing.assert_close(pairs.weight.sum(1), torch.ones(N_CLIPS).double())
    assert float(pairs.weight[0, 0]) == pytest.approx(1 / N_PROMPTS)


def test_one_prompt_has_nothing_to_differ_from():
    with pytest.raises(InputError, match="At least 2 prompts"):
        drawn_pairs(torch.zeros(2, 1), torch.zeros(2, 1), 4)


def test_what_is_left_out_counts_above_silence_alone():
    text, silence = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.2, 0.5]])
    near, far = torch.tensor([[0.5, 0.0]]), torch.tensor([[0.1, 0.0]])
    assert float(outside_loss(near, text, silence)) == pytest.approx(0.3)
    assert float(outside_loss(far, text, silence)) == 0
