"""Random transforms that move the content of a volume: mirrored, rotated, scaled, bent; image and mask alike.

They are augmentations: the content moves, the grid stays, and so the geometry stays as it was (the world changes, see
"two different flips" in ``faimed3d.spatial``'s ``reorient``, which does the opposite). All of them draw a ``Warp`` in
millimetres (``faimed3d.augment.warp``), so any number of them is one resampling: :class:`RandomSpatial3D`.

Per-axis arguments are in the order (D, H, W).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from faimed3d._arguments import as_tuple, is_number, per_axis, whole_per_axis
from faimed3d.augment.base import SpatialTransform3D, axes_of, uniform
from faimed3d.augment.warp import Warp, affine_matrix
from faimed3d.geometry import Geometry
from faimed3d.masks.classes import both_ways
from faimed3d.spatial.rotations import interchangeable


class RandomAffine3D(SpatialTransform3D):
    """Rotate, scale, shear and shift the content by random amounts, in millimetres about the centre of the volume.

    Args:
        p: probability for each item.
        degrees: largest angle either way about the axes: one number or (D, H, W). About D rotates in the plane (H, W).
        scale: largest factor up or down minus 1 (0.15 is 1/1.15 to 1.15), or (low, high).
        shear: largest tangent either way, of each axis along each other one.
        translate: largest shift either way in mm: one number or (D, H, W).
        isotropic: one scale for all axes.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.rand(4, 5, 6))
    >>> moved = RandomAffine3D(degrees=(15, 5, 5), translate=1)(image, split_idx=0)
    >>> moved.shape == image.shape, moved.geometry == image.geometry
    (True, True)
    """

    def __init__(
        self,
        p: float = 1.0,
        degrees: float | Sequence[float] = 15,
        scale: float | tuple[float, float] = 0.15,
        shear: float = 0.0,
        translate: float | Sequence[float] = 0.0,
        isotropic: bool = True,
        fill: float | str | None = None,
    ) -> None:
        super().__init__(p, fill)
        self.degrees, self.translate = per_axis(degrees, "degrees", least=0), per_axis(translate, "translate", least=0)
        self.scale, self.shear, self.isotropic = _factors(scale), float(shear), isotropic

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw angles, factors, tangents and shifts."""
        count = len(geometries)
        low, high = map(math.log, self.scale)
        scale = uniform(low, high, count, 1 if self.isotropic else 3).exp().expand(count, 3)
        shear = uniform(-self.shear, self.shear, count, 3, 3) * (1 - torch.eye(3, dtype=torch.float64))
        shift = _either_way(self.translate, count).flip(-1)
        return Warp.of(count, matrix=affine_matrix(_either_way(self.degrees, count), scale, shear), shift=shift)


class RandomRotate3DBy(SpatialTransform3D):
    """Rotate by a random angle about each of some axes.

    Args:
        p: probability for each item.
        degrees: largest angle either way: one number, or one for each of ``axis``.
        axis: the axes to rotate about, negative: -3 is D (rotates in the plane (H, W)), -2 is H, -1 is W.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.rand(4, 5, 6))
    >>> RandomRotate3DBy(p=1, degrees=30, axis=-3)(image, split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def __init__(
        self,
        p: float = 0.5,
        degrees: float | Sequence[float] = (2, 2, 30),
        axis: int | Sequence[int] = (-1, -2, -3),
        fill: float | str | None = None,
    ) -> None:
        super().__init__(p, fill)
        self.axis = axes_of(axis)
        angles = as_tuple(degrees)
        angles = angles * len(self.axis) if is_number(degrees) else angles
        if len(angles) != len(self.axis):
            raise ValueError(f"degrees must be one number or one for each axis of {self.axis}, got {degrees!r}")
        self.degrees = angles

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw one angle for each axis."""
        largest = [0.0] * 3
        for axis, angle in zip(self.axis, self.degrees, strict=True):
            largest[axis + 3] = abs(angle)
        return Warp.of(len(geometries), matrix=affine_matrix(_either_way(largest, len(geometries))))


