"""Results of a folder as DICOM objects: a segmentation or a structure set of each case, which refers to its images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any  # of learners, and of what like= takes

import pandas as pd
from pydicom import dcmread

from faimed3d.dicom.header import Tag, quiet, read_header
from faimed3d.dicom.mask_objects import FORMS
from faimed3d.errors import DamagedFile
from faimed3d.inference.source import Source, first_of
from faimed3d.io.formats import structure_set_in
from faimed3d.volume import TensorDicom3D, TensorMask3D

SUFFIX = ".dcm"
_ADVICE = "pass overwrite=True, another folder for out, or names"


def check_form(form: str) -> None:
    """Raise a ValueError unless masks can be saved in this form."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(map(repr, FORMS))}, or None, got {form!r}")


def algorithm_of(model: Any) -> str:
    """What DICOM objects name as the program that made a mask: the file of the model, where it comes from one."""
    file = vars(model).get("file")
    return "faimed3d" if file is None else Path(file).name.replace("\\", "_")[:64]


def save_object(mask: TensorMask3D, output: Path, source: Source, form: str, algorithm: str) -> bool:
    """Save a mask as the DICOM object of its scan; False where it shows no class, of which no object can be made.

    Args:
        mask: the result.
        output: the file.
        source: the scan: DICOM files, as ``predict_volume`` takes them.
        form: 'seg' or 'rtstruct'.
        algorithm: what made the mask.
    """
    if not mask.count_nonzero():
        warnings.warn("no class was found, so no DICOM object was written: there is none without", stacklevel=2)
        return False
    mask.save(output, like=_images_of(source), form=form, algorithm=algorithm)
    return True


def object_there(output: Path, form: str, scan: TensorDicom3D) -> TensorMask3D:
    """The object that an earlier run has left, on the grid of the scan.

    Args:
        output: the file.
        form: 'seg' or 'rtstruct', which it must be.
        scan: as the loaders read it.

    Raises:
        ValueError: it is of the other form, or of another scan.
        ReadError: it is damaged.
    """
    header = read_header(output, ())
    if header is None or header.error is not None:
        raise DamagedFile(f"{output}: is no whole DICOM file")
    is_contours = structure_set_in(output) is not None
    if is_contours != (form == "rtstruct"):
        raise ValueError(
            f"{output} is there already, and is {'a structure set' if is_contours else 'no structure set'}: {_ADVICE}"
        )
    if scan._header is None or not _refers(output, scan._header.files):
        raise ValueError(f"{output} is there already, and refers to another scan: {_ADVICE}")
    if is_contours:
        return TensorMask3D.create(output, dtype=None, like=scan)
    mask = TensorMask3D.create(output, dtype=None)  # from the first to the last slice with a class
    return mask.resample_like(scan)


def _refers(output, files):
    """Whether an object names the series of some files."""
    header = read_header(files[0], (Tag.SeriesInstanceUID,)) if files else None
    series = "" if header is None else header.text(Tag.SeriesInstanceUID)
    try:
        with quiet():
            dataset = dcmread(output, stop_before_pixels=True, force=True)
            named = {str(one.value) for one in dataset.iterall() if one.tag == Tag.SeriesInstanceUID}
    except Exception as error:  # pydicom raises whatever a damaged file leads to
        raise DamagedFile(f"{output}: cannot be read ({type(error).__name__})") from None
    return bool(series) and series in named


def _images_of(source: Source) -> Any:
    """The images of a scan as ``like=`` takes them: of channels, or of a row of a table of cases, the first."""
    source = first_of(source)
    if isinstance(source, pd.Series) and "files" not in source:
        return next((cell for cell in source if isinstance(cell, str | Path)), source)
    return source
