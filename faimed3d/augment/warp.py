"""The general warp: flips, affine maps, bends, perspective and elastic displacement in millimetres, one resampling.

A warp moves the content of a volume on a grid that stays where it is. Its maths happens in millimetres, in a frame at
the centre of the volume whose axes (x, y, z) lie along the storage axes (W, H, D), so that anisotropic voxels do not
shear the patient: a rotation keeps every distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d._arguments import is_number
from faimed3d._exact import fits_float32
from faimed3d.geometry import Geometry
from faimed3d.spatial import compiled
from faimed3d.spatial.axis_matrices import centres, spline_matrix
from faimed3d.spatial.rotations import rotate_3d

_PADDING = {"edge": "border", "reflect": "reflection"}


@dataclass(frozen=True)
class Warp:
    """How the content of N volumes moves; (x, y, z) everywhere, float64, on the CPU.

    A point p mm from the centre comes from ``inverse(matrix) @ (p - shift)``, to which the other terms are added at p.

    Args:
        matrix: (N, 3, 3), moves content: the point p goes to ``matrix @ p + shift``.
        shift: (N, 3) mm.
        bend: (N, 3, 3), parts of half the field of view: sampling along axis a moves by
            ``bend[a, b] * (s_b ** 2 - 1/3)``, where s runs from -1 to 1 along axis b.
        taper: (N, 3, 3), likewise by ``taper[a, b] * s_a * s_b``: a box becomes a trapezoid.
        tilt: (N, 3), perspective: sampling positions are divided by ``1 + tilt @ s``.
        displacement: (N, 3, d, h, w) mm at control points of cubic B-splines, at least 4 along each axis; or None.
    """

    matrix: Tensor
    shift: Tensor
    bend: Tensor
    taper: Tensor
    tilt: Tensor
    displacement: Tensor | None = None

    @classmethod
    def of(cls, count: int, **terms: Any) -> Warp:
        """Return the warp of ``count`` items that has only ``terms``; what is not given does nothing."""
        blank = {
            "matrix": torch.eye(3, dtype=torch.float64).repeat(count, 1, 1),
            "shift": torch.zeros(count, 3, dtype=torch.float64),
            "bend": torch.zeros(count, 3, 3, dtype=torch.float64),
            "taper": torch.zeros(count, 3, 3, dtype=torch.float64),
            "tilt": torch.zeros(count, 3, dtype=torch.float64),
        }
        terms = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in terms.items()}
        return cls(**{**blank, **terms})

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: Any) -> Warp:  # what tensors are indexed by
        return Warp(**{name: value[index] for name, value in self._terms().items()})

    def only(self, chosen: Tensor) -> Warp:
        """Return the warp of the same items that does nothing to those not ``chosen`` (N bools)."""
        terms = {}
        for name, value in self._terms().items():
            still = torch.eye(3, dtype=torch.float64) if name == "matrix" else torch.zeros((), dtype=torch.float64)
            terms[name] = torch.where(chosen.view(-1, *[1] * (value.ndim - 1)), value, still)
        return Warp(**terms)

    def then(self, other: Warp) -> Warp:
        """Return the warp that moves content as this one and then as ``other``; the terms that are not affine add up.

        Only one of the two may have a displacement.
        """
        if self.displacement is not None and other.displacement is not None:
            raise ValueError("two elastic displacements cannot be merged into one warp: leave one of them out")
        return Warp(
            other.matrix @ self.matrix,
            (other.matrix @ self.shift[..., None])[..., 0] + other.shift,
            self.bend + other.bend,
            self.taper + other.taper,
            self.tilt + other.tilt,
            other.displacement if self.displacement is None else self.displacement,
        )

    @classmethod
    def joined(cls, warps: Sequence[Warp]) -> Warp:
        """Return the warp of the items of several, one after the other."""
        count = next((warp.displacement.shape[1:] for warp in warps if warp.displacement is not None), None)
        terms: dict[str, Any] = {}
        for field in fields(cls):
            parts = [getattr(warp, field.name) for warp in warps]
            if field.name == "displacement" and count is not None:
                still = [torch.zeros(len(warp), *count, dtype=torch.float64) for warp in warps]
                parts = [zeros if part is None else part for zeros, part in zip(still, parts, strict=True)]
            terms[field.name] = None if parts[0] is None else torch.cat(parts)
        return cls(**terms)

    def is_orthogonal(self) -> Tensor:
        """N bools: whether an item is only rotated by right angles and mirrored, so that no voxel is interpolated."""
        terms = self._terms()
        matrix = terms.pop("matrix").abs().flatten(1)
        still = [(value == 0).flatten(1).all(1) for value in terms.values()]
        return torch.stack([((matrix == 0) | (matrix == 1)).all(1), *still]).all(0)

    def _terms(self) -> dict[str, Tensor]:
        terms = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in terms.items() if value is not None}


def spatial_frame(geometry: Geometry) -> Tensor:
    """3x3 float64 tensor that takes steps of one voxel along (x, y, z) storage axes to mm, without the direction.

    It is the diagonal of the spacing, or upper triangular for a sheared grid (a tilted gantry).
    """
    if not geometry.is_sheared:
        return torch.diag(torch.tensor(geometry.spacing, dtype=torch.float64))
    upper = np.linalg.qr(geometry.affine[:3, :3])[1]
    return torch.from_numpy(upper * np.sign(np.diag(upper))[:, None])


def affine_matrix(degrees: Any, scale: Any = None, shear: Any = None) -> Tensor:  # what torch.as_tensor takes
    """Matrices (N, 3, 3) over (x, y, z) that scale, then shear, then rotate.

    Args:
        degrees: (N, 3) angles about the D, H and W axes, right-handed in (x, y, z), about W first and D last.
        scale: (N, 3) factors along D, H, W. Default 1.
        shear: (N, 3, 3), off-diagonal tangents: ``shear[:, a, b]`` moves axis a along with axis b, axes (D, H, W).
    """
    count = len(degrees)
    angles = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float64)).flip(-1)
    matrix = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    for axis in range(3):  # x, y, z
        rotation = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        rotation[:, one, one] = rotation[:, two, two] = angles[:, axis].cos()
        rotation[:, two, one] = angles[:, axis].sin()
        rotation[:, one, two] = -angles[:, axis].sin()
        matrix = rotation @ matrix
    if shear is not None:
        matrix = matrix @ (torch.eye(3, dtype=torch.float64) + torch.as_tensor(shear, dtype=torch.float64).flip(1, 2))
    if scale is not None:
        matrix = matrix * torch.as_tensor(scale, dtype=torch.float64).flip(-1)[:, None]
    return matrix


def warp_terms(size: tuple[int, int, int], frames: Tensor, warp: Warp) -> tuple[Tensor, Tensor, Tensor | None]:
    """The terms of N warps that depend on the mm of the voxels, for positions s from -1 to 1; float64.

    Args:
        size, frames, warp: as for :func:`sampling_grid`.

    Returns:
        The matrix (N, 3, 3), the constant (N, 3), which holds that of the bend as well, and the control points
        (N, 3, d, h, w) or None.
    """
    depth, height, width = size
    field = frames * (torch.tensor([width, height, depth], dtype=torch.float64) / 2)  # s in -1..1 to mm
    pull = torch.linalg.inv(warp.matrix)
    linear = torch.linalg.solve(field, pull @ field)
    start = -torch.linalg.solve(field, pull @ warp.shift[..., None])[..., 0] - warp.bend.sum(-1) / 3
    if warp.displacement is None:
        return linear, start, None
    return linear, start, torch.linalg.solve(field, warp.displacement.flatten(2)).reshape(warp.displacement.shape)


def sampling_grid(
    size: tuple[int, int, int],
    frames: Tensor,
    warp: Warp,
    device: torch.device | str | None = None,
    onto: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Where each voxel of the warped volumes is sampled: (N, D, H, W, 3), as ``F.grid_sample`` takes it.

    The whole warp is one matrix product over the D axis. Its columns are the control points of the displacement, a
    constant, and the positions s and s**2 along D; each multiplies a plane (H, W).

    Args:
        size: (D, H, W).
        frames: (N, 3, 3), of :func:`spatial_frame`.
        warp: a ``Warp`` of N items.
        device: of the result, which is float32.
        onto: what is sampled is another volume than the warped one, such as that of which this is a patch: factor and
            shift (N, 3) along (x, y, z) that take the positions in the one, -1 to 1, to those in the other.
    """
    count, (depth, height, width) = len(warp), size
    linear, start, control = warp_terms(size, frames, warp)
    bend, taper = warp.bend, warp.taper
    tilted = bool(warp.tilt.any())
    if onto is not None and not tilted:  # what follows is linear in these terms
        factor, shift = onto
        linear, bend, taper = (value * factor[..., None] for value in (linear, bend, taper))
        start = start * factor + shift
        control = None if control is None else control * factor[..., None, None, None]
    linear, start, bend, taper, tilt = (
        value.to(device, torch.float32) for value in (linear, start, bend, taper, warp.tilt)
    )
    sw, sh, sd = (centres(n, device)[:, None] for n in (width, height, depth))

    along_w, along_h = (linear[:, None, :, a] * s + bend[:, None, :, a] * s**2 for a, s in enumerate((sw, sh)))
    plane = along_w[:, None] + along_h[:, :, None] + start[:, None, None]
    slope = linear[:, None, None, :, 2].expand(plane.shape)
    if warp.taper.any():
        position = torch.stack(torch.broadcast_tensors(sw.mT, sh), -1)  # (H, W, 2)
        across = torch.stack([taper[:, 0, 1], taper[:, 1, 0]], -1)[:, None, None]
        plane[..., :2] += position.prod(-1, keepdim=True) * across
        edge = (position * taper[:, None, None, 2, :2]).sum(-1, keepdim=True)
        slope = slope + torch.cat([position * taper[:, None, None, :2, 2], edge], -1)
    columns, planes = [torch.ones_like(sd), sd], [plane[:, None], slope[:, None]]
    if warp.bend[..., 2].any():
        columns.append(sd**2)
        planes.append(bend[:, None, None, None, :, 2].expand(planes[0].shape))
    if control is not None:
        points = control.to(device, torch.float32).movedim(1, -1)  # (N, d, h, w, 3)
        weights = [spline_matrix(n, m).to(device) for n, m in zip(size, points.shape[1:4], strict=True)]
        rows = weights[1] @ (weights[2] @ points).flatten(3)
        columns.append(weights[0])
        planes.append(rows.reshape(count, -1, height, width, 3))
    grid = _product(torch.cat(columns, 1), torch.cat(planes, 1).flatten(2)).reshape(count, *size, 3)
    if tilted:
        tw, th, td = (tilt[:, a, None] * s[:, 0] for a, s in enumerate((sw, sh, sd)))
        grid /= (1 + td[:, :, None, None] + (th[:, :, None] + tw[:, None])[:, None]).clamp_(min=0.1)[..., None]
        if onto is not None:
            factor, shift = (value.to(device, torch.float32)[:, None, None, None] for value in onto)
            grid.mul_(factor).add_(shift)
    return grid


