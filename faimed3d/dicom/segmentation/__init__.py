"""DICOM Segmentation objects (PS3.3 A.51): read into labels, written from a mask."""
