"""Volumes as DICOM series: what is written, what is taken from a template, and what the elements can hold."""

from faimed3d.dicom.writing.series import write_series
from faimed3d.dicom.writing.template import TEMPLATE_KEYWORDS

__all__ = ["TEMPLATE_KEYWORDS", "write_series"]
