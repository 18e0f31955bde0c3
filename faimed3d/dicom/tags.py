"""The DICOM tags this package looks at, and how a message names one."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

__all__ = ["PIXELS", "WANTED", "T", "name_tag", "standard_vr"]

PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID AcquisitionDate AcquisitionTime AcquisitionDateTime
ContentDate ContentTime Modality SeriesDescription SliceThickness EchoTime InversionTime EchoNumbers FlipAngle
TriggerTime SpacingBetweenSlices FrameReferenceTime DiffusionBValue DiffusionGradientOrientation ConvolutionKernel
SeriesInstanceUID SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient
TemporalPositionIdentifier StackID FrameOfReferenceUID SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows
Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope
ModalityLUTSequence Units DetectorInformationSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
GridFrameOffsetVector DoseGridScaling StudyInstanceUID
"""


class T:
    """Tag numbers by keyword: ``T.PixelSpacing`` is 0x00280030; private ones carry their vendor's name."""

    SiemensCreator = 0x00190010
    SiemensMosaicCount = 0x0019100A  # "NumberOfImagesInMosaic", private creator SIEMENS MR HEADER
    SiemensBValue = 0x0019100C
    SiemensGradient = 0x0019100E
    GEBValue = 0x00431039
    PhilipsBValue = 0x20011003


for _keyword in _KEYWORDS.split():
    setattr(T, _keyword, tag_for_keyword(_keyword))

WANTED = frozenset(value for name, value in vars(T).items() if not name.startswith("_"))


@cache
def standard_vr(tag):
    """VR of a tag in the standard's dictionary, such as ``'DS'`` or ``'US or SS'``; ``'UN'`` for one not in it."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def name_tag(tag):
    """How a message names a tag: ``(0028,0030) PixelSpacing``.

    >>> name_tag(0x00280030)
    '(0028,0030) PixelSpacing'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_for_tag(tag)}".rstrip()
