"""Planes of a binary DICOM Segmentation (PS3.3 A.51 and C.8.20.2): frames of single bits, each of one segment.

A plane of the volume gathers the frames at one place; its value is the number of the segment, 0 is background. Frames
without a set bit may be left out of the file, so places between the first and the last that have none are empty planes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np

from faimed3d.dicom.header.file_header import quote_value
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.pixels.decoding import stored_bytes
from faimed3d.dicom.planes.enhanced import functional_planes, read_dataset
from faimed3d.dicom.planes.plane import normal_of
from faimed3d.errors import DamagedFile, MissingSlices, TruncatedFile, UnsupportedImage

__all__ = ["decode_segments", "segment_planes"]

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")
_SAME_PLACE_MM = 0.01
_STEP_TOLERANCE = 0.02  # of a step: places further off the even grid are left to the checks of all volumes
# Where more planes than these would be empty, it is no segmentation but a damaged position
_MOST_EMPTY = 100  # for each plane with a frame
_MOST_PLANES, _LONGEST = 20000, 3000.0  # planes and mm, where the file states its step


def segment_planes(header, frames, rows, columns):
    """Planes of a binary segmentation in the order of their places, empty ones between them included.

    Raises:
        UnsupportedImage: a fractional segmentation, or compressed bits.
        TruncatedFile: fewer bits than frames * rows * columns. DamagedFile: a frame names no segment.
        MissingSlices: frames too far apart for any patient.
    """
    dataset = read_dataset(
        header.path,
        ["SegmentationType", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"],
    )
    kind = str(dataset.get("SegmentationType", ""))
    bits = header.integer(Tag.BitsAllocated)
    if kind != "BINARY" or bits != 1:
        raise UnsupportedImage(
            f"{header.path}: a DICOM segmentation with (0062,0001) SegmentationType {quote_value(kind)} and "
            f"{name_tag(Tag.BitsAllocated)} {bits}; only BINARY ones of 1 bit are labels. Convert it with highdicom"
        )
    if header.syntax not in _NATIVE or header.length < 0:
        kind = "big endian" if header.order == ">" else "compressed"
        raise UnsupportedImage(
            f"{header.path}: a {kind} DICOM segmentation ((0002,0010) TransferSyntaxUID {header.syntax}); "
            "decompress it first, with gdcmconv --raw or dcmdjpeg"
        )
    need = math.ceil(frames * rows * columns / 8)
    if header.length < need:
        raise TruncatedFile(
            f"{header.path}: {name_tag(header.pixel_tag)} has {header.length} bytes, {frames} frames of {rows} x "
            f"{columns} bits need {need}"
        )
    planes = functional_planes(header, frames, rows, columns)
    numbers = _segment_numbers(header, dataset)
    places = defaultdict(list)
    normal = normal_of(planes[0].orientation)
    for plane, number in zip(planes, numbers, strict=True):
        along = sum(n * p for n, p in zip(normal, plane.position, strict=True))
        places[round(along / _SAME_PLACE_MM), plane.orientation].append((plane, number))
    gathered = []
    for members in places.values():
        first = members[0][0]
        first.segments = tuple((plane.frame, number) for plane, number in members)
        first.attributes = {}
        gathered.append(first)
    gathered.sort(key=lambda plane: sum(n * p for n, p in zip(normal, plane.position, strict=True)))
    return _with_empty_planes(gathered, _step_of(dataset), header.path)


def decode_segments(planes):
    """Decode planes of one segmentation.

    Returns:
        float32 array (D, H, W) of segment numbers.

    Raises:
        UnsupportedImage: two segments share a voxel, so that no single label is right there.
    """
    header, rows, columns = planes[0].header, planes[0].rows, planes[0].columns
    out = np.zeros((len(planes), rows, columns), dtype=np.float32)
    count = rows * columns
    for plane, labels in zip(planes, out, strict=True):
        for frame, number in plane.segments:
            start, end = frame * count, (frame + 1) * count
            raw = stored_bytes(header, start // 8, math.ceil(end / 8) - start // 8)
            # PS3.5 section 8.1.1 and annex D: the first pixel is the lowest bit; frames begin within a byte
            found = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[start % 8 :][:count]
            found = found.reshape(rows, columns).view(bool)
            if labels[found].any():
                other = int(labels[found].max())
                raise UnsupportedImage(
                    f"{header.path}: segments {other} and {number} overlap in {np.count_nonzero(labels[found])} voxels "
                    f"of frame {frame + 1}, so they are no label volume; read them one by one with highdicom"
                )
            labels[found] = number
    return out


def _segment_numbers(header, dataset):
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    numbers = []
    for k, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        items = frame.get("SegmentIdentificationSequence") or shared[0].get("SegmentIdentificationSequence")
        number = items[0].get("ReferencedSegmentNumber") if items else None
        if not isinstance(number, int) or number < 1:
            raise DamagedFile(f"{header.path}: frame {k + 1} names no segment in (0062,000B) ReferencedSegmentNumber")
        numbers.append(number)
    return numbers


def _step_of(dataset):
    """mm between planes by (0018,0088) SpacingBetweenSlices; None where it is absent."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [{}]
    for group in (shared[0], dataset.PerFrameFunctionalGroupsSequence[0]):
        items = group.get("PixelMeasuresSequence")
        value = items[0].get("SpacingBetweenSlices") if items else None
        if value:
            return abs(float(value))
    return None


def _with_empty_planes(planes, step, path):
    """Fill places without a frame, where all planes lie at whole multiples of one step; else change nothing."""
    if len(planes) < 2:
        return planes
    positions = np.array([plane.position for plane in planes])
    along = (positions - positions[0]) @ np.array(normal_of(planes[0].orientation))
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
                    f"{name_tag(Tag.SpacingBetweenSlices)} {step:g}; {len(planes)} of them have a frame. A position is "
                    "damaged"
                )
        filled = []
        for k, plane in enumerate(planes):
            filled.append(plane)
            missing = int(levels[k + 1] - levels[k]) - 1 if k + 1 < len(planes) else 0
            for n in range(1, missing + 1):
                place = positions[k] + (positions[k + 1] - positions[k]) * n / (missing + 1)
                filled.append(replace(plane, position=tuple(place.tolist()), segments=()))
        return filled
    return planes
