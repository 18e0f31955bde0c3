"""A mask as a DICOM Segmentation object (PS3.3 A.51), through highdicom: ``pip install faimed3d[dicom-seg]``."""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings

import numpy as np
from pydicom.uid import generate_uid

from faimed3d.errors import MissingGeometry

from .multiframe import read_dataset
from .template import TEMPLATE_KEYWORDS, template_files
from .write import check_upright, check_volume

__all__ = ["write_seg"]

# Of each image that the segmentation refers to: its identity and its place, beside what a template may give
_REFERENCE_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionOrganizationSequence"),
)
_TISSUE = ("85756007", "SCT", "Tissue")  # the least that may be said of a segment: CID 7150 and CID 7151
_MOST_SEGMENTS = 65535


def write_seg(path, mask, geometry, template, *, labels=None, series_description="", series_number=1, algorithm=None):
    """Write a mask as one binary DICOM SEG file, whole or not at all.

    Segments are numbered 1 to n in the order of the labels, as the standard demands; the value in the mask is kept as
    the segment's name where ``labels`` gives none (``"label 117"``). Empty slices are left out of the file.

    Args:
        path: the file to write; replaced where it exists. Its folder must exist.
        mask: (D,H,W), or (1,D,H,W), of booleans or whole numbers, 0 is background.
        geometry: its :class:`~faimed3d.geometry.Geometry`, in the world of the template; its grid may be another.
        template: DICOM folder of one series, or file, that the mask was drawn on. The elements of
            ``faimed3d.dicom.template.TEMPLATE_KEYWORDS`` are taken from it, and the identifiers of its images as
            references.
        labels: name by label value, at most 64 characters each.
        series_description: (0008,103E).
        series_number: (0020,0011).
        algorithm: name of the program or network that made the mask; None: drawn by hand.

    Returns:
        Label value by segment number.

    Raises:
        ImportError: highdicom is not installed.
        FileNotFoundError: no such folder or template. TypeError: an argument of a wrong kind.
        ValueError: an empty mask, values that are no whole numbers from 0, a sheared grid, a name for a label that the
            mask does not have. MissingGeometry: the template has no frame of reference.
    """
    highdicom = _highdicom()
    path = os.path.abspath(os.fspath(path))
    if not os.path.isdir(os.path.dirname(path)):
        raise FileNotFoundError(f"{path}: the folder {os.path.dirname(path)} does not exist; create it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder, not a file")
    mask = check_volume(mask, geometry)
    check_upright(geometry)
    values = _label_values(mask)
    names = _names(values, labels)
    keywords = [*TEMPLATE_KEYWORDS, *_REFERENCE_KEYWORDS]
    with warnings.catch_warnings():
        # pydicom and highdicom warn of values in the template, and quote them
        warnings.simplefilter("ignore")
        sources = [read_dataset(file, keywords) for file in template_files(template)]
        frame = sources[0].get("FrameOfReferenceUID")
        if not frame:
            raise MissingGeometry(
                "the template has no (0020,0052) FrameOfReferenceUID, so a segmentation cannot say where it lies"
            )
        for source in sources:
            for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"):
                if keyword not in source:
                    setattr(source, keyword, "")
            for keyword in ("StudyTime", "AccessionNumber", "ReferringPhysicianName"):
                if keyword not in source:
                    setattr(source, keyword, "")
        segmentation = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=_volume(highdicom, np.searchsorted(values, mask, side="right"), geometry, frame),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_describe(highdicom, k + 1, name, algorithm) for k, name in enumerate(names)],
            series_instance_uid=generate_uid(None),
            series_number=series_number,
            sop_instance_uid=generate_uid(None),
            instance_number=1,
            manufacturer="faimed3d",
            manufacturer_model_name="faimed3d",
            software_versions="faimed3d",
            device_serial_number="0",
            series_description=series_description,
        )
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=os.path.dirname(path)) as scratch:
            target = os.path.join(scratch, "mask.dcm")
            segmentation.save_as(target)
            os.replace(target, path)
    return {k + 1: value for k, value in enumerate(values.tolist())}


def _highdicom():
    try:
        highdicom = importlib.import_module("highdicom")
        importlib.import_module("highdicom.seg")
    except ImportError as error:
        raise ImportError("DICOM SEG files are written by highdicom: pip install faimed3d[dicom-seg]") from error
    return highdicom


def _label_values(mask):
    values = np.unique(mask)
    if not (np.isfinite(values).all() and (values == np.rint(values)).all() and values[0] >= 0):
        raise ValueError(f"a mask holds whole numbers from 0, this one has values from {values[0]} to {values[-1]}")
    values = values[values > 0].astype(np.int64)
    if not 1 <= len(values) <= _MOST_SEGMENTS:
        raise ValueError(f"a DICOM segmentation holds 1 to {_MOST_SEGMENTS} labels, this mask has {len(values)}")
    return values


def _names(values, labels):
    labels = dict(labels or {})
    unknown = set(labels) - set(values.tolist())
    if unknown:
        raise ValueError(f"labels names {sorted(unknown)}, the mask has {values.tolist()[:20]}")
    names = [labels.get(value, f"label {value}") for value in values.tolist()]
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= 64 or "\\" in name:
            raise ValueError(f"the name of a label must be 1 to 64 characters without backslash, got {name!r}")
    return names


def _volume(highdicom, segments, geometry, frame):
    # highdicom's affine takes the index (slice, row, column) to LPS, ours (column, row, slice)
    affine = geometry.affine[:, [2, 1, 0, 3]]
    dtype = np.uint8 if segments.max() < 256 else np.uint16
    return highdicom.Volume(
        segments.astype(dtype), affine=affine, coordinate_system="PATIENT", frame_of_reference_uid=frame
    )


def _describe(highdicom, number, name, algorithm):
    tissue = highdicom.sr.CodedConcept(*_TISSUE)
    identification = algorithm and highdicom.AlgorithmIdentificationSequence(
        name=algorithm, family=highdicom.sr.CodedConcept("123109", "DCM", "Artificial Intelligence"), version="1"
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=tissue,
        segmented_property_type=tissue,
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification or None,
    )
