"""A mask as a DICOM Segmentation object (PS3.3 A.51), through highdicom (extra ``dicom-seg``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from faimed3d._extras import import_extra
from faimed3d._keywords import strict_keywords
from faimed3d.dicom.header import dataset_bytes, name_tag, quiet, read_dataset
from faimed3d.dicom.volume_reading import read_dicom
from faimed3d.dicom.writing.belonging import refuse_apart
from faimed3d.dicom.writing.concepts import (
    NO_CONCEPT,
    Concept,
    GivenConcepts,
    category_code,
    concepts_of,
    laterality_code,
)
from faimed3d.dicom.writing.elements import check_description, row_and_column_cosines, slice_order
from faimed3d.dicom.writing.labels import label_names, label_values
from faimed3d.dicom.writing.objects import highdicom_errors, target_file, write_checked
from faimed3d.dicom.writing.stored_values import check_volume
from faimed3d.dicom.writing.template import template_dataset, template_files
from faimed3d.errors import MissingGeometry, ReadError
from faimed3d.geometry import Geometry

# Of each image that the segmentation refers to: its identity and its position, beside what a template may give
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "Rows", "Columns")
_POSITION = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_FRAMES = (
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    "DimensionOrganizationSequence",
)
# What highdicom copies from its source images; it is strict about the values, so they are set afterwards
_COPIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_EQUIPMENT: dict[str, Any] = {
    "manufacturer": "faimed3d",
    "manufacturer_model_name": "faimed3d",
    "software_versions": "faimed3d",
    "device_serial_number": "0",
    "instance_number": 1,
}
_KINDS = ("binary", "labelmap")
_LARGEST_NUMBER = 65535  # of a segment, (0062,0004)
_FEWEST_PIXELS = 8  # of a frame; highdicom packs smaller ones wrongly


@strict_keywords
def write_seg(
    path: str | bytes | os.PathLike[str],
    mask: np.ndarray,
    geometry: Geometry,
    template: str | os.PathLike[str] | Sequence[str],
    *,
    labels: Mapping[int, str] | None = None,
    series_description: str = "",
    series_number: int = 1,
    algorithm: str | None = None,
    kind: str = "binary",
    concepts: GivenConcepts | None = None,
) -> dict[int, int]:
    """Write a mask as one DICOM SEG file, whole or not at all.

    Segments of a binary one are numbered 1 to n in the order of the labels, as the standard demands; the value in the
    mask is kept as the segment's name where ``labels`` gives none (``"label 117"``). A label map keeps the labels.
    Empty slices are left out of the file. It is read back and compared before it gets its name.

    Args:
        path: the file to write; replaced where it exists. Its folder must exist.
        mask: (D,H,W), or (1,D,H,W), of booleans or whole numbers, 0 is background.
        geometry: its :class:`~faimed3d.geometry.Geometry`, in the world of the template; its grid may be another.
        template: DICOM folder of one series, a file, or the files of one series, that the mask was drawn on. The
            elements of ``TEMPLATE_KEYWORDS`` are taken from it, and the identifiers of its images as references.
        labels: name by label value, at most 64 characters each. Default: the names that a ``TensorMask3D`` knows
            (``codes``).
        series_description: (0008,103E), at most 64 characters.
        series_number: (0020,0011), from 1.
        algorithm: name of the program or network that made the mask, at most 64 characters; None: drawn by hand.
        kind: 'binary', a frame of bits for each class in each slice, which every reader of segmentations knows; or
            'labelmap', a frame of labels for each slice (DICOM 2024), smaller and faster for many classes.
        concepts: what a class is, by its name: a :class:`~faimed3d.dicom.Concept`, a tuple (value, scheme, meaning), or
            None for no code. Default: what :meth:`~faimed3d.dicom.Concept.of` finds for its name, in SNOMED CT; a class
            of another name is tissue (SCT 85756007).

    Returns:
        Label value by segment number.

    Raises:
        ImportError: highdicom is not installed.
        FileNotFoundError: no such folder or template. TypeError: an argument of a wrong kind.
        ValueError: an empty mask, values that are no whole numbers from 0, fewer than 8 pixels in a slice, a sheared
            grid or one that does not come back right, a name for a label that the mask does not have, a concept for
            a name that no class has, text that its element cannot hold, a template without identifiers, or whose
            images lie apart from the mask.
        MissingGeometry: the template has no frame of reference, or an image of it no position.
        OSError: the disk is full or read-only; nothing is left behind.

    >>> import tempfile
    >>> from faimed3d.dicom.writing import write_series
    >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3))
    >>> mask = np.arange(24).reshape(2, 3, 4) // 20 * 7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     series = write_series(f"{folder}/scan", np.zeros((2, 3, 4)), geometry)
    ...     write_seg(f"{folder}/mask.dcm", mask, geometry, f"{folder}/scan", labels={7: "tumour"})
    {1: 7}
    """
    highdicom = import_extra("highdicom", "dicom-seg", "a DICOM segmentation")
    import_extra("highdicom.seg", "dicom-seg", "a DICOM segmentation")
    path = target_file(path)
    codes = getattr(mask, "codes", None)
    mask = check_volume(mask, geometry)
    if np.prod(mask.shape[1:]) < _FEWEST_PIXELS:
        raise ValueError(f"a slice of a DICOM segmentation has at least {_FEWEST_PIXELS} pixels here, got {mask.shape}")
    row_and_column_cosines(geometry)  # refuses a sheared grid
    values = label_values(mask)
    names = label_names(values, labels, codes)
    meant = concepts_of(names, concepts)
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    numbers = values if kind == "labelmap" else list(range(1, len(values) + 1))
    if numbers[-1] > _LARGEST_NUMBER:
        raise ValueError(f"a label map holds labels up to {_LARGEST_NUMBER}, this mask has {numbers[-1]}")
    check_description(series_description, series_number, "segmentation", algorithm)
    files = template_files(template)
    refuse_apart(mask, geometry, files)
    with quiet():
        sources, taken = [source_image(file) for file in files], template_dataset(files[0])
    segments = mask if kind == "labelmap" else np.searchsorted(values, mask, side="right")
    segments = segments.astype(np.uint8 if numbers[-1] < 256 else np.uint16)
    with quiet():
        with highdicom_errors(path, "segmentation", files[0]):
            segmentation = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=_volume(highdicom, segments, geometry, sources[0].FrameOfReferenceUID),
                segmentation_type=highdicom.seg.SegmentationTypeValues(kind.upper()),
                segment_descriptions=[
                    _describe(highdicom, number, name, concept, algorithm)
                    for number, name, concept in zip(numbers, names, meant, strict=True)
                ],
                series_instance_uid=generate_uid(None),
                series_number=series_number,
                sop_instance_uid=generate_uid(None),
                series_description=series_description,
                **_EQUIPMENT,
            )
            segmentation.SpecificCharacterSet = "ISO_IR 192"
            segmentation.update(taken)
        content = dataset_bytes(segmentation, path)
    write_checked(path, content, lambda made: _compare_mask(made, path, segments, geometry))
    return dict(zip(numbers, values, strict=True))


def source_image(file: str) -> Dataset:
    """The part of an image's header that a segmentation refers to, with nothing of a patient."""
    source = read_dataset(file, [*_IDENTITY, *_POSITION, *_FRAMES, "FrameOfReferenceUID", "SliceThickness"])
    frames = "PerFrameFunctionalGroupsSequence" in source
    for keyword in (*_IDENTITY, "FrameOfReferenceUID", *(() if frames else _POSITION)):
        if source.get(keyword) in (None, ""):
            error = ValueError if keyword in _IDENTITY else MissingGeometry
            raise error(
                f"{file}: the template has no {name_tag(keyword)}, so a segmentation cannot say "
                f"{'which image it belongs to' if keyword in _IDENTITY else 'where it lies'}"
            )
    for keyword in _COPIED:
        setattr(source, keyword, "")
    if "SliceThickness" not in source:
        source.SliceThickness = None  # highdicom asks for it, and uses that of the mask
    return source


