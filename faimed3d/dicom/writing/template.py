"""What written DICOM objects take from a template."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from faimed3d.dicom.grouping.scan import scan_folder
from faimed3d.dicom.header import Tag, is_dicom, name_tag, quiet, read_dataset
from faimed3d.errors import NoImages

# All that is ever taken from a template: whose images these are, of which study, in which frame of reference
TEMPLATE_KEYWORDS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator"),
)


def template_dataset(template: str | os.PathLike[str] | Dataset | None) -> Dataset:
    """The elements of ``TEMPLATE_KEYWORDS`` that a DICOM folder, file or pydicom data set holds, and no others.

    Raises:
        ValueError: pydicom cannot read one of them. Else as :func:`template_files`.
    """
    taken = Dataset()
    if template is None:
        return taken
    with quiet():
        if not isinstance(template, Dataset):
            template = read_dataset(template_files(template)[0], list(TEMPLATE_KEYWORDS))
        for keyword in TEMPLATE_KEYWORDS:
            try:
                value = template.get(keyword)
                if value not in (None, ""):
                    # names know the character set of their file; here all text is written as UTF-8
                    text = "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
                    setattr(taken, keyword, text)
            except Exception as error:  # pydicom raises many kinds; their texts quote the value
                raise ValueError(
                    f"the template's {name_tag(keyword)} is no value of its kind "
                    f"({type(error).__name__}). Correct it, or remove it from the template"
                ) from None
    return taken


def template_files(template: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """Files of the one series in a DICOM folder, or the one file given; a list of files of one series as it is.

    Raises:
        FileNotFoundError: no such path. TypeError: of a wrong kind.
        NoImages: no DICOM file, or a folder without images. ValueError: a folder with several series.
    """
    if isinstance(template, Sequence) and not isinstance(template, str | bytes):
        return [file for one in template for file in template_files(one)]
    try:
        path = os.fspath(template)
    except TypeError as error:
        raise TypeError(
            "template must be a DICOM folder or file, of a series also a pydicom data set, "
            f"got {type(template).__name__}"
        ) from error
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file or folder to take as template")
    if not os.path.isdir(path):
        if not is_dicom(path):
            raise NoImages(f"{path}: not a DICOM file, so no template")
        return [path]
    images = scan_folder(path).images
    if not images:
        raise NoImages(f"{path}: no DICOM image to take as template")
    series = {header.text(Tag.SeriesInstanceUID) for header in images}
    if len(series) > 1:
        raise ValueError(f"{path}: {len(series)} series; give one file of the one that is the template")
    return [header.path for header in images]