def check_fill(fill: float | str | None) -> None:
    """Raise a ValueError if ``fill`` is nothing that :func:`sample_3d` takes."""
    known = fill in _PADDING if isinstance(fill, str) else fill is None or is_number(fill)
    if not known:
        raise ValueError(f"fill must be a number, None, 'edge' or 'reflect', got {fill!r}")


def sample_3d(
    x: Tensor, grid: Tensor, interpolation: str = "linear", fill: float | str | Tensor | None = None
) -> Tensor:
    """Sample volumes at the positions of a grid, all of them at once.

    Args:
        x: (N, C, D, H, W). What ``'linear'`` reads becomes float32 if it is of no wider floating type.
        grid: (N, D', H', W', 3) of :func:`sampling_grid`.
        interpolation: ``'linear'`` (trilinear) or ``'nearest'``, which keeps the type and invents no value.
        fill: what lies outside: a number, one for each channel (C,), ``'edge'`` or ``'reflect'``. Default: 0 with
            ``'nearest'``, else the smallest value of each channel (air in CT; not 0, which is water).

    Returns:
        (N, C, D', H', W').
    """
    if not isinstance(fill, Tensor):
        check_fill(fill)
    nearest = interpolation == "nearest"
    values = x if nearest or x.dtype in (torch.float32, torch.float64) else x.float()
    around = fill if isinstance(fill, str) else _outside(values, fill, nearest)
    if compiled.suits(values, grid, *(() if isinstance(around, str) else (around,))):
        return compiled.sample(values, grid if nearest else grid.to(values.dtype), nearest, around)
    if nearest:
        values = values.to(_wide_enough(values))
    grid, mode = grid.to(values.dtype), "nearest" if nearest else "bilinear"
    if isinstance(around, str):
        out = F.grid_sample(values, grid, mode, _PADDING[around], align_corners=False)
    else:  # PyTorch knows zeros alone
        around = around.to(values.dtype)[..., None, None, None]
        out = F.grid_sample(values - around, grid, mode, align_corners=False).add_(around)
    return out.to(x.dtype) if nearest else out


