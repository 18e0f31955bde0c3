"""Where a volume lies in the patient: one frozen value and the pure maths on it.

The conventions, said once for the whole package:

- World frame: LPS in millimetres (x grows to the patient's Left, y to Posterior, z to Superior), as in DICOM
  (PS3.3 C.7.6.2.1.1) and SimpleITK.
- Tensor axes: ``(..., D, H, W)``, which is SimpleITK's (z, y, x). A volume is ``(D, H, W)``, with channels
  ``(C, D, H, W)``, in a batch ``(B, C, D, H, W)``; batches of labels are ``(B, D, H, W)``.
- ``spacing``, ``origin`` and ``direction`` are SimpleITK's: spacing (x, y, z) mm between voxel centres, origin
  (x, y, z) mm of the centre of voxel 0, direction nine numbers, row-major, whose columns are the unit vectors of the
  x, y and z storage axes.

World position of voxel (d, h, w): ``origin + direction @ (spacing * (w, h, d))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["PLACE_TOLERANCE", "Geometry"]

PLACE_TOLERANCE = 1e-2  # of the smallest spacing, by which a voxel may move when a volume is written to a file
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


def _numbers(name, values, count):
    try:
        values = tuple(float(v) for v in np.asarray(values, dtype=float).ravel())
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be {count} numbers, got {values!r}") from error
    if len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {len(values)}: {values}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} must be finite numbers, got {values}")
    return values


@dataclass(frozen=True, slots=True)
class Geometry:
    """The grid of a volume in the patient: an immutable value, compared by value.

    Args:
        shape: voxels along (D, H, W), each at least 1.
        spacing: (x, y, z) mm between voxel centres, positive. Default 1 mm.
        origin: (x, y, z) mm, LPS, of the centre of voxel (0, 0, 0). Default 0.
        direction: nine numbers, row-major; columns are the unit vectors of the x, y, z storage axes. Default identity.
            A sheared direction (a tilted gantry) is kept as it is and shown by ``repr``.

    Raises:
        TypeError: an argument is not made of numbers.
        ValueError: wrong count, not finite, spacing not positive, direction singular or its columns not unit vectors.

    >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(10, 20, 30))
    >>> geometry
    Geometry(2x3x4 voxels (D, H, W), spacing 1x2x3 mm (x, y, z), origin (10, 20, 30) mm, LPS)
    >>> geometry.index_to_world((1, 2, 3))
    array([13., 24., 33.])
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = _IDENTITY

    def __post_init__(self):
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be three sizes (D, H, W) of at least 1, got {tuple(self.shape)}")
        spacing = _numbers("spacing", self.spacing, 3)
        if min(spacing) <= 0:
            raise ValueError(f"spacing must be three positive numbers (x, y, z) in mm, got {spacing}")
        origin = _numbers("origin", self.origin, 3)
        direction = _numbers("direction", self.direction, 9)
        lengths = [math.hypot(*direction[k::3]) for k in range(3)]
        if max(abs(n - 1) for n in lengths) > 1e-3:
            raise ValueError(f"the columns of direction must be unit vectors, got lengths {lengths} in {direction}")
        if abs(np.linalg.det(np.reshape(direction, (3, 3)))) < 1e-3:
            raise ValueError(f"direction must be an invertible 3x3 matrix, got {direction}")
        _fill(self, shape, spacing, origin, direction)

    @classmethod
    def from_affine(cls, affine, shape):
        """Return the grid whose ``affine`` (4x4, LPS mm) takes the index (w, h, d, 1) to the world.

        Args:
            affine: 4x4 array; the lengths of its first three columns become the spacing.
            shape: voxels along (D, H, W).
        """
        affine = np.asarray(affine, dtype=float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"affine must be a finite 4x4 matrix, got {affine!r}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() <= 0:
            raise ValueError(f"affine has a column of length 0, so no spacing: {affine[:3, :3].tolist()}")
        return cls(shape, spacing, affine[:3, 3], affine[:3, :3] / spacing)

    @property
    def spacing_text(self):
        """The spacing as it is shown to people, with unit and axis order."""
        return f"{_row(self.spacing, 'x')} mm (x, y, z)"

    @property
    def affine(self):
        """4x4 float64 array that takes the index (w, h, d, 1) to the world (x, y, z, 1), LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        affine[:3, 3] = self.origin
        return affine

    @property
    def voxel_volume(self):
        """Volume of one voxel in mm3 (the determinant of the affine, so right for a sheared grid too)."""
        x, y, z = self.spacing
        if self.direction == _IDENTITY or not self.is_sheared:
            return x * y * z
        return x * y * z * abs(float(np.linalg.det(np.reshape(self.direction, (3, 3)))))

    @property
    def is_sheared(self):
        """Whether the storage axes are not at right angles to each other (by more than 1e-3)."""
        direction = np.reshape(self.direction, (3, 3))
        return bool(np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3)

    @property
    def orientation(self):
        """Three letters: where the x (W), y (H) and z (D) storage axes point, each to its nearest of L/R, P/A, S/I.

        The identity direction is ``'LPS'``, as in ITK; nibabel's canonical order is ``'RAS'``.
        """
        direction = np.reshape(self.direction, (3, 3))
        world_axes = _nearest_axes(direction)
        return "".join(_LETTERS[a][int(direction[a, k] > 0)] for k, a in enumerate(world_axes))

    def index_to_world(self, index):
        """World positions (..., 3) as (x, y, z) mm, LPS, of voxel indices (..., 3) as (d, h, w); fractions allowed."""
        index = np.asarray(index, dtype=float)[..., ::-1]
        return index * self.spacing @ np.reshape(self.direction, (3, 3)).T + self.origin

    def world_to_index(self, points):
        """Voxel indices (..., 3) as (d, h, w), with fractions, of world positions (..., 3) as (x, y, z) mm, LPS."""
        inverse = np.linalg.inv(np.reshape(self.direction, (3, 3)))
        return (((np.asarray(points, dtype=float) - self.origin) @ inverse.T) / self.spacing)[..., ::-1]

    def regrid(self, shape, scale=(1, 1, 1), offset=(0, 0, 0)):
        """Return the grid of ``shape`` whose voxel i lies at voxel ``scale * i + offset`` of this one.

        Slices, flips, padding, pooling and resizing are all of this kind.

        Args:
            shape: voxels of the new grid along (D, H, W).
            scale: voxels of this grid per voxel of the new one, along (D, H, W); negative turns the axis round.
            offset: where, in voxels of this grid along (D, H, W), the new voxel 0 lies.

        Returns:
            The new geometry, or None where none exists (a size of 0, a scale of 0).
        """
        if 0 in shape or 0 in scale:
            return None
        sd, sh, sw = scale
        od, oh, ow = offset
        x, y, z = self.spacing
        a, b, c, d, e, f, g, h, i = direction = self.direction
        origin = self.origin
        if od or oh or ow:
            u, v, w = ow * x, oh * y, od * z
            p, q, r = origin
            origin = (p + a * u + b * v + c * w, q + d * u + e * v + f * w, r + g * u + h * v + i * w)
        if sw < 0:
            a, d, g = -a, -d, -g
        if sh < 0:
            b, e, h = -b, -e, -h
        if sd < 0:
            c, f, i = -c, -f, -i
        if sd < 0 or sh < 0 or sw < 0:
            direction = (a, b, c, d, e, f, g, h, i)
        return _make(shape, (x * abs(sw), y * abs(sh), z * abs(sd)), origin, direction)

    def permute(self, order):
        """Return the grid after ``tensor.permute(order)``: storage axes change places, no voxel moves in the world.

        Args:
            order: for each new axis of (D, H, W), the old axis (0 = D, 1 = H, 2 = W).
        """
        # new x, y, z are the new W, H, D; axis a of (D, H, W) is component 2 - a of (x, y, z)
        k = (2 - order[2], 2 - order[1], 2 - order[0])
        n, s, m = self.shape, self.spacing, self.direction
        return _make(
            (n[order[0]], n[order[1]], n[order[2]]),
            (s[k[0]], s[k[1]], s[k[2]]),
            self.origin,
            tuple(m[row + column] for row in (0, 3, 6) for column in k),
        )

    def replace(self, **changes):
        """Return a validated copy with some of shape, spacing, origin, direction changed."""
        return Geometry(
            **{
                "shape": self.shape,
                "spacing": self.spacing,
                "origin": self.origin,
                "direction": self.direction,
                **changes,
            }
        )

    def agrees(self, other, tolerance=1e-3):
        """Whether every voxel of both grids lies at the same place, to ``tolerance`` of the smallest spacing.

        Headers of one scan written by two programs differ in the last digits; such grids agree though not equal.
        """
        if self is other or self == other:
            return True
        return other is not None and self.shape == other.shape and self.distance(other) <= tolerance * min(self.spacing)

    def distance(self, other):
        """Largest distance in mm between equal indices of two grids of the same shape (an upper bound, exact to 4x)."""
        steps = (
            np.abs(self.affine - other.affine)[:3] * [self.shape[2] - 1, self.shape[1] - 1, self.shape[0] - 1, 1]
        ).sum(1)
        return float(np.linalg.norm(steps))

    def lies_apart(self, other):
        """Whether no voxel of one grid touches the other: their fields of view have nothing in common.

        >>> here = Geometry((2, 3, 4), spacing=(1, 2, 3))
        >>> here.lies_apart(here.regrid((2, 3, 4), offset=(0, 0, 3)))
        False
        >>> here.lies_apart(here.regrid((2, 3, 4), offset=(0, 0, 4)))
        True
        """
        # boxes are apart if they are so along a normal of their faces, or one to an edge of each
        edges = [geometry.affine[:3, :3].T for geometry in (self, other)]
        normals = [np.cross(edge[k - 2], edge[k - 1]) for edge in edges for k in range(3)]
        normals += [np.cross(one, two) for one in edges[0] for two in edges[1]]
        sides = np.array(list(np.ndindex(2, 2, 2)))
        corners = [geometry.index_to_world(sides * geometry.shape - 0.5) for geometry in (self, other)]
        for normal in normals:
            length = np.linalg.norm(normal)
            one, two = (places @ normal for places in corners)
            if length > 1e-6 and max(two.min() - one.max(), one.min() - two.max()) >= -1e-9 * length:
                return True
        return False

    def upright(self):
        """The grid with right angles that is nearest to this one (the polar part of its direction)."""
        direction = np.reshape(self.direction, (3, 3))
        left, _, right = np.linalg.svd(direction)
        return (
            self if np.abs(left @ right - direction).max() < 1e-12 else self.replace(direction=(left @ right).ravel())
        )

    def reorientation(self, code):
        """Return (order, flips) that bring this grid to the storage order named by ``code``, such as 'LPS' or 'RAS'.

        Args:
            code: three letters for the x, y, z storage axes; one of L/R, one of P/A and one of S/I, in any order.

        Returns:
            ``order`` for :meth:`permute`, and the axes of the permuted (D, H, W) to flip.
        """
        if not isinstance(code, str) or sorted(_world_axis(letter) for letter in code.upper()) != [0, 1, 2]:
            raise ValueError(
                "orientation must be three letters, one each of L or R, P or A, and S or I, such as 'LPS' or 'RAS', "
                f"got {code!r}"
            )
        code = code.upper()
        current = self.orientation
        held = [_world_axis(letter) for letter in current]
        source = [held.index(_world_axis(letter)) for letter in code]  # for each new x, y, z: the old component
        order = tuple(2 - source[2 - axis] for axis in range(3))
        flips = tuple(axis for axis in range(3) if current[source[2 - axis]] != code[2 - axis])
        return order, flips

    def __reduce__(self):
        return Geometry, (self.shape, self.spacing, self.origin, self.direction)

    def __repr__(self):
        shear = ", sheared" if self.is_sheared else ""
        return (
            f"Geometry({'x'.join(map(str, self.shape))} voxels (D, H, W), spacing {self.spacing_text}, "
            f"origin ({_row(self.origin, ', ')}) mm, {self.orientation}{shear})"
        )


def _row(values, separator):
    return separator.join(f"{value + 0.0:.6g}" for value in values)


def _fill(geometry, shape, spacing, origin, direction):
    put = object.__setattr__
    put(geometry, "shape", shape)
    put(geometry, "spacing", spacing)
    put(geometry, "origin", origin)
    put(geometry, "direction", direction)
    return geometry


def _make(shape, spacing, origin, direction):
    """Build a Geometry from values known to be right, without the checks (they cost more than the maths)."""
    return _fill(object.__new__(Geometry), tuple(shape), spacing, origin, direction)


def _world_axis(letter):
    for axis, pair in enumerate(_LETTERS):
        if letter in pair:
            return axis
    return -1


def _nearest_axes(direction):
    """For each storage axis x, y, z the world axis it is nearest to, each world axis once (largest cosine first)."""
    cosines = np.abs(direction)
    found = [0, 0, 0]
    for _ in range(3):
        world, storage = np.unravel_index(np.argmax(cosines), (3, 3))
        found[storage] = int(world)
        cosines[world, :] = -1
        cosines[:, storage] = -1
    return found
