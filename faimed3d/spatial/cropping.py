"""Cut off margins, pad or crop to a size, strip zeros: no voxel is interpolated, and none moves in the patient."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from faimed3d._arguments import is_number, is_whole, whole_per_axis
from faimed3d._keywords import strict_keywords
from faimed3d.spatial.arguments import T, cut_out, fill_value, spatial_size


@strict_keywords
def crop_3d(t: T, margins: float | Sequence[float] | Sequence[Sequence[float]], perc_margins: bool = False) -> T:
    """Cut margins off both ends of each axis; the geometry follows.

    Args:
        t: tensor (..., D, H, W).
        margins: one number for all sides, three numbers (one per axis, both sides), three pairs, or six numbers in the
            order (D, D, H, H, W, W). Voxels, or fractions of the axis where ``perc_margins``.
        perc_margins: margins are fractions in [0, 1); each becomes ``int(fraction * size)`` voxels (truncated).

    Raises:
        ValueError: wrong count, negative, or nothing left.

    >>> import torch
    >>> crop_3d(torch.zeros(31, 736, 736), ((0.0, 0.0), (0.1, 0.1), (0.1, 0.1)), perc_margins=True).shape
    torch.Size([31, 590, 590])
    """
    cuts = []
    for name, n, pair in zip("DHW", spatial_size(t), _margin_pairs(margins), strict=True):
        if perc_margins:
            if not all(0 <= margin < 1 for margin in pair):
                raise ValueError(
                    f"margins of axis {name} must be fractions in [0, 1) with perc_margins=True, got {pair}"
                )
            pair = tuple(int(margin * n) for margin in pair)
        if not all(map(is_whole, pair)):
            raise ValueError(
                f"margins of axis {name} must be whole voxels, got {pair}; fractions need perc_margins=True"
            )
        before, after = (int(margin) for margin in pair)
        if before < 0 or after < 0:
            raise ValueError(f"margins of axis {name} must not be negative, got {pair}; to enlarge, use pad_or_crop")
        if before + after >= n:
            raise ValueError(f"margins {before} + {after} leave nothing of the {n} voxels of axis {name}")
        cuts.append(slice(before, n - after))
    return cut_out(t, cuts)


def _margin_pairs(margins: object) -> list[tuple[float, ...]]:
    """Margins of every form as a pair for each axis."""
    given = margins.tolist() if hasattr(margins, "tolist") else margins  # an array, a tensor, a numpy number
    entries = [given] * 3 if is_number(given) else list(given) if isinstance(given, tuple | list) else []
    pairs = [tuple(entry) if isinstance(entry, tuple | list) else (entry,) for entry in entries]
    if len(pairs) == 6 and all(len(pair) == 1 for pair in pairs):
        pairs = [pairs[k] + pairs[k + 1] for k in (0, 2, 4)]
    if len(pairs) != 3 or not all(len(pair) in (1, 2) and all(map(is_number, pair)) for pair in pairs):
        raise ValueError(f"margins must be one number, three numbers, three pairs or six numbers, got {margins!r}")
    return [pair * (3 - len(pair)) for pair in pairs]


def pad_or_crop(t: T, size: int | Sequence[int], value: float | None = None) -> T:
    """Bring the last three axes to ``size`` by padding and cropping equally at both ends; the geometry follows.

    Where the difference is odd, the extra voxel is added or cut at the end of the axis. What is only cut shares the
    memory of ``t``, as slices do.

    Args:
        t: tensor (..., D, H, W).
        size: voxels (D, H, W), or one number for all three.
        value: what fills new voxels. Default: 0 for masks, the smallest value of an image (air in CT; not 0, which is
            water).

    Raises:
        ValueError: ``size`` is not made of whole numbers of at least 1.

    >>> import torch
    >>> pad_or_crop(torch.tensor([[[1, 2, 3]]]), (1, 1, 6), value=0)
    tensor([[[0, 1, 2, 3, 0, 0]]])
    """
    old, new = spatial_size(t), whole_per_axis(size, "size", least=1)
    if old == new:
        return t
    if any(m > n for n, m in zip(old, new, strict=True)):
        value = fill_value(t, value)
    starts = [max(0, n - m) // 2 for n, m in zip(old, new, strict=True)]
    t = cut_out(t, [slice(start, start + m) for start, m in zip(starts, new, strict=True)])
    pad: list[int] = []
    for n, m in zip(reversed(t.shape[-3:]), reversed(new), strict=True):
        pad += [(m - n) // 2, m - n - (m - n) // 2]
    return F.pad(t, pad, value=value) if any(pad) else t  # type: ignore[return-value]


def strip(t: T) -> T:
    """Cut away the outer planes along each axis that hold only zeros; zeros inside stay.

    Args:
        t: tensor (..., D, H, W); what counts is non-zero anywhere along the leading axes.

    Raises:
        ValueError: all voxels are zero.

    >>> import torch
    >>> strip(torch.tensor([[[0, 0, 0], [0, 2, 1], [0, 0, 3]]]))
    tensor([[[2, 1],
             [0, 3]]])
    """
    filled = (t.as_subclass(Tensor) != 0).reshape(t.shape[:-3].numel(), *spatial_size(t)).any(0)
    cuts = []
    for axis in range(3):
        planes = filled.movedim(axis, 0).flatten(1).any(1).nonzero()
        if not len(planes):
            raise ValueError("all voxels are zero: there is nothing to strip to")
        cuts.append(slice(int(planes[0]), int(planes[-1]) + 1))
    return cut_out(t, cuts)
