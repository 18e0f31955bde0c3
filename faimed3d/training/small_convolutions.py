"""Convolutions that a CPU computes wrong in half precision, in single precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any  # of what torch hands through

import torch
from torch.overrides import TorchFunctionMode


class SmallConvolutions(TorchFunctionMode):
    """Within it, 3D convolutions of volumes that are smaller than the kernel along an axis run in float32.

    oneDNN 3.12 (of torch 2.14) computes the gradient of their weights wrong in bfloat16: the numbers are arbitrary,
    and it may write beyond its memory. Such layers stand at the end of an encoder of small or thin volumes, and take
    next to no time.

    >>> weight = torch.ones(1, 1, 3, 3, 3)
    >>> with torch.autocast("cpu", torch.bfloat16), SmallConvolutions():
    ...     [torch.conv3d(torch.ones(1, 1, n, 5, 5), weight, padding=1).dtype for n in (2, 3)]
    [torch.float32, torch.bfloat16]
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, with autocast or without.

        Args:
            func, types, args, kwargs: as of torch.
        """
        kwargs = dict(kwargs or {})
        if func is torch.conv3d and is_small(*_operands(*args, **kwargs)):
            with torch.autocast("cpu", enabled=False):
                return func(*map(_single, args), **{name: _single(value) for name, value in kwargs.items()})
        return func(*args, **kwargs)


def is_small(volumes: torch.Tensor, weight: torch.Tensor, dilation: int | Sequence[int]) -> bool:
    """Whether volumes (..., D, H, W) have fewer voxels along an axis than a kernel of weights (..., d, h, w) spans."""
    apart = (dilation,) * 3 if isinstance(dilation, int) else dilation
    spans = ((k - 1) * step + 1 for k, step in zip(weight.shape[-3:], apart, strict=True))
    return any(n < span for n, span in zip(volumes.shape[-3:], spans, strict=True))


def _operands(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[torch.Tensor, torch.Tensor, int | Sequence[int]]:
    """What matters of the arguments of a convolution, which have torch's names."""
    return input, weight, dilation


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
