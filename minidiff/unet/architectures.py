"""Chapter 6: the networks that a file or a setting may name, each with its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from minidiff.unet.config import PRESETS, Preset, UNetConfig
from minidiff.unet.network import UNet
from minidiff.unet.transformer import Transformer, TransformerConfig

Config = UNetConfig | TransformerConfig
Network = UNet | Transformer
CONFIGS: dict[str, type[Config]] = {"UNet": UNetConfig, "Transformer": TransformerConfig}
Named = Literal[Preset, "transformer"]  # what a training run may name
NETWORKS: dict[Any, Config] = {**PRESETS, "transformer": TransformerConfig()}


def build_network(config: Config) -> Network:
    """A fresh network of this configuration."""
    return UNet(config) if isinstance(config, UNetConfig) else Transformer(config)


class blank(TorchFunctionMode):
    """Within this `with` block networks are built without weights, to be given those of a file.

    What would be overwritten is not drawn, and the caller's random state stays as it is.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Leave out what fills a tensor."""
        named = kwargs or {}
        drawing = func in (Tensor.uniform_, Tensor.normal_)
        if drawing or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def read_config(architecture: object, fields: Mapping[str, Any]) -> Config:
    """The configuration that a file describes. ValueError: no such network."""
    if architecture not in CONFIGS:
        known = ", ".join(CONFIGS)
        raise ValueError(f"architecture must be one of {known}, got {architecture!r:.60}")
    return CONFIGS[str(architecture)](**fields)


def skeleton(config: Config, tensors: int) -> Network:
    """The network on `meta`, shapes without memory, to compare with a file of so many tensors.

    A few bytes can describe a network of any size: nothing may be built before its shapes are known
    to be those of the file. ValueError if it cannot be built.
    """
    if config.stages > tensors:
        raise ValueError(
            f"the network has more blocks ({config.stages}) than there are tensors ({tensors})"
        )
    try:
        with torch.device("meta"), blank():
            return build_network(config)
    except (RuntimeError, OverflowError, TypeError) as error:  # sizes beyond 2^63
        raise ValueError("no network of such a size can be built") from error
