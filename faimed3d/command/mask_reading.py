"""A mask of any form, in the place of the scan that it belongs to."""

from __future__ import annotations

from faimed3d.io.formats import structure_set_in
from faimed3d.volume import TensorDicom3D, TensorMask3D


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
    if scan is not None and not mask.require_geometry("a mask").stated:
        mask = TensorMask3D(mask, like=scan)
    return mask
