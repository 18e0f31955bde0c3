"""The frames of a DICOM Segmentation to segment numbers, or to a mask of each segment."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faimed3d.dicom.header import read_dataset
from faimed3d.dicom.pixels.decoding import decode_planes
from faimed3d.dicom.pixels.single_bits import decode_bits
from faimed3d.dicom.planes import Plane, Rescale
from faimed3d.dicom.segmentation.planes import ANY_SEGMENT
from faimed3d.errors import UnsupportedImage

HALF = 0.5  # of (0062,000E) MaximumFractionalValue: from here on a voxel belongs to a segment


class _Frame(NamedTuple):
    plane: int  # in slice order
    frame: int  # in the file, from 0
    number: int  # of the segment
    inside: NDArray[np.bool_]  # (H, W)


def decode_segments(planes: Sequence[Plane], threshold: float | None = None) -> np.ndarray:
    """Decode planes of one segmentation.

    Args:
        planes: of one file, in slice order.
        threshold: share from which on a voxel belongs to a segment of a fractional segmentation; None: half, with a
            warning that says so.

    Returns:
        float32 array (D, H, W) of segment numbers, 0 where there is none.

    Raises:
        UnsupportedImage: two segments share a voxel, so that no single label is right there.
        TruncatedFile, DamagedFile: the frames cannot be decoded.
    """
    header, rows, columns = planes[0].header, planes[0].rows, planes[0].columns
    out = np.zeros((len(planes), rows, columns), dtype=np.float32)
    if _is_label_map(planes):
        filled = [k for k, plane in enumerate(planes) if plane.segments]
        out[filled] = decode_planes([_frame_of(planes[k], planes[k].segments[0][0]) for k in filled])  # type: ignore[index]
        return out
    for plane, frame, number, found in _frames(planes, threshold):
        labels = out[plane]
        if labels[found].any():
            other = int(labels[found].max())
            raise UnsupportedImage(
                f"{header.path}: segments {other} and {number} overlap in {np.count_nonzero(labels[found])} voxels "
                f"of frame {frame + 1}, so they are no label volume; read a mask of each with "
                "faimed3d.dicom.read_seg(file, separate=True)"
            )
        labels[found] = number
    return out


def decode_each(planes: Sequence[Plane], threshold: float | None = None) -> tuple[np.ndarray, list[int]]:
    """Decode planes of one segmentation to a mask of each segment, which may overlap.

    Returns:
        uint8 array (R, D, H, W) of 0 and 1, and the numbers of its R segments in rising order.

    Raises:
        As :func:`decode_segments`, but for overlaps.
    """
    if _is_label_map(planes):
        labels = decode_segments(planes)
        numbers = [int(number) for number in np.unique(labels) if number]
        return np.stack([labels == number for number in numbers] or [labels[:0]]).astype(np.uint8), numbers
    numbers = sorted({number for plane in planes for _, number in plane.segments or ()})
    out = np.zeros((len(numbers), len(planes), planes[0].rows, planes[0].columns), np.uint8)
    place = {number: k for k, number in enumerate(numbers)}
    for plane, _, number, found in _frames(planes, threshold):
        out[place[number], plane][found] = 1
    return out, numbers


def _is_label_map(planes: Sequence[Plane]) -> bool:
    return any(number == ANY_SEGMENT for plane in planes for _, number in plane.segments or ())


def _frames(planes: Sequence[Plane], threshold: float | None) -> Iterator[_Frame]:
    """The frames of a binary or fractional segmentation."""
    header = planes[0].header
    dataset = read_dataset(header.path, ["SegmentationType", "MaximumFractionalValue"])
    if dataset.get("SegmentationType") == "FRACTIONAL":
        yield from _shares(planes, int(dataset.get("MaximumFractionalValue") or 255), threshold)
        return
    places = [(k, frame, number) for k, plane in enumerate(planes) for frame, number in plane.segments or ()]
    decoded = decode_bits(header, planes[0].rows, planes[0].columns, [frame for _, frame, _ in places])
    for (k, frame, number), found in zip(places, decoded, strict=True):
        yield _Frame(k, frame, number, found)


def _shares(planes: Sequence[Plane], most: int, threshold: float | None) -> Iterator[_Frame]:
    """Frames of shares, 0 to ``most``, of one segment each (PS3.3 C.8.20.2.3); a segment is decoded at once."""
    if threshold is None:
        warnings.warn(
            f"{planes[0].header.path}: a fractional segmentation: voxels from a share of {HALF:g} on belong to a "
            "segment. Say which share with faimed3d.dicom.read_seg(file, threshold=...)",
            stacklevel=2,
        )
        threshold = HALF
    of_segment = defaultdict(list)
    for k, plane in enumerate(planes):
        for frame, number in plane.segments or ():
            of_segment[number].append((k, frame))
    for number, places in sorted(of_segment.items()):
        values = decode_planes([_frame_of(planes[k], frame) for k, frame in places])
        for (k, frame), shares in zip(places, values, strict=True):
            yield _Frame(k, frame, number, shares >= max(threshold * most, 1))


def _frame_of(plane: Plane, frame: int) -> Plane:
    """A frame as the image that it is."""
    return replace(plane, frame=frame, segments=None, rescale=Rescale())