class RandomFlip3D(SpatialTransform3D):
    """Mirror the content along axes, each of ``axis`` with probability ``p`` on its own. No voxel is interpolated.

    Args:
        p: probability for each axis of each item.
        axis: axes to mirror along, negative: -1 is W (left and right of an axial volume), -2 is H, -3 is D.
        swap_labels: pairs ``{left: right}`` of labels that are exchanged in a mask whose left and right are mirrored,
            such as the two kidneys; of regions their numbers, from 1 on. Which axis that is, the geometry says;
            without one it is refused.

    >>> from faimed3d.basics import TensorDicom3D
    >>> RandomFlip3D(p=1, axis=-1)(TensorDicom3D(torch.tensor([[[1.0, 2.0, 3.0]]])), split_idx=0).tolist()
    [[[3.0, 2.0, 1.0]]]
    """

    def __init__(
        self,
        p: float = 0.5,
        axis: int | Sequence[int] = (-1, -2, -3),
        *,
        swap_labels: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(p)
        self.axis = axes_of(axis)
        self.swap_labels = None if swap_labels is None else dict(swap_labels)
        if swap_labels is not None:
            both_ways(swap_labels)  # checks it

    @property
    def item_p(self) -> float:
        """Every item is drawn for; ``p`` is that of an axis."""
        return 1.0

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw which axes are mirrored."""
        signs = torch.ones(len(geometries), 3, dtype=torch.float64)
        for axis in self.axis:
            signs[:, -1 - axis] -= 2 * (torch.rand(len(geometries)) < self.p)
        return Warp.of(len(geometries), matrix=torch.diag_embed(signs))


class RandomRotate3D(SpatialTransform3D):
    """Rotate by 90, 180 or 270 degrees about an axis; left stays left of the body, and nothing is interpolated.

    The shape stays. In a plane whose two sides differ in voxels or spacing only 180 degrees keep shape and proportions,
    so they are drawn there.

    Args:
        p: probability for each item.
        axis: the axes to rotate about, one of which is drawn; negative: -3 is D (rotates in the plane (H, W)).

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.tensor([[[1.0, 2.0, 3.0]]]))  # of unequal sides
    >>> RandomRotate3D(p=1)(image, split_idx=0).tolist()
    [[[3.0, 2.0, 1.0]]]
    """

    def __init__(self, p: float = 0.5, axis: int | Sequence[int] = (-3,)) -> None:
        super().__init__(p)
        self.axis = axes_of(axis)

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw an axis and the angle."""
        degrees = torch.zeros(len(geometries), 3, dtype=torch.float64)
        for i, geometry in enumerate(geometries):
            about = self.axis[int(torch.randint(len(self.axis), ()))] + 3
            one, two = (axis for axis in range(3) if axis != about)
            quarters = int(torch.randint(1, 4, ())) if interchangeable(geometry, one, two) else 2
            degrees[i, about] = 90 * quarters
        return Warp.of(len(geometries), matrix=affine_matrix(degrees).round() + 0.0)


