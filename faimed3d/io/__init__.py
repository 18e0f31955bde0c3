"""Volumes on disk: any file or DICOM folder to (array, geometry, header), and an array with its geometry to a file.

Each format has a module that reads it: :mod:`~faimed3d.io.nifti`, :mod:`~faimed3d.io.nrrd`,
:mod:`~faimed3d.io.metaimage`, :mod:`~faimed3d.io.mgh`, :mod:`~faimed3d.io.npy`, and the room :mod:`faimed3d.dicom`.
SimpleITK images are taken and given, but none of its readers and writers is used: they do not notice cuts, take names
for drives and patterns, and end the process at a name that is no UTF-8.
"""

from faimed3d.io.formats import READ_SUFFIXES, WRITE_SUFFIXES, volume_suffix
from faimed3d.io.reading import read
from faimed3d.io.simpleitk import from_sitk, to_sitk
from faimed3d.io.source_header import SourceHeader
from faimed3d.io.writing import write

__all__ = ["READ_SUFFIXES", "WRITE_SUFFIXES", "SourceHeader", "from_sitk", "read", "to_sitk", "volume_suffix", "write"]
