"""Chapter 17: weights in 8 bits, for shipping, a quarter of the size of float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from minidiff.engine.tensorfile import CheckpointError


def pack(tensors: Mapping[str, Tensor], half: Sequence[str] = ()) -> dict[str, Tensor]:
    """w ~ scale[c] q for every matrix and filter, q in -127..127, one scale for each output c.

    Vectors (norms, biases) stay as they are, and so does what holds less than a thousandth of all
    weights: in DDPM's CIFAR-10 network the two ends and three shortcuts, which would bring most of
    the rounding error into ε (benchmarks/int8_layers.py). Other matrices and filters whose names
    begin with one of `half` get 16 bits (float16). The scale of "name" is stored as "name:scale".

    >>> packed = pack({"w": torch.tensor([[1.0, -0.5], [0.0, 4.0]])})
    >>> packed["w"].tolist()
    [[127, -64], [0, 127]]
    """
    out = dict(tensors)
    every = sum(w.numel() for w in tensors.values())
    for prefix in half:
        if not any(name.startswith(prefix) for name in tensors):
            raise ValueError(f"half: no weight's name begins with {prefix!r}")
    for name, w in tensors.items():
        if w.is_floating_point() and w.ndim >= 2 and 1000 * w.numel() >= every:
            if name.startswith(tuple(half)):
                out[name] = w.half()
                continue
            scale = w.float().flatten(1).abs().amax(1).clamp(min=1e-12) / 127  # (C_out,)
            scale = scale.view(-1, *[1] * (w.ndim - 1))
            out[name] = (w.float() / scale).round().to(torch.int8)
            out[f"{name}:scale"] = scale
    return out


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `pack` in float32; what it did not change passes as it is.

    CheckpointError: a scale that is not one number for each output of its weight.

    >>> w = torch.tensor([[1.0, -0.5], [0.0, 4.0]])
    >>> bool((unpack(pack({"w": w}))["w"] - w).abs().max() <= 4 / 127 / 2)
    True
    """
    out = {}
    for name, t in tensors.items():
        if (weight := name.removesuffix(":scale")) != name:
            if weight not in tensors:
                raise CheckpointError(f"{name} is the scale of no weight")
            continue
        scale = tensors.get(f"{name}:scale")
        if scale is None:
            out[name] = t.float() if t.dtype == torch.float16 else t
        elif t.ndim < 2 or scale.shape != (len(t), *[1] * (t.ndim - 1)):
            raise CheckpointError(
                f"{name}:scale has shape {tuple(scale.shape)} for {tuple(t.shape)}"
            )
        else:
            out[name] = t.float() * scale
    return out
