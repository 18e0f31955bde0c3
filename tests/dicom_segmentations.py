"""DICOM Segmentations of known labels, made by hand."""

import numpy as np
from dicom_series import OBLIQUE, ORIGIN, SPACING, decimal, direction_of, make_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage


def labels(depth=5):
    """A label volume with segments 1 and 2; slices 0 and 3 are empty."""
    mask = np.zeros((depth, 6, 7), np.uint8)
    mask[1, 1:4, 2:6] = 1
    mask[2, 2, 3:] = 2
    mask[2, 4:, 1] = 1
    mask[4, 0, 0] = 2
    return mask


def segmentation(mask, pairs=None, step=SPACING[2], syntax=ExplicitVRLittleEndian, extra=()):
    """A data set of a binary segmentation, its bits packed by hand (PS3.5 section 8.1.1).

    Args:
        mask: segment numbers (D, H, W).
        pairs: (slice, segment) of each frame, in the order of the frames; default: all that are not empty.
        step: SpacingBetweenSlices, or None.
        extra: further (slice, bits (H, W), segment) frames.
    """
    if pairs is None:
        pairs = [(k, n) for n in (2, 1) for k in range(len(mask)) if (mask[k] == n).any()]
    frames = [(k, mask[k] == n, n) for k, n in pairs] + list(extra)
    dataset = make_slice(
        np.zeros(mask.shape[1:], np.uint8), ORIGIN, OBLIQUE, SPACING, syntax, SOPClassUID=SegmentationStorage,
        Modality="SEG", SegmentationType="BINARY", ImagePositionPatient=None, ImageOrientationPatient=None,
        PixelSpacing=None, SliceThickness=None, BitsAllocated=1, BitsStored=1, HighBit=0,
        NumberOfFrames=len(frames),
    )  # fmt: skip
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    if step:
        measures.SpacingBetweenSlices = step
    plane.ImageOrientationPatient = list(OBLIQUE)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    groups = []
    for k, _, number in frames:
        group, position, segment = Dataset(), Dataset(), Dataset()
        place = np.array(ORIGIN) + k * SPACING[2] * direction_of(OBLIQUE)[:, 2]
        position.ImagePositionPatient = [decimal(v) for v in place]
        segment.ReferencedSegmentNumber = number
        group.PlanePositionSequence = Sequence([position])
        group.SegmentIdentificationSequence = Sequence([segment])
        groups.append(group)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    bits = np.concatenate([found.ravel() for _, found, _ in frames])
    data = np.packbits(bits, bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    return dataset
