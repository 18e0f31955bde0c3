"""Activations and decoded labels of lists: what ``get_preds`` gives where the volumes differ in size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastcore.foundation import L
from torch import Tensor


def each_volume(function: Callable[[Tensor], Tensor], x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    """``function`` of a batch; or of each volume of a list, as a list.

    Args:
        function: batch (B, C, D, H, W) -> batch.
        x: a batch, or a list of volumes (C, D, H, W). A list of batches, as of deep supervision, is left to
            ``function``.
    """
    if isinstance(x, Tensor) or not all(isinstance(volume, Tensor) and volume.ndim == 4 for volume in x):
        return function(x)  # type: ignore[arg-type]  # a list of batches, which the function may refuse
    return L(function(volume[None])[0] for volume in x)
