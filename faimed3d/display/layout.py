"""Where the slices of volumes lie in a picture: how they are oriented, in which row and column. No drawing here.

How a volume is oriented in the picture (the tensor itself is never changed):

- ``axis`` 0, 1, 2 is the storage axis (D, H, W) that is cut into slices: axial, coronal and sagittal for a standard
  scan. ``'axial'``, ``'coronal'``, ``'sagittal'`` name the plane in the patient instead, however the scan is stored.
- With a geometry every slice is drawn in the radiological convention: head up in coronal and sagittal slices, the
  front of the body up in axial ones, the patient's left at the right of the picture (in sagittal slices: the front at
  the left). Slices run from feet to head, front to back, right to left. An oblique scan is drawn in its own planes,
  each taken for the plane of the patient nearest to it.
- A volume without one (plain tensors and arrays) is taken to be stored as a standard scan is, that is as
  ``TensorDicom3D.create(array)`` takes it: z up, y back, x left, voxels of 1 mm.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faimed3d.geometry import Geometry

Shape = tuple[int, ...]  # (D, H, W)

PLANES = ("sagittal", "coronal", "axial")  # cut across the patient's x, y, z
ENDS = (("R", "L"), ("A", "P"), ("I", "S"))  # from where to where the patient's x, y, z run
_STANDARD = "LPS"
_GAP = 2  # pixels between slices, as in torchvision.utils.make_grid


@dataclass(frozen=True, slots=True)
class Layout:
    """How one volume is oriented and cut: all that an overlay needs to lie on the same pixels.

    Args:
        shape: voxels of the volume along (D, H, W).
        geometry: its geometry or None.
        order: the storage axes that become slices, rows and columns.
        flips: which of these three (0, 1, 2) run against the storage order.
        spacing: mm from row to row and from column to column.
        slices: the slices shown, counted in the oriented volume.
        plane: the patient's axis that is cut across: 0, 1, 2 for x, y, z.
    """

    shape: Shape
    geometry: Geometry | None
    order: tuple[int, int, int]
    flips: tuple[int, ...]
    spacing: tuple[float, float]
    slices: tuple[int, ...]
    plane: int

    @property
    def extent(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns of the oriented volume."""
        slices, rows, columns = (self.shape[axis] for axis in self.order)
        return slices, rows, columns

    @property
    def numbers(self) -> tuple[int, ...]:
        """The index in the tensor of every slice shown."""
        last = self.extent[0] - 1
        return tuple(last - i for i in self.slices) if 0 in self.flips else self.slices

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """The letters (left, right, top, bottom) of where in the patient the sides of a slice lie."""
        column, row = (world for world in range(3) if world != self.plane)
        left, right = ENDS[column]
        top, bottom = ENDS[row][::-1] if row == 2 else ENDS[row]
        return left, right, top, bottom

    def fits(self, other: Layout) -> bool:
        """Whether slices of both can stand in one mosaic: of equal size and, to a thousandth, of equal proportions."""
        return self.extent[1:] == other.extent[1:] and np.allclose(self.spacing, other.spacing, rtol=1e-3, atol=0)

    def corners(self) -> np.ndarray:
        """World positions (8, 3) in mm of the corner voxels, in the order in which the oriented volume has them."""
        assert self.geometry is not None
        oriented = np.array(list(np.ndindex(2, 2, 2)))
        oriented[:, self.flips] = 1 - oriented[:, self.flips]
        index = np.empty((8, 3))
        index[:, self.order] = oriented * (np.array(self.extent) - 1)
        return self.geometry.index_to_world(index)

    def cut(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """The slices shown of ``array`` (D, H, W), one by one, each (rows, columns)."""
        flips = tuple(slice(None, None, -1 if k in self.flips else 1) for k in range(3))
        oriented = array.transpose(self.order)[flips]
        return (oriented[i] for i in self.slices)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Where the slices of one or more volumes lie in one picture, ``columns`` side by side."""

    layouts: tuple[Layout, ...]
    columns: int

    @property
    def count(self) -> int:
        """Number of slices."""
        return sum(len(layout.slices) for layout in self.layouts)

    @property
    def cell(self) -> tuple[int, int]:
        """Pixels (rows, columns) of one slice."""
        return self.layouts[0].extent[1:]

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres from row to row and from column to column."""
        return self.layouts[0].spacing

    @property
    def gaps(self) -> tuple[int, int]:
        """Pixels between rows and between columns, about equal in mm; none around a single slice, as in make_grid."""
        if self.count == 1:
            return 0, 0
        row, column = (max(1, round(_GAP * min(self.spacing) / mm)) for mm in self.spacing)
        return row, column

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (rows, columns) of the picture."""
        many = (-(-self.count // self.columns), self.columns)
        rows, columns = (n * (size + gap) + gap for n, size, gap in zip(many, self.cell, self.gaps, strict=True))
        return rows, columns

    @property
    def size(self) -> tuple[float, float]:
        """Millimetres (width, height) of the picture."""
        return self.shape[1] * self.spacing[1], self.shape[0] * self.spacing[0]

    def corners(self) -> Iterator[tuple[int, int]]:
        """The (row, column) of the first pixel of every slice."""
        steps = [size + gap for size, gap in zip(self.cell, self.gaps, strict=True)]
        for k in range(self.count):
            row, column = divmod(k, self.columns)
            yield self.gaps[0] + row * steps[0], self.gaps[1] + column * steps[1]

    def compose(self, arrays: Sequence[np.ndarray], fill: float) -> np.ndarray:
        """One 2D array with the slices of ``arrays``, one for each layout, on a ground of ``fill``."""
        picture = np.full(self.shape, fill, np.result_type(*arrays))
        height, width = self.cell
        cells = (cell for array, layout in zip(arrays, self.layouts, strict=True) for cell in layout.cut(array))
        for (row, column), cell in zip(self.corners(), cells, strict=True):
            picture[row : row + height, column : column + width] = cell
        return picture


def lay_out(shape: Shape, geometry: Geometry | None, axis: int | str, max_slices: int | None = None) -> Layout:
    """The layout of a volume of ``shape`` (D, H, W) cut along ``axis``; arguments as in ``show_image_3d``."""
    orientation = (geometry.orientation if geometry else _STANDARD)[::-1]
    world = [next(w for w in range(3) if end in ENDS[w]) for end in orientation]  # of D, H, W
    cut = _storage_axis(axis, world if geometry else None)
    if max_slices is not None and max_slices < 1:
        raise ValueError(f"max_slices must be at least 1, got {max_slices}")
    column, row = sorted((k for k in range(3) if k != cut), key=world.__getitem__)
    order = (cut, row, column)
    flips = []
    for k, storage in enumerate(order):
        against = orientation[storage] not in _STANDARD
        upward = k == 1 and world[storage] == 2  # rows go down, z goes up
        if against != upward:
            flips.append(k)
    spacing = geometry.spacing[::-1] if geometry else (1.0, 1.0, 1.0)
    count = shape[cut]
    shown = min(count, max_slices or count)
    slices = tuple((2 * i + 1) * count // (2 * shown) for i in range(shown))
    return Layout(tuple(shape), geometry, order, tuple(flips), (spacing[row], spacing[column]), slices, world[cut])


def lay_over(below: Mosaic, shapes: Sequence[Shape], geometries: Sequence[Geometry | None]) -> Mosaic:
    """The mosaic on which volumes lie slice on slice over those of the mosaic ``below``.

    Two volumes with a geometry must lie on one grid in the patient (to half a voxel), however each is stored. Where
    one has none, voxels correspond by index.
    """
    layouts = [_follow(*one) for one in zip(below.layouts, shapes, geometries, strict=True)]
    return replace(below, layouts=tuple(layouts))


def best_columns(layouts: tuple[Layout, ...], nrow: int | None, space: tuple[float, float]) -> int:
    """Slices side by side: ``nrow``, or if None as many as let slices be largest in ``space`` (width, height)."""
    count = sum(len(layout.slices) for layout in layouts)
    if nrow is not None:
        if nrow < 1:
            raise ValueError(f"nrow must be at least 1, got {nrow}")
        return min(nrow, count)

    def scale(columns: int) -> float:
        width, height = Mosaic(layouts, columns).size
        return min(space[0] / width, space[1] / height)

    return max(range(1, count + 1), key=scale)


def _storage_axis(axis: int | str, world: list[int] | None) -> int:
    if isinstance(axis, str) and axis in PLANES:
        if world is None:
            raise ValueError(f"axis={axis!r} needs a volume with a geometry; this one has none, so pass 0, 1 or 2")
        return world.index(PLANES.index(axis))
    try:
        return range(3)[operator.index(axis)]  # type: ignore[arg-type] # text and None are refused below
    except (TypeError, IndexError):
        raise ValueError(f"axis must be 0, 1, 2, 'axial', 'coronal' or 'sagittal', got {axis!r}") from None


def _follow(layout: Layout, shape: Shape, geometry: Geometry | None) -> Layout:
    """How a volume is laid out to lie on one that is laid out as ``layout``."""
    if geometry is not None and layout.geometry is not None and geometry.stated != layout.geometry.stated:
        geometry = None  # of an array: it is laid over the other voxel by voxel
    if geometry is None or layout.geometry is None or geometry == layout.geometry:
        if tuple(shape) != layout.shape:
            raise ValueError(
                f"the overlay has shape {tuple(shape)}, the volume below {layout.shape}: they must be equal"
            )
        return layout
    over = replace(lay_out(shape, geometry, PLANES[layout.plane]), slices=layout.slices, spacing=layout.spacing)
    fault = "is of another size than"
    if over.extent == layout.extent:
        distance = np.linalg.norm(over.corners() - layout.corners(), axis=1).max()
        if distance <= min(geometry.spacing) / 2:
            return over
        fault = f"lies up to {distance:.3g} mm away from"
    raise ValueError(
        f"the overlay {fault} the volume below: {geometry!r} over {layout.geometry!r}; bring it to the same grid "
        "first, such as with mask.resample_like(image)"
    )
