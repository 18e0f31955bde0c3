"""Segments of a segmentation of 3D Slicer (.seg.nrrd): names, labels and layers in its header, read and written.

Reference: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faimed3d.errors import DamagedFile
from faimed3d.io.nrrd import read_nrrd_header

if TYPE_CHECKING:
    from torch import Tensor

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


def segments_for(labels: Tensor, codes: Mapping[int, str] | None) -> tuple[Segment, ...]:
    """Segments of a mask, the classes that have a name and those that are there; of regions a layer for each.

    Args:
        labels: (D, H, W), or regions (R, D, H, W).
        codes: names by label; of regions 1 names the first.
    """
    from faimed3d.masks.codes import class_name  # brings torch, which reading does without

    if labels.ndim == 4:
        return tuple(Segment(class_name(layer + 1, codes), 1, layer) for layer in range(len(labels)))
    present = {int(label) for label in labels.unique().tolist()} | set(codes or ())
    return tuple(Segment(class_name(label, codes), label, 0) for label in sorted(present - {0}))


def codes_of(segments: Sequence[Segment], shape: Sequence[int]) -> dict[int, str] | None:
    """Names of the classes of a mask by label, as its segments say; of regions 1 names the first. None for no names.

    Args:
        segments: of the file.
        shape: of the mask, (D, H, W) or (R, D, H, W).

    >>> codes_of([Segment("liver", 1, 0), Segment("cyst", 1, 1)], (2, 3, 4, 5))
    {0: 'background', 1: 'liver', 2: 'cyst'}
    """
    if len(shape) == 3:
        return {segment.label: segment.name for segment in segments} or None
    layers = sorted(segment.layer for segment in segments)
    if layers != list(range(shape[0])) or any(segment.label != 1 for segment in segments):
        return None  # a layer holds several segments, or none
    return {0: "background", **{segment.layer + 1: segment.name for segment in segments}}


def segment_lines(segments: Sequence[Segment], shape: tuple[int, ...]) -> list[str]:
    """Lines of a NRRD header that list segments as 3D Slicer does.

    Args:
        segments: in the order of the file.
        shape: (D, H, W) of the volume.
    """
    if not segments:
        return []
    extent = " ".join(f"0 {n - 1}" for n in reversed(shape))
    lines = [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    for number, segment in enumerate(segments):
        values = {
            "ID": f"Segment_{number + 1}",
            "Name": " ".join(segment.name.split()),
            "LabelValue": segment.label,
            "Layer": segment.layer,
            "Extent": extent,
        }
        lines += [f"Segment{number}_{key}:={value}" for key, value in values.items()]
    return lines
