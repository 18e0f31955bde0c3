"""Whether a path that someone calls a mask is one of a structure set."""

from __future__ import annotations

import os

from faimed3d.dicom.grouping.scan import scan_folder
from faimed3d.dicom.header import Tag
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS
from faimed3d.dicom.structure_sets.rois import is_structure_set
from faimed3d.errors import SeveralVolumes


def structure_set_in(path: str) -> str | None:
    """The file of the structure set that a DICOM file is, or that a folder holds, beside images or alone.

    None where there is none, or where a folder holds a segmentation, too, which needs no contours.

    Raises:
        SeveralVolumes: a folder with several structure sets.
    """
    if not os.path.isdir(path):
        return path if is_structure_set(path) else None
    scan = scan_folder(path)
    if not scan.structure_sets or any(h.text(Tag.SOPClassUID) in SEGMENTATIONS for h in scan.images):
        return None
    if len(scan.structure_sets) > 1:
        names = ", ".join(os.path.basename(file) for file in scan.structure_sets)
        raise SeveralVolumes(f"{path}: {len(scan.structure_sets)} RT structure sets: give one of the files, {names}")
    return scan.structure_sets[0]
