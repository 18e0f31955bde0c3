"""Voxels of an image in the narrowest numbers that lose nothing, to the last bit, and back to float32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faimed3d.errors import DamagedFile
from faimed3d.spatial import compiled

_WHOLE = (np.uint8, np.int16, np.uint16)
_LARGEST_TABLE = 1 << 16
_SAMPLE = 1 << 18  # values that are counted first: nearly all images of fractions are told by them
_MOST_STEPS = 1 << 20  # of a table whose values are about evenly spaced
_BLOCK = 1 << 16  # values worked on at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class Decoding:
    """How stored numbers become float32: as they are, through a table of values, or as bfloat16.

    Args:
        kind: ``'number'``, ``'table'`` or ``'bfloat16'`` (stored as uint16, its bits).
        table: float32 values by stored number, for ``'table'`` alone.
    """

    kind: str = "number"
    table: NDArray[np.float32] | None = None

    @overload
    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, stored: Tensor) -> Tensor: ...
    def __call__(self, stored: NDArray[Any] | Tensor) -> NDArray[np.float32] | Tensor:
        """The float32 values of stored numbers of any shape, as a new array; of a tensor, on its device.

        Raises:
            DamagedFile: numbers that the table does not have.

        >>> Decoding("table", np.array([0.5, 2.5], np.float32))(np.array([[1, 1, 0]], np.uint8)).tolist()
        [[2.5, 2.5, 0.5]]
        """
        if isinstance(stored, Tensor):
            return self._of_tensor(stored)
        if self.kind == "number":
            if stored.dtype != np.float32:  # numpy casts short rows slowly: copying first takes two thirds of the time
                stored = np.ascontiguousarray(stored)
            return stored.astype(np.float32, order="C")
        if self.kind == "table":
            return self._looked_up(stored)
        return (stored.astype(np.uint32, order="C") << np.uint32(16)).view(np.float32)

    def _looked_up(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        assert self.table is not None
        if compiled.suits():
            values, highest = compiled.look_up(self._whole_table(stored.dtype), stored)
        else:
            highest = stored.max(initial=0)
            values = self._of_tensor(torch.from_numpy(np.array(stored).clip(max=len(self.table) - 1))).numpy()
        if highest >= len(self.table):
            raise DamagedFile(f"the number {highest} is stored, of a table of {len(self.table)} values: it is damaged")
        return values

    def _whole_table(self, dtype: np.dtype[Any]) -> NDArray[np.float32]:
        """The table with a value for every number of a type, so that none reaches beyond it."""
        kept = vars(self).get("_whole")
        if kept is None:
            assert self.table is not None
            kept = vars(self)["_whole"] = np.zeros(np.iinfo(dtype).max + 1, np.float32)
            kept[: len(self.table)] = self.table
        return kept

    def _of_tensor(self, stored: Tensor) -> Tensor:
        if self.kind == "number":
            return stored.to(torch.float32, copy=True)
        if self.kind == "table":
            tables = vars(self).setdefault("_tables", {})  # each device is sent it once
            if stored.device not in tables:
                tables[stored.device] = torch.from_numpy(np.array(self.table)).to(stored.device)
            return tables[stored.device].index_select(0, stored.reshape(-1).to(torch.int32)).view(stored.shape)
        return (stored.to(torch.int32) << 16).view(torch.float32)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as it is stored.

    Args:
        voxels: array of the shape of the image.
        decoding: what makes float32 of them.
        dtype: torch's type of the image, such as ``'float16'``, which :func:`restore` gives it again.
    """

    voxels: NDArray[Any]
    decoding: Decoding
    dtype: str