def _compare_mask(made: str, path: str, segments: np.ndarray, geometry: Geometry) -> None:
    """Read the file back: from the first to the last slice that is not empty it must hold the mask, at its position.

    Raises:
        ValueError: it does not.
    """
    filled = np.flatnonzero(segments.any(axis=(1, 2)))
    first, last = int(filled[0]), int(filled[-1])
    expected = segments[first : last + 1]
    grid = geometry.regrid(expected.shape, offset=(first, 0, 0))
    try:
        array, found, _ = read_dicom(made)
    except ReadError as error:
        raise ValueError(
            f"{path}: a DICOM segmentation cannot hold this mask: {str(error).replace(made, path)}"
        ) from error
    order = slice_order(found, grid)
    if not (order and np.array_equal(array[::order], expected)):
        raise ValueError(
            f"{path}: a DICOM segmentation cannot hold this mask on the {geometry!r}; reading it back gave another mask"
        )


def _volume(highdicom: ModuleType, segments: np.ndarray, geometry: Geometry, frame_of_reference: str) -> Any:
    # highdicom's affine takes the index (slice, row, column) to LPS, ours (column, row, slice)
    affine = geometry.affine[:, [2, 1, 0, 3]]
    return highdicom.Volume(
        segments, affine=affine, coordinate_system="PATIENT", frame_of_reference_uid=frame_of_reference
    )


def _describe(highdicom: ModuleType, number: int, name: str, concept: Concept | None, algorithm: str | None) -> Any:
    code = highdicom.sr.CodedConcept
    kind = code(concept.value, concept.scheme, concept.meaning) if concept else code(*NO_CONCEPT)
    if concept and concept.laterality:
        kind.SegmentedPropertyTypeModifierCodeSequence = [code(*laterality_code(concept))]
    identification = algorithm and highdicom.AlgorithmIdentificationSequence(
        name=algorithm, family=highdicom.sr.CodedConcept("123109", "DCM", "Artificial Intelligence"), version="1"
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=code(*category_code(concept)) if concept else code(*NO_CONCEPT),
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification or None,
    )
