"""Foreground: the voxels of a scan from which statistics are taken, those above a threshold."""

from __future__ import annotations

from torch import Tensor

from faimed3d import _blockwise
from faimed3d._arguments import is_number


def foreground_of(flat: Tensor, which: float | str | None, at_least: int = 1) -> Tensor:
    """Return the finite voxels above a threshold; all finite ones where fewer than ``at_least`` are above it.

    Args:
        flat: 1D tensor.
        which: the threshold: ``'minimum'`` for the smallest finite value, ``'mean'`` for the mean, or a number; or
            None or ``'all'`` for all finite voxels.
        at_least: voxels.

    Raises:
        ValueError: ``which`` is none of these.
    """
    finite = _blockwise.finite(flat)
    if which in (None, "all") or not finite.numel():
        return finite
    if which == "minimum":
        threshold = _blockwise.extremes(finite)[0]
    elif which == "mean":
        threshold = finite.double().mean().item()
    elif is_number(which):
        threshold = float(which)
    else:
        raise ValueError(f"foreground must be None, 'all', 'minimum', 'mean' or a number, got {which!r}")
    above = finite[finite > threshold]
    return above if above.numel() >= at_least else finite
