"""Segments of a segmentation of 3D Slicer (.seg.nrrd): which names, labels and layers its header lists.

Reference: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from faimed3d.errors import DamagedFile
from faimed3d.io.nrrd import read_nrrd_header

_KEY = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")


@dataclass(frozen=True)
class Segment:
    """One segment: its name, and where its voxels are.

    Attributes:
        name: as the file says it.
        label: value of its voxels.
        layer: the channel that holds them, 0 for the first; segments of one layer do not overlap.
    """

    name: str
    label: int
    layer: int


def read_segments(path: str | os.PathLike[str]) -> tuple[Segment, ...]:
    """Segments that the header of a NRRD file lists, in its order; none for any other file.

    Files of Slicer before 4.11 name no layers: each segment has its own.

    Raises:
        DamagedFile: a label or layer that is no whole number.
    """
    name = os.fspath(path)
    if not name.lower().endswith((".nrrd", ".nhdr")):
        return ()
    found: dict[int, dict[str, str]] = {}
    for key, value in read_nrrd_header(name).items():
        if match := _KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    segments = []
    for number in sorted(found):
        words = found[number]
        try:
            label, layer = int(words.get("LabelValue", 1)), int(words.get("Layer", number))
        except ValueError:
            raise DamagedFile(f"{name}: LabelValue and Layer of segment {number} should be whole numbers") from None
        segments.append(Segment(words.get("Name", f"Segment{number}"), label, layer))
    return tuple(segments)
