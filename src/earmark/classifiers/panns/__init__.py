"""PANNs: published and fine-tuned checkpoints of CNN6, CNN10, CNN14, ResNet22 and ResNet38 as classifiers."""

from .load import load_panns as load_panns
from .load import read_network as read_network
from .network import Panns as Panns
from .network import PannsConfig as PannsConfig