def apply_warp(
    x: Tensor,
    frames: Tensor,
    warp: Warp,
    interpolation: str = "linear",
    fill: float | str | None = None,
    grids: dict[Any, Tensor] | None = None,
) -> Tensor:
    """Warp N volumes, each in its own way; those only rotated by right angles or mirrored are not interpolated.

    Args:
        x: (N, C, D, H, W).
        frames: (N, 3, 3) of :func:`spatial_frame`.
        warp: a ``Warp`` of N items.
        interpolation, fill: as for :func:`sample_3d`.
        grids: a dict in which the sampling grid is kept for the next volume of the same items (a mask).

    Returns:
        A new tensor (N, C, D, H, W).
    """
    orthogonal = warp.is_orthogonal()
    if orthogonal.all():
        return torch.stack([rotate_3d(volume, matrix) for volume, matrix in zip(x, warp.matrix, strict=True)])
    rest = (~orthogonal).nonzero().flatten()
    grids = {} if grids is None else grids
    depth, height, width = x.shape[-3:]
    key = depth, height, width, x.device
    if key not in grids:
        grids[key] = sampling_grid((depth, height, width), frames[rest], warp[rest], x.device)
    if len(rest) == len(x):
        return sample_3d(x, grids[key], interpolation, fill)
    rest = rest.to(x.device)
    sampled = sample_3d(x[rest], grids[key], interpolation, fill)
    out = torch.empty(x.shape, dtype=sampled.dtype, device=x.device)
    out[rest] = sampled
    for i in orthogonal.nonzero().flatten().tolist():
        out[i] = rotate_3d(x[i], warp.matrix[i])
    return out