class RandomDihedral3D(SpatialTransform3D):
    """One of the symmetries of the box: rotations and mirrors that keep shape and spacing, nothing interpolated.

    48 for a cube, 16 where only two axes are alike, 8 mirrors otherwise; the identity is one of them.

    Args:
        p: probability for each item.
        swap_labels: pairs ``{left: right}`` of labels that are exchanged where left and right of a mask are mirrored;
            see :class:`RandomFlip3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(8.0).view(2, 2, 2))
    >>> sorted(RandomDihedral3D(p=1)(image, split_idx=0).flatten().tolist())
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """

    def __init__(self, p: float = 0.5, *, swap_labels: Mapping[int, int] | None = None) -> None:
        super().__init__(p)
        self.swap_labels = None if swap_labels is None else dict(swap_labels)
        if swap_labels is not None:
            both_ways(swap_labels)  # checks it

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw an order of the axes and three signs."""
        matrix = torch.zeros(len(geometries), 3, 3, dtype=torch.float64)
        for i, geometry in enumerate(geometries):
            orders = [
                order
                for order in itertools.permutations(range(3))
                if all(interchangeable(geometry, new, old) for new, old in enumerate(order))
            ]
            order = orders[int(torch.randint(len(orders), ()))]
            for new, old in enumerate(order):
                matrix[i, 2 - new, 2 - old] = 1 - 2 * int(torch.randint(2, ()))
        return Warp.of(len(geometries), matrix=matrix)


class RandomElastic3D(SpatialTransform3D):
    """Displace the content smoothly, as soft tissue moves: cubic B-splines over a coarse grid of control points.

    The displacement of a control point is held below 0.4 of the distance to the next one, so that the displacement
    alone never folds space (Choi and Lee 2000, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions").

    Args:
        p: probability for each item.
        max_displacement: largest displacement of a control point in mm: one number or (D, H, W).
        control_points: along each axis, at least 4: one number or (D, H, W). More points, finer waves.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.rand(4, 5, 6))
    >>> RandomElastic3D(max_displacement=1, control_points=4)(image, split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def __init__(
        self,
        p: float = 1.0,
        max_displacement: float | Sequence[float] = 7.5,
        control_points: int | Sequence[int] = 7,
        fill: float | str | None = None,
    ) -> None:
        super().__init__(p, fill)
        self.max_displacement = per_axis(max_displacement, "max_displacement", least=0)
        self.control_points = whole_per_axis(control_points, "control_points", least=4)

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw the displacement of each control point."""
        limits = [
            [
                min(largest, 0.4 * n * step / (points - 3))
                for largest, n, step, points in zip(
                    self.max_displacement, geometry.shape, geometry.spacing[::-1], self.control_points, strict=True
                )
            ]
            for geometry in geometries
        ]
        limit = torch.tensor(limits, dtype=torch.float64).flip(-1)[:, :, None, None, None]
        drawn = uniform(-1, 1, len(geometries), 3, *self.control_points)
        return Warp.of(len(geometries), displacement=drawn * limit)


class RandomPerspective3D(SpatialTransform3D):
    """Look at the content from a random side: near parts grow, far parts shrink, straight lines stay straight.

    Args:
        p: probability for each item.
        distortion_scale: largest change of size at the ends of each axis, below 1/3.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> RandomPerspective3D(p=1)(TensorDicom3D(torch.rand(4, 5, 6)), split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def __init__(self, p: float = 0.5, *, distortion_scale: float = 0.25, fill: float | str | None = None) -> None:
        super().__init__(p, fill)
        if not 0 <= distortion_scale < 1 / 3:
            raise ValueError(f"distortion_scale must be in 0..1/3, got {distortion_scale!r}")
        self.distortion_scale = distortion_scale

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw the tilt of each axis."""
        return Warp.of(len(geometries), tilt=_either_way([self.distortion_scale] * 3, len(geometries)))


class _PairTransform3D(SpatialTransform3D):
    """One random axis changes along another random one by up to ``max_magnitude``."""

    def __init__(self, p: float = 0.5, max_magnitude: float = 0.25, fill: float | str | None = None) -> None:
        super().__init__(p, fill)
        if not 0 <= max_magnitude < 1:
            raise ValueError(f"max_magnitude must be in 0..1, got {max_magnitude!r}")
        self.max_magnitude = max_magnitude

    def _pairs(self, count: int) -> Tensor:
        """(N, 3, 3) with one entry off the diagonal each."""
        entries = torch.zeros(count, 3, 3, dtype=torch.float64)
        moved = torch.randint(3, (count,))
        along = (moved + torch.randint(1, 3, (count,))) % 3
        entries[torch.arange(count), moved, along] = uniform(-self.max_magnitude, self.max_magnitude, count)
        return entries


class RandomWarp3D(_PairTransform3D):
    """Bend the content: one axis moves with the square of the position along another.

    Args:
        p: probability for each item.
        max_magnitude: largest bend either way, in parts of half the field of view.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> RandomWarp3D(p=1)(TensorDicom3D(torch.rand(4, 5, 6)), split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw a pair of axes and the bend."""
        return Warp.of(len(geometries), bend=self._pairs(len(geometries)))


class RandomTrapezoid3D(_PairTransform3D):
    """Make a trapezoid of the box: the width along one axis grows along another.

    Args:
        p: probability for each item.
        max_magnitude: largest change of width at the ends, either way.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> RandomTrapezoid3D(p=1)(TensorDicom3D(torch.rand(4, 5, 6)), split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw a pair of axes and the growth."""
        return Warp.of(len(geometries), taper=self._pairs(len(geometries)))


class RandomSheer3D(_PairTransform3D):
    """Shear the content: one axis moves along with another, in mm per mm.

    Args:
        p: probability for each item.
        max_magnitude: largest tangent either way.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D
    >>> RandomSheer3D(p=1)(TensorDicom3D(torch.rand(4, 5, 6)), split_idx=0).shape
    torch.Size([4, 5, 6])
    """

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw a pair of axes and the tangent."""
        return Warp.of(len(geometries), matrix=torch.eye(3, dtype=torch.float64) + self._pairs(len(geometries)))


class RandomSpatial3D(SpatialTransform3D):
    """Several random spatial transforms as one warp and one resampling: less time, less blur.

    Each part is drawn with its own ``p``. Affine parts act one after the other; what bends is added to them. One part
    may be elastic. The ``fill`` of the parts is not used.

    Args:
        parts: random spatial transforms, in the order in which they act.
        p: probability for each item that any of them acts.
        fill: what lies outside; see :class:`SpatialTransform3D`.

    >>> from faimed3d.basics import TensorDicom3D, TensorMask3D
    >>> together = RandomSpatial3D(RandomAffine3D(), RandomElastic3D(p=0.3), RandomFlip3D())
    >>> pair = TensorDicom3D(torch.rand(4, 5, 6)), TensorMask3D(torch.ones(4, 5, 6))
    >>> [type(volume).__name__ for volume in together(pair, split_idx=0)]
    ['TensorDicom3D', 'TensorMask3D']
    """

    def __init__(self, *parts: SpatialTransform3D, p: float = 1.0, fill: float | str | None = None) -> None:
        super().__init__(p, fill)
        for part in parts:
            if not isinstance(part, SpatialTransform3D):
                raise TypeError(f"parts must be random spatial transforms, got {type(part).__name__}")
        if sum(isinstance(part, RandomElastic3D) for part in parts) > 1:
            raise ValueError("RandomSpatial3D takes one elastic part, got more")
        self.parts = parts
        pairs = [part.swap_labels for part in parts if part.swap_labels is not None]
        if any(one != pairs[0] for one in pairs):
            raise ValueError(f"the parts of RandomSpatial3D swap different labels: {pairs}")
        self.swap_labels = pairs[0] if pairs else None

    def draw_warp(self, geometries: Sequence[Geometry]) -> Warp:
        """Draw each part for each item."""
        warp = Warp.of(len(geometries))
        for part in self.parts:
            chosen = torch.rand(len(geometries)) < part.item_p
            if chosen.any():
                warp = warp.then(part.draw_warp(geometries).only(chosen))
        return warp


def _factors(scale: float | tuple[float, float]) -> tuple[float, float]:
    low, high = scale if isinstance(scale, Sequence) else (1 / (1 + scale), 1 + scale)
    if not 0 < low <= high:
        raise ValueError(f"scale must be a number of at least 0 or (low, high) with 0 < low <= high, got {scale!r}")
    return float(low), float(high)


def _either_way(largest: Sequence[float], count: int) -> Tensor:
    """Draw (N, 3) numbers, each between minus and plus the largest of its axis."""
    limits = torch.tensor(largest, dtype=torch.float64)
    return uniform(-limits, limits, count, len(limits))
