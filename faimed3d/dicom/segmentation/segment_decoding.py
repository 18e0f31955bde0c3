"""The bits of a binary DICOM Segmentation to segment numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from faimed3d.dicom.pixels.format import stored_bytes
from faimed3d.dicom.planes import Plane
from faimed3d.errors import UnsupportedImage


def decode_segments(planes: Sequence[Plane]) -> np.ndarray:
    """Decode planes of one segmentation.

    Args:
        planes: of one file, in slice order.

    Returns:
        float32 array (D, H, W) of segment numbers, 0 where there is none.

    Raises:
        UnsupportedImage: two segments share a voxel, so that no single label is right there.
    """
    header, rows, columns = planes[0].header, planes[0].rows, planes[0].columns
    out = np.zeros((len(planes), rows, columns), dtype=np.float32)
    count = rows * columns
    for plane, labels in zip(planes, out, strict=True):
        for frame, number in plane.segments or ():
            start, end = frame * count, (frame + 1) * count
            raw = stored_bytes(header, start // 8, math.ceil(end / 8) - start // 8)
            # PS3.5 section 8.1.1 and annex D: the first pixel is the lowest bit; frames begin within a byte
            found = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[start % 8 :][:count]
            found = found.reshape(rows, columns).view(bool)
            if labels[found].any():
                other = int(labels[found].max())
                raise UnsupportedImage(
                    f"{header.path}: segments {other} and {number} overlap in {np.count_nonzero(labels[found])} voxels "
                    f"of frame {frame + 1}, so they are no label volume; read them one by one with highdicom"
                )
            labels[found] = number
    return out
