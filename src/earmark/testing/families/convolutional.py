"""Convolutional families: ResNet, DenseNet, MobileNetV2 and V3, EfficientNet, separable convolutions over MFCC."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...classifiers.front_ends import Mfcc
from .making import N_LABELS, N_MELS, SAMPLE_RATE, classifier_of, random_module
from .parts import InvertedResidual, Pooled, SqueezeExcite, conv_norm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip (He et al. 2016)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(n_in, n_out, 3, stride)
        self.second = conv_norm(n_out, n_out, 3, activation=None)
        same = stride == 1 and n_in == n_out
        self.skip = nn.Identity() if same else conv_norm(n_in, n_out, 1, stride, activation=None)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, n_out, freq', frame']`."""
        return self.relu(self.second(self.first(x)) + self.skip(x))


class Pyramid(nn.Module):
    """Any features, a global mean, and any head: the frame of the image networks."""

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pool, self.head = features, Pooled(), head

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        return self.head(self.pool(self.features(x)))


def resnet() -> Classifier:
    """Residual blocks, global mean, one linear layer."""
    return _pyramid(
        "resnet",
        lambda: nn.Sequential(
            conv_norm(1, 12, 3, 2), ResidualBlock(12, 12, 1), ResidualBlock(12, 24, 2), ResidualBlock(24, 32, 2)
        ),
        lambda: nn.Linear(32, N_LABELS),
    )


def _pyramid(name: str, features: Callable[[], nn.Module], head: Callable[[], nn.Module]) -> Classifier:
    return classifier_of(random_module(lambda: Pyramid(features(), head())), name, map_layer="features")


class DenseLayer(nn.Module):
    """Adds channels to those that it is given (Huang et al. 2017): norm, ReLU and convolution, twice."""

    def __init__(self, n_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, n_in + growth, freq, frame]`."""
        inner = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(inner)))], 1)


class DenseNet(nn.Module):
    """Two dense blocks; the last ReLU stands behind the features, as a layer or called as a function."""

    def __init__(self, *, relu_is_a_layer: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            *(DenseLayer(16 + 8 * i, 8) for i in range(3)),
            *(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1, bias=False), nn.AvgPool2d(2)),
            *(DenseLayer(20 + 8 * i, 8) for i in range(3)),
            nn.BatchNorm2d(44),
        )
        self.relu = nn.ReLU() if relu_is_a_layer else None
        self.classifier = nn.Linear(44, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        maps = self.features(x)
        maps = self.relu(maps) if self.relu else nn.functional.relu(maps, inplace=True)
        return self.classifier(maps.mean((2, 3)))


def densenet() -> Classifier:
    """Dense blocks; the map is behind the last ReLU, as in timm's."""
    module = random_module(lambda: DenseNet(relu_is_a_layer=True))
    return classifier_of(module, "densenet", map_layer="relu")


def densenet_functional() -> Classifier:
    """Dense blocks; the last ReLU is a function call, as in torchvision's, and the map stands before it."""
    module = random_module(lambda: DenseNet(relu_is_a_layer=False))
    return classifier_of(module, "densenet-functional", map_layer="features")


def mobilenet_v2() -> Classifier:
    """Inverted residuals with ReLU6, global mean, dropout, one linear layer (Sandler et al. 2018)."""
    blocks = ((8, 12, 1), (12, 16, 2), (16, 16, 1), (16, 24, 2))
    return _pyramid(
        "mobilenet-v2",
        lambda: nn.Sequential(
            conv_norm(1, 8, 3, 2, activation=nn.ReLU6),
            *(InvertedResidual(*sizes, nn.ReLU6) for sizes in blocks),
            conv_norm(24, 48, 1, activation=nn.ReLU6),
        ),
        lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(48, N_LABELS)),
    )


def _hard_gate(width: int) -> nn.Module:
    return SqueezeExcite(width, width // 4, nn.ReLU(), nn.Hardsigmoid())


def mobilenet_v3() -> Classifier:
    """Gated inverted residuals with hardswish, and a head of two linear layers with hardswish (Howard et al. 2019)."""
    blocks = ((8, 12, 1), (12, 16, 2), (16, 16, 1), (16, 24, 2))
    return _pyramid(
        "mobilenet-v3",
        lambda: nn.Sequential(
            conv_norm(1, 8, 3, 2, activation=nn.Hardswish),
            *(InvertedResidual(*sizes, nn.Hardswish, _hard_gate) for sizes in blocks),
            conv_norm(24, 48, 1, activation=nn.Hardswish),
        ),
        lambda: nn.Sequential(nn.Linear(48, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, N_LABELS)),
    )


def _soft_gate(width: int) -> nn.Module:
    return SqueezeExcite(width, width // 16 or 1, nn.SiLU(), nn.Sigmoid())


def efficientnet() -> Classifier:
    """Gated inverted residuals with SiLU, global mean, one linear layer (Tan and Le 2019)."""
    blocks = ((8, 12, 1), (12, 16, 2), (16, 16, 1), (16, 24, 2))
    return _pyramid(
        "efficientnet",
        lambda: nn.Sequential(
            conv_norm(1, 8, 3, 2, activation=nn.SiLU),
            *(InvertedResidual(*sizes, nn.SiLU, _soft_gate) for sizes in blocks),
            conv_norm(24, 48, 1, activation=nn.SiLU),
        ),
        lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(48, N_LABELS)),
    )


def mfcc_cnn() -> Classifier:
    """Separable convolutions over cepstral coefficients, as in keyword spotters (Zhang et al. 2017)."""

    def separable(n_in: int, n_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(conv_norm(n_in, n_in, 3, stride, groups=n_in), conv_norm(n_in, n_out, 1))

    module = random_module(
        lambda: Pyramid(
            nn.Sequential(conv_norm(1, 24, 3, 2), separable(24, 32, 1), separable(32, 48, 2), separable(48, 48, 1)),
            nn.Linear(48, N_LABELS),
        )
    )
    front_end = Mfcc(sample_rate=SAMPLE_RATE, n_fft=512, hop_length=250, n_mels=N_MELS, n_mfcc=20)
    return classifier_of(module, "mfcc-cnn", map_layer="features", front_end=front_end)
