"""Write RT Structure Sets of known shapes with pydicom: plain functions for the tests, nothing read back here."""

import numpy as np
from dicom_series import OBLIQUE, ORIGIN, SPACING, decimal, direction_of
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from faimed3d.geometry import Geometry

FRAME = "1.2.3.5"  # of the series of dicom_series


def contour(points, kind="CLOSED_PLANAR", decimals=None):
    """A contour through points (N, 3) mm."""
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
    points = np.asarray(points, float) if decimals is None else np.round(points, decimals)
    item.ContourData = [decimal(value) for value in np.ravel(points)]
    return item


def structure_set(path, rois, frame=FRAME, syntax=ExplicitVRLittleEndian):
    """Write a file of ROIs, name -> contours (items, or points (N, 3) mm of closed ones); return its path."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = RTStructureSetStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "2.25.77"
    data.SpecificCharacterSet, data.Modality = "ISO_IR 192", "RTSTRUCT"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientName = "1.2.3", "1.2.3.9", "Doe^Jane"
    listed, drawn = [], []
    for number, (name, contours) in enumerate(rois.items(), 5):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        if frame:
            roi.ReferencedFrameOfReferenceUID = frame
        item.ReferencedROINumber = number
        item.ContourSequence = Sequence([one if isinstance(one, Dataset) else contour(one) for one in contours])
        listed.append(roi)
        drawn.append(item)
    data.StructureSetROISequence, data.ROIContourSequence = Sequence(listed), Sequence(drawn[::-1])
    data.save_as(path, enforce_file_format=True)
    return path


def circle(radius, centre=(0, 0), count=90, clockwise=False):
    """Points (N, 2) of a circle."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.1
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + centre
    return ring[::-1] if clockwise else ring


def rectangle(low, high):
    """Corners (4, 2) of a rectangle."""
    (a, b), (c, d) = low, high
    return np.array([(a, b), (a, d), (c, d), (c, b)], float)


def on_plane(geometry, points, plane, axis=0):
    """Points (N, 2) of indices in a plane of a grid, in the patient (N, 3)."""
    return geometry.index_to_world(np.insert(np.asarray(points, float), axis, plane, axis=1))


def grids(shape):
    """Lopsided grids by name: six storage orders, an oblique one, and the slices of a tilted gantry."""

    def stored(code):
        return Geometry(shape, SPACING, ORIGIN).reorient(code).replace(shape=shape)

    tilted = np.eye(3)
    tilted[:, 2] = 0, -np.sin(0.3), np.cos(0.3)  # each slice is shifted in its plane
    return {
        **{code: stored(code) for code in ("LPS", "RAI", "LSP", "ASL", "PIR", "SAR")},
        "oblique": Geometry(shape, SPACING, ORIGIN, direction_of(OBLIQUE).ravel()),
        "tilted": Geometry(shape, SPACING, ORIGIN, tilted.ravel()),
    }
