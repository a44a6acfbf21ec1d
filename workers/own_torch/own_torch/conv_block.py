"""A block of PyTorch modules as one layer: parameters, running statistics and dropout are the gate's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from akkafka.nn.layer import Shape
from akkafka.nn.torch_module import TorchSpec


class ConvBlockSpec(TorchSpec):
    """Settings: what may stand in a configuration file beside `type = "torch-conv-block"`."""

    type: Literal["torch-conv-block"] = "torch-conv-block"
    """Convolution, batch-norm, gelu, dropout of whole channels, pool; images (channels, height, width)."""
    out: int = Field(ge=1)
    """Channels going out."""
    p: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the channels dropped."""

    def module(self, in_shape: Shape) -> Any:
        """PyTorch is imported here, and not where a process only reads the definition's names."""
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(in_shape[0], self.out, 3, padding=1),
            nn.BatchNorm2d(self.out),
            nn.GELU(),
            nn.Dropout2d(self.p),
            nn.MaxPool2d(2),
        )
