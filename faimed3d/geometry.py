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

A place that nobody has stated is known to be made up: an array lies at spacing 1 mm, origin 0, and its geometry says
that this is ``assumed``. What is made of a geometry (a slice, a flip, a batch) keeps that, until the place is set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["POSITION_TOLERANCE", "Geometry"]

POSITION_TOLERANCE = 1e-2  # how far a voxel may move when a volume is written, in parts of the smallest spacing
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
_ASSUMED_TEXTS = {"": "", "position": ", position assumed", "all": ", place assumed"}  # how repr shows it


def _numbers(name: str, given: ArrayLike, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(v) for v in np.asarray(given, dtype=float).ravel())
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be {count} numbers, got {given!r}") from error
    if len(values) != count:
        raise ValueError(f"{name} must be {count} numbers, got {len(values)}: {values}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} must be finite numbers, got {values}")
    return values


@dataclass(frozen=True, slots=True, init=False)
class Geometry:
    """The grid of a volume in the patient: an immutable value, compared by value.

    Args:
        shape: voxels along (D, H, W), each at least 1.
        spacing: (x, y, z) mm between voxel centres, positive. Default 1 mm.
        origin: (x, y, z) mm, LPS, of the centre of voxel (0, 0, 0). Default 0.
        direction: nine numbers, row-major; columns are the unit vectors of the x, y, z storage axes. Default identity.
            A sheared direction (a tilted gantry) is kept as it is and shown by ``repr``.
        assumed: what of it nobody has stated: ``''`` nothing; ``'position'``, so origin and direction, as of a file
            that holds spacing alone; ``'all'``, as of an array. What writes mm or a file from it then warns.
        nifti_codes: (sform_code, qform_code) of the NIfTI that the world comes from, such as (4, 4) for a template
            space, which saving writes again. None: the coordinates of the scanner. They name the world and not the
            grid, so that geometries are compared without them.

    Raises:
        TypeError: an argument is not made of numbers.
        ValueError: wrong count, not finite, spacing not positive, direction singular or its columns not unit vectors,
            ``assumed`` is another word.

    >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(10, 20, 30))
    >>> geometry
    Geometry(2x3x4 voxels (D, H, W), spacing 1x2x3 mm (x, y, z), origin (10, 20, 30) mm, LPS)
    >>> geometry.index_to_world((1, 2, 3))
    array([13., 24., 33.])
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    assumed: str
    nifti_codes: tuple[int, int] | None = field(compare=False)

    def __init__(
        self,
        shape: Sequence[int],
        spacing: ArrayLike = (1.0, 1.0, 1.0),
        origin: ArrayLike = (0.0, 0.0, 0.0),
        direction: ArrayLike = _IDENTITY,
        assumed: str = "",
        nifti_codes: tuple[int, int] | None = None,
    ) -> None:
        sizes = tuple(int(n) for n in shape)
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(f"shape must be three sizes (D, H, W) of at least 1, got {tuple(shape)}")
        steps = _numbers("spacing", spacing, 3)
        if min(steps) <= 0:
            raise ValueError(f"spacing must be three positive numbers (x, y, z) in mm, got {steps}")
        first = _numbers("origin", origin, 3)
        matrix = _numbers("direction", direction, 9)
        lengths = [math.hypot(*matrix[k::3]) for k in range(3)]
        if max(abs(n - 1) for n in lengths) > 1e-3:
            raise ValueError(f"the columns of direction must be unit vectors, got lengths {lengths} in {matrix}")
        a, b, c, d, e, f, g, h, i = matrix
        if abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) < 1e-3:
            raise ValueError(f"direction must be an invertible 3x3 matrix, got {matrix}")
        if assumed not in _ASSUMED_TEXTS:
            raise ValueError(f"assumed must be one of {', '.join(map(repr, _ASSUMED_TEXTS))}, got {assumed!r}")
        _fill(self, sizes, steps, first, matrix, assumed, nifti_codes)

    @classmethod
    def from_affine(
        cls, affine: ArrayLike, shape: Sequence[int], nifti_codes: tuple[int, int] | None = None
    ) -> Geometry:
        """Return the grid whose ``affine`` (4x4, LPS mm) takes the index (w, h, d, 1) to the world.

        Args:
            affine: 4x4 array; the lengths of its first three columns become the spacing.
            shape: voxels along (D, H, W).
            nifti_codes: as of a new ``Geometry``.

        Raises:
            ValueError: no finite 4x4 matrix, or a column of length 0.

        >>> Geometry.from_affine(np.diag([1, 2, 3, 1]), (2, 3, 4)).spacing
        (1.0, 2.0, 3.0)
        """
        matrix = np.asarray(affine, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"affine must be a finite 4x4 matrix, got {matrix!r}")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if spacing.min() <= 0:
            raise ValueError(f"affine has a column of length 0, so no spacing: {matrix[:3, :3].tolist()}")
        return cls(shape, spacing, matrix[:3, 3], matrix[:3, :3] / spacing, nifti_codes=nifti_codes)

    @property
    def stated(self) -> bool:
        """Whether a file or the user has said where the volume lies; False for a place that is ``assumed``.

        >>> from faimed3d.volume import TensorDicom3D
        >>> t = TensorDicom3D(np.zeros((2, 3, 4)))
        >>> t.geometry.stated, TensorDicom3D(t, {"spacing": (1, 2, 3)}).geometry.stated
        (False, True)
        """
        return not self.assumed

    @property
    def spacing_text(self) -> str:
        """The spacing as it is shown to people, such as ``'1x2x3 mm (x, y, z)'``."""
        return f"{_row(self.spacing, 'x')} mm (x, y, z)"

    @property
    def affine(self) -> NDArray[np.float64]:
        """4x4 float64 array that takes the index (w, h, d, 1) to the position (x, y, z, 1), LPS mm.

        >>> Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(10, 20, 30)).affine.tolist()
        [[1.0, 0.0, 0.0, 10.0], [0.0, 2.0, 0.0, 20.0], [0.0, 0.0, 3.0, 30.0], [0.0, 0.0, 0.0, 1.0]]
        """
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        affine[:3, 3] = self.origin
        return affine

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³: the determinant of the affine, so right for a sheared grid too."""
        x, y, z = self.spacing
        if self.direction == _IDENTITY or not self.is_sheared:
            return x * y * z
        return x * y * z * abs(float(np.linalg.det(np.reshape(self.direction, (3, 3)))))

    @property
    def is_sheared(self) -> bool:
        """Whether the storage axes are not orthogonal: the cosine between two of them is above 1e-3."""
        direction = np.reshape(self.direction, (3, 3))
        return bool(np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3)

    @property
    def orientation(self) -> str:
        """Three letters: where the x (W), y (H) and z (D) storage axes point, each to its nearest of L/R, P/A, S/I.

        The identity direction is ``'LPS'``, as in ITK; nibabel's canonical order is ``'RAS'``.

        >>> Geometry((2, 3, 4), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1)).orientation
        'RAS'
        """
        return _orientation(self.direction)

    def index_to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Positions (..., 3) as (x, y, z) mm, LPS, of voxel indices (..., 3) as (d, h, w); fractions allowed."""
        steps = np.asarray(index, dtype=float)[..., ::-1]
        return steps * self.spacing @ np.reshape(self.direction, (3, 3)).T + self.origin

    def world_to_index(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3) as (d, h, w), with fractions, of positions (..., 3) as (x, y, z) mm, LPS.

        >>> Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(10, 20, 30)).world_to_index((13, 24, 33))
        array([1., 2., 3.])
        """
        inverse = np.linalg.inv(np.reshape(self.direction, (3, 3)))
        return (((np.asarray(positions, dtype=float) - self.origin) @ inverse.T) / self.spacing)[..., ::-1]

    def regrid(
        self, shape: Sequence[int], scale: Sequence[float] = (1, 1, 1), offset: Sequence[float] = (0, 0, 0)
    ) -> Geometry | None:
        """Return the grid of ``shape`` whose voxel i lies at voxel ``scale * i + offset`` of this one.

        Slices, flips, padding, pooling and resizing are all of this kind.

        Args:
            shape: voxels of the new grid along (D, H, W).
            scale: voxels of this grid per voxel of the new one, along (D, H, W); a negative one flips the axis.
            offset: where, in voxels of this grid along (D, H, W), the new voxel 0 lies.

        Returns:
            The new geometry, or None where none exists (a size of 0, a scale of 0).

        >>> every_second_slice = Geometry((4, 3, 2), spacing=(1, 2, 3)).regrid((2, 3, 2), scale=(2, 1, 1))
        >>> every_second_slice.spacing
        (1.0, 2.0, 6.0)
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
        return _make(self, shape, (x * abs(sw), y * abs(sh), z * abs(sd)), origin, direction)

    def permute(self, order: Sequence[int]) -> Geometry:
        """Return the grid after ``tensor.permute(order)``: storage axes are exchanged, no voxel moves in the world.

        Args:
            order: for each new axis of (D, H, W), the old axis (0 = D, 1 = H, 2 = W).

        >>> Geometry((2, 3, 4), spacing=(1, 2, 3)).permute((2, 1, 0))
        Geometry(4x3x2 voxels (D, H, W), spacing 3x2x1 mm (x, y, z), origin (0, 0, 0) mm, SPL)
        """
        # new x, y, z are the new W, H, D; axis a of (D, H, W) is component 2 - a of (x, y, z)
        k = (2 - order[2], 2 - order[1], 2 - order[0])
        n, s, m = self.shape, self.spacing, self.direction
        return _make(
            self,
            (n[order[0]], n[order[1]], n[order[2]]),
            (s[k[0]], s[k[1]], s[k[2]]),
            self.origin,
            tuple(m[row + column] for row in (0, 3, 6) for column in k),
        )

    def replace(
        self,
        *,
        shape: Sequence[int] | None = None,
        spacing: ArrayLike | None = None,
        origin: ArrayLike | None = None,
        direction: ArrayLike | None = None,
        assumed: str | None = None,
    ) -> Geometry:
        """Return a copy with some of shape, spacing, origin, direction changed; they are checked as in a new one.

        Args:
            shape, spacing, origin, direction: None keeps what is there.
            assumed: what nobody has stated. Default: nothing where spacing, origin or direction is given, else what
                it was.

        >>> Geometry((2, 3, 4)).replace(spacing=(1, 2, 3)).spacing
        (1.0, 2.0, 3.0)
        """
        if assumed is None:
            assumed = self.assumed if spacing is None and origin is None and direction is None else ""
        return Geometry(
            self.shape if shape is None else shape,
            self.spacing if spacing is None else spacing,
            self.origin if origin is None else origin,
            self.direction if direction is None else direction,
            assumed,
            self.nifti_codes,
        )

    def agrees(self, other: Geometry | None, tolerance: float = 1e-3) -> bool:
        """Whether each voxel has the same position in both grids, to ``tolerance`` of the smallest spacing.

        Headers of one scan written by two programs differ in the last digits; such grids agree though not equal.

        >>> Geometry((2, 3, 4)).agrees(Geometry((2, 3, 4), origin=(0, 0, 0.0001)))
        True
        """
        if self is other or self == other:
            return True
        return other is not None and self.shape == other.shape and self.distance(other) <= tolerance * min(self.spacing)

    def distance(self, other: Geometry) -> float:
        """Upper bound, at most four times too large, of the distance in mm between equal indices of two grids.

        Args:
            other: a grid of the same shape.
        """
        steps = (
            np.abs(self.affine - other.affine)[:3] * [self.shape[2] - 1, self.shape[1] - 1, self.shape[0] - 1, 1]
        ).sum(1)
        return float(np.linalg.norm(steps))

    def lies_apart(self, other: Geometry) -> bool:
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
            one, two = (positions @ normal for positions in corners)
            if length > 1e-6 and max(two.min() - one.max(), one.min() - two.max()) >= -1e-9 * length:
                return True
        return False

    def nearest_orthogonal(self) -> Geometry:
        """Return the grid with orthogonal axes that is nearest to this one: the polar part of its direction."""
        direction = np.reshape(self.direction, (3, 3))
        left, _, right = np.linalg.svd(direction)
        rotation = left @ right
        if np.abs(rotation - direction).max() < 1e-12:
            return self
        return self.replace(direction=rotation, assumed=self.assumed)

    def reorientation(self, code: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (order, flips) that bring this grid to the storage order named by ``code``, such as 'LPS' or 'RAS'.

        Args:
            code: three letters for the x, y, z storage axes; one of L/R, one of P/A and one of S/I, in any order.

        Returns:
            ``order`` for :meth:`permute`, and the axes of the permuted (D, H, W) to flip.

        Raises:
            ValueError: ``code`` is not of this form.

        >>> Geometry((2, 3, 4)).reorientation("RAS")
        ((0, 1, 2), (1, 2))
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

    def reorient(self, code: str) -> Geometry:
        """Return this grid with its storage axes in the order and direction of ``code``; no voxel moves in the world.

        Args:
            code: such as 'LPS' or 'RAS', as for :meth:`reorientation`.

        >>> Geometry((2, 3, 4), spacing=(1, 2, 3)).reorient("SRP")
        Geometry(3x4x2 voxels (D, H, W), spacing 3x1x2 mm (x, y, z), origin (3, 0, 0) mm, SRP)
        """
        order, flips = self.reorientation(code)
        grid = self.permute(order)
        steps = [-1 if axis in flips else 1 for axis in range(3)]
        ends = [n - 1 if axis in flips else 0 for axis, n in enumerate(grid.shape)]
        turned = grid.regrid(grid.shape, steps, ends)
        assert turned is not None  # None is for shapes and steps of 0
        return turned

    def __reduce__(self) -> tuple[type[Geometry], tuple[object, ...]]:
        rest = (self.assumed, self.nifti_codes) if self.assumed or self.nifti_codes else ()
        return Geometry, (self.shape, self.spacing, self.origin, self.direction, *rest)

    def __repr__(self) -> str:
        shear = ", sheared" if self.is_sheared else ""
        return (
            f"Geometry({'x'.join(map(str, self.shape))} voxels (D, H, W), spacing {self.spacing_text}, "
            f"origin ({_row(self.origin, ', ')}) mm, {self.orientation}{shear}"
            f"{_ASSUMED_TEXTS[self.assumed]})"
        )


def _row(values: Sequence[float], separator: str) -> str:
    return separator.join(f"{value + 0.0:.6g}" for value in values)


def _fill(
    geometry: Geometry,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    direction: tuple[float, ...],
    assumed: str,
    nifti_codes: tuple[int, int] | None,
) -> Geometry:
    put = object.__setattr__
    put(geometry, "shape", shape)
    put(geometry, "spacing", spacing)
    put(geometry, "origin", origin)
    put(geometry, "direction", direction)
    put(geometry, "assumed", assumed)
    put(geometry, "nifti_codes", nifti_codes)
    return geometry


def _make(
    source: Geometry,
    shape: Sequence[int],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    direction: tuple[float, ...],
) -> Geometry:
    """Build a Geometry in the world of ``source`` from values known to be right, without the costly checks."""
    made = object.__new__(Geometry)
    return _fill(made, tuple(shape), spacing, origin, direction, source.assumed, source.nifti_codes)


def _world_axis(letter: str) -> int:
    for axis, pair in enumerate(_LETTERS):
        if letter in pair:
            return axis
    return -1


@lru_cache(maxsize=256)
def _orientation(direction: tuple[float, ...]) -> str:
    columns = np.reshape(direction, (3, 3))
    return "".join(_LETTERS[a][int(columns[a, k] > 0)] for k, a in enumerate(_nearest_axes(columns)))


def _nearest_axes(direction: NDArray[np.float64]) -> list[int]:
    """For each storage axis x, y, z the world axis it is nearest to, each world axis once (largest cosine first)."""
    cosines = np.abs(direction)
    found = [0, 0, 0]
    for _ in range(3):
        world, storage = np.unravel_index(np.argmax(cosines), (3, 3))
        found[storage] = int(world)
        cosines[world, :] = -1
        cosines[:, storage] = -1
    return found
