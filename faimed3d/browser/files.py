"""What goes to the browser: volumes as NIfTI, surfaces as MZ3, both as bytes in memory, and a description as JSON.

NIfTI's world is RAS, and so is that of the surfaces; the description gives positions in LPS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from faimed3d.browser.case import Case, Labels, Picture, presets
from faimed3d.display.arrays import value_range
from faimed3d.display.surfaces import Labels as SurfaceLabels
from faimed3d.display.surfaces import bounding_boxes, drawable_step, strides_of, surface_in_box
from faimed3d.geometry import Geometry
from faimed3d.io.nifti import nifti_header_bytes

_STEPS = 1000  # grey steps that 16 bits must leave to the bulk of the values, else they stay 32-bit floats
_BULK = (0.5, 99.5)  # percentiles
_SAMPLE = 1_000_000
_MZ3_MAGIC, _MZ3_FACES_AND_VERTICES = 23117, 3

Description = dict[str, Any]  # as JSON has it


def pack(case: Case) -> tuple[Description, list[bytes]]:
    """The description of a case and the files that it numbers: a NIfTI for each image and each mask.

    Args:
        case: the case, as large as it shall be.
    """
    files = [picture_bytes(picture, case.geometry) for picture in case.pictures]
    described: Description = {
        "letters": case.geometry.stated,
        "notes": list(case.notes),
        "presets": {name: list(one) for name, one in presets(case.pictures[0]).items()},
        "pictures": [
            {
                "name": one.name,
                "file": k,
                "windows": [list(w) for w in one.windows],
                "ranges": [list(r) for r in one.ranges],
            }
            for k, one in enumerate(case.pictures)
        ],
        "labels": [],
    }
    for labels in case.labels:
        classes = [
            {
                "label": one.label,
                "name": one.name,
                "color": [round(255 * part) for part in one.color],
                "mm3": one.mm3,
                "position": list(one.position),
            }
            for one in labels.classes
        ]
        described["labels"].append({"name": labels.name, "file": len(files), "classes": classes, "surfaces": []})
        files.append(labels_bytes(labels, case.geometry))
    return described, files


def picture_bytes(picture: Picture, geometry: Geometry) -> bytes:
    """An image as a NIfTI-1 file in memory: lossless where 16 bits are enough, else within a half of 1/65535."""
    stored, slope, inter = narrow(picture.voxels)
    stored = stored[0] if len(stored) == 1 else stored
    return _file(nifti_header_bytes(stored, _without_codes(geometry), scaling=(slope, inter)), stored)


def labels_bytes(labels: Labels, geometry: Geometry) -> bytes:
    """A mask as a NIfTI-1 file in memory, said to hold labels."""
    return _file(nifti_header_bytes(labels.voxels, _without_codes(geometry), labels=True), labels.voxels)


def _file(header: bytes, voxels: np.ndarray) -> bytes:
    return b"".join((header, np.ascontiguousarray(voxels).data))


def surface_bytes(labels: Labels, geometry: Geometry) -> list[bytes]:
    """The surface of each class as an MZ3 file in memory, in the order of the classes."""
    mask = SurfaceLabels(labels.voxels, geometry, True)
    strides = strides_of(drawable_step(mask), geometry)
    boxes = bounding_boxes(labels.voxels)
    return [_mz3(*surface_in_box(mask, number, box, strides)) for number, box in boxes.items()]


def narrow(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values as uint8, int16 or float32, with slope and intercept: ``value = slope * stored + intercept``.

    NaN and infinity become the lowest value, which is drawn darkest.

    >>> narrow(np.array([-1024.0, 3071.0]))[0].dtype, narrow(np.array([0.0, 0.5, 1.0]))[0].dtype
    (dtype('int16'), dtype('int16'))
    """
    low, high = value_range(array)
    if low >= -32768 and high <= 32767:
        whole = _whole(array, low, np.uint8 if low >= 0 and high <= 255 else np.int16)
        if whole is not None:
            return whole, 1.0, 0.0
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array, low)
    slope = float(np.float32((high - low) / 65535))
    if slope > 0 and _bulk(array) >= _STEPS * slope:
        inter = float(np.float32(low + 32768 * slope))
        return np.clip(np.rint((array - inter) / slope), -32768, 32767).astype(np.int16), slope, inter
    return array.astype(np.float32), 1.0, 0.0


def _whole(array: np.ndarray, low: float, dtype: type) -> np.ndarray | None:
    """Values as whole numbers, None where one is a fraction; slice by slice, for a large CT most time is memory."""
    found: np.ndarray = np.empty(array.shape, dtype)
    for index in np.ndindex(array.shape[:-2]):
        part = array[index]
        if array.dtype.kind == "f":
            part = np.nan_to_num(part, nan=low, posinf=low, neginf=low)
        found[index] = part
        if array.dtype.kind == "f" and not (found[index] == part).all():
            return None
    return found


def _bulk(array: np.ndarray) -> float:
    """The smallest range of a channel's values without the outermost half percent at both ends."""
    ranges = []
    for channel in array if array.ndim == 4 else array[None]:
        low, high = np.percentile(channel.reshape(-1)[:: max(1, channel.size // _SAMPLE)], _BULK)
        ranges.append(float(high - low))
    return min(ranges)


def _without_codes(geometry: Geometry) -> Geometry:
    """The grid, in the world of the scanner: what the browser reads is the sform."""
    return Geometry(geometry.shape, geometry.spacing, geometry.origin, geometry.direction)


def _mz3(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    """A surface (LPS) as an MZ3 file (RAS): https://github.com/neurolabusc/surf-ice/tree/master/mz3."""
    head = np.array([_MZ3_MAGIC, _MZ3_FACES_AND_VERTICES], "<u2").tobytes()
    head += np.array([len(faces), len(vertices), 0], "<u4").tobytes()
    return head + faces.astype("<u4").tobytes() + (vertices * [-1, -1, 1]).astype("<f4").tobytes()
