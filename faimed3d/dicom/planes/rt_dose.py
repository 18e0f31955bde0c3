"""Planes of an RT Dose grid (PS3.3 C.8.8.3): one position, and an offset along the normal for each frame."""

from __future__ import annotations

from dataclasses import replace

from faimed3d.dicom.header import FileHeader, Tag, name_tag
from faimed3d.dicom.planes.plane import COSINE_TOLERANCE, Plane, Rescale
from faimed3d.errors import DamagedFile, MissingGeometry

_ORIGIN_TOLERANCE_MM = 1e-2


def dose_planes(header: FileHeader, frames: int) -> list[Plane]:
    """Planes of a dose grid in the order of its frames; their values are in the unit of the dose.

    Raises:
        DamagedFile: (3004,000E) DoseGridScaling is no positive number.
        MissingGeometry: (3004,000C) GridFrameOffsetVector is absent or of no kind that the standard knows.
    """
    scaling = header.number(Tag.DoseGridScaling)
    if scaling is None or scaling <= 0:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.DoseGridScaling)} must be a positive number, got {scaling}")
    first = replace(Plane.of_file(header), rescale=Rescale.checked(header, scaling, 0.0))
    if frames == 1:
        return [first]
    tag = name_tag(Tag.GridFrameOffsetVector)
    offsets = header.vector(Tag.GridFrameOffsetVector, frames)
    if offsets is None:
        raise MissingGeometry(f"{header.path}: {tag} is absent, {frames} frames need it")
    z, along_z = first.position[2], first.normal[2]
    if offsets[0] != 0:
        # C.8.8.3.2 b: the vector holds z coordinates of the patient, allowed for transverse planes only
        if abs(abs(along_z) - 1) > COSINE_TOLERANCE or abs(offsets[0] - z) > _ORIGIN_TOLERANCE_MM:
            raise MissingGeometry(
                f"{header.path}: {tag} must begin with 0 or, for transverse planes, with the z of "
                f"{name_tag(Tag.ImagePositionPatient)} ({z:g}), got {offsets[0]:g}"
            )
        offsets = tuple((value - z) * along_z for value in offsets)
    return [first.moved(offset, frame=k) for k, offset in enumerate(offsets)]
