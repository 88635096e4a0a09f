"""A transformers model as a module from features to logits."""

from typing import Any

from torch import Tensor, nn


class LogitsOf(nn.Module):
    """Calls a transformers model with features under the name that it wants, and returns its logits.

    Parameters
    ----------
    model
        Returns an output with `logits`.
    n_channels
        Pictures of so many equal channels are made of features with one; 1 leaves them as they are.
    """

    def __init__(self, model: nn.Module, n_channels: int = 1) -> None:
        super().__init__()
        self.model, self.n_channels = model, n_channels
        self.input_name = str(model.main_input_name)

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits `[batch, label]`."""
        if self.n_channels > 1:
            features = features.expand(-1, self.n_channels, -1, -1)
        output: Any = self.model(**{self.input_name: features})
        logits: Tensor = output.logits
        return logits
