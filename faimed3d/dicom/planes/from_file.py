"""Which planes an image file holds."""

from __future__ import annotations

from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.enhanced import detector_planes, functional_planes
from faimed3d.dicom.planes.plane import COSINE_TOLERANCE, Plane, check_scale, normal_of, single_plane
from faimed3d.dicom.planes.siemens_mosaic import mosaic_planes
from faimed3d.dicom.segmentation.reading import segment_planes
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, TruncatedFile, UnsupportedImage

__all__ = ["planes_of"]

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_LARGEST_SIDE = 65535


def planes_of(header):
    """List the planes of one image file.

    Returns:
        At least one Plane; a single one with its ``error`` set where the file cannot be used.
    """
    try:
        return _planes(header)
    except ReadError as error:
        return [Plane(header, error=error)]


def _planes(header):
    rows, columns = _matrix(header)
    frames = header.number(Tag.NumberOfFrames)
    frames = 1 if frames is None else int(frames)
    if not 1 <= frames < 1 << 24:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.NumberOfFrames)} must be at least 1, got {frames}")
    if frames > 1 and frames * rows * columns // 8 > header.length >= 0:
        raise TruncatedFile(
            f"{header.path}: {name_tag(Tag.NumberOfFrames)} {frames} of {rows} x {columns} pixels cannot lie in the "
            f"{header.length} bytes of {name_tag(header.pixel_tag)}"
        )
    if frames > header.size:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.NumberOfFrames)} {frames} in a file of {header.size} bytes")
    if header.text(Tag.SOPClassUID) == _SEGMENTATION:
        return segment_planes(header, frames, rows, columns)
    if header.text(Tag.SOPClassUID) == _LABEL_MAP:
        raise UnsupportedImage(
            f"{header.path}: a DICOM label map segmentation, which is not supported: convert it to a label volume "
            "first (with highdicom or dcmqi) and read that"
        )
    if header.values.get(Tag.ModalityLUTSequence, b"") is None:
        raise UnsupportedImage(
            f"{header.path}: its values need a table, {name_tag(Tag.ModalityLUTSequence)}, which is not supported"
        )
    if Tag.PerFrameFunctionalGroupsSequence in header.values or Tag.SharedFunctionalGroupsSequence in header.values:
        return functional_planes(header, frames, rows, columns)
    if header.text(Tag.SOPClassUID) == _DOSE:
        return _dose_planes(header, frames, rows, columns)
    if frames > 1:
        return detector_planes(header, frames, rows, columns)
    if "MOSAIC" in header.text(Tag.ImageType).split("\\"):
        return mosaic_planes(header, rows, columns)
    _refuse_united_grid(header)
    if (
        header.text(Tag.SiemensCreator) == "SIEMENS MR HEADER"
        and len(header.values.get(Tag.SiemensMosaicCount) or b"") == 2
    ):
        tiles = header.integer(Tag.SiemensMosaicCount)
        if tiles > 1:
            raise UnsupportedImage(
                f"{header.path}: (0019,100A) says {tiles} tiles, {name_tag(Tag.ImageType)} does not say MOSAIC: "
                f"whether "
                "it is one slice is unknown"
            )
    return [single_plane(header, rows, columns)]


def _refuse_united_grid(header):
    """Refuse the vendor's way of a volume in one image: dcm2niix, UIH/README.md."""
    named = "VFRAME" in header.text(Tag.ImageType).split("\\")
    if not named and header.text(Tag.UnitedCreator) != "Image Private Header":
        return
    tiles = header.number(Tag.UnitedGridCount) or 1
    if named or tiles > 1:
        raise UnsupportedImage(
            f"{header.path}: a United Imaging grid, {tiles:g} slices in one image by (0065,1050), which is not "
            "supported: convert the original files with dcm2niix"
        )


def _matrix(header):
    rows, columns = header.integer(Tag.Rows), header.integer(Tag.Columns)
    for tag, value in ((Tag.Rows, rows), (Tag.Columns, columns)):
        if value is None:
            raise DamagedFile(f"{header.path}: {name_tag(tag)} is absent")
        if not 1 <= value <= _LARGEST_SIDE:
            raise DamagedFile(f"{header.path}: {name_tag(tag)} must be 1 to {_LARGEST_SIDE}, got {value}")
    return rows, columns


def _dose_planes(header, frames, rows, columns):
    """Planes of an RT Dose grid (PS3.3 C.8.8.3): offsets along the normal, values in the unit of the dose."""
    scale = header.number(Tag.DoseGridScaling)
    if scale is None or scale <= 0:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.DoseGridScaling)} must be a positive number, got {scale}")
    check_scale(header, scale, None)
    first = single_plane(header, rows, columns)
    first.slope, first.intercept, first.rescaled = scale, 0.0, 3
    if frames == 1:
        return [first]
    offsets = header.vector(Tag.GridFrameOffsetVector, frames)
    if offsets is None:
        raise MissingGeometry(
            f"{header.path}: {name_tag(Tag.GridFrameOffsetVector)} is absent, {frames} frames need it"
        )
    normal = normal_of(first.orientation)
    if offsets[0] != 0:
        # C.8.8.3.2 b: the vector holds z coordinates of the patient, allowed for transverse planes only
        if abs(abs(normal[2]) - 1) > COSINE_TOLERANCE or abs(offsets[0] - first.position[2]) > 1e-2:
            raise MissingGeometry(
                f"{header.path}: {name_tag(Tag.GridFrameOffsetVector)} must begin with 0 or, for transverse planes, "
                f"with "
                f"the z of {name_tag(Tag.ImagePositionPatient)} ({first.position[2]:g}), got {offsets[0]:g}"
            )
        offsets = [(z - first.position[2]) * normal[2] for z in offsets]
    return [
        Plane(
            header,
            k,
            rows,
            columns,
            tuple(p + offset * n for p, n in zip(first.position, normal, strict=True)),
            first.orientation,
            first.spacing,
            first.depth,
            scale,
            0.0,
            3,
        )
        for k, offset in enumerate(offsets)
    ]
