"""DICOM folders and files: what they hold, one volume out of them, their headers as a table.

A volume comes back right or not at all: every fault is an exception of ``faimed3d.errors`` that names the file, the
fault and the way out. Patient data is read when it is asked for (``header_table``, ``dicom_inventory(tags=...)``) and
is in no message.
"""

from faimed3d.dicom.header import header_table, is_dicom
from faimed3d.dicom.inventory import dicom_inventory
from faimed3d.dicom.reading import read_dicom
from faimed3d.dicom.writing.series import write_series

__all__ = ["dicom_inventory", "header_table", "is_dicom", "read_dicom", "write_series"]
