"""A mask as an RT Structure Set (PS3.3 A.19.3): contours of its classes on the planes of the images that it is of."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag as PydicomTag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from faimed3d._keywords import strict_keywords
from faimed3d.dicom.header import WANTED, FileHeader, Tag, dataset_bytes, name_tag, quiet, read_header
from faimed3d.dicom.image_planes import planes_of
from faimed3d.dicom.planes import Plane
from faimed3d.dicom.structure_sets.drawing import ImagePlanes, contours_of, image_planes_of
from faimed3d.dicom.structure_sets.filling import fill_box, signed_area
from faimed3d.dicom.structure_sets.placing import place
from faimed3d.dicom.structure_sets.rois import CLOSED, read_rois
from faimed3d.dicom.writing.concepts import Concept, GivenConcepts, category_code, code_item, concepts_of, type_item
from faimed3d.dicom.writing.elements import check_description
from faimed3d.dicom.writing.labels import label_names, label_values
from faimed3d.dicom.writing.objects import target_file, write_checked
from faimed3d.dicom.writing.stored_values import check_volume
from faimed3d.dicom.writing.template import template_dataset, template_files
from faimed3d.errors import MissingGeometry
from faimed3d.geometry import Geometry

LEAST_DICE = 0.99
"""Below this agreement of a class with its contours, read back, :func:`write_rtstruct` warns."""
MOST_VOLUME_ERROR = 0.05
"""Beyond this share of its volume that a class gains or loses by its contours, :func:`write_rtstruct` warns."""

_CONTOUR_DATA = PydicomTag(0x30060050)
_STUDY = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, which all writers name here though it is retired
# PS3.3 C.7.1.1, C.7.2.1, C.8.8.1, C.7.4.1: must be there, may be empty (type 2)
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "OperatorsName"),
)
_FINEST = 9  # decimals that fit in the 16 characters of a DS beside 5 digits and a sign
_SHARE = 1e-4  # of a voxel: rounding of a coordinate


@dataclass(frozen=True, slots=True)
class WrittenRoi:
    """What became of one class in a structure set, as read back from the file.

    Attributes:
        label: value in the mask, and (3006,0022) ROINumber.
        name: (3006,0026) ROIName.
        contours, points: how many.
        voxel_volume: mm³ of its voxels.
        contour_volume: mm³ within its contours, each as thick as the gap between planes.
        dice: of its voxels and those that its contours enclose.
    """

    label: int
    name: str
    contours: int
    points: int
    voxel_volume: float
    contour_volume: float
    dice: float

    @property
    def is_close(self) -> bool:
        """Whether the contours say what the mask says: Dice of 0.99 or more, and a volume to 5 %."""
        off = abs(self.contour_volume - self.voxel_volume)
        return self.dice >= LEAST_DICE and off <= MOST_VOLUME_ERROR * self.voxel_volume


@strict_keywords
def write_rtstruct(
    path: str | bytes | os.PathLike[str],
    mask: np.ndarray,
    geometry: Geometry,
    template: str | os.PathLike[str] | Sequence[str],
    *,
    labels: Mapping[int, str] | None = None,
    colors: Mapping[int, tuple[float, float, float]] | None = None,
    series_description: str = "",
    series_number: int = 1,
    algorithm: str | None = None,
    concepts: GivenConcepts | None = None,
) -> tuple[WrittenRoi, ...]:
    """Write a mask as one RT Structure Set, whole or not at all: closed contours (CLOSED_PLANAR) of each class.

    Contours lie in the planes of the template's images, and half-way between voxels there (marching squares). Corners
    are cut, so that a contour encloses half a pixel less than its pixels, and the centres of all of them. Holes are
    keyholes (PS3.3 C.8.8.6.3): one contour, whose path runs to the hole and back, which every rule of filling sees. The
    file is read back before it gets its name.

    Args:
        path: the file to write; replaced where it exists. Its folder must exist.
        mask: (D,H,W), or (1,D,H,W), of booleans or whole numbers, 0 is background.
        geometry: its place. Its planes along one axis must be those of the images; pixels within them may differ.
        template: DICOM folder of one series, a file, or the files of one series, that the mask was drawn on. The
            elements of ``TEMPLATE_KEYWORDS`` are taken from it, and the identifiers of its images as references.
        labels: name by label value, at most 64 characters each. Default: the names that a ``TensorMask3D`` knows
            (``codes``), else ``"label 117"``.
        colors: (red, green, blue), each 0 to 1, by label value: (3006,002A). Default: none, readers choose.
        series_description: (0008,103E), at most 64 characters.
        series_number: (0020,0011), from 1.
        algorithm: name of the program or network that made the mask, at most 64 characters; None: drawn by hand.
        concepts: what a class is, by its name, as of :func:`~faimed3d.dicom.write_seg`: (3006,0086); none for a class
            of another name.

    Returns:
        What became of each class: name, number of contours, volume of voxels and of contours, Dice of both. A warning
        names those with a Dice below 0.99 or a volume that differs by more than 5 %, as of objects of few voxels.

    Raises:
        FileNotFoundError: no such folder or template. TypeError: an argument of a wrong kind.
        ValueError: an empty mask, values that are no whole numbers from 0, planes that are not those of the images, a
            name or colour for a label, or a concept for a name, that the mask does not have, text that its element
            cannot hold, a template without identifiers.
        MissingGeometry: the template has no frame of reference, or an image of it no position.
        OSError: the disk is full or read-only; nothing is left behind.

    >>> import tempfile
    >>> from faimed3d.dicom.writing import write_series
    >>> geometry = Geometry((2, 8, 9), spacing=(1, 2, 3))
    >>> mask = np.zeros((2, 8, 9), int)
    >>> mask[1, 1:6, 2:7] = 7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     series = write_series(f"{folder}/scan", np.zeros((2, 8, 9)), geometry)
    ...     [roi] = write_rtstruct(f"{folder}/contours.dcm", mask, geometry, f"{folder}/scan", labels={7: "tumour"})
    >>> roi.name, roi.contours, roi.voxel_volume, round(roi.contour_volume, 3), roi.dice
    ('tumour', 1, 150.0, 147.0, 1.0)
    """
    path = target_file(path)
    codes = getattr(mask, "codes", None)
    mask = check_volume(mask, geometry)
    values = label_values(mask)
    names = label_names(values, labels, codes)
    check_description(series_description, series_number, "structure set", algorithm)
    meant = concepts_of(names, concepts)
    shades = _shades(colors, values)
    images = _images(template_files(template))
    numbers = np.searchsorted(values, mask, side="right").astype(np.uint8 if len(values) < 256 else np.int32)
    planes = image_planes_of(numbers, geometry, images)
    content = Dataset()
    with quiet():
        _describe(content, images, template_dataset(images[0].header.path))
        content.SeriesNumber, content.SeriesDescription = int(series_number), series_description
        content.StructureSetName = series_description or "mask"
        _refer(content, images)
        _list_rois(content, values, names, meant, shades, algorithm)
        _draw(content, numbers, geometry, values, planes)
        stored = dataset_bytes(content, path)
    written = write_checked(path, stored, lambda made: _read_back(made, numbers, geometry, names))
    _warn_of_losses(path, written)
    return written


def _shades(colors: Mapping[int, tuple[float, float, float]] | None, values: list[int]) -> dict[int, list[int]]:
    """Colours as (3006,002A) holds them: three numbers from 0 to 255."""
    shades = {}
    for label, color in (colors or {}).items():
        if label not in values:
            raise ValueError(f"colors names the label {label}, the mask has {values[:20]}")
        rgb = np.asarray(color, float)
        if rgb.shape != (3,) or not ((rgb >= 0) & (rgb <= 1)).all():
            raise ValueError(f"a colour is (red, green, blue), each 0 to 1, got {color!r} of label {label}")
        shades[int(label)] = np.rint(rgb * 255).astype(int).tolist()
    return shades


def _images(files: Sequence[str]) -> list[Plane]:
    """The planes of the images that contours refer to.

    Raises:
        ValueError: an image has no identifiers. MissingGeometry: no position, or no frame of reference.
    """
    found = []
    for file in files:
        header = read_header(file, WANTED)
        if header is None:
            raise ValueError(f"{file}: no DICOM image, so no contour can refer to it")
        if header.error:
            raise header.error
        for tag in (Tag.SOPClassUID, Tag.SOPInstanceUID, Tag.SeriesInstanceUID, Tag.StudyInstanceUID):
            if not header.text(tag):
                raise ValueError(
                    f"{file}: the template has no {name_tag(tag)}, so a structure set cannot say which image it "
                    "belongs to"
                )
        if not header.text(Tag.FrameOfReferenceUID):
            raise MissingGeometry(
                f"{file}: the template has no {name_tag(Tag.FrameOfReferenceUID)}, so a structure set cannot say where "
                "it lies"
            )
        for plane in planes_of(header):
            if plane.error:
                raise plane.error
            found.append(plane)
    return found


# The data set ---------------------------------------------------------------------------------------------------------


def _describe(content: Dataset, images: Sequence[Plane], taken: Dataset) -> None:
    content.file_meta = FileMetaDataset()
    # implicit: an explicit DS holds 64 kB, some 2000 points of a contour
    content.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    content.SOPClassUID = content.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    content.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY:
        setattr(content, keyword, "")
    content.update(taken)
    content.StudyInstanceUID = images[0].header.text(Tag.StudyInstanceUID)
    content.FrameOfReferenceUID = images[0].header.text(Tag.FrameOfReferenceUID)
    content.Modality, content.SeriesInstanceUID, content.InstanceNumber = "RTSTRUCT", generate_uid(None), 1
    content.Manufacturer = content.ManufacturerModelName = content.SoftwareVersions = "faimed3d"
    now = datetime.now()
    content.StructureSetLabel = "RTSTRUCT"
    content.StructureSetDate, content.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    content.ApprovalStatus = "UNAPPROVED"


def _reference(header: FileHeader, frame: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.text(Tag.SOPClassUID)
    item.ReferencedSOPInstanceUID = header.text(Tag.SOPInstanceUID)
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    return item


def _image_reference(plane: Plane) -> Dataset:
    several = plane.header.number(Tag.NumberOfFrames)
    return _reference(plane.header, plane.frame if several and several > 1 else None)


def _refer(content: Dataset, images: Sequence[Plane]) -> None:
    """(3006,0010) ReferencedFrameOfReferenceSequence: the frame, the study, the series, and each of its images."""
    header = images[0].header
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = header.text(Tag.SeriesInstanceUID)
    files = {plane.header.path: plane.header for plane in images}
    series.ContourImageSequence = [_reference(header) for header in files.values()]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY, header.text(Tag.StudyInstanceUID)
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = header.text(Tag.FrameOfReferenceUID)
    frame.RTReferencedStudySequence = [study]
    content.ReferencedFrameOfReferenceSequence = [frame]


def _list_rois(
    content: Dataset,
    values: list[int],
    names: list[str],
    meant: list[Concept | None],
    shades: dict[int, list[int]],
    algorithm: str | None,
) -> None:
    listed, drawn, observed = [], [], []
    for number, (value, name, concept) in enumerate(zip(values, names, meant, strict=True), 1):
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = value, name
        roi.ReferencedFrameOfReferenceUID = content.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "AUTOMATIC" if algorithm else "MANUAL"
        if algorithm:
            roi.ROIGenerationDescription = algorithm
        contours.ReferencedROINumber = value
        if value in shades:
            contours.ROIDisplayColor = shades[value]
        observation.ObservationNumber, observation.ReferencedROINumber = number, value
        observation.RTROIInterpretedType = observation.ROIInterpreter = ""
        if concept:
            observation.SegmentedPropertyCategoryCodeSequence = [code_item(*category_code(concept))]
            observation.RTROIIdentificationCodeSequence = [type_item(concept)]
        listed.append(roi)
        drawn.append(contours)
        observed.append(observation)
    content.StructureSetROISequence, content.ROIContourSequence = listed, drawn
    content.RTROIObservationsSequence = observed


def _draw(content: Dataset, numbers: np.ndarray, geometry: Geometry, values: list[int], planes: ImagePlanes) -> None:
    decimals = int(np.clip(math.ceil(-math.log10(min(geometry.spacing) * _SHARE)), 2, _FINEST))
    drawn: dict[int, list[Dataset]] = {value: [] for value in values}
    references = {plane: [_image_reference(image)] for plane, image in planes.images.items()}
    for value, plane, points in contours_of(numbers, geometry, values, planes.axis):
        item = Dataset()
        item.ContourNumber = len(drawn[value]) + 1
        item.ContourImageSequence = references[plane]
        item.ContourGeometricType, item.NumberOfContourPoints = CLOSED, len(points)
        item[_CONTOUR_DATA] = _numbers(points, decimals)
        item.set_original_encoding(True, True, default_encoding)  # of the file, so that pydicom leaves the bytes alone
        drawn[value].append(item)
    for contours, value in zip(content.ROIContourSequence, values, strict=True):
        contours.ContourSequence = drawn[value]


def _numbers(points: np.ndarray, decimals: int) -> RawDataElement:
    """(3006,0050) as it lies in the file; pydicom's own objects for each number take a hundred times as long."""
    texts = [f"{number:.{decimals}f}".rstrip("0").rstrip(".") for number in points.ravel().tolist()]
    data = "\\".join("0" if text == "-0" else text for text in texts).encode()
    data += b" " * (len(data) % 2)
    return RawDataElement(_CONTOUR_DATA, None, len(data), data, 0, True, True)


