"""Which planes an image file holds: the one module that knows all kinds of DICOM objects."""

from __future__ import annotations

from pydicom.uid import RTDoseStorage

from faimed3d.dicom.header import FileHeader, Tag, name_tag, quote_value
from faimed3d.dicom.planes.enhanced import functional_planes
from faimed3d.dicom.planes.nuclear_medicine import detector_planes
from faimed3d.dicom.planes.plane import Plane, image_size
from faimed3d.dicom.planes.rt_dose import dose_planes
from faimed3d.dicom.planes.siemens_mosaic import mosaic_planes
from faimed3d.dicom.planes.united_grid import grid_planes, is_grid
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS, segment_planes
from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_GE_BLOCK = "GEMS_ACQU_01"
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
    storage_class = header.text(Tag.SOPClassUID)
    _refuse_slide(header, storage_class)
    frames = _frames(header)
    if storage_class in SEGMENTATIONS:
        return segment_planes(header, frames)
    _refuse_table(header)
    _refuse_turned_rows(header)
    if Tag.PerFrameFunctionalGroupsSequence in header.values or Tag.SharedFunctionalGroupsSequence in header.values:
        return functional_planes(header, frames)
    if storage_class == RTDoseStorage:
        return dose_planes(header, frames)
    if frames > 1:
        return detector_planes(header, frames)
    if "MOSAIC" in header.text(Tag.ImageType).split("\\"):
        return mosaic_planes(header)
    if is_grid(header):
        return grid_planes(header)
    _refuse_unmarked_mosaic(header)
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


def _refuse_slide(header: FileHeader, storage_class: str) -> None:
    """Refuse tiles of a slide under the microscope: their frames have no position in a patient (PS3.3 C.7.6.17.3)."""
    if storage_class == _WHOLE_SLIDE or header.text(Tag.DimensionOrganizationType).startswith("TILED"):
        raise UnsupportedImage(
            f"{header.path}: tiles of a whole-slide microscopy image, not slices of a volume: read it with wsidicom, "
            "OpenSlide or highdicom"
        )


def _refuse_table(header: FileHeader) -> None:
    if header.values.get(Tag.ModalityLUTSequence, b"") is None:
        raise UnsupportedImage(
            f"{header.path}: its values need a table, {name_tag(Tag.ModalityLUTSequence)}, which is not supported"
        )


def _refuse_turned_rows(header: FileHeader) -> None:
    """Refuse what GE's research sequence epi_pepolar may have stored upside down (dcm2niix, GE notes, issue 532).

    User data 12 is 0: all volumes as the header says; 1: all turned; 2: turned and not in turn; 3: not turned and
    turned in turn. Which volume comes first is not in the file of a slice, so nothing is turned here.
    """
    if (
        b"epi_pepolar" not in (header.values.get(Tag.GEPulseSequence) or b"")
        or header.text(Tag.GEAcquisitionCreator) != _GE_BLOCK
    ):
        return
    if header.number(Tag.GEUserData12) != 0:
        raise UnsupportedImage(
            f"{header.path}: an image of GE's research sequence epi_pepolar with reversed polarity ((0019,10B3) user "
            f"data 12 is {quote_value(header.text(Tag.GEUserData12)) or 'absent'}), which stores the rows of some "
            "volumes upside down, and the header does not say of which: convert the original files with dcm2niix"
        )


def _refuse_unmarked_mosaic(header: FileHeader) -> None:
    """Refuse what may be a mosaic of Siemens and is not named so."""
    if (
        len(header.values.get(Tag.SiemensMosaicCount) or b"") == 2
        and header.text(Tag.SiemensCreator) == "SIEMENS MR HEADER"
    ):
        tiles = header.integer(Tag.SiemensMosaicCount, 1)
        if tiles > 1:
            raise UnsupportedImage(
                f"{header.path}: (0019,100A) says {tiles} tiles, {name_tag(Tag.ImageType)} does not say MOSAIC: "
                "whether it is one slice is unknown"
            )
