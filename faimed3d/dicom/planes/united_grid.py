"""Tiles of a United Imaging grid: a volume whose slices lie side by side in one image, each with its own position.

Layout by dcm2niix, ``UIH/README.md``: (0065,1050) slices, row by row, in as many columns as the next whole number above
their square root; (0065,1051) holds one item for each, with the position of the tile's first pixel.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.values import convert_SQ

from faimed3d.dicom.header import FileHeader, Tag, name_tag, quiet, read_dataset
from faimed3d.dicom.planes.enhanced import finite_numbers
from faimed3d.dicom.planes.plane import Numbers, Plane, Rescale, image_size, stated_gap
from faimed3d.errors import DamagedFile, UnsupportedImage

_COUNT, _ITEMS = "(0065,1050) MR Number Of Slice In Volume", "(0065,1051) MR VFrame Sequence"
_SEQUENCE = 0x00651051
_MOST_TILES = 4096


def is_grid(header: FileHeader) -> bool:
    """Whether an image holds several slices of United Imaging side by side, or says so."""
    if "VFRAME" in header.text(Tag.ImageType).split("\\"):
        return True
    return header.text(Tag.UnitedCreator) == "Image Private Header" and (header.number(Tag.UnitedGridCount) or 1) > 1


def grid_planes(header: FileHeader) -> list[Plane]:
    """Planes of a grid, in the order of its tiles (row by row).

    Raises:
        UnsupportedImage: the header does not say how many tiles there are, or where they lie.
        DamagedFile: the tiles do not fit into the image, or are not as many as their positions.
        MissingGeometry: orientation, pixel spacing or a position is absent or cannot be one.
    """
    number = header.number(Tag.UnitedGridCount) or 0
    items = _items(header)
    if not number or not items:
        what = f"without {_COUNT}" if not number else f"{number:g} slices in one image, without {_ITEMS}"
        raise UnsupportedImage(
            f"{header.path}: a United Imaging grid, {what}, so where they lie is unknown: convert the original files "
            "with dcm2niix"
        )
    if number != len(items) or number > _MOST_TILES:
        raise DamagedFile(f"{header.path}: {_COUNT} is {number:g}, {_ITEMS} has {len(items)} items")
    high, wide = image_size(header)
    across = math.ceil(math.sqrt(len(items)))
    down = math.ceil(len(items) / across)
    if high % down or wide % across:
        raise DamagedFile(
            f"{header.path}: a United Imaging grid of {len(items)} tiles cannot fill {high} x {wide} pixels evenly"
        )
    rows, columns = high // down, wide // across
    return [
        replace(
            Plane.placed(
                header,
                rows=rows,
                columns=columns,
                position=_position(header, item),
                orientation=header.vector(Tag.ImageOrientationPatient, 6),
                spacing=header.vector(Tag.PixelSpacing, 2),
                stated_gap=stated_gap(header),
                rescale=Rescale.of_file(header),
            ),
            corner=(tile // across * rows, tile % across * columns),
        )
        for tile, item in enumerate(items)
    ]


def _items(header: FileHeader) -> list[Dataset]:
    """The items of (0065,1051), none where it is absent."""
    if header.text(Tag.UnitedCreator) != "Image Private Header":
        return []
    dataset = read_dataset(header.path, [Tag.UnitedCreator, _SEQUENCE])
    value = getattr(dataset.get(_SEQUENCE), "value", None)
    if isinstance(value, bytes):
        # PS3.5 section 6.2.2: a private sequence without a VR of its own, whose items are implicit little endian
        try:
            with quiet():
                value = convert_SQ(value, True, True)
        except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
            raise DamagedFile(f"{header.path}: {_ITEMS} cannot be read ({type(error).__name__})") from None
    return list(value or ())


def _position(header: FileHeader, item: Dataset) -> Numbers | None:
    try:
        with quiet():
            value = item.get("ImagePositionPatient")
    except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
        name = name_tag(Tag.ImagePositionPatient)
        raise DamagedFile(f"{header.path}: {name} in {_ITEMS} cannot be read ({type(error).__name__})") from None
    return finite_numbers(header.path, "ImagePositionPatient", value, 3)
