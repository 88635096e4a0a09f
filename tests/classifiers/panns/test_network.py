"""Networks of PANNs: the published sizes and names, and what they compute."""

import pytest
import torch
from tests.classifiers.panns.making import features, network
from torch import nn

from earmark.classifiers.panns import Panns, PannsConfig

F = nn.functional

# Table of the paper: number of parameters of each system, with 527 outputs.
PARAMETERS = {
    "cnn6": 4_837_455,
    "cnn10": 5_219_279,
    "cnn14": 80_753_615,
    "resnet22": 63_675_087,
    "resnet38": 73_783_247,
}


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_full_width_has_the_published_number_of_parameters(architecture):
    with torch.device("meta"):
        module = Panns(PannsConfig(architecture))
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[architecture]


def norm(name):
    return {f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}


def block(name, n_convolutions):
    names = set()
    for i in range(1, n_convolutions + 1):
        names |= {f"{name}.conv{i}.weight"} | norm(f"{name}.bn{i}")
    return names


def published_names(architecture):
    """The rules by which the published state dicts are named, behind their front end."""
    ends = norm("bn0") | {f"{layer}.{part}" for layer in ("fc1", "fc_audioset") for part in ("weight", "bias")}
    if architecture in ("cnn6", "cnn10", "cnn14"):
        n_blocks = 6 if architecture == "cnn14" else 4
        blocks = [block(f"conv_block{i}", 1 if architecture == "cnn6" else 2) for i in range(1, n_blocks + 1)]
        return ends.union(*blocks)
    names = ends | block("conv_block1", 2) | block("conv_block_after1", 2)
    for layer, n_blocks in enumerate((3, 4, 6, 3) if architecture == "resnet38" else (2, 2, 2, 2), start=1):
        for i in range(n_blocks):
            names |= block(f"resnet.layer{layer}.{i}", 2)
        if layer > 1:  # 0 is an average pool
            names |= {f"resnet.layer{layer}.0.downsample.1.weight"} | norm(f"resnet.layer{layer}.0.downsample.2")
    return names


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_names_are_the_published_ones(architecture):
    assert set(network(architecture).state_dict()) == published_names(architecture)


def normed(x, state, name):
    """Batch norm in eval mode, written out; channels on the second axis."""
    mean, variance, weight, bias = (
        state[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def plain_block(x, state, name, size, pool):
    """A block as the paper's tables write it."""
    for i in (1, 2):
        if f"{name}.conv{i}.weight" in state:
            x = F.conv2d(x, state[f"{name}.conv{i}.weight"], padding=size // 2)
            x = F.relu(normed(x, state, f"{name}.bn{i}"))
    return F.avg_pool2d(x, pool)


def plain_residual(x, state, name):
    out = x
    if f"{name}.downsample.1.weight" in state:
        out = F.avg_pool2d(x, 2)
        x = normed(F.conv2d(F.avg_pool2d(x, 2), state[f"{name}.downsample.1.weight"]), state, f"{name}.downsample.2")
    out = F.relu(normed(F.conv2d(out, state[f"{name}.conv1.weight"], padding=1), state, f"{name}.bn1"))
    return F.relu(normed(F.conv2d(out, state[f"{name}.conv2.weight"], padding=1), state, f"{name}.bn2") + x)


def plain(x, state, architecture):
    """The whole network from its weights alone."""
    x = normed(x.transpose(1, 3), state, "bn0").transpose(1, 3)
    if architecture.startswith("cnn"):
        n_blocks = 6 if architecture == "cnn14" else 4
        for i in range(1, n_blocks + 1):
            size = 5 if architecture == "cnn6" else 3
            x = plain_block(x, state, f"conv_block{i}", size, 1 if i == 6 else 2)
    else:
        x = plain_block(x, state, "conv_block1", 3, 2)
        for layer in range(1, 5):
            i = 0
            while f"resnet.layer{layer}.{i}.conv1.weight" in state:
                x = plain_residual(x, state, f"resnet.layer{layer}.{i}")
                i += 1
        x = plain_block(F.avg_pool2d(x, 2), state, "conv_block_after1", 3, 1)
    frames = x.mean(3)
    pooled = frames.max(2).values + frames.mean(2)
    return F.linear(
        F.relu(F.linear(pooled, state["fc1.weight"], state["fc1.bias"])),
        state["fc_audioset.weight"],
        state["fc_audioset.bias"],
    )


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_the_network_is_the_papers(architecture):
    module = network(architecture).double()
    x = features(dtype=torch.float64)
    with torch.no_grad():
        logits = module(x)
        # the same sums in float64, but for their order in the batch norms of bn0
        torch.testing.assert_close(logits, plain(x, module.state_dict(), architecture), rtol=1e-10, atol=1e-12)
        maps = module.backbone(x)
    cells = (4, 4) if architecture in ("cnn6", "cnn10") else (2, 2)
    assert maps.shape == (2, module.config.n_channels, *cells)
    assert logits.std(0).max() > 1e-2  # clips differ


@pytest.mark.parametrize("architecture", ["cnn6", "cnn14", "resnet38"])
@pytest.mark.parametrize("n_clips, n_mels", [(2, 64), (1, 64), (2, 32)])
def test_gradients_are_the_papers(architecture, n_clips, n_mels):
    """Also for one clip and for a map of one row, where torch's own batch norm of four axes errs on a CPU."""
    module = network(architecture, n_mels=n_mels).double()
    x = features(n_clips, n_mels, dtype=torch.float64)[:, 0].transpose(1, 2).contiguous().requires_grad_(True)
    arranged = x.transpose(1, 2)[:, None]
    ways = module(arranged), plain(arranged, module.state_dict(), architecture)
    gradients = [torch.autograd.grad(logits[:, 1].sum(), x)[0] for logits in ways]
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
