"""Shapes of known volume on DICOM scans in every orientation, as structure sets and as masks: pydicom and numpy alone.

Axes of a grid are (slice, row, column); points of a plane are (row, column) indices, whose unit is a voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

SLICES, GAP = 12, 2.5  # their number, and mm between them
PIXELS = {"0.8 x 1.1 mm": ((40, 48), (0.8, 1.1)), "square": ((48, 48), (0.9, 0.9))}
"""Rows and columns of a scan, and mm between rows and between columns."""
_CENTRE = (19.3, 23.6)


@dataclass(frozen=True)
class Shape:
    """An object that is the same within each slice.

    Attributes:
        contours: slice -> polygons (N, 2), combined by exclusive or.
        area: slice -> exact area in pixels.
        inside: (slice, row, column) indices -> whether a point is inside.
    """

    contours: Callable[[int], list[np.ndarray]]
    area: Callable[[int], float]
    inside: Callable[..., np.ndarray]

    @property
    def volume(self) -> float:
        """Exact volume in voxels."""
        return sum(self.area(d) for d in range(SLICES))


def _circle(radius, centre=_CENTRE, reverse=False, count=360):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.003
    radius = radius * np.sqrt(2 * np.pi / count / np.sin(2 * np.pi / count))  # a polygon of the circle's area
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + centre
    return ring[::-1] if reverse else ring


def _rectangle(low, high):
    (a, b), (c, d) = low, high
    return np.array([(a, b), (a, d), (c, d), (c, b)], float)


def _from(h, w, centre=_CENTRE):
    return np.hypot(h - centre[0], w - centre[1])


def _rings(*radii, keyhole=False):
    """Discs within each other in slices 3 to 8, every second one a hole."""

    def contours(d):
        if not 3 <= d <= 8:
            return []
        if not keyhole:
            return [_circle(radius) for radius in radii]
        outer, hole = _circle(radii[0]), _circle(radii[1], reverse=True)
        return [np.concatenate([outer, outer[:1], hole[-1:], hole])]

    def inside(d, h, w):
        count = sum((_from(h, w) < radius).astype(int) for radius in radii)
        return (d >= 3) & (d <= 8) & (count % 2 == 1)

    area = np.pi * sum((-1) ** k * radius**2 for k, radius in enumerate(radii))
    return Shape(contours, lambda d: area if 3 <= d <= 8 else 0.0, inside)


def _ball(radius, middle=5.5):
    """A sphere in voxels, whose slices are discs."""

    def squared(d):
        return radius**2 - (3 * (d - middle)) ** 2

    return Shape(
        lambda d: [_circle(np.sqrt(squared(d)))] if squared(d) > 1 else [],
        lambda d: np.pi * squared(d) if squared(d) > 1 else 0.0,
        lambda d, h, w: (squared(d) > 1) & (_from(h, w) ** 2 < squared(d)),
    )


def _discs(slices, *discs):
    """(radius, centre) discs, apart from each other, in some slices."""
    return Shape(
        lambda d: [_circle(*disc) for disc in discs] if d in slices else [],
        lambda d: np.pi * sum(radius**2 for radius, _ in discs) if d in slices else 0.0,
        lambda d, h, w: np.isin(d, slices) & np.any([_from(h, w, centre) < r for r, centre in discs], axis=0),
    )


def _box(slices, low, high):
    """A rectangle of whole pixels from the first (row, column) to before the last."""
    edge = np.array(low) - 0.5, np.array(high) - 0.5
    return Shape(
        lambda d: [_rectangle(*edge)] if d in slices else [],
        lambda d: float(np.prod(edge[1] - edge[0])) if d in slices else 0.0,
        lambda d, h, w: np.isin(d, slices) & (h > edge[0][0]) & (h < edge[1][0]) & (w > edge[0][1]) & (w < edge[1][1]),
    )


def _corner():
    """An L, which is not convex."""
    path = np.array([(6.2, 6.3), (6.2, 30.3), (14.2, 30.3), (14.2, 16.3), (33.2, 16.3), (33.2, 6.3)])

    def inside(d, h, w):
        h, w = h - 0.2, w - 0.3
        arm = (h > 6) & (h < 14) & (w > 6) & (w < 30)
        leg = (h > 6) & (h < 33) & (w > 6) & (w < 16)
        return (d >= 2) & (d <= 9) & (arm | leg)

    return Shape(lambda d: [path] if 2 <= d <= 9 else [], lambda d: 8 * 24 + 19 * 10.0 if 2 <= d <= 9 else 0.0, inside)


SHAPES = {
    "ball": _ball(15.7),
    "L": _corner(),
    "ring": _rings(13.4, 7.3),
    "ring, keyhole": _rings(13.4, 7.3, keyhole=True),
    "nested rings": _rings(16.2, 12.1, 8.3, 4.2),
    "3 objects a slice": _discs(range(2, 10), (6.3, (9.4, 11.3)), (5.2, (27.6, 14.2)), (7.7, (20.1, 34.4))),
    "object in a ring": Shape(
        *(lambda ring, core: (
            lambda d: ring.contours(d) + core.contours(d),
            lambda d: ring.area(d) + core.area(d),
            lambda d, h, w: ring.inside(d, h, w) | core.inside(d, h, w),
        ))(_rings(15.3, 9.2), _discs(range(3, 9), (3.4, (18.7, 22.8))))
    ),
    "single slice": _discs([6], (8.3, _CENTRE)),
    "2 voxels": _box([5], (17, 20), (18, 22)),
    "2 voxels wide": _box(range(3, 9), (17, 20), (19, 22)),
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """Where the voxels of a scan lie in the patient.

    Attributes:
        row, column: direction cosines along a row (columns rise) and along a column.
        step: mm from slice to slice, as a vector.
        matrix: rows and columns.
        spacing: mm between rows, and between columns.
        origin: mm of the first voxel.
        uids: of the images, one a slice; the others are fixed.
    """

    row: np.ndarray
    column: np.ndarray
    step: np.ndarray
    matrix: tuple[int, int]
    spacing: tuple[float, float]
    origin: np.ndarray = field(default_factory=lambda: np.array([-31.5, 17.25, 40.0]))
    uids: tuple[str, ...] = field(default_factory=lambda: tuple(generate_uid(None) for _ in range(SLICES)))

    @property
    def steps(self) -> np.ndarray:
        """(3, 3) mm: vectors from slice to slice, row to row and column to column."""
        return np.stack([self.step, self.column * self.spacing[0], self.row * self.spacing[1]])

    @property
    def voxel(self) -> float:
        """mm³ of a voxel."""
        return abs(float(np.linalg.det(self.steps)))

    def points(self, index: np.ndarray) -> np.ndarray:
        """Indices (N, 3) in the patient (N, 3) mm."""
        return self.origin + np.asarray(index, float) @ self.steps

    def index(self, points: np.ndarray) -> np.ndarray:
        """The way back."""
        return (np.asarray(points, float) - self.origin) @ np.linalg.inv(self.steps)

    def mask(self, shape: Shape) -> np.ndarray:
        """Voxels (D, H, W) whose centre is inside."""
        return shape.inside(*np.indices((SLICES, *self.matrix)).astype(float))

    def write(self, folder: Path) -> Path:
        """Write the images of the scan, a CT."""
        folder.mkdir()
        for d, uid in enumerate(self.uids):
            image = _common(CTImageStorage, uid)
            image.Modality, image.SeriesInstanceUID, image.InstanceNumber = "CT", "2.25.31", d + 1
            image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            image.ImagePositionPatient = _decimals(self.points([[d, 0, 0]]))
            image.ImageOrientationPatient = _decimals(np.concatenate([self.row, self.column]))
            image.PixelSpacing, image.SliceThickness = list(self.spacing), GAP
            image.SliceLocation = d * GAP
            image.Rows, image.Columns = self.matrix
            image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 1
            image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
            image.RescaleSlope, image.RescaleIntercept = 1, 0
            image.add_new(0x7FE00010, "OW", np.full(self.matrix, d, "<i2").tobytes())
            image.save_as(folder / f"{d:03}.dcm", enforce_file_format=True)
        return folder

    def write_contours(self, path: Path, shape: Shape) -> Path:
        """Write the contours of a shape as a structure set with all references that readers ask for."""
        content = _common(RTStructureSetStorage, "2.25.4000")
        content.Modality, content.SeriesInstanceUID, content.InstanceNumber = "RTSTRUCT", "2.25.32", 1
        content.StructureSetLabel, content.StructureSetDate, content.StructureSetTime = "shapes", "20240101", "120000"
        content.Manufacturer = content.StructureSetName = "shapes"
        frame, study, series, roi, drawn, seen = (Dataset() for _ in range(6))
        series.SeriesInstanceUID = "2.25.31"
        series.ContourImageSequence = [_reference(uid) for uid in self.uids]
        study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "2.25.30"
        study.RTReferencedSeriesSequence = [series]
        frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = "2.25.33", [study]
        content.ReferencedFrameOfReferenceSequence = [frame]
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 1, "shape", "MANUAL"
        roi.ReferencedFrameOfReferenceUID = "2.25.33"
        seen.ObservationNumber = seen.ReferencedROINumber = drawn.ReferencedROINumber = 1
        seen.RTROIInterpretedType, seen.ROIInterpreter = "ORGAN", ""
        drawn.ROIDisplayColor, drawn.ContourSequence = [255, 0, 0], []
        for d in range(SLICES):
            for polygon in shape.contours(d):
                item = Dataset()
                item.ContourImageSequence = [_reference(self.uids[d])]
                item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(polygon)
                item.ContourData = [f"{v:.4f}" for v in self.points(np.insert(polygon, 0, d, axis=1)).ravel()]
                drawn.ContourSequence.append(item)
        content.StructureSetROISequence, content.ROIContourSequence = [roi], [drawn]
        content.RTROIObservationsSequence = [seen]
        content.save_as(path, enforce_file_format=True)
        return path


def _common(kind, uid):
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = kind
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = uid
    content.SpecificCharacterSet, content.StudyInstanceUID = "ISO_IR 192", "2.25.30"
    content.FrameOfReferenceUID, content.PositionReferenceIndicator = "2.25.33", ""
    content.PatientName, content.PatientID, content.PatientBirthDate, content.PatientSex = "Shape", "1", "", ""
    content.StudyID, content.StudyDate, content.StudyTime, content.AccessionNumber = "1", "20240101", "120000", ""
    content.ReferringPhysicianName, content.SeriesNumber = "", 1
    return content


def _reference(uid):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    return item


def _decimals(values):
    return [f"{value:.10f}".rstrip("0") for value in np.ravel(values)]


def scans(pixels: str) -> dict[str, Scan]:
    """Six orientations of planes along the patient's axes, an oblique one, and slices of a tilted gantry."""

    def upright(row, column):
        row, column = np.array(row, float), np.array(column, float)
        return Scan(row, column, GAP * np.cross(row, column), *PIXELS[pixels])

    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    row, column = np.round(turn[:, 0], 9), np.round(turn[:, 1], 9)
    return {
        "axial": upright((1, 0, 0), (0, 1, 0)),
        "axial, prone": upright((-1, 0, 0), (0, -1, 0)),
        "sagittal": upright((0, 1, 0), (0, 0, -1)),
        "sagittal, mirrored": upright((0, -1, 0), (0, 0, -1)),
        "coronal": upright((1, 0, 0), (0, 0, -1)),
        "coronal, mirrored": upright((-1, 0, 0), (0, 0, -1)),
        "oblique": upright(row, column),
        # the bed moves along z, the planes are turned about x by 17 degrees
        "tilted": Scan(
            np.array([1.0, 0, 0]),
            np.array([0, np.cos(0.3), -np.sin(0.3)]),
            np.array([0, 0, GAP / np.cos(0.3)]),
            *PIXELS[pixels],
        ),
    }
