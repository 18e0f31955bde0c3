"""``read_rtstruct``: the contours of a structure set as labels on the grid of an image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faimed3d.dicom.header import WANTED, Tag, name_tag, read_header
from faimed3d.dicom.structure_sets.between import Drawn, between
from faimed3d.dicom.structure_sets.filling import HOLES, area, common_area, fill_box
from faimed3d.dicom.structure_sets.placing import Placed, place
from faimed3d.dicom.structure_sets.rois import Roi, read_rois
from faimed3d.dicom.volume_reading import read_dicom
from faimed3d.errors import UnsupportedImage
from faimed3d.geometry import Geometry

_VOLUME_TOLERANCE = 0.05  # of the volume within the contours: beyond it the mask says so
_CROSSING_TOLERANCE = 0.01  # of the smaller contour: slivers along a common border
_LISTED = 5  # ROIs in a message


class StructureMask(NamedTuple):
    """What :func:`read_rtstruct` returns.

    Attributes:
        array: labels (D, H, W), 0 outside of all ROIs; or with ``separate`` (R, D, H, W) of 0 and 1.
        geometry: the grid, that of ``like``.
        codes: names of the ROIs by label, from 1 on; ``{0: 'background'}`` first.
    """

    array: np.ndarray
    geometry: Geometry
    codes: dict[int, str]


def read_rtstruct(
    path: str | os.PathLike[str],
    like: Any,
    rois: Sequence[str | int] | None = None,
    holes: str = "xor",
    separate: bool = False,
    interpolate: bool = False,
) -> StructureMask:
    """Read the contours of an RT Structure Set as labels on the grid of an image.

    A voxel is inside where its centre is, or where a contour goes through the centre (PS3.3 C.8.8.6.3). The plane of a
    contour is found by its position in the patient, to a tenth of the gap between planes; planes may run along any axis
    of the grid, which may be oblique or sheared. Nothing is made up between contours: planes without one stay empty,
    with a warning. A warning also names ROIs whose voxels differ by more than 5 % from the volume within the contours,
    as those of small objects do, and of contours that leave the grid.

    Args:
        path: the file.
        like: the image that the contours were drawn on: a ``TensorDicom3D``, a ``Geometry``, or a DICOM folder or file.
            Of all but a ``Geometry`` the frame of reference is compared, where the files of the image say it.
        rois: names (or numbers, (3006,0022)) of the ROIs to read, which become labels 1, 2, ... in this order. None:
            all that enclose an area, in the order of the file; the others, such as points, are named in a warning.
        holes: where contours of an ROI lie within each other in one plane: 'xor': every second one is a hole (as
            CLOSEDPLANAR_XOR says, and most programs mean it of CLOSED_PLANAR); 'winding': those that run the other way
            round are holes; 'union': there are none. Keyholes are holes in any case.
        separate: a mask for each ROI, which may overlap.
        interpolate: fill the planes between contours, by the mean of the signed distances to the shapes beside them
            (Raya and Udupa 1990); else they stay empty.

    Returns:
        (array, geometry, codes), that is labels uint8 (int32 of more than 255 ROIs) (D, H, W), the grid, and names by
        label.

    Raises:
        FileNotFoundError: no such file.
        TypeError: ``like`` has no place, or ``rois`` is one text.
        ValueError: a name that the file does not have, or has twice; an unknown rule of ``holes``.
        UnsupportedImage: no structure set; another frame of reference; a chosen ROI of points or open contours;
            contours between or across the planes of the grid; ROIs that overlap; contours of one ROI that cross each
            other, with 'xor'; nothing lies on the grid.
        TruncatedFile, DamagedFile: the file is cut, or contradicts itself.

    >>> import tempfile
    >>> from pydicom.dataset import Dataset, FileMetaDataset
    >>> from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage
    >>> file, roi, drawn, contour = Dataset(), Dataset(), Dataset(), Dataset()
    >>> file.file_meta = FileMetaDataset()
    >>> file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    >>> file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = RTStructureSetStorage
    >>> file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "2.25.1"
    >>> roi.ROINumber, roi.ROIName = 1, "lesion"
    >>> contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    >>> contour.ContourData = [0.5, 0.5, 1, 2.5, 0.5, 1, 2.5, 1.5, 1, 0.5, 1.5, 1]
    >>> drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    >>> file.StructureSetROISequence, file.ROIContourSequence = [roi], [drawn]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file.save_as(f"{folder}/rs.dcm", enforce_file_format=True)
    ...     array, geometry, codes = read_rtstruct(f"{folder}/rs.dcm", like=Geometry((2, 3, 4)))
    >>> array[1].tolist(), codes
    ([[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], {0: 'background', 1: 'lesion'})
    """
    path = os.fsdecode(path)
    if holes not in HOLES:
        raise ValueError(f"holes must be one of {', '.join(map(repr, HOLES))}, got {holes!r}")
    if isinstance(rois, str):
        raise TypeError(f"rois must be names of ROIs, got the text {rois!r}: pass [{rois!r}]")
    grid, chosen = _grid(like), _chosen(read_rois(path), rois, path)
    return _drawn(dict(enumerate(chosen, 1)), grid, path, holes, separate, interpolate)


def read_named(path: str, like: Any, names: Mapping[int, str], separate: bool = False) -> StructureMask:
    """As :func:`read_rtstruct`, with the ROI of each name as that label; a warning names those that are not there.

    Raises:
        ValueError: the file has none of them.
    """
    found = read_rois(path)
    known = {roi.name.casefold() for roi in found}
    missing = [name for name in names.values() if name.casefold() not in known]
    listed = ", ".join(repr(roi.name) for roi in found)
    if len(missing) == len(names):
        raise ValueError(f"{path}: has no ROI of the codes {', '.join(map(repr, missing))}; it has {listed}")
    if missing:
        _warn(f"{path}: has no ROI {', '.join(map(repr, missing))}, so that label is empty there; it has {listed}")
    rois = {label: _named(found, name, path) for label, name in names.items() if name not in missing}
    return _drawn(rois, _grid(like), path, separate=separate)


def _grid(like: Any) -> tuple[Geometry, Sequence[str]]:
    """The geometry of ``like``, and the DICOM files that it comes from, where they are known."""
    if isinstance(like, Geometry):
        return like, ()
    if isinstance(like, str | Path | Mapping) or hasattr(like, "iloc"):
        _, geometry, files = read_dicom(like)
        return geometry, files
    from faimed3d.tracking import current_grid, is_tracked  # brings torch, which the inventory does without

    grid = current_grid(like) if is_tracked(like) else None
    if not isinstance(grid, Geometry):
        raise TypeError(
            "like must be the image that the contours were drawn on: a volume with one geometry, a Geometry, or a "
            f"DICOM folder or file, got {type(like).__name__}"
        )
    header = getattr(like, "_header", None)
    return grid, header.files if header is not None and header.format == "dicom" else ()


def _chosen(found: Sequence[Roi], rois: Sequence[str | int] | None, path: str) -> list[Roi]:
    if rois is not None:
        return [_named(found, name, path) for name in rois]
    left = [roi for roi in found if not roi.encloses]
    chosen = [roi for roi in found if roi.encloses]
    if not chosen:
        raise UnsupportedImage(
            f"{path}: none of its {len(found)} ROIs encloses an area, so there is no mask: "
            f"{_listed(map(_described, left))}"
        )
    if left:
        _warn(f"{path}: ROIs without an area are left out: {_listed(map(_described, left))}")
    return chosen


def _named(found: Sequence[Roi], name: str | int, path: str) -> Roi:
    if isinstance(name, str):
        same = [roi for roi in found if roi.name == name]
        same = same or [roi for roi in found if roi.name.casefold() == name.strip().casefold()]
    else:
        same = [roi for roi in found if roi.number == name]
    if not same:
        raise ValueError(f"{path}: has no ROI {name!r}; it has {', '.join(repr(roi.name) for roi in found)}")
    if len(same) > 1:
        numbers = ", ".join(str(roi.number) for roi in same)
        raise ValueError(f"{path}: has {len(same)} ROIs {name!r}: choose by number, rois=[...], of {numbers}")
    if not same[0].encloses:
        raise UnsupportedImage(f"{path}: the ROI {_described(same[0])} encloses no area, so it has no mask")
    return same[0]


def _described(roi: Roi) -> str:
    return f"{roi.name!r} ({', '.join(roi.kinds) or 'no contour'})"


def _listed(texts: Any) -> str:
    texts = list(texts)
    return ", ".join(texts[:_LISTED]) + (f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else "")


def _check_frames(rois: Sequence[Roi], files: Sequence[str], path: str) -> None:
    """Refuse contours in another frame of reference than the image, where both say theirs."""
    header = read_header(files[0], WANTED) if files and os.path.isfile(files[0]) else None
    frame = header.text(Tag.FrameOfReferenceUID) if header is not None else ""
    for roi in rois:
        if frame and roi.frame and roi.frame != frame:
            raise UnsupportedImage(
                f"{path}: the ROI {roi.name!r} lies in another frame of reference than the image in "
                f"{os.path.dirname(files[0]) or '.'} ({name_tag('ReferencedFrameOfReferenceUID')} is not its "
                f"{name_tag('FrameOfReferenceUID')}): it was drawn on another scan. If you know that both share one "
                "space, pass like=image.geometry to TensorMask3D.create; for loaders, save what that gives as a file"
            )


# Its voxels -----------------------------------------------------------------------------------------------------------


def _drawn(
    rois: Mapping[int, Roi],
    grid: tuple[Geometry, Sequence[str]],
    path: str,
    holes: str = "xor",
    separate: bool = False,
    interpolate: bool = False,
) -> StructureMask:
    geometry, files = grid
    _check_frames(list(rois.values()), files, path)
    shape = (len(rois), *geometry.shape) if separate else geometry.shape
    array = np.zeros(shape, np.uint8 if separate or max(rois) <= 255 else np.int32)
    off, gaps, flat = [], [], []
    touched = False
    for number, (label, roi) in enumerate(rois.items()):
        placed = place(roi, geometry, path)
        volume, count = 0.0, 0
        overlap: dict[int, int] = {}
        stack = np.moveaxis(array[number] if separate else array, placed.axis, 0)
        drawn: dict[int, Drawn] = {}
        for plane, polygons in placed.planes.items():
            rule = "xor" if placed.exclusive else holes
            if rule == "xor" and not placed.exclusive:
                _refuse_crossing(polygons, f"{path}: ROI {roi.name!r}")
            volume += area(polygons, rule)
            box, inside = fill_box(polygons, stack.shape[1:], rule)
            if not 0 <= plane < len(stack) or not inside.size:
                continue
            drawn[plane] = box, inside
            count += int(np.count_nonzero(inside))
        touched = touched or bool(drawn)
        made_up = between(drawn, _steps(geometry, placed.axis)) if interpolate else ()
        for plane, (box, inside) in (*drawn.items(), *made_up):
            there = stack[plane][box]
            taken = there[inside]
            if not separate and taken.any():
                for other, n in zip(*np.unique(taken[taken != 0], return_counts=True), strict=True):
                    overlap[int(other)] = overlap.get(int(other), 0) + int(n)
            there[inside] = 1 if separate else label
        if overlap:
            raise _overlapping(path, rois, label, overlap)
        off += _apart(roi, volume, count, geometry)
        gaps += [] if interpolate else _gaps(roi, placed, len(stack))
        flat += [f"{placed.flat} of {roi.name!r}"] if placed.flat else []
    if not touched:
        raise UnsupportedImage(
            f"{path}: none of its contours lies on the grid of like=: it was drawn on another image, or in another "
            "space. Grid: " + repr(geometry)
        )
    if flat:
        _warn(f"{path}: contours of fewer than three points, or without an area, enclose nothing: {_listed(flat)}")
    if gaps:
        _warn(f"{path}: planes between contours have none and stay empty: {_listed(gaps)}")
    if off:
        _warn(
            f"{path}: the voxels differ by more than {_VOLUME_TOLERANCE:.0%} from the volume within the contours, by "
            f"the size of the voxels or as contours leave the grid: {_listed(off)}"
        )
    return StructureMask(array, geometry, {0: "background", **{k: roi.name for k, roi in rois.items()}})


def _refuse_crossing(polygons: Sequence[NDArray[np.float64]], where: str) -> None:
    """Refuse contours of one plane that overlap in part, or lie upon each other: neither hole nor part beside."""
    if len(polygons) < 2:
        return
    low, high = (np.array([end(polygon, axis=0) for polygon in polygons]) for end in (np.min, np.max))
    near = (low[:, None] < high).all(-1)
    for one, other in np.argwhere(np.triu(near & near.T, 1)):
        pair = [polygons[one], polygons[other]]
        sizes = sorted(area([polygon]) for polygon in pair)
        common = common_area(*pair)
        slack = _CROSSING_TOLERANCE * sizes[0]
        if common > slack and (common < sizes[0] - slack or sizes[1] - common <= slack):
            raise UnsupportedImage(
                f"{where} has two contours in one plane that share {common / sizes[0]:.0%} of the smaller one's area, "
                "so neither is a hole of the other. Say what is meant with holes='union' or holes='winding' of "
                "faimed3d.dicom.read_rtstruct"
            )


def _steps(geometry: Geometry, axis: int) -> tuple[float, float]:
    """mm between rows and between columns of the planes along an axis of (D, H, W)."""
    row, column = (step for k, step in enumerate(geometry.spacing[::-1]) if k != axis)
    return row, column


def _overlapping(path: str, rois: Mapping[int, Roi], label: int, overlap: dict[int, int]) -> UnsupportedImage:
    other, count = next(iter(overlap.items()))
    names = f"{rois[other].name!r} and {rois[label].name!r}"
    return UnsupportedImage(
        f"{path}: the ROIs {names} overlap in {count} voxels, so a voxel would need two labels. Choose some with "
        f"faimed3d.dicom.read_rtstruct(file, like, rois=[{rois[label].name!r}, ...]), or take a mask of each, "
        "separate=True; in tables of cases, codes=['background', ...] chooses them"
    )


def _apart(roi: Roi, volume: float, count: int, geometry: Geometry) -> list[str]:
    if abs(count - volume) <= _VOLUME_TOLERANCE * volume:
        return []
    inside, drawn = count * geometry.voxel_volume, volume * geometry.voxel_volume
    return [f"{roi.name!r} {inside:.6g} mm3 of {drawn:.6g}"]


def _gaps(roi: Roi, placed: Placed, count: int) -> list[str]:
    planes = [plane for plane in placed.planes if 0 <= plane < count]
    missing = max(planes) - min(planes) + 1 - len(planes) if planes else 0
    return [f"{missing} in {roi.name!r}"] if missing else []


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)
