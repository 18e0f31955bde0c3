"""DICOM folders and files: what they hold, one volume out of them, their headers as a table.

A volume comes back right or not at all: every fault is an exception of ``faimed3d.errors`` that names the file, the
fault and the way out. Patient data is read when it is asked for (``header_table``, ``dicom_inventory(tags=...)``) and
is in no message.
"""

from .header import is_dicom
from .inventory import dicom_inventory
from .read import read_dicom
from .table import header_table
from .write import write_series

__all__ = ["dicom_inventory", "header_table", "is_dicom", "read_dicom", "write_series"]
