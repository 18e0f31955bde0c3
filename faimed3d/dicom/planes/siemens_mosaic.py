"""Tiles of a Siemens mosaic: a volume whose slices lie side by side in one image.

Layout and the shift of the position are described in nibabel's ``doc/source/dicom/dicom_mosaic.rst``; its reader of the
vendor's CSA header is used for the number of tiles and the direction in which they are stacked.
"""

from __future__ import annotations

import math
import warnings

from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.enhanced import read_dataset
from faimed3d.dicom.planes.plane import Plane, normal_of, placed, scaling
from faimed3d.errors import DamagedFile, MissingGeometry, UnsupportedImage

__all__ = ["mosaic_planes"]

_MOST_ACROSS = 64  # tiles in a row: scanners make 16 at most
_CREATORS = [0x00290010, 0x00290011, 0x00290012]
_CSA_IMAGE = [0x00291010, 0x00291110, 0x00291210]


def mosaic_planes(header, rows, columns):
    """Planes of a mosaic, in the order of its tiles (row by row).

    The position in the header is that of the large image, as if it were centred on the volume; the first pixel of a
    tile lies half of the difference of the two sizes further in.

    Raises:
        UnsupportedImage: the header does not say how many tiles there are or which way they are stacked.
    """
    csa = _csa_values(header)
    count = csa.get("NumberOfImagesInMosaic") or header.integer(Tag.SiemensMosaicCount)
    normal = csa.get("SliceNormalVector")
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
    side = math.ceil(math.sqrt(count))
    if rows % side or columns % side or side > _MOST_ACROSS:
        raise DamagedFile(f"{header.path}: a mosaic of {count} tiles cannot fill {rows} x {columns} pixels evenly")
    tile_rows, tile_columns = rows // side, columns // side
    gap = header.number(Tag.SpacingBetweenSlices)
    if not gap and count > 1:
        raise MissingGeometry(f"{header.path}: {name_tag(Tag.SpacingBetweenSlices)} is absent, a mosaic needs it")
    slope, intercept, rescaled = scaling(header)
    whole = placed(
        Plane(
            header,
            0,
            rows,
            columns,
            header.vector(Tag.ImagePositionPatient, 3),
            header.vector(Tag.ImageOrientationPatient, 6),
            header.vector(Tag.PixelSpacing, 2),
        )
    )
    cross = normal_of(whole.orientation)
    agreement = sum(a * b for a, b in zip(cross, normal, strict=True))
    if abs(abs(agreement) - 1) > 1e-3:
        raise DamagedFile(f"{header.path}: SliceNormalVector of the CSA header is not normal to the image")
    step = math.copysign(abs(gap or 0), agreement)
    down, across = whole.spacing[0] * (rows - tile_rows) / 2, whole.spacing[1] * (columns - tile_columns) / 2
    row, column = whole.orientation[:3], whole.orientation[3:]
    first = [whole.position[k] + across * row[k] + down * column[k] for k in range(3)]
    depth = abs(gap) if gap else header.number(Tag.SliceThickness)
    return [
        Plane(
            header,
            0,
            tile_rows,
            tile_columns,
            tuple(first[k] + tile * step * cross[k] for k in range(3)),
            whole.orientation,
            whole.spacing,
            depth,
            slope,
            intercept,
            rescaled,
            ((tile // side) * tile_rows, (tile % side) * tile_columns),
        )
        for tile in range(count)
    ]


def _csa_values(header):
    """The two values needed of the CSA image header; empty where there is none."""
    dataset = read_dataset(header.path, [*_CREATORS, *_CSA_IMAGE])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nibabel.nicom import csareader  # a slow import that warns, and only mosaics need it

            csa = csareader.get_csa_header(dataset)
            if csa is None:
                return {}
            count = csareader.get_n_mosaic(csa)
            normal = csareader.get_slice_normal(csa)
            count = None if count is None else int(count)
            normal = None if normal is None else tuple(float(v) for v in normal)
    except Exception as error:  # the vendor's private format: struct.error, CSAReadError, UnicodeError, ...
        raise DamagedFile(f"{header.path}: (0029,1010) CSA image header cannot be read: {error}") from error
    return {
        "NumberOfImagesInMosaic": count,
        "SliceNormalVector": normal,
    }
