"""Planes of a DICOM Segmentation (PS3.3 A.51 and C.8.20.2): frames of one segment each, or of labels.

BINARY ones hold bits, FRACTIONAL ones 8-bit shares of one segment, LABELMAP ones the number of a segment in each pixel.
A plane of the volume gathers the frames at one position. Frames without a set bit may be left out of the file, so
positions between the first and the last that have no frame become empty planes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)

from faimed3d.dicom.header import FileHeader, Tag, name_tag, quote_value, read_dataset
from faimed3d.dicom.pixels.fragments import COMPRESSED
from faimed3d.dicom.planes.enhanced import functional_planes
from faimed3d.dicom.planes.plane import Plane, image_size
from faimed3d.errors import DamagedFile, MissingSlices, TruncatedFile, UnsupportedImage

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage, which pydicom 3.0 does not know
SEGMENTATIONS = (str(SegmentationStorage), LABEL_MAP)
ANY_SEGMENT = 0
"""In ``Plane.segments``: the frame is one of a label map, whose pixels are the numbers of segments."""

_KINDS = {"BINARY": (1,), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}  # bits of a pixel
_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_SAME_POSITION_MM = 0.01
_STEP_TOLERANCE = 0.02  # of a step: positions further off the even grid are left to the checks of all volumes
# Where more planes than these would be empty, it is no segmentation but a damaged position
_MOST_EMPTY = 100  # for each plane with a frame
_MOST_PLANES, _LONGEST = 20000, 3000.0  # planes and mm, where the file states its step


def segment_planes(header: FileHeader, frames: int) -> list[Plane]:
    """Planes of a segmentation in the order of their positions, empty ones between them included.

    Raises:
        UnsupportedImage: another kind than BINARY, FRACTIONAL and LABELMAP, or single bits in a transfer syntax that
            is not read.
        TruncatedFile: fewer bits than frames * rows * columns.
        DamagedFile: a frame names no segment.
        MissingSlices: frames too far apart for any patient.
    """
    dataset = read_dataset(
        header.path,
        ["SegmentationType", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"],
    )
    kind = str(dataset.get("SegmentationType", ""))
    _check_bits(header, frames, kind)
    found = functional_planes(header, frames)
    numbers = [ANY_SEGMENT] * len(found) if kind == "LABELMAP" else _segment_numbers(header, dataset)
    normal = np.array(found[0].normal)
    by_position = defaultdict(list)
    for plane, number in zip(found, numbers, strict=True):
        along = float(normal @ plane.position)
        by_position[round(along / _SAME_POSITION_MM), plane.orientation].append((plane, number))
    planes = [
        replace(members[0][0], segments=tuple((plane.frame, number) for plane, number in members), attributes={})
        for members in by_position.values()
    ]
    planes.sort(key=lambda plane: float(normal @ plane.position))
    return _with_empty_planes(planes, _stated_step(dataset), header.path)


def _check_bits(header: FileHeader, frames: int, kind: str) -> None:
    bits = header.integer(Tag.BitsAllocated)
    if bits not in _KINDS.get(kind, ()):
        raise UnsupportedImage(
            f"{header.path}: a DICOM segmentation with (0062,0001) SegmentationType {quote_value(kind)} and "
            f"{name_tag(Tag.BitsAllocated)} {bits}; BINARY ones of 1 bit, FRACTIONAL ones of 8 and LABELMAP ones of "
            "8 or 16 are read. Convert it with highdicom"
        )
    if kind != "BINARY":
        return  # pixels like those of images, which their decoder looks at
    if header.syntax in COMPRESSED and header.pixel_length < 0:
        return  # frames that their decoder looks at
    if header.syntax not in _SYNTAXES or header.pixel_length < 0:
        raise UnsupportedImage(
            f"{header.path}: a DICOM segmentation of single bits in {name_tag(Tag.TransferSyntaxUID)} {header.syntax}, "
            "which is not read: convert it first, with gdcmconv --raw or dcmconv +te"
        )
    rows, columns = image_size(header)
    need = math.ceil(frames * rows * columns / 8)
    if header.pixel_length < need:
        raise TruncatedFile(
            f"{header.path}: {name_tag(header.pixel_tag)} has {header.pixel_length} bytes, {frames} frames of {rows} x "
            f"{columns} bits need {need}"
        )


def _segment_numbers(header: FileHeader, dataset: Dataset) -> list[int]:
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    numbers = []
    for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        items = frame.get("SegmentIdentificationSequence") or shared[0].get("SegmentIdentificationSequence")
        number = items[0].get("ReferencedSegmentNumber") if items else None
        if not isinstance(number, int) or number < 1:
            raise DamagedFile(f"{header.path}: frame {k + 1} names no segment in (0062,000B) ReferencedSegmentNumber")
        numbers.append(number)
    return numbers


def _stated_step(dataset: Dataset) -> float | None:
    """mm between planes by (0018,0088) SpacingBetweenSlices; None where it is absent."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    for group in (shared[0], dataset.PerFrameFunctionalGroupsSequence[0]):
        items = group.get("PixelMeasuresSequence")
        value = items[0].get("SpacingBetweenSlices") if items else None
        if value:
            return abs(float(value))
    return None


def _with_empty_planes(planes: list[Plane], step: float | None, path: str) -> list[Plane]:
    """Put a plane at each position without a frame, where all lie at whole multiples of one step; else add none."""
    if len(planes) < 2:
        return planes
    positions = np.array([plane.position for plane in planes])
    along = (positions - positions[0]) @ planes[0].normal
    for candidate in (step, float(np.diff(along).min())):
        if not candidate or not math.isfinite(candidate):
            continue
        levels = np.round(along / candidate)
        if np.abs(along / candidate - levels).max() > _STEP_TOLERANCE or (np.diff(levels) < 1).any():
            continue
        if levels[-1] + 1 > len(planes) * (1 + _MOST_EMPTY):
            if candidate != step:
                return planes
            if levels[-1] >= _MOST_PLANES or along[-1] > _LONGEST:
                raise MissingSlices(
                    f"{path}: frames as far as {along[-1]:.5g} mm apart, which is {levels[-1] + 1:.0f} slices by "
                    f"{name_tag(Tag.SpacingBetweenSlices)} {step:g}, and only {len(planes)} of them have a frame: a "
                    "position is damaged"
                )
        filled = []
        for k, plane in enumerate(planes):
            filled.append(plane)
            missing = int(levels[k + 1] - levels[k]) - 1 if k + 1 < len(planes) else 0
            for n in range(1, missing + 1):
                between = positions[k] + (positions[k + 1] - positions[k]) * n / (missing + 1)
                filled.append(replace(plane, position=tuple(between.tolist()), segments=()))
        return filled
    return planes
