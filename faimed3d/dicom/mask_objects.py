"""``mask.save(file, like=scan)``: a mask as one DICOM object that refers to the images of a scan."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faimed3d._keywords import keywords_of, refuse_unknown
from faimed3d._rows import here, only_row
from faimed3d.dicom.segmentation.seg_writing import write_seg
from faimed3d.dicom.structure_sets.rtstruct_writing import write_rtstruct
from faimed3d.geometry import Geometry

FORMS: dict[str, Callable[..., Any]] = {"seg": write_seg, "rtstruct": write_rtstruct}
_GIVEN = ("path", "mask", "geometry", "template")


def keywords_of_forms() -> list[str]:
    """What :func:`write_mask` takes beside the mask and its place, whatever the form."""
    names = [name for writer in FORMS.values() for name in keywords_of(writer) if name not in _GIVEN]
    return list(dict.fromkeys(names))


def write_mask(
    path: str | os.PathLike[str], mask: np.ndarray, geometry: Geometry, like: Any, form: str = "seg", **how: Any
) -> Any:
    """Write a mask as a DICOM Segmentation or an RT Structure Set that refers to the images of ``like``.

    Args:
        path: the file.
        mask: (D, H, W) labels.
        geometry: its place.
        like: the images, see :func:`images_of`.
        form: 'seg' or 'rtstruct'.
        how: what ``write_seg`` or ``write_rtstruct`` takes.

    Returns:
        What the writer of the form returns.

    Raises:
        ValueError: another form. TypeError: a keyword that the form does not take. Else as the writer of the form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(map(repr, FORMS))}, got {form!r}")
    writer = FORMS[form]
    refuse_unknown(how, [name for name in keywords_of(writer) if name not in _GIVEN], f"save as {form!r}")
    return writer(path, mask, geometry, images_of(like), **how)


def images_of(like: Any) -> str | Sequence[str]:
    """The DICOM images that an object refers to, as the ``template`` of its writer.

    Args:
        like: a volume that was read from DICOM files, a row of ``dicom_inventory``, a DICOM folder of one series, a
            file, or the files of one series.

    Raises:
        TypeError: none of these; a volume that comes from no DICOM file.
    """
    like = only_row(like)
    if isinstance(like, Mapping) or hasattr(like, "iloc"):
        like = here(like)
        if "files" not in like:
            raise TypeError("a row given as like= must come from dicom_inventory, this one lacks 'files'")
        return list(like["files"])
    if isinstance(like, str | Path):
        return os.fspath(like)
    if isinstance(like, list | tuple):
        return [os.fspath(file) for file in like]
    header = getattr(like, "_header", None)
    if header is not None and header.format == "dicom":
        return list(header.files)
    raise TypeError(
        "like must be the DICOM images that the mask belongs to: a volume read from them, a row of dicom_inventory, "
        f"or their folder; got {type(like).__name__}"
        + (" that was read from no DICOM file" if header is not None or hasattr(like, "geometry") else "")
    )
