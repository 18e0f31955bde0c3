"""``read_seg``: a DICOM Segmentation as labels, or as a mask of each segment."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from faimed3d.dicom.recollection import volumes_of_files
from faimed3d.dicom.segmentation.segment_decoding import HALF, decode_each, decode_segments
from faimed3d.dicom.segmentation.segment_names import segment_names
from faimed3d.dicom.volume_reading import read_dicom
from faimed3d.errors import UnsupportedImage
from faimed3d.geometry import Geometry


class SegmentMask(NamedTuple):
    """What :func:`read_seg` returns.

    Attributes:
        array: segment numbers (D, H, W), 0 where there is none; or with ``separate`` (R, D, H, W) of 0 and 1.
        geometry: its place.
        codes: names of the segments by label; with ``separate`` 1 names the first mask.
    """

    array: np.ndarray
    geometry: Geometry
    codes: dict[int, str]


def read_seg(path: str | os.PathLike[str], separate: bool = False, threshold: float = HALF) -> SegmentMask:
    """Read a DICOM Segmentation: BINARY, FRACTIONAL or LABELMAP, the latter two compressed or not.

    Args:
        path: the file.
        separate: a mask for each segment, which may overlap.
        threshold: share, above 0 to 1, from which on a voxel belongs to a segment of a FRACTIONAL segmentation: its
            value over (0062,000E) MaximumFractionalValue.

    Returns:
        (array, geometry, codes): labels uint16 (D, H, W), or masks uint8 (R, D, H, W); the grid; names by label.

    Raises:
        FileNotFoundError: no such file. ValueError: a threshold that is no share.
        UnsupportedImage: no segmentation; segments that overlap, without ``separate``.
        ReadError: any other fault of the file.

    >>> import tempfile
    >>> from faimed3d.dicom import write_seg, write_series
    >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     series = write_series(f"{folder}/scan", np.zeros((2, 3, 4)), geometry)
    ...     mask = np.arange(24).reshape(2, 3, 4) // 9
    ...     numbers = write_seg(f"{folder}/mask.dcm", mask, geometry, f"{folder}/scan", labels={1: "liver", 2: "cyst"})
    ...     read_seg(f"{folder}/mask.dcm", separate=True).array.sum((1, 2, 3)).tolist()
    [9, 6]
    """
    path = os.fsdecode(path)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a share above 0, to 1, got {threshold!r}")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    volumes = volumes_of_files([path], os.path.dirname(path)).volumes
    if len(volumes) != 1 or not volumes[0].segmented or volumes[0].findings:
        read_dicom(path)  # raises what is wrong with the file
        raise UnsupportedImage(f"{path}: no DICOM segmentation")
    [volume] = volumes
    geometry = volume.geometry
    if geometry is None:
        raise UnsupportedImage(f"{path}: its planes make no grid")
    names = segment_names([path])
    if separate:
        array, numbers = decode_each(volume.planes, threshold)
        return SegmentMask(array, geometry, {k: names.get(n, f"segment {n}") for k, n in enumerate(numbers, 1)})
    return SegmentMask(decode_segments(volume.planes, threshold).astype(np.uint16), geometry, names)
