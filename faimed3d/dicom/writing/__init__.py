"""Volumes as new DICOM series, and what they take from a template."""