# What became of it ----------------------------------------------------------------------------------------------------


def _read_back(path: str, numbers: np.ndarray, geometry: Geometry, names: list[str]) -> tuple[WrittenRoi, ...]:
    """Compare the contours of a file with the mask that they were made of, class by class."""
    written = []
    counts = np.sum([np.bincount(plane.ravel(), minlength=len(names) + 1) for plane in numbers], axis=0)
    for number, (roi, name) in enumerate(zip(read_rois(path), names, strict=True), 1):
        placed = place(roi, geometry, path)
        stack = np.moveaxis(numbers, placed.axis, 0)
        size, enclosed, common, volume = int(counts[number]), 0, 0, 0.0
        for plane, polygons in placed.planes.items():
            volume += sum(abs(signed_area(polygon)) for polygon in polygons)  # they lie apart, their holes are keyholes
            box, found = fill_box(polygons, stack.shape[1:])
            enclosed += int(np.count_nonzero(found))
            common += int(np.count_nonzero(stack[plane][box][found] == number))
        one = geometry.voxel_volume
        points = sum(len(contour.points) for contour in roi.contours)
        dice = 2 * common / (size + enclosed)
        written.append(WrittenRoi(roi.number, name, len(roi.contours), points, size * one, volume * one, dice))
    return tuple(written)


def _warn_of_losses(path: str, written: Sequence[WrittenRoi]) -> None:
    lost = [roi for roi in written if not roi.is_close]
    if lost:
        listed = ", ".join(
            f"{roi.name!r} {roi.contour_volume:.6g} mm3 of {roi.voxel_volume:.6g}, Dice {roi.dice:.3f}"
            for roi in lost[:5]
        )
        warnings.warn(
            f"{path}: contours hold another volume than the voxels (by more than {MOST_VOLUME_ERROR:.0%}, or a Dice "
            f"below {LEAST_DICE}), as corners of small objects are cut: {listed}"
            f"{f' and {len(lost) - 5} more' if len(lost) > 5 else ''}. A DICOM SEG keeps every voxel",
            stacklevel=4,
        )
