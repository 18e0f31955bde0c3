"""Names of the segments of a DICOM segmentation."""

from __future__ import annotations

import os
from collections.abc import Sequence

from faimed3d.dicom.header import read_dataset
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS


def segment_names(files: Sequence[str | os.PathLike[str]]) -> dict[int, str]:
    """Segment labels, (0062,0005), by segment number, which are the labels of a mask; none for other objects.

    Args:
        files: of a volume; a segmentation is one file.
    """
    if len(files) != 1:
        return {}
    dataset = read_dataset(files[0], ["SOPClassUID", "SegmentSequence"])
    if str(dataset.get("SOPClassUID")) not in SEGMENTATIONS:
        return {}
    found = {}
    for item in dataset.get("SegmentSequence") or ():
        number, name = item.get("SegmentNumber"), str(item.get("SegmentLabel") or "").strip()
        if number is not None and name and name.isprintable():
            found[int(number)] = name
    return found
