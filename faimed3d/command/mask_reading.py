"""A mask of any form, in the place of the scan that it belongs to."""

from __future__ import annotations

import os

from faimed3d._dicom_masks import refuse_other_scan
from faimed3d.dicom.segmentation.frame_of_reference import is_segmentation
from faimed3d.io.formats import structure_set_in
from faimed3d.io.nrrd_segments import read_segments
from faimed3d.volume import TensorDicom3D, TensorMask3D


def holds_segments(path: str) -> bool:
    """Whether a file says itself that it is a mask: a DICOM Segmentation, or a .seg.nrrd."""
    return os.path.isfile(path) and (is_segmentation(path) or bool(read_segments(path)))


def read_mask(path: str, scan: TensorDicom3D | None, strict: bool = True, series: str | None = None) -> TensorMask3D:
    """Read labels; contours become voxels on the grid of the scan, and labels without a place get that of the scan.

    Args:
        path: a file of any format, or a DICOM folder.
        scan: what the mask belongs to, where it is known.
        strict: refuse what is faulty.
        series: which volume of a DICOM folder.
    """
    if scan is not None and series is None and structure_set_in(path):
        return TensorMask3D.create(path, dtype=None, like=scan)
    mask = TensorMask3D.create(path, series, strict, dtype=None)
    if scan is not None:
        refuse_other_scan(mask, scan)
    if scan is not None and not mask.require_geometry("a mask").stated:
        mask = TensorMask3D(mask, like=scan)
    return mask
