"""The DICOM tags this package looks at, and how a message names one."""

from __future__ import annotations

from pydicom.datadict import keyword_for_tag, tag_for_keyword

__all__ = ["PIXELS", "WANTED", "T", "keyword_of", "name_tag"]

PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID AcquisitionDate AcquisitionTime AcquisitionDateTime
ContentDate ContentTime Modality SeriesDescription SliceThickness EchoTime InversionTime EchoNumbers FlipAngle
TriggerTime SpacingBetweenSlices FrameReferenceTime DiffusionBValue DiffusionGradientOrientation ConvolutionKernel
SeriesInstanceUID SeriesNumber AcquisitionNumber InstanceNumber ImagePositionPatient ImageOrientationPatient
TemporalPositionIdentifier StackID FrameOfReferenceUID SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows
Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation RescaleIntercept RescaleSlope
ModalityLUTSequence Units DetectorInformationSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
GridFrameOffsetVector DoseGridScaling
"""


class T:
    """Tag numbers by keyword: ``T.PixelSpacing`` is 0x00280030; private ones carry their vendor's name."""

    SiemensMosaicCount = 0x0019100A  # "NumberOfImagesInMosaic", private creator SIEMENS MR HEADER
    SiemensBValue = 0x0019100C
    SiemensGradient = 0x0019100E
    GEBValue = 0x00431039
    PhilipsBValue = 0x20011003


for _keyword in _KEYWORDS.split():
    setattr(T, _keyword, tag_for_keyword(_keyword))

WANTED = frozenset(value for name, value in vars(T).items() if not name.startswith("_"))


def keyword_of(tag):
    """DICOM keyword of a tag, '' for one that is not in the standard."""
    return keyword_for_tag(tag)


def name_tag(tag):
    """How a message names a tag: ``(0028,0030) PixelSpacing``.

    >>> name_tag(0x00280030)
    '(0028,0030) PixelSpacing'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_of(tag)}".rstrip()
