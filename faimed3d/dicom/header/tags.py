"""The DICOM tags this package looks at, and what a message may say of an element: its name, and some values."""

from __future__ import annotations

import re
from functools import cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword


class Tag:
    """Tag numbers by keyword; those of private elements carry their vendor's name.

    A private element means what its block's creator says (PS3.5 section 7.8.1): look at ``SiemensCreator`` and the like
    first.
    """

    TransferSyntaxUID = 0x00020010
    MediaStorageSOPClassUID = 0x00020002
    SpecificCharacterSet = 0x00080005
    ImageType = 0x00080008
    SOPClassUID = 0x00080016
    SOPInstanceUID = 0x00080018
    AcquisitionDate = 0x00080022
    ContentDate = 0x00080023
    AcquisitionDateTime = 0x0008002A
    AcquisitionTime = 0x00080032
    ContentTime = 0x00080033
    Modality = 0x00080060
    SeriesDescription = 0x0008103E
    PatientID = 0x00100020
    SliceThickness = 0x00180050
    KVP = 0x00180060
    EchoTime = 0x00180081
    InversionTime = 0x00180082
    EchoNumbers = 0x00180086
    SpacingBetweenSlices = 0x00180088
    TriggerTime = 0x00181060
    ConvolutionKernel = 0x00181210
    FlipAngle = 0x00181314
    DiffusionBValue = 0x00189087
    DiffusionGradientOrientation = 0x00189089
    SiemensCreator = 0x00190010  # SIEMENS MR HEADER
    GEAcquisitionCreator = 0x00190010  # GEMS_ACQU_01
    SiemensMosaicCount = 0x0019100A  # "NumberOfImagesInMosaic"
    SiemensBValue = 0x0019100C
    SiemensGradient = 0x0019100E
    GEPulseSequence = 0x0019109C  # of GEMS_ACQU_01
    GEUserData12 = 0x001910B3  # of GEMS_ACQU_01
    StudyInstanceUID = 0x0020000D
    SeriesInstanceUID = 0x0020000E
    SeriesNumber = 0x00200011
    AcquisitionNumber = 0x00200012
    InstanceNumber = 0x00200013
    ImagePositionPatient = 0x00200032
    ImageOrientationPatient = 0x00200037
    FrameOfReferenceUID = 0x00200052
    TemporalPositionIdentifier = 0x00200100
    StackID = 0x00209056
    ConcatenationUID = 0x00209161
    InConcatenationNumber = 0x00209162
    InConcatenationTotalNumber = 0x00209163
    DimensionOrganizationType = 0x00209311
    SamplesPerPixel = 0x00280002
    PhotometricInterpretation = 0x00280004
    NumberOfFrames = 0x00280008
    Rows = 0x00280010
    Columns = 0x00280011
    PixelSpacing = 0x00280030
    BitsAllocated = 0x00280100
    BitsStored = 0x00280101
    HighBit = 0x00280102
    PixelRepresentation = 0x00280103
    PixelPaddingValue = 0x00280120
    PixelPaddingRangeLimit = 0x00280121
    FloatPixelPaddingValue = 0x00280122
    DoubleFloatPixelPaddingValue = 0x00280123
    FloatPixelPaddingRangeLimit = 0x00280124
    DoubleFloatPixelPaddingRangeLimit = 0x00280125
    RescaleIntercept = 0x00281052
    RescaleSlope = 0x00281053
    ModalityLUTSequence = 0x00283000
    GECreator = 0x00430010  # GEMS_PARM_01
    GEBValue = 0x00431039
    DetectorInformationSequence = 0x00540022
    SliceVector = 0x00540080
    NumberOfSlices = 0x00540081
    Units = 0x00541001
    FrameReferenceTime = 0x00541300
    UnitedCreator = 0x00650010  # Image Private Header
    UnitedBValue = 0x00651009
    UnitedGradient = 0x00651037
    UnitedGridCount = 0x00651050  # "MR Number Of Slice In Volume"
    PhilipsCreator = 0x20010010  # Philips Imaging DD 001
    PhilipsBValue = 0x20011003
    PhilipsPhase = 0x20011008
    GridFrameOffsetVector = 0x3004000C
    DoseGridScaling = 0x3004000E
    SharedFunctionalGroupsSequence = 0x52009229
    PerFrameFunctionalGroupsSequence = 0x52009230
    FloatPixelData = 0x7FE00008
    DoubleFloatPixelData = 0x7FE00009
    PixelData = 0x7FE00010


PIXEL_TAGS = frozenset((Tag.FloatPixelData, Tag.DoubleFloatPixelData, Tag.PixelData))
FILE_META_TAGS = frozenset((Tag.TransferSyntaxUID, Tag.MediaStorageSOPClassUID))
# Blocks in which a vendor may put its elements (PS3.5 section 7.8.1); a lower number is taken first
PRIVATE_BLOCKS = range(0x10, 0x20)
# (2005,xx29), LABEL or CONTROL of arterial spin labelling; mostly (2005,1429)
PHILIPS_LABELS = frozenset(0x20050029 | block << 8 for block in PRIVATE_BLOCKS)
_PHILIPS_CREATORS = frozenset(0x20050000 | block for block in PRIVATE_BLOCKS)
# What the scan of a folder keeps of each header
WANTED = (
    (frozenset(value for value in vars(Tag).values() if isinstance(value, int)) - PIXEL_TAGS - FILE_META_TAGS)
    | PHILIPS_LABELS
    | _PHILIPS_CREATORS
)
# What one value of a VR may hold (PS3.5 section 6.2), and a little more that writers put there
_PLAUSIBLE = {
    "CS": r"[A-Za-z0-9 _./+-]{0,16}",
    "DS": r"[0-9.,eE +-]{0,32}",
    "IS": r"[0-9 +-]{0,16}",
    "UI": r"[0-9.]{0,64}",
}
_PLAIN_TEXT = r"[ -\]_-~]{0,64}"  # printable ASCII without ^, which parts the names of people
_LONGEST_QUOTE = 80


@cache
def standard_vr(tag: int) -> str:
    """VR of a tag in the standard's dictionary, such as ``'DS'`` or ``'US or SS'``; ``'UN'`` for one not in it.

    >>> standard_vr(0x00280030)
    'DS'
    """
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def name_tag(tag: int | str) -> str:
    """How a message names a tag, given as a number or by its keyword.

    >>> name_tag(0x00280030), name_tag("PixelSpacing")
    ('(0028,0030) PixelSpacing', '(0028,0030) PixelSpacing')
    """
    number = tag if isinstance(tag, int) else tag_for_keyword(tag) or 0
    return f"({number >> 16:04X},{number & 0xFFFF:04X}) {keyword_for_tag(number)}".rstrip()


def quote_value(text: str, tag: int | None = None) -> str:
    """A value as a message may quote it: ``a damaged value`` where it cannot be one of its element.

    An element with a damaged length swallows those behind it, and with them the patient's name.

    >>> quote_value("AXIAL", 0x00080008), quote_value("Doe^Jane", 0x00080008)
    ('AXIAL', 'a damaged value')
    """
    allowed = _PLAUSIBLE.get(standard_vr(tag) if tag else "", _PLAIN_TEXT)
    whole = all(re.fullmatch(allowed, part) for part in text.split("\\"))
    return text[:_LONGEST_QUOTE] if whole else "a damaged value"
