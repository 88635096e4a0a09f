"""The families by name, each with the tier of its head and the reason for it."""

from collections.abc import Callable
from dataclasses import dataclass

from ...classifiers.base import Classifier
from ...classifiers.panns import Panns, PannsConfig
from . import convolutional, modern, sequences, swin
from .making import N_LABELS, N_MELS, classifier_of, log_mel, random_module


@dataclass(frozen=True)
class Family:
    """A structure that people bring.

    Parameters
    ----------
    build
        Makes a small random classifier of it, the same each time.
    tier
        Of its head: `T0` to `T4`.
    why
        What of the head decides the tier.
    """

    build: Callable[[], Classifier]
    tier: str
    why: str

    def __call__(self) -> Classifier:
        """Returns a new classifier."""
        return self.build()


def panns_cnn14() -> Classifier:
    """CNN14 of PANNs, a thirty-second as wide."""
    module = random_module(lambda: Panns(PannsConfig("cnn14", N_LABELS, N_MELS, width=2)))
    assert isinstance(module, Panns)
    return classifier_of(
        module,
        "panns-cnn14",
        head=module.head,
        map_layer="conv_block6",
        front_end=log_mel(hop_length=80),
        map_axes="TF",
        feature_axes="CTF",
        task="multilabel",
    )


FAMILIES: dict[str, Family] = {
    "resnet": Family(convolutional.resnet, "T1", "mean over cells, one linear layer"),
    "densenet": Family(convolutional.densenet, "T1", "the map is behind the last ReLU; mean, one linear layer"),
    "densenet-functional": Family(
        convolutional.densenet_functional, "T3", "the map stands before the last ReLU, which is no layer"
    ),
    "mobilenet-v2": Family(convolutional.mobilenet_v2, "T1", "mean over cells, one linear layer"),
    "mobilenet-v3": Family(convolutional.mobilenet_v3, "T4", "two linear layers with hardswish between"),
    "efficientnet": Family(convolutional.efficientnet, "T1", "the map is behind SiLU; mean, one linear layer"),
    "convnext": Family(modern.convnext, "T2", "mean over cells, LayerNorm, one linear layer"),
    "birdset-convnext": Family(modern.birdset_convnext, "T2", "mean over cells, LayerNorm, one linear layer"),
    "swin": Family(swin.swin, "T1", "LayerNorm per token is before the map; mean, one linear layer"),
    "hts-at": Family(swin.hts_at, "T1", "a convolution of tokens, then the mean: a weight for each cell"),
    "crnn": Family(sequences.crnn, "T4", "the gates of a recurrent layer, and attention, behind the map"),
    "ecapa": Family(sequences.ecapa, "T0", "attention and a standard deviation behind the map"),
    "samples-cnn": Family(sequences.samples_cnn, "T1", "mean over time, one linear layer"),
    "mfcc-cnn": Family(convolutional.mfcc_cnn, "T1", "mean over cells, one linear layer"),
    "panns-cnn14": Family(panns_cnn14, "T3", "maximum and mean over time, two linear layers with a ReLU between"),
}
