"""Archives that speak DICOMweb (PS3.18): scans are found and fetched, and what was made of them is stored there."""

from faimed3d.archive.dicom_web import DicomWeb

__all__ = ["DicomWeb"]
