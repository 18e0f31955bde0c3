"""Padding: values of an image that stand for no measurement, such as those outside the circle of a CT.

A tensor may know which of its values are padding (DICOM (0028,0120) PixelPaddingValue, in the units of the image): a
tuple of ranges (low, high). A voxel is padding if its value lies in one of them, ends included.

Operations that move voxels or take some of them keep this knowledge; **all others drop it**, for they may change the
values. A write into the memory of a tensor, through whatever view of it that torch knows, drops it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

Ranges = tuple[tuple[float, float], ...]
T = TypeVar("T", bound=Tensor)

_KEEPING = """
    select narrow index_select unbind split chunk tensor_split hsplit vsplit dsplit split_with_sizes permute transpose
    transpose_ t movedim moveaxis swapaxes swapdims adjoint flip fliplr flipud rot90 roll unsqueeze unsqueeze_ squeeze
    squeeze_ reshape view flatten unflatten ravel view_as reshape_as expand expand_as broadcast_to repeat tile clone
    detach detach_ contiguous to cpu cuda float double requires_grad_ pin_memory share_memory_ alias positive pad
    masked_select take unfold __deepcopy__ as_strided
"""
_JOINING = "stack cat concat concatenate hstack vstack dstack"


def _functions(names: str) -> set[Callable]:
    return {getattr(home, name) for name in names.split() for home in (torch, Tensor, F) if hasattr(home, name)}


_TYPE: Any = Tensor
# By torch's own functions, as ``__torch_function__`` gets them
KEEPS_PADDING = frozenset(
    _functions(_KEEPING)
    | {_TYPE.__getitem__, _TYPE.__iter__, _TYPE.__reversed__}
    | {_TYPE.data.__get__, _TYPE.T.__get__, _TYPE.mT.__get__}
)
JOINS_PADDING = frozenset(_functions(_JOINING))


def attach_padding(t: Tensor, ranges: Iterable[tuple[float, float]] | None) -> None:
    """Say which values of a ``TrackedTensor`` are padding: ranges (low, high), or None where nothing is known."""
    found = tuple((float(low), float(high)) for low, high in ranges or ())
    cast(Any, t)._padding = (found, _writes(t)) if found else None


def padding_of(t: object) -> Ranges:
    """The ranges of values that are padding; ``()`` where none are known, for masks and for other types."""
    known = getattr(t, "_padding", None)
    if known is None or getattr(t, "interpolation", "linear") == "nearest":
        return ()
    ranges, writes = known
    return ranges if writes == _writes(cast(Tensor, t)) else ()


def is_padding(t: Tensor, ranges: Ranges) -> Tensor:
    """Plain bool tensor of the shape of ``t``: which voxels lie in one of the ranges."""
    plain = t.detach().as_subclass(Tensor)
    found = [plain == low if low == high else (plain >= low) & (plain <= high) for low, high in ranges]
    return reduce(torch.logical_or, found) if found else torch.zeros_like(plain, dtype=torch.bool)


def fill_padding(t: T, value: float | None = None) -> T:
    """Give the padding of an image another value, so that it can be scaled and interpolated like all other voxels.

    Args:
        t: image (..., D, H, W). Without known padding it comes back itself, and so does a mask.
        value: what padding becomes. Default: the smallest value of the rest of each volume (air in CT); 0 where all of
            a volume is padding.

    Returns:
        Image of the type and geometry of ``t``, without padding.

    >>> from faimed3d.volume import TensorDicom3D
    >>> image = TensorDicom3D([[[-2000.0, -1000.0, 40.0]]])
    >>> attach_padding(image, [(-2000, -2000)])
    >>> fill_padding(image).tolist(), fill_padding(image, 0).tolist()
    ([[[-1000.0, -1000.0, 40.0]]], [[[0.0, -1000.0, 40.0]]])
    """
    ranges = padding_of(t)
    if not ranges:
        return t
    outside = is_padding(t, ranges)
    plain = t.as_subclass(Tensor)
    if value is not None and value != value and not plain.is_floating_point():
        plain = plain.float()
    return cast(Any, t).with_voxels(fill_where(plain.clone(), outside, value))


def fill_where(plain: Tensor, outside: Tensor, value: float | None = None) -> Tensor:
    """Write into voxels ``outside`` a value, or the smallest finite one of the others of their volume; return all.

    Args:
        plain: tensor (..., D, H, W), or of fewer axes for one volume; contiguous, changed in place.
        outside: bool tensor of its shape.
        value: None for the smallest value.
    """
    if not torch.count_nonzero(outside):
        return plain
    volumes = [(plain, outside)] if plain.ndim < 4 else zip(plain.flatten(0, -4), outside.flatten(0, -4), strict=True)
    for volume, where in volumes:
        volume.masked_fill_(where, smallest(volume, ~where) if value is None else value)
    return plain


def smallest(plain: Tensor, where: Tensor) -> float:
    """Smallest finite value of some voxels; 0 where there is none."""
    found = voxels_at(plain.detach(), where)
    if found.numel() and not found.amin().isfinite():
        found = found[found.isfinite()]
    return found.amin().item() if found.numel() else 0.0


def voxels_at(plain: Tensor, where: Tensor) -> Tensor:
    """The voxels at which a bool tensor is true, as a row: by numpy on a CPU, which takes a tenth of torch's time."""
    return torch.from_numpy(plain.numpy()[where.numpy()]) if plain.is_cpu else plain[where]


def joined_padding(tensors: Any) -> Ranges:
    """The padding that all tensors of a list share; ``()`` where they differ."""
    found = {padding_of(t) for t in tensors} if isinstance(tensors, tuple | list) else {()}
    return found.pop() if len(found) == 1 else ()


def keeps_values(before: torch.dtype, after: torch.dtype) -> bool:
    """Whether a cast leaves every value what it is, so that no other one becomes padding."""
    return after == before or after in (torch.float32, torch.float64)


def _writes(t: Tensor) -> int:
    try:
        return t._version
    except RuntimeError:  # tensors made under inference_mode count no writes
        return -1
