"""The volume of each class of a mask, as text, as JSON, and as a structured report (TID 1500) through highdicom."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d._extras import import_extra
from faimed3d._keywords import strict_keywords
from faimed3d.dicom.header import dataset_bytes, quiet, read_dataset
from faimed3d.dicom.segmentation.seg_writing import source_image
from faimed3d.dicom.segmentation.segment_matching import segments_of_classes
from faimed3d.dicom.writing.belonging import refuse_apart
from faimed3d.dicom.writing.concepts import (
    NO_CONCEPT,
    Concept,
    GivenConcepts,
    category_code,
    concepts_of,
    laterality_code,
)
from faimed3d.dicom.writing.elements import check_description, check_text
from faimed3d.dicom.writing.labels import label_names, label_values
from faimed3d.dicom.writing.objects import highdicom_errors, target_file, write_checked
from faimed3d.dicom.writing.stored_values import check_volume
from faimed3d.dicom.writing.template import template_dataset, template_files
from faimed3d.geometry import Geometry


@dataclass(frozen=True, slots=True)
class ClassVolume:
    """One class of a mask.

    Attributes:
        label: its value in the mask.
        name: its name.
        voxels: how many it has.
        volume: mm³, that of one voxel times their number.
        concept: its code; None: there is none.
        segment: its number in the stored segmentation; None: it is not in it.
    """

    label: int
    name: str
    voxels: int
    volume: float
    concept: Concept | None = None
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeReport:
    """The volume of each class of a mask of a scan; ``str`` is one line, :meth:`save` writes a structured report.

    Attributes:
        classes: in rising order of their labels.
        files: the images that the mask was drawn on.
        algorithm: name of the program or network that made the mask; None: drawn by hand.
        segmentation: the file that the mask is stored in, to which a structured report refers.

    >>> report = VolumeReport((ClassVolume(1, "liver", 1200, 1500.0), ClassVolume(2, "cyst", 3, 3.75)))
    >>> print(report)
    liver 1500 mm3, cyst 3.75 mm3
    >>> report.to_dict()["classes"][1]
    {'label': 2, 'name': 'cyst', 'voxels': 3, 'volume_mm3': 3.75}
    """

    classes: tuple[ClassVolume, ...]
    files: tuple[str, ...] = ()
    algorithm: str | None = None
    segmentation: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{one.name} {one.volume:.6g} mm3" for one in self.classes) or "no class"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the classes, UIDs of the series and its study, the software; nothing of a patient."""
        found: dict[str, Any] = {
            "classes": [_plain(one) for one in self.classes],
            "algorithm": self.algorithm,
            "software": f"faimed3d {version('faimed3d')}",
        }
        if self.files:
            header = read_dataset(self.files[0], ["StudyInstanceUID", "SeriesInstanceUID"])
            found["study_uid"] = str(header.get("StudyInstanceUID", ""))
            found["series_uid"] = str(header.get("SeriesInstanceUID", ""))
        if self.segmentation:
            found["segmentation_uid"] = str(read_dataset(self.segmentation, ["SOPInstanceUID"]).SOPInstanceUID)
        return found

    @strict_keywords
    def save(
        self, path: str | bytes | os.PathLike[str], *, series_description: str = "", series_number: int = 1
    ) -> None:
        """Write a structured report, whole or not at all: TID 1500, Measurement Report, in a Comprehensive 3D SR.

        Each class is a measurement group with its name, its code, a volume in mm³ (SCT 118565006) and the images that
        it was measured on: of a volume of interest (TID 1411) that is a segment of the stored segmentation, where
        there is one, else of images (TID 1501). The elements of ``TEMPLATE_KEYWORDS`` are taken from these, and nothing
        else of a patient.
        The same report is the same object, by its UID, whenever it is saved.

        Args:
            path: the file to write; replaced where it exists. Its folder must exist. '.json': :meth:`to_dict` as JSON.
            series_description: (0008,103E), at most 64 characters.
            series_number: (0020,0011), from 1.

        Raises:
            ImportError: highdicom is not installed.
            FileNotFoundError: no such folder.
            ValueError: no class, no images to refer to, one without identifiers, text that its element cannot hold.
            OSError: the disk is full or read-only; nothing is left behind.
        """
        path = target_file(path)
        if path.casefold().endswith(".json"):
            _write_json(path, self.to_dict())
            return
        highdicom = import_extra("highdicom", "dicom-seg", "a structured report")
        if not self.files:
            raise ValueError(
                f"{path}: a structured report refers to images, and this one knows none: report(like=scan)"
            )
        if not self.classes:
            raise ValueError(
                f"{path}: a structured report has at least one measurement, and this mask is empty and names no class: "
                "set its codes, such as {1: 'tumour'}, for a volume of 0"
            )
        check_description(series_description, series_number, "report")
        with quiet():
            sources, taken = [source_image(file) for file in self.files], template_dataset(self.files[0])
            stored = source_image(self.segmentation) if self.segmentation else None
            with highdicom_errors(path, "report", self.files[0]):
                document = highdicom.sr.Comprehensive3DSR(
                    evidence=[*sources, stored] if stored else sources,
                    content=_content(highdicom, self, sources, stored),
                    series_instance_uid=_uid_of("series", self, series_description, series_number),
                    series_number=series_number,
                    sop_instance_uid=_uid_of("object", self, series_description, series_number),
                    instance_number=1,
                    manufacturer="faimed3d",
                    series_description=series_description or None,
                )
                document.SpecificCharacterSet = "ISO_IR 192"
                document.ManufacturerModelName = "faimed3d"
                document.SoftwareVersions = version("faimed3d")
                document.update(taken)
            content = dataset_bytes(document, path)
        write_checked(path, content, dcmread)


