"""The DICOM tags this package looks at, and how a message names one."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

__all__ = ["PIXELS", "WANTED", "Tag", "name_tag", "standard_vr"]

PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID AcquisitionDate AcquisitionTime AcquisitionDateTime
ContentDate ContentTime Modality SeriesDescription SliceThickness EchoTime InversionTime EchoNumbers FlipAngle
TriggerTime SpacingBetweenSlices FrameReferenceTime DiffusionBValue DiffusionGradientOrientation ConvolutionKernel
SeriesInstanceUID SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient
TemporalPositionIdentifier StackID FrameOfReferenceUID SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows
Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope
ModalityLUTSequence Units DetectorInformationSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
GridFrameOffsetVector DoseGridScaling StudyInstanceUID PatientID KVP ConcatenationUID InConcatenationNumber
InConcatenationTotalNumber NumberOfSlices SliceVector
"""


class Tag:
    """Tag numbers by keyword: ``Tag.PixelSpacing`` is 0x00280030; private ones carry their vendor's name.

    A private element means what its block's creator says (PS3.5 section 7.8.1): look at ``SiemensCreator`` and the like
    first.
    """

    SiemensCreator = 0x00190010  # SIEMENS MR HEADER
    SiemensMosaicCount = 0x0019100A  # "NumberOfImagesInMosaic"
    SiemensBValue = 0x0019100C
    SiemensGradient = 0x0019100E
    GECreator = 0x00430010  # GEMS_PARM_01
    GEBValue = 0x00431039
    PhilipsCreator = 0x20010010  # Philips Imaging DD 001
    PhilipsBValue = 0x20011003
    UnitedCreator = 0x00650010  # Image Private Header
    UnitedBValue = 0x00651009
    UnitedGradient = 0x00651037
    UnitedGridCount = 0x00651050  # "MR Number Of Slice In Volume"


for _keyword in _KEYWORDS.split():
    setattr(Tag, _keyword, tag_for_keyword(_keyword))

WANTED = frozenset(value for name, value in vars(Tag).items() if not name.startswith("_"))


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
