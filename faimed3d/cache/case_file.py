"""One case of a cache in one file: image, mask, geometry, and where its classes lie."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faimed3d._padding import attach_padding
from faimed3d.cache.bricks import check_bricks, from_bricks, to_bricks
from faimed3d.cache.encoding import Decoding, encode_image, restore
from faimed3d.cache.foreground import MOST_POSITIONS, foreground_positions
from faimed3d.cache.prefetch import read_alone
from faimed3d.cache.tensor_file import Mapped, map_arrays, write_arrays
from faimed3d.errors import ChangedFile, DamagedFile
from faimed3d.geometry import Geometry
from faimed3d.masks.labels import are_labels, label_counts
from faimed3d.volume import TensorDicom3D, TensorMask3D

SCHEMA = "1"  # of the file; one of another schema is refused
_MARKER = "faimed3d_case"
_PLACE = ("shape", "spacing", "origin", "direction", "assumed")

Corner = tuple[int, int, int]


class Stored(NamedTuple):
    """A box of a case as it is stored.

    Args:
        image: array (C, d, h, w) of uint8, int16, uint16, float16 or float32.
        decoding: what makes float32 of it, also of tensors on any device.
        mask: array (d, h, w) of uint8 or int32, or None.
    """

    image: NDArray[Any]
    decoding: Decoding
    mask: NDArray[Any] | None


def write_case(
    path: str | os.PathLike[str],
    image: TensorDicom3D,
    mask: TensorMask3D | None,
    *,
    key: str,
    recipe: Mapping[str, Any],
    bricks: int | None = None,
) -> None:
    """Write a case to one file, whole or not at all: its image to the last bit, its labels, and where both lie.

    The file is one of safetensors, which other programs open, too. It holds nothing of the patient but the voxels, and
    what ``recipe`` says.

    Args:
        path: the file; its folder must exist.
        image: (C, D, H, W) of finite numbers that float32 holds; any type.
        mask: labels (D, H, W) of the range of int32, on the grid of the image; None where there is none.
        key: what the case is told by.
        recipe: what it was made of, as plain JSON: sources, transforms, versions.
        bricks: side of the boxes in which voxels lie together, such as 32, so that of a set larger than the memory a
            patch reads little more than itself. Default: row after row, which is faster where the set fits into memory.

    Raises:
        TypeError: complex numbers, or a recipe that is no plain JSON.
        ValueError: axes, voxels or labels of other kinds, image and mask that do not lie on one grid, or no geometry.
        OSError: the disk is full or read-only; nothing is left behind.

    >>> import tempfile
    >>> image = TensorDicom3D(torch.arange(24.0).view(1, 2, 3, 4), {"spacing": (1, 2, 3)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_case(f"{folder}/a", image, None, key="3f9a", recipe={"source": "a.nii.gz"})
    ...     CaseFile(f"{folder}/a")
    CaseFile('a', 1x2x3x4 uint8, spacing 1x2x3 mm (x, y, z))
    """
    path = os.fspath(path)
    if image.ndim != 4 or not len(image):
        raise ValueError(f"{path}: the image of a case has the axes (C, D, H, W), got the shape {tuple(image.shape)}")
    bricks = None if bricks is None else check_bricks(bricks)
    geometry = image.require_geometry("a case of a cache")
    try:
        encoded = encode_image(_plain(image))
    except ValueError as error:
        raise ValueError(f"{path}: the image {error}") from None
    arrays = {"image": _laid_out(encoded.voxels, bricks)}
    if encoded.decoding.table is not None:
        arrays["table"] = encoded.decoding.table
    described = {
        "key": key,
        "shape": list(image.shape),
        "dtype": encoded.dtype,
        "decoding": encoded.decoding.kind,
        "bricks": bricks,
        "geometry": {name: getattr(geometry, name) for name in _PLACE},
        "nifti_codes": geometry.nifti_codes,
        "padding": [list(ends) for ends in image.padding],
        "lowest": [float(encoded.decoding(channel).min()) for channel in encoded.voxels],
        "mask": None,
    }
    if mask is not None:
        labels = _labels(path, mask, geometry)
        counts = label_counts(torch.from_numpy(labels))
        found = foreground_positions(labels)
        arrays["mask"] = _laid_out(labels[None], bricks)
        arrays["positions"] = np.concatenate([np.empty((0, 3), np.uint16), *found.values()])
        described["mask"] = {
            "dtype": str(mask.dtype).removeprefix("torch."),
            "counts": list(counts.items()),
            "codes": None if mask.codes is None else list(mask.codes.items()),
        }
    metadata = {_MARKER: SCHEMA, "case": json.dumps(described), "recipe": _json(path, recipe)}
    write_arrays(path, metadata, arrays)


class CaseFile:
    """A case of a cache, read through a map of its file: what a box touches is read, and nothing more.

    It goes to other processes by its path and its checksum, and each maps the file once. A file that was replaced
    meanwhile is refused there, while what is mapped stays what it was.

    The header of the file is checked against its checksum when it is opened, the size of the file as well, and all
    arrays in :meth:`whole` and :meth:`check`; boxes are read unchecked.

    Args:
        path: of a file of :func:`write_case`.

    Raises:
        FileNotFoundError: no such file.
        ReadError: the file is damaged, of another schema, or no case.

    >>> import tempfile
    >>> image = TensorDicom3D(torch.arange(24.0).view(1, 2, 3, 4))
    >>> mask = TensorMask3D((image[0] > 20).byte(), like=image)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_case(f"{folder}/a", image, mask, key="3f9a", recipe={})
    ...     case = CaseFile(f"{folder}/a")
    >>> patch, labels = case.read(corner=(1, 1, 2), size=(1, 2, 2))
    >>> patch.tolist(), labels.tolist()
    ([[[[18.0, 19.0], [22.0, 23.0]]]], [[[0, 0], [1, 1]]])
    >>> case.labels, case.counts, case.positions(1).tolist()
    ((0, 1), (21, 3), [[1, 2, 1], [1, 2, 2], [1, 2, 3]])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._checksum = self._file.checksum

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self._checksum)

    def __repr__(self) -> str:
        sizes, dtype = "x".join(map(str, self.shape)), self._file.arrays["image"].dtype
        kinds = f"{dtype}, mask {self._file.arrays['mask'].dtype}" if self.has_mask else f"{dtype}"
        where = f"spacing {self.geometry.spacing_text}{'' if self.geometry.stated else ', assumed'}"
        return f"CaseFile({os.path.basename(self.path)!r}, {sizes} {kinds}, {where})"

    @cached_property
    def _file(self) -> Mapped:
        file = map_arrays(self.path, _MARKER, SCHEMA)
        if file.checksum != self.__dict__.get("_checksum", file.checksum):
            raise ChangedFile(
                f"{self.path}: was replaced since it was opened, by a case made anew: open the cache again"
            )
        return file

    @cached_property
    def _values(self) -> dict[str, Any]:
        return json.loads(self._file.metadata["case"])

    @property
    def key(self) -> str:
        """What the case is told by, as it was written."""
        return self._values["key"]

    @property
    def recipe(self) -> dict[str, Any]:
        """What the case was made of, as it was written."""
        return json.loads(self._file.metadata["recipe"])

    @cached_property
    def geometry(self) -> Geometry:
        """Where the case lies in the patient."""
        codes = self._values["nifti_codes"]
        return Geometry(**self._values["geometry"], nifti_codes=codes and tuple(codes))

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """Sizes along (C, D, H, W)."""
        channels, depth, height, width = self._values["shape"]
        return channels, depth, height, width

    @cached_property
    def lowest(self) -> tuple[float, ...]:
        """The smallest value of each channel: what lies around the case where a patch hangs over."""
        return tuple(self._values["lowest"])

    @property
    def bricks(self) -> int | None:
        """Side of the bricks in which the voxels lie; None for row after row."""
        return self._values["bricks"]

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask."""
        return self._values["mask"] is not None

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The labels that have a voxel, in rising order, 0 and those below it included; () without a mask."""
        return tuple(label for label, _ in self._counts)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many voxels each of the labels has."""
        return tuple(count for _, count in self._counts)

    @property
    def _counts(self) -> list[tuple[int, int]]:
        return self._values["mask"]["counts"] if self.has_mask else []

    @cached_property
    def decoding(self) -> Decoding:
        """What makes float32 of the stored numbers of the image."""
        table = self._file.check("table") if "table" in self._file.arrays else None
        return Decoding(self._values["decoding"], table)

    @cached_property
    def _spatial(self) -> Corner:
        return self.shape[1:]

    @cached_property
    def _layout(self) -> tuple[NDArray[Any], NDArray[Any] | None, int | None]:
        """Image and mask, channels first, and the side of their bricks."""
        image, mask = self._file.arrays["image"], self._file.arrays.get("mask")
        if self.bricks is not None:  # whoever chose them reads patches of more than the memory holds
            for array in (image, *(() if mask is None else (mask,))):
                read_alone(array)
        return image, mask, self.bricks

    def read(
        self, corner: Sequence[int] = (0, 0, 0), size: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
        """Read a box: new arrays of the caller.

        Args:
            corner: first voxel along (D, H, W).
            size: voxels along (D, H, W). Default: up to the far corner of the volume.

        Returns:
            image: float32 (C, d, h, w).
            mask: uint8 or int32 (d, h, w), or None.

        Raises:
            ValueError: the box is empty or reaches beyond the volume.
        """
        low, sizes = self._box(corner, size)
        image, mask, side = self._layout
        if side is None:
            box = _slices(low, sizes)
            return self._decoded(image[box]), None if mask is None else mask[box][0].copy()
        labels = None if mask is None else from_bricks(mask, self._spatial, side, low, sizes)[0]
        if self.decoding.kind == "number":  # cast where they are copied
            return from_bricks(image, self._spatial, side, low, sizes, np.float32), labels
        return self._decoded(from_bricks(image, self._spatial, side, low, sizes)), labels

    def _decoded(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        try:
            return self.decoding(stored)
        except DamagedFile as error:
            raise DamagedFile(f"{self.path}: {error}") from None

    def stored(self, corner: Sequence[int] = (0, 0, 0), size: Sequence[int] | None = None) -> Stored:
        """A box in the numbers of the file, with their decoding: for sets that are kept in memory or on a device.

        Args:
            corner, size: as of :meth:`read`.

        Returns:
            Views of the map where voxels lie row after row, which are read-only; else new arrays.

        Raises:
            ValueError: as of :meth:`read`.
        """
        low, sizes = self._box(corner, size)
        image, mask, side = self._layout
        if side is None:
            box = _slices(low, sizes)
            return Stored(image[box], self.decoding, None if mask is None else mask[box][0])
        labels = None if mask is None else from_bricks(mask, self._spatial, side, low, sizes)[0]
        return Stored(from_bricks(image, self._spatial, side, low, sizes), self.decoding, labels)

    def whole(self) -> tuple[TensorDicom3D, TensorMask3D | None]:
        """The case as it was written: types of number, geometry, padding, and names of the classes.

        Raises:
            DamagedFile: the voxels differ from their checksum.
        """
        self.check()
        values, labels = self.read()
        image = TensorDicom3D(restore(values, self._values["dtype"]), self.geometry)
        attach_padding(image, self._values["padding"])
        if labels is None:
            return image, None
        described = self._values["mask"]
        codes = None if described["codes"] is None else dict(described["codes"])
        mask = TensorMask3D(torch.from_numpy(labels).to(getattr(torch, described["dtype"])), self.geometry)
        mask.codes = codes
        return image, mask

    def positions(self, label: int) -> NDArray[np.int64]:
        """Where voxels of a class lie: all of them, or of a larger class 10,000 that were drawn evenly, once for all.

        Args:
            label: above 0. One that the mask lacks has no positions.

        Returns:
            Array (n, 3) of indices (d, h, w), in storage order.

        Raises:
            ValueError: a label that is not above 0.
        """
        if operator.index(label) <= 0:
            raise ValueError(f"{self.path}: positions are those of classes, so of labels above 0, got {label}")
        first, last = self._rows.get(int(label), (0, 0))
        return self._positions[first:last].astype(np.int64)

    @cached_property
    def _positions(self) -> NDArray[Any]:
        return self._file.check("positions") if self.has_mask else np.empty((0, 3), np.uint16)

    @cached_property
    def _rows(self) -> dict[int, tuple[int, int]]:
        """First and last row of the positions of each label."""
        rows, first = {}, 0
        for label, count in self._counts:
            if label > 0:
                rows[label] = first, first + min(count, MOST_POSITIONS)
                first = rows[label][1]
        return rows

    def check(self) -> None:
        """Compare all arrays of the file with their checksums.

        Raises:
            DamagedFile: one differs.
        """
        for name in self._file.arrays:
            self._file.check(name)

    def _box(self, corner: Sequence[int], size: Sequence[int] | None) -> tuple[Corner, Corner]:
        """Corner and size as whole numbers, within the volume."""
        whole = self._spatial
        low = tuple(map(operator.index, corner))
        if len(low) == 3:
            sizes = tuple(whole[k] - low[k] for k in range(3)) if size is None else tuple(map(operator.index, size))
        if len(low) != 3 or len(sizes) != 3:
            raise ValueError(f"a box has a corner and a size along (D, H, W), got {corner} and {size}")
        if any(not 0 <= low[k] < low[k] + sizes[k] <= whole[k] for k in range(3)):
            raise ValueError(
                f"{self.path}: the box at {low} of size {sizes} does not lie within the volume of {whole} (D, H, W); "
                "read the part that does, and pad it"
            )
        return (low[0], low[1], low[2]), (sizes[0], sizes[1], sizes[2])


def _reopen(path: str, checksum: str) -> CaseFile:
    """A case in another process; the file is mapped when it is first used."""
    case = CaseFile.__new__(CaseFile)
    case.path, case._checksum = path, checksum
    return case


def _slices(corner: Corner, size: Corner) -> tuple[slice, ...]:
    """All channels of a box."""
    (z, y, x), (d, h, w) = corner, size
    return slice(None), slice(z, z + d), slice(y, y + h), slice(x, x + w)


def _plain(t: Tensor) -> Tensor:
    return t.detach().cpu().as_subclass(Tensor).resolve_conj().resolve_neg()


def _laid_out(voxels: NDArray[Any], bricks: int | None) -> NDArray[Any]:
    return voxels if bricks is None else to_bricks(voxels, bricks)


def _labels(path: str, mask: TensorMask3D, geometry: Geometry) -> NDArray[Any]:
    """The labels of a mask on the grid of the image, as uint8 or int32."""
    if tuple(mask.shape) != geometry.shape:
        raise ValueError(
            f"{path}: the mask of a case has the axes (D, H, W), here {geometry.shape}, got {tuple(mask.shape)}"
        )
    if not geometry.agrees(mask.require_geometry("the mask of a case of a cache")):
        raise ValueError(f"{path}: image and mask do not lie on one grid: {geometry}, {mask.geometry}; MatchMask helps")
    plain = _plain(mask)
    if not are_labels(plain):
        raise ValueError(f"{path}: the mask holds numbers that are no labels: fractions, NaN or infinity")
    values = plain.contiguous().numpy()
    low, high = values.min(), values.max()
    if low < -(2**31) or high >= 2**31:
        raise ValueError(
            f"{path}: the mask holds labels from {low} to {high}; those of a case are of the range of int32"
        )
    return values.astype(np.uint8 if low >= 0 and high <= 255 else np.int32)


def _json(path: str, recipe: Mapping[str, Any]) -> str:
    """A recipe as text, which gives the same recipe when it is read."""
    try:
        text = json.dumps(recipe, allow_nan=False)
        same = json.loads(text) == recipe
    except (TypeError, ValueError):
        same = False
    if not same:
        raise TypeError(f"{path}: recipe must be plain JSON: names with texts, numbers, True, None, lists and the like")
    return text