def volume_report(
    mask: np.ndarray,
    geometry: Geometry,
    template: str | os.PathLike[str] | Sequence[str],
    codes: Mapping[int, str] | None = None,
    algorithm: str | None = None,
    segmentation: str | os.PathLike[str] | None = None,
    concepts: GivenConcepts | None = None,
) -> VolumeReport:
    """Measure the classes of a mask.

    Args:
        mask: (D, H, W) of whole numbers, 0 is background.
        geometry: its place.
        template: the images that it was drawn on, as of ``write_seg``.
        codes: name by label; one that the mask does not have has no volume.
        algorithm: name of the program or network that made the mask, at most 64 characters; None: drawn by hand.
        segmentation: a DICOM Segmentation of the same mask, to whose segments a structured report refers.
        concepts: what a class is, by its name, as of ``write_seg``.

    Raises:
        ValueError: the mask lies apart from the images; the segmentation holds another mask; a concept for a name that
            no class has.
    """
    mask = check_volume(mask, geometry)
    if algorithm is not None:
        check_text("algorithm", algorithm, 1)
    named = {int(label): name for label, name in (codes or {}).items() if label > 0}
    present = label_values(mask) if mask.any() else []
    values = sorted({*present, *named})
    files = template_files(template)
    refuse_apart(mask, geometry, files)
    counts = dict(zip(*np.unique(mask, return_counts=True), strict=True))
    names = label_names(values, named, None)
    segments = segments_of_classes(segmentation, mask, geometry) if segmentation is not None else {}
    classes = []
    for label, name, concept in zip(values, names, concepts_of(names, concepts), strict=True):
        voxels = int(counts.get(label, 0))
        volume = voxels * geometry.voxel_volume
        classes.append(ClassVolume(label, name, voxels, volume, concept, segments.get(label)))
    file = None if segmentation is None else os.fsdecode(segmentation)
    return VolumeReport(tuple(classes), tuple(files), algorithm, file)


def _uid_of(what: str, report: VolumeReport, *words: str | int) -> str:
    """A UID that is the same whenever the same report is saved, so that an archive has it once (PS3.5 B.2)."""
    text = repr((what, report.to_dict(), len(report.files), words))
    return f"2.25.{uuid5(NAMESPACE_OID, text).int}"


def _plain(one: ClassVolume) -> dict[str, Any]:
    found: dict[str, Any] = {"label": one.label, "name": one.name, "voxels": one.voxels, "volume_mm3": one.volume}
    if one.concept:
        concept = one.concept
        found["code"] = {"value": concept.value, "scheme": concept.scheme, "meaning": concept.meaning}
        if concept.laterality:
            found["laterality"] = concept.laterality
    if one.segment is not None:
        found["segment"] = one.segment
    return found


def _write_json(path: str, found: dict[str, Any]) -> None:
    with unfinished_folder(path) as unfinished:
        made = os.path.join(unfinished, "report.json")
        with open(made, "w", encoding="utf-8") as file:
            json.dump(found, file, ensure_ascii=False, indent=1)
        replace_file(made, path)


def _content(highdicom: Any, report: VolumeReport, sources: Sequence[Dataset], stored: Dataset | None) -> Any:
    sr = highdicom.sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid_of("device", report),
        name=report.algorithm or "faimed3d",
        manufacturer_name="faimed3d",
        model_name="faimed3d",
    )
    observer = sr.ObserverContext(
        observer_type=sr.CodedConcept("121007", "DCM", "Device"), observer_identifying_attributes=device
    )
    groups = []
    for one in report.classes:
        volume = sr.Measurement(
            name=sr.CodedConcept("118565006", "SCT", "Volume"),
            value=one.volume,
            unit=sr.CodedConcept("mm3", "UCUM", "cubic millimeter"),
        )
        tracked = sr.TrackingIdentifier(uid=_uid_of("tracking", report, one.label), identifier=one.name)
        common = {
            "tracking_identifier": tracked,
            "measurements": [volume],
            **_finding(sr, one.concept),
        }
        if stored is not None and one.segment is not None:
            images = [sr.SourceImageForSegmentation(image.SOPClassUID, image.SOPInstanceUID) for image in sources]
            segment = sr.ReferencedSegment(stored.SOPClassUID, stored.SOPInstanceUID, one.segment, source_images=images)
            groups.append(sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common))
        else:
            images = [sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID) for image in sources]
            groups.append(sr.MeasurementsAndQualitativeEvaluations(source_images=images, **common))
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )


def _finding(sr: Any, concept: Concept | None) -> dict[str, Any]:
    """What was measured, and of a structure of the body where: its code, with the side."""
    if concept is None:
        return {"finding_type": sr.CodedConcept(*NO_CONCEPT)}
    code = sr.CodedConcept(concept.value, concept.scheme, concept.meaning)
    found = {"finding_type": code, "finding_category": sr.CodedConcept(*category_code(concept))}
    if concept.category == "anatomical structure":
        side = sr.CodedConcept(*laterality_code(concept)) if concept.laterality else None
        found["finding_sites"] = [sr.FindingSite(code, laterality=side)]
    return found
