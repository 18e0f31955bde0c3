"""DICOM folders and files: what they hold, one volume out of them, their headers as a table.

A volume comes back right or not at all: every fault is an exception of ``faimed3d.errors`` that names the file, the
fault and the way out. Patient data is read when it is asked for (``header_table``, ``dicom_inventory(tags=...)``) and
is in no message.

The modules, bottom first; imports run one way:

- ``header``: the elements of one file; ``planes``: where its images lie;
- ``segmentation.planes``, ``image_planes``: the planes of each kind of file;
- ``grouping``, ``checks``, ``contents``: planes to volumes, and what is wrong with them;
- ``pixels``, ``segmentation.decoding``: stored words to values;
- ``inventory``, ``reading``, ``suv``, ``structure_sets``: what users call;
- ``writing``, ``segmentation.writing``: what is written is read back.
"""

from faimed3d.dicom.header import header_table, is_dicom
from faimed3d.dicom.inventory import dicom_inventory
from faimed3d.dicom.segmentation.seg_reading import read_seg
from faimed3d.dicom.segmentation.seg_writing import write_seg
from faimed3d.dicom.structure_sets.reading import read_rtstruct
from faimed3d.dicom.structure_sets.rtstruct_writing import write_rtstruct
from faimed3d.dicom.suv import suv_factor
from faimed3d.dicom.volume_reading import read_dicom
from faimed3d.dicom.writing import write_series
from faimed3d.dicom.writing.concepts import Concept

__all__ = [
    "Concept",
    "dicom_inventory",
    "header_table",
    "is_dicom",
    "read_dicom",
    "read_rtstruct",
    "read_seg",
    "suv_factor",
    "write_rtstruct",
    "write_seg",
    "write_series",
]