def _product(columns: Tensor, planes: Tensor) -> Tensor:
    """Matrix product in full precision; with TF32 or autocast, positions would be off by parts of a voxel.

    float64 is exempt from both, whichever of torch's switches was used; one item at a time, it takes little memory.
    """
    if not planes.is_cuda:
        return columns @ planes
    columns, out = columns.double(), planes.new_empty(len(planes), len(columns), planes.shape[2])
    for item, plane in zip(out, planes, strict=True):
        item.copy_(columns @ plane.double())
    return out


def _outside(x: Tensor, fill: float | Tensor | None, nearest: bool) -> Tensor:
    """The values (N, C) outside the volumes: ``fill``, or the default of :func:`sample_3d`."""
    if fill is None and not nearest:
        lowest = x.amin((2, 3, 4))
        if not lowest.isfinite().all():
            finite = torch.where(x.isfinite(), x, torch.inf).amin((2, 3, 4))
            lowest = torch.where(finite.isfinite(), finite, 0)
        return lowest
    return torch.as_tensor(0 if fill is None else fill).to(x).expand(x.shape[:2])


def _wide_enough(labels: Tensor) -> torch.dtype:
    """The floating type that holds all labels exactly."""
    if labels.dtype not in (torch.int32, torch.int64) or not labels.numel():
        return torch.float32
    low, high = labels.aminmax()
    return torch.float32 if fits_float32(low, high) else torch.float64
