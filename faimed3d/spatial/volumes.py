"""Crop, pad, resize, resample, reorient: functions of a volume that keep every voxel's place in the patient.

All of them take ``(..., D, H, W)`` tensors, and the geometry of a ``TensorDicom3D`` comes out exact. How a type is
interpolated is said by the type: its attribute ``interpolation``, ``'linear'`` for images and ``'nearest'`` for masks,
so that labels are never blended.
"""

from __future__ import annotations

import math
import numbers

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.spatial.interpolation import resample_voxels
from faimed3d.spatial.resizing import resize_linear, resize_nearest

__all__ = ["crop_3d", "pad_or_crop", "reorient", "resample", "resample_like", "resize_3d_tensor", "strip"]

_AXES = "DHW"
_MOST_VOXELS = 2**36  # 256 GB of float32: more is a slip in the spacing
_FEW_OPERATIONS = (torch.uint16, torch.uint32, torch.uint64)  # torch stores these and computes little with them
_SHORT = (torch.float16, torch.bfloat16)  # too coarse for weights


def crop_3d(t, margins, perc_margins=False):
    """Cut margins off both ends of each axis; the geometry follows.

    Args:
        t: tensor (..., D, H, W).
        margins: one number for all sides, three numbers (one per axis, both sides), three pairs, or six numbers in the
            order (D, D, H, H, W, W). Voxels, or fractions of the axis where ``perc_margins``.
        perc_margins: margins are fractions in [0, 1); each becomes ``int(fraction * size)`` voxels (truncated).

    Raises:
        ValueError: wrong count, negative, or nothing left.

    >>> crop_3d(torch.zeros(31, 736, 736), ((0.0, 0.0), (0.1, 0.1), (0.1, 0.1)), perc_margins=True).shape
    torch.Size([31, 590, 590])
    """
    size = _spatial_size(t)
    slices = []
    for name, n, pair in zip(_AXES, size, _margin_pairs(margins), strict=True):
        if perc_margins:
            if not all(0 <= margin < 1 for margin in pair):
                raise ValueError(
                    f"margins of axis {name} must be fractions in [0, 1) with perc_margins=True, got {pair}"
                )
            pair = tuple(int(margin * n) for margin in pair)
        if any(margin != int(margin) for margin in pair):
            raise ValueError(
                f"margins of axis {name} must be whole voxels, got {pair}; fractions need perc_margins=True"
            )
        before, after = (int(margin) for margin in pair)
        if before < 0 or after < 0:
            raise ValueError(f"margins of axis {name} must not be negative, got {pair}; to enlarge, use pad_or_crop")
        if before + after >= n:
            raise ValueError(f"margins {before} + {after} leave nothing of the {n} voxels of axis {name}")
        slices.append(slice(before, n - after))
    return t[(..., *slices)]


def _margin_pairs(margins):
    if _is_number(margins):
        return ((margins, margins),) * 3
    rows = [margin if isinstance(margin, tuple | list) else (margin,) for margin in _sequence(margins)]
    if len(rows) == 6 and all(len(row) == 1 for row in rows):
        rows = [(*rows[k], *rows[k + 1]) for k in (0, 2, 4)]
    if len(rows) == 3 and all(len(row) in (1, 2) and all(map(_is_number, row)) for row in rows):
        return tuple(tuple(row) * (3 - len(row)) for row in rows)
    raise ValueError(f"margins must be one number, three numbers, three pairs or six numbers, got {margins!r}")


