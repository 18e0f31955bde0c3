"""Whether DICOM images share a space: the same numbers of another frame of reference mean another place."""

from __future__ import annotations

import os
from collections.abc import Sequence

from faimed3d.dicom.header.parser import read_header
from faimed3d.dicom.header.tags import Tag, name_tag


def frame_of(file: str) -> str:
    """(0020,0052) FrameOfReferenceUID of a file; '' where it says none, is no DICOM file, or is not there any more.

    Args:
        file: path.
    """
    header = read_header(file, (Tag.FrameOfReferenceUID,)) if os.path.isfile(file) else None
    return "" if header is None else header.text(Tag.FrameOfReferenceUID)


def other_frame(files: Sequence[str], names: Sequence[str]) -> str | None:
    """What to say of images that are to lie on one another and name several frames of reference; None for nothing.

    It ends in a colon: whoever says it adds the argument, or the option, that lets them pass.

    Args:
        files: one of each image; those that say no frame are passed over.
        names: of the images, for the message.
    """
    known: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if frame := frame_of(file):
            known.setdefault(frame, name)
    if len(known) < 2:
        return None
    first, other, *_ = known.values()
    return (
        f"{other!r} lies in another frame of reference than {first!r} ({name_tag(Tag.FrameOfReferenceUID)} differs), "
        "so nothing says that their voxels show the same places. Register one onto the other and give both as files; "
        "or if you know that they share one space: "
    )