def encode_image(image: Tensor) -> Encoded:
    """Find the narrowest numbers that hold an image exactly.

    Whole numbers become uint8, int16 or uint16; other images of few different values become numbers of a table of
    these (up to 65,536; rescaled and standardized integers are such); all else stays as it is.

    Args:
        image: plain tensor of any shape on the CPU.

    Raises:
        TypeError: complex numbers.
        ValueError: NaN or infinity; numbers that float32 does not hold exactly.

    >>> for values in ([0, 255], [0, -255], [0, 0.5]):
    ...     encoded = encode_image(torch.tensor(values * 10, dtype=torch.float32))
    ...     print(encoded.voxels.dtype, encoded.decoding.kind)
    uint8 number
    int16 number
    uint8 table
    """
    dtype = str(image.dtype).removeprefix("torch.")
    if image.is_complex():
        raise TypeError(f"an image of a cache holds real numbers, got {dtype}; take the magnitude, abs()")
    raw, decoding = _as_array(image)
    values = decoding(raw) if decoding.kind == "bfloat16" else raw
    low, high = values.min().item(), values.max().item()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("holds NaN or infinity, which no network can be trained on; FillNaN3D replaces them")
    for narrow in _WHOLE:
        limits = np.iinfo(narrow)
        if limits.min <= low and high <= limits.max and (found := _as_whole(values, narrow)) is not None:
            return Encoded(found, Decoding(), dtype)
    if values.dtype.kind in "iu" or values.dtype == np.float64:
        exact = values.astype(np.float32)
        if not _equal(exact, values):
            raise ValueError(
                f"holds {dtype} numbers that float32 does not hold exactly, and training is in float32; "
                "convert the image to float32 first"
            )
        raw = values = exact
    if (found_table := _as_table(values, raw.dtype.itemsize)) is not None:
        return Encoded(found_table[0], Decoding("table", found_table[1]), dtype)
    return Encoded(raw, decoding, dtype)


def restore(values: NDArray[np.float32], dtype: str) -> Tensor:
    """The image of decoded values: a tensor of the type that it had when it was encoded."""
    return torch.from_numpy(values).to(getattr(torch, dtype))


def _as_array(image):
    """The numbers of a tensor as an array: of bfloat16, which numpy does not know, the bits."""
    image = image.contiguous()
    if image.dtype == torch.bfloat16:
        return image.view(torch.uint16).numpy(), Decoding("bfloat16")
    return (image.view(torch.uint8) if image.dtype == torch.bool else image).numpy(), Decoding()


def _blocks(values):
    flat = values.reshape(-1)
    return (flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK))


def _equal(some, others):
    return all(np.array_equal(a, b) for a, b in zip(_blocks(some), _blocks(others), strict=True))


def _as_whole(values, narrow):
    """Values as whole numbers of a narrow type; None where that would change a bit, as the sign of -0.0."""
    found = np.empty(values.size, narrow)
    for block, out in zip(_blocks(values), _blocks(found), strict=True):
        out[:] = block
        back = out.astype(values.dtype)
        if back.tobytes() != block.tobytes():
            return None
    return found.reshape(values.shape)


def _as_table(values, itemsize):
    """(numbers, table) where that is smaller than the image is in ``itemsize`` bytes a voxel, else None."""
    bits = values.astype(np.float32, copy=False).reshape(-1).view(np.uint32)
    if _too_many(np.unique(bits[:: max(1, bits.size // _SAMPLE)]), bits.size, itemsize):
        return None
    table = np.unique(bits)
    if _too_many(table, bits.size, itemsize):
        return None
    numbers = np.empty(bits.size, np.uint8 if len(table) <= 256 else np.uint16)
    number_of = _finder(table, numbers.dtype)
    for block, out in zip(_blocks(bits), _blocks(numbers), strict=True):
        out[:] = number_of(block)
    return numbers.reshape(values.shape), table.view(np.float32)


def _finder(table, dtype):
    """What finds values in a sorted table, both as bits: by their step where they are about evenly spaced, as those of
    rescaled integers are, and that is ten times as fast as by bisection.
    """
    values = table.view(np.float32).astype(np.float64)
    low, gap = values.min(), np.diff(np.sort(values)).min(initial=np.inf)

    def step(bits):
        return np.rint((bits.view(np.float32) - low) / gap).astype(np.intp)

    if 0 < gap < np.inf and (values.max() - low) / gap < _MOST_STEPS:
        steps = step(table)
        number_by_step = np.zeros(steps.max() + 1, dtype)
        number_by_step[steps] = np.arange(len(table))
        if np.array_equal(number_by_step[steps], np.arange(len(table))):  # no two on one step
            return lambda bits: number_by_step.take(step(bits))
    return lambda bits: np.searchsorted(table, bits)


def _too_many(table, count, itemsize):
    """Whether numbers of a table need more bytes than the image does."""
    return len(table) > _LARGEST_TABLE or count * (1 + (len(table) > 256)) + table.nbytes >= count * itemsize
