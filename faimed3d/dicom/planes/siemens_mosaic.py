"""Tiles of a Siemens mosaic: a volume whose slices lie side by side in one image.

Layout and the shift of the position are described in nibabel's ``doc/source/dicom/dicom_mosaic.rst``; its reader of the
vendor's CSA header is used for the number of tiles and the direction in which they are stacked.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

from faimed3d.dicom.header import FileHeader, Tag, name_tag, read_dataset
from faimed3d.dicom.planes.plane import Plane, Vector
from faimed3d.errors import DamagedFile, MissingGeometry, UnsupportedImage

_MOST_ACROSS = 64  # tiles in a row: scanners make 16 at most
_NORMAL_TOLERANCE = 1e-3  # of the cosine between the normals in the CSA header and of the image
_CREATORS = [0x00290010, 0x00290011, 0x00290012]
_CSA_IMAGE = [0x00291010, 0x00291110, 0x00291210]


def mosaic_planes(header: FileHeader) -> list[Plane]:
    """Planes of a mosaic, in the order of its tiles (row by row).

    The position in the header is that of the large image, as if it were centred on the volume; the first pixel of a
    tile lies half of the difference of the two sizes further in.

    Raises:
        UnsupportedImage: the header does not say how many tiles there are or which way they are stacked.
        DamagedFile: the tiles do not fit into the image, or the CSA header contradicts it.
        MissingGeometry: the gap between the slices is absent, or another part of their geometry.
    """
    count, normal = _csa_values(header)
    count = count or header.integer(Tag.SiemensMosaicCount)
    if not count or count < 1:
        raise UnsupportedImage(
            f"{header.path}: a Siemens mosaic without its number of tiles, neither in (0029,1010) CSA image header nor "
            "in (0019,100A): convert the original files with dcm2niix"
        )
    if not normal:
        raise UnsupportedImage(
            f"{header.path}: a Siemens mosaic of {count} tiles without (0029,1010) CSA image header, so the direction "
            "in which they are stacked is unknown: convert the original files with dcm2niix"
        )
    whole = Plane.of_file(header)
    across = math.ceil(math.sqrt(count))
    if whole.rows % across or whole.columns % across or across > _MOST_ACROSS:
        raise DamagedFile(
            f"{header.path}: a mosaic of {count} tiles cannot fill {whole.rows} x {whole.columns} pixels evenly"
        )
    gap = abs(header.number(Tag.SpacingBetweenSlices) or 0)
    if not gap and count > 1:
        raise MissingGeometry(f"{header.path}: {name_tag(Tag.SpacingBetweenSlices)} is absent, a mosaic needs it")
    agreement = sum(a * b for a, b in zip(whole.normal, normal, strict=True))
    if abs(abs(agreement) - 1) > _NORMAL_TOLERANCE:
        raise DamagedFile(f"{header.path}: SliceNormalVector of the CSA header is not normal to the image")
    rows, columns = whole.rows // across, whole.columns // across
    first = replace(whole, rows=rows, columns=columns, position=_tile_position(whole, rows, columns))
    step = math.copysign(gap, agreement)
    return [first.moved(tile * step, corner=(tile // across * rows, tile % across * columns)) for tile in range(count)]


def _tile_position(whole: Plane, rows: int, columns: int) -> Vector:
    """Position of the first pixel of a tile, of the slice that lies in the plane of the large image."""
    down = whole.spacing[0] * (whole.rows - rows) / 2
    right = whole.spacing[1] * (whole.columns - columns) / 2
    row, column = whole.orientation[:3], whole.orientation[3:]
    x, y, z = (p + right * r + down * c for p, r, c in zip(whole.position, row, column, strict=True))
    return x, y, z


def _csa_values(header: FileHeader) -> tuple[int | None, tuple[float, ...] | None]:
    """Number of tiles and slice normal of the CSA image header; None where it has none."""
    dataset = read_dataset(header.path, [*_CREATORS, *_CSA_IMAGE])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nibabel.nicom import csareader  # a slow import that warns, and only mosaics need it

            csa = csareader.get_csa_header(dataset)
            if csa is None:
                return None, None
            count, normal = csareader.get_n_mosaic(csa), csareader.get_slice_normal(csa)
            return (
                None if count is None else int(count),
                None if normal is None else tuple(float(v) for v in normal),
            )
    except Exception as error:  # the vendor's private format: struct.error, CSAReadError, UnicodeError, ...
        raise DamagedFile(f"{header.path}: (0029,1010) CSA image header cannot be read: {error}") from error
