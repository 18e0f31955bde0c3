"""The header of one DICOM file: which elements are read, how, and what a message may quote of them.

Imports run from ``tags`` over ``file_header`` and ``parser`` to ``header_table``. ``dataset`` is the way to pydicom's
own data sets, and ``confidentiality`` says which elements are of a patient.
"""

from faimed3d.dicom.header.dataset import dataset_bytes, quiet, read_dataset, value_text
from faimed3d.dicom.header.file_header import FileHeader
from faimed3d.dicom.header.header_table import header_table
from faimed3d.dicom.header.parser import is_dicom, read_header
from faimed3d.dicom.header.tags import PHILIPS_LABELS, PRIVATE_BLOCKS, WANTED, Tag, name_tag, quote_value

__all__ = [
    "PHILIPS_LABELS",
    "PRIVATE_BLOCKS",
    "WANTED",
    "FileHeader",
    "Tag",
    "dataset_bytes",
    "header_table",
    "is_dicom",
    "name_tag",
    "quiet",
    "quote_value",
    "read_dataset",
    "read_header",
    "value_text",
]