def pad_or_crop(t, size, value=None):
    """Bring the last three axes to ``size`` by padding and cropping equally at both ends; no voxel moves in the world.

    Where the difference is odd, the extra voxel is added or cut at the end of the axis. What is only cut shares the
    memory of ``t``, as slices do.

    Args:
        t: tensor (..., D, H, W).
        size: voxels (D, H, W), or one number for all three.
        value: what fills new voxels. Default: 0 for masks, the smallest value of an image (air in CT; not 0, which is
            water).
    """
    old, new = _spatial_size(t), _sizes(size)
    if tuple(old) == new:
        return t
    if any(m > n for n, m in zip(old, new, strict=True)):
        value = _fill_value(t, value)
    starts = [max(0, n - m) // 2 for n, m in zip(old, new, strict=True)]
    t = t[(..., *(slice(start, start + m) for start, m in zip(starts, new, strict=True)))]
    pad = []
    for n, m in zip(reversed(t.shape[-3:]), reversed(new), strict=True):
        pad += [(m - n) // 2, m - n - (m - n) // 2]
    return F.pad(t, pad, value=value) if any(pad) else t


def resize_3d_tensor(t, new_shape):
    """Resize to ``new_shape``: images trilinear with ``align_corners=True`` (as the first version did), masks nearest.

    The centres of the first and last voxels stay where they are, so the origin is kept and the spacing becomes
    ``spacing * (old - 1) / (new - 1)``. An axis brought to size 1 keeps its first voxel.

    Args:
        t: tensor (..., D, H, W). Images of an integer type become float32.
        new_shape: voxels (D, H, W).
    """
    if _is_number(new_shape):
        raise ValueError(f"new_shape must be three sizes (D, H, W), got {new_shape!r}")
    old, new = _spatial_size(t), _sizes(new_shape)
    plain = t.as_subclass(Tensor)
    result = resize_nearest(plain, new) if _is_mask(t) else resize_linear(plain, new)
    if not hasattr(t, "with_voxels"):
        return result

    def regridded(geometry):
        scale = [1 if m == 1 else (n - 1) / (m - 1) for n, m in zip(old, new, strict=True)]
        return geometry.regrid(new, scale)

    return t.with_voxels(result, regridded)


def strip(t):
    """Cut away the outer slices, rows and columns that hold only zeros; zeros inside stay.

    Args:
        t: tensor (..., D, H, W); what counts is non-zero anywhere along the leading axes.

    Raises:
        ValueError: all voxels are zero.
    """
    filled = (t.as_subclass(Tensor) != 0).reshape(t.shape[:-3].numel(), *_spatial_size(t)).any(0)
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        places = filled.any(others[1]).any(others[0]).nonzero()
        if not len(places):
            raise ValueError("all voxels are zero: there is nothing to strip to")
        slices.append(slice(int(places[0]), int(places[-1]) + 1))
    return t[(..., *slices)]


def reorient(t, code):
    """Reorder and flip the storage axes so that x (W), y (H), z (D) point to the letters of ``code``.

    No voxel moves in the world and none is interpolated: an oblique volume is brought to the nearest orientation.

    Args:
        t: volume with a geometry.
        code: such as 'LPS' (DICOM, ITK) or 'RAS' (nibabel): the direction in which each of x, y, z grows.
    """
    order, flips = _geometry(t, "reorient").reorientation(code)
    lead = t.ndim - 3
    t = t.permute(*range(lead), *(lead + axis for axis in order))
    return t.flip([lead + axis for axis in flips]) if flips else t


def resample(t, spacing, value=None):
    """Resample to a new spacing over the same field of view.

    The new grid has ``round(size * old / new)`` voxels (at least 1) along each axis and is centred on the old one.
    Images are interpolated linearly, masks by the nearest voxel; there is no smoothing before a coarser spacing.

    Args:
        t: volume (..., D, H, W) with a geometry.
        spacing: new (x, y, z) mm, or one number for all three.
        value: fills what lies outside the old volume; see :func:`resample_like`.
    """
    geometry = _geometry(t, "resample")
    target = geometry.replace(spacing=(spacing,) * 3 if _is_number(spacing) else spacing)  # checks the numbers
    ratio = [new / old for new, old in zip(reversed(target.spacing), reversed(geometry.spacing), strict=True)]
    shape = [max(1, round(n / r)) for n, r in zip(geometry.shape, ratio, strict=True)]
    if math.prod(shape) > _MOST_VOXELS:
        raise ValueError(
            f"spacing {target.spacing_text} would make {'x'.join(map(str, shape))} voxels of {tuple(t.shape)}"
        )
    offset = [((n - 1) - (m - 1) * r) / 2 for n, m, r in zip(geometry.shape, shape, ratio, strict=True)]
    return _resampled(t, geometry, geometry.regrid(shape, ratio, offset), value)


def resample_like(t, other, value=None):
    """Resample onto the grid of another volume, whatever its spacing, place and orientation.

    Images are interpolated linearly, masks by the nearest voxel, as SimpleITK's Resample does: up to half a voxel
    beyond the outer voxel centres the edge value holds, farther out ``value``.

    Args:
        t: volume (..., D, H, W) with a geometry.
        other: a volume with a geometry, or a ``Geometry``.
        value: fills what lies outside ``t``. Default: 0 for masks, the smallest value of an image.

    Raises:
        ValueError: a volume has no geometry, or ``value`` is no label that the type of a mask holds.
    """
    target = other if isinstance(other, Geometry) else _geometry(other, "resample_like (the other volume)")
    return _resampled(t, _geometry(t, "resample_like"), target, value)


def _resampled(t, source, target, value):
    plain = t.as_subclass(Tensor)
    kept = plain.dtype
    if not _is_mask(t) and not plain.is_floating_point():
        kept = torch.float32
    if source.agrees(target):
        return t.with_voxels(plain.to(kept, copy=True), lambda geometry: target)
    plain = plain.to(torch.int64 if kept in _FEW_OPERATIONS else torch.float32 if kept in _SHORT else kept)
    # index of a target voxel (d, h, w) in the source: matrix @ index + offset
    corner = source.world_to_index(target.index_to_world(np.eye(4, 3, k=-1)))
    offset, matrix = corner[0], (corner[1:] - corner[0]).T
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1) @ matrix.T + offset
    inside = (corners >= -0.49).all() and (corners <= np.array(source.shape) - 0.51).all()
    fill = 0 if inside and value is None else _fill_value(t, value)  # not looked for where nothing lies outside
    if _is_mask(t) and torch.tensor(fill, dtype=torch.float64).to(plain.dtype).item() != fill:
        raise ValueError(f"value must be a label that fits voxels of {kept}, got {fill!r}")
    rows = plain.reshape(plain.shape[:-3].numel(), *source.shape)
    result = resample_voxels(rows, matrix, offset, target.shape, _is_mask(t), fill)
    return t.with_voxels(result.to(kept).reshape(*plain.shape[:-3], *target.shape), lambda geometry: target)


def _is_mask(t):
    return getattr(t, "interpolation", "linear") == "nearest"


def _fill_value(t, value):
    if value is not None:
        return value
    plain = t.as_subclass(Tensor)
    if _is_mask(t) or not plain.numel():
        return 0
    if plain.dtype in _FEW_OPERATIONS:
        return plain.to(torch.int64).min().item()
    smallest = plain.min().item()
    if smallest == smallest:
        return smallest
    known = plain[~plain.isnan()]
    return known.min().item() if known.numel() else smallest


def _spatial_size(t):
    if not isinstance(t, Tensor) or t.ndim < 3:
        raise ValueError(f"expected a tensor (..., D, H, W), got {getattr(t, 'shape', type(t).__name__)}")
    return tuple(t.shape[-3:])


def _sizes(size):
    sizes = (size,) * 3 if _is_number(size) else _sequence(size)
    if len(sizes) != 3 or not all(_is_number(n) and n == int(n) and n > 0 for n in sizes):
        raise ValueError(f"size must be three positive whole numbers (D, H, W), got {size!r}")
    return tuple(int(n) for n in sizes)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value


def _sequence(value):
    """``value`` as a tuple; anything but a tuple, list or array gives an empty one."""
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    return tuple(value) if isinstance(value, tuple | list) else ()


def _geometry(t, what):
    if not hasattr(t, "require_geometry"):
        raise TypeError(f"{what} needs a TensorDicom3D, which knows its place in the patient; got {type(t).__name__}")
    return t.require_geometry(what)
