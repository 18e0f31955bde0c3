"""Stored pixels to real values: formats, decoding, and the repairs that ``strict=False`` allows.

Imports run from ``fragments`` over ``format`` and ``compressed`` to ``decoding``; ``padding`` and ``repair`` work on
the result.
"""

from faimed3d.dicom.pixels.decoding import decode_planes, equal_pixels
from faimed3d.dicom.pixels.format import pixel_format
from faimed3d.dicom.pixels.padding import padding_of_planes
from faimed3d.dicom.pixels.repair import resample_stack

__all__ = ["decode_planes", "equal_pixels", "padding_of_planes", "pixel_format", "resample_stack"]
