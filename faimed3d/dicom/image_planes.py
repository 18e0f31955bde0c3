"""Which planes an image file holds: the one module that knows all kinds of DICOM objects."""

from __future__ import annotations

from pydicom.uid import RTDoseStorage, SegmentationStorage

from faimed3d.dicom.header import FileHeader, Tag, name_tag
from faimed3d.dicom.planes.enhanced import functional_planes
from faimed3d.dicom.planes.nuclear_medicine import detector_planes
from faimed3d.dicom.planes.plane import Plane, image_size
from faimed3d.dicom.planes.rt_dose import dose_planes
from faimed3d.dicom.planes.siemens_mosaic import mosaic_planes
from faimed3d.dicom.segmentation.planes import segment_planes
from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage

_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage, which pydicom 3.0 does not know
_MOST_FRAMES = 1 << 24


def planes_of(header: FileHeader) -> list[Plane]:
    """List the planes of one image file.

    Returns:
        At least one plane; a single one with its ``error`` set where the file cannot be used.
    """
    try:
        return _planes(header)
    except ReadError as error:
        return [Plane(header, error=error)]


def _planes(header: FileHeader) -> list[Plane]:
    frames = _frames(header)
    storage_class = header.text(Tag.SOPClassUID)
    if storage_class == SegmentationStorage:
        return segment_planes(header, frames)
    _refuse_unsupported(header, storage_class)
    if Tag.PerFrameFunctionalGroupsSequence in header.values or Tag.SharedFunctionalGroupsSequence in header.values:
        return functional_planes(header, frames)
    if storage_class == RTDoseStorage:
        return dose_planes(header, frames)
    if frames > 1:
        return detector_planes(header, frames)
    if "MOSAIC" in header.text(Tag.ImageType).split("\\"):
        return mosaic_planes(header)
    _refuse_vendor_grid(header)
    return [Plane.of_file(header)]


def _frames(header: FileHeader) -> int:
    """Number of frames, after checking that the file may hold them."""
    number = header.number(Tag.NumberOfFrames)
    frames = 1 if number is None else int(number)
    if not 1 <= frames < _MOST_FRAMES:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.NumberOfFrames)} must be at least 1, got {frames}")
    rows, columns = image_size(header) if frames > 1 else (0, 0)
    if frames * rows * columns // 8 > header.pixel_length >= 0:
        raise TruncatedFile(
            f"{header.path}: {name_tag(Tag.NumberOfFrames)} {frames} of {rows} x {columns} pixels cannot lie in the "
            f"{header.pixel_length} bytes of {name_tag(header.pixel_tag)}"
        )
    if frames > header.size:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.NumberOfFrames)} {frames} in a file of {header.size} bytes")
    return frames


def _refuse_unsupported(header: FileHeader, storage_class: str) -> None:
    if storage_class == _LABEL_MAP:
        raise UnsupportedImage(
            f"{header.path}: a DICOM label map segmentation, which is not supported: convert it to a label volume "
            "first (with highdicom or dcmqi) and read that"
        )
    if header.values.get(Tag.ModalityLUTSequence, b"") is None:
        raise UnsupportedImage(
            f"{header.path}: its values need a table, {name_tag(Tag.ModalityLUTSequence)}, which is not supported"
        )


def _refuse_vendor_grid(header: FileHeader) -> None:
    """Refuse a volume in one image of United Imaging (dcm2niix, UIH/README.md), and what may be one of Siemens."""
    named = "VFRAME" in header.text(Tag.ImageType).split("\\")
    if named or header.text(Tag.UnitedCreator) == "Image Private Header":
        slices = header.number(Tag.UnitedGridCount) or 1
        if named or slices > 1:
            raise UnsupportedImage(
                f"{header.path}: a United Imaging grid, {slices:g} slices in one image by (0065,1050), which is not "
                "supported: convert the original files with dcm2niix"
            )
    if (
        header.text(Tag.SiemensCreator) == "SIEMENS MR HEADER"
        and len(header.values.get(Tag.SiemensMosaicCount) or b"") == 2
    ):
        tiles = header.integer(Tag.SiemensMosaicCount, 1)
        if tiles > 1:
            raise UnsupportedImage(
                f"{header.path}: (0019,100A) says {tiles} tiles, {name_tag(Tag.ImageType)} does not say MOSAIC: "
                "whether it is one slice is unknown"
            )
