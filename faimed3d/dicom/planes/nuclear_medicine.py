"""Planes of a reconstructed NM volume (PS3.3 C.8.4.15): the position of its detector, and one gap for all frames."""

from __future__ import annotations

import struct

from pydicom.dataset import Dataset

from faimed3d.dicom.header import FileHeader, Tag, name_tag, read_dataset
from faimed3d.dicom.planes.enhanced import finite_numbers
from faimed3d.dicom.planes.plane import Numbers, Plane, Rescale, image_size
from faimed3d.errors import MissingGeometry, UnsupportedImage


def detector_planes(header: FileHeader, frames: int) -> list[Plane]:
    """Planes of an NM volume in the order of its frames; other multi-frame images have no position for each frame.

    Raises:
        UnsupportedImage: no reconstructed volume, or more than one volume in the frames.
        MissingGeometry: position, orientation or the gap between the planes is absent.
    """
    if "RECON TOMO" not in header.text(Tag.ImageType) or Tag.DetectorInformationSequence not in header.values:
        raise UnsupportedImage(
            f"{header.path}: {frames} frames without a position for each "
            f"({name_tag(Tag.PerFrameFunctionalGroupsSequence)} is absent): a film, not a volume"
        )
    detectors = read_dataset(header.path, [Tag.DetectorInformationSequence]).get("DetectorInformationSequence") or []
    if len(detectors) != 1:
        raise UnsupportedImage(
            f"{header.path}: {len(detectors)} items in {name_tag(Tag.DetectorInformationSequence)}, not 1"
        )
    gap = header.number(Tag.SpacingBetweenSlices)
    if not gap:
        raise MissingGeometry(f"{header.path}: {name_tag(Tag.SpacingBetweenSlices)} is absent, {frames} frames need it")
    rows, columns = image_size(header)
    first = Plane.placed(
        header,
        rows=rows,
        columns=columns,
        position=_numbers(header, detectors[0], "ImagePositionPatient", 3),
        orientation=_numbers(header, detectors[0], "ImageOrientationPatient", 6),
        spacing=header.vector(Tag.PixelSpacing, 2),
        stated_gap=abs(gap),
        rescale=Rescale.of_file(header),
    )
    return [first.moved(number * gap, frame=k) for k, number in enumerate(_slice_numbers(header, frames))]


def _numbers(header: FileHeader, item: Dataset, keyword: str, count: int) -> Numbers | None:
    return finite_numbers(header.path, keyword, item.get(keyword), count)


def _slice_numbers(header: FileHeader, frames: int) -> list[int]:
    """For each frame the number of its slice, from 0, by (0054,0080) SliceVector, else by the order of the frames."""
    count = header.integer(Tag.NumberOfSlices, frames)
    raw = header.values.get(Tag.SliceVector) or b""
    vector = struct.unpack(f"{header.byte_order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
    vector = vector or tuple(range(1, frames + 1))
    if count != frames or sorted(vector) != list(range(1, frames + 1)):
        raise UnsupportedImage(
            f"{header.path}: {frames} frames, {name_tag(Tag.NumberOfSlices)} {count}, and {len(set(vector))} different "
            f"numbers in {name_tag(Tag.SliceVector)}: more than one volume in the frames (energy windows, time slots)"
        )
    return [number - 1 for number in vector]
