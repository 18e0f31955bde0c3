"""Whether a segmentation lies in the frame of reference of a scan: the same numbers mean another place elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from faimed3d.dicom.header import Tag, name_tag, read_header
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS
from faimed3d.errors import UnsupportedImage

_WANTED = (Tag.SOPClassUID, Tag.FrameOfReferenceUID)


def is_segmentation(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a DICOM Segmentation."""
    header = read_header(os.fspath(path), _WANTED)
    return header is not None and header.text(Tag.SOPClassUID) in SEGMENTATIONS


def refuse_other_frame(path: str, images: Sequence[str]) -> None:
    """Refuse a segmentation of another frame of reference than that of a scan, where both say theirs.

    Args:
        path: a DICOM file; of other objects than segmentations nothing is said.
        images: DICOM files of the scan.

    Raises:
        UnsupportedImage: it belongs to another scan.
    """
    mask, image = (read_header(file, _WANTED) for file in (path, images[0]))
    if mask is None or image is None or mask.text(Tag.SOPClassUID) not in SEGMENTATIONS:
        return
    here, there = mask.text(Tag.FrameOfReferenceUID), image.text(Tag.FrameOfReferenceUID)
    if here and there and here != there:
        raise UnsupportedImage(
            f"{path}: lies in another frame of reference than the image in {os.path.dirname(images[0]) or '.'} "
            f"({name_tag('FrameOfReferenceUID')} differs): it is of another scan. If you know that both share one "
            "space, pass like=image.geometry to TensorMask3D.create; for loaders, save what that gives as a file"
        )
