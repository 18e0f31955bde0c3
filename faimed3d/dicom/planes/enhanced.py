"""Planes of multi-frame files: Enhanced objects by their functional groups (PS3.3 C.7.6.16), NM by its detector."""

from __future__ import annotations

import math
import struct
import warnings

import pydicom
from pydicom.datadict import tag_for_keyword

from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.plane import DIMENSIONS, Plane, check_scale, normal_of, placed, scaling
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, UnsupportedImage

__all__ = ["detector_planes", "functional_planes", "read_dataset"]

_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
# attribute (see attributes.py): macro sequence, element in it. The first macro that has the element gives the value.
_FRAME_ATTRIBUTES = {
    "image type": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
    ),
    "component": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "echo time": (("MREchoSequence", "EffectiveEchoTime"),),
    "b-value": (("MRDiffusionSequence", "DiffusionBValue"),),
    "inversion time": (("MRModifierSequence", "InversionTimes"),),
    "flip angle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
    "stack": (("FrameContentSequence", "StackID"),),
    "time point": (("FrameContentSequence", "TemporalPositionIndex"),),
    "time offset": (("TemporalPositionSequence", "TemporalPositionTimeOffset"),),
    "trigger time": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "acquisition": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "kernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "tube voltage": (("CTXRayDetailsSequence", "KVP"),),
    "velocity encoding": (("MRVelocityEncodingSequence", "VelocityEncodingDirection"),),
    "spin labelling": (("MRArterialSpinLabelingSequence", "ASLContext"),),
    "acquisition time": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
}


def read_dataset(path, tags=None):
    """Read a file with pydicom, warnings and foreign exceptions kept inside.

    Raises:
        DamagedFile: pydicom cannot make sense of the file.
    """
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags, force=True)
            dataset.decode()
        except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
            raise DamagedFile(f"{path}: pydicom cannot read the header ({type(error).__name__})") from None
    return dataset


def functional_planes(header, frames, rows, columns):
    """Planes of an Enhanced CT, MR, PET or similar image, in the order of its frames."""
    tags = [Tag.SharedFunctionalGroupsSequence, Tag.PerFrameFunctionalGroupsSequence]
    dataset = read_dataset(header.path, tags)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _functional_planes(header, frames, rows, columns, dataset)
    except ReadError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
        raise DamagedFile(f"{header.path}: {name_tag(tags[1])} cannot be read ({type(error).__name__})") from None


def _functional_planes(header, frames, rows, columns, dataset):
    shared = dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) != frames:
        raise DamagedFile(
            f"{header.path}: {name_tag(Tag.PerFrameFunctionalGroupsSequence)} has {len(per_frame)} items, "
            f"{name_tag(Tag.NumberOfFrames)} is {frames}"
        )
    top_scaling = scaling(header)
    planes = []
    for k, frame in enumerate(per_frame):
        groups = (frame, shared[0])
        slope = _number(header, groups, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = _number(header, groups, "PixelValueTransformationSequence", "RescaleIntercept")
        if header.text(Tag.SOPClassUID) == _PARAMETRIC_MAP:
            slope = _number(header, groups, "RealWorldValueMappingSequence", "RealWorldValueSlope")
            intercept = _number(header, groups, "RealWorldValueMappingSequence", "RealWorldValueIntercept")
            if slope is None or intercept is None:
                raise UnsupportedImage(
                    f"{header.path}: a parametric map whose values have no slope and intercept in (0040,9096) "
                    "RealWorldValueMappingSequence"
                )
        if slope == 0:
            raise DamagedFile(f"{header.path}: the slope of frame {k + 1} is 0, which would erase the image")
        check_scale(header, slope, intercept)
        rescaled = (slope is not None) + 2 * (intercept is not None)
        depth = _number(header, groups, "PixelMeasuresSequence", "SpacingBetweenSlices") or _number(
            header, groups, "PixelMeasuresSequence", "SliceThickness"
        )
        plane = Plane(
            header,
            k,
            rows,
            columns,
            _vector(header, groups, "PlanePositionSequence", "ImagePositionPatient", 3),
            _vector(header, groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
            _vector(header, groups, "PixelMeasuresSequence", "PixelSpacing", 2),
            abs(depth) if depth else None,
        )
        if rescaled:
            plane.slope = 1.0 if slope is None else slope
            plane.intercept = 0.0 if intercept is None else intercept
            plane.rescaled = rescaled
        else:
            plane.slope, plane.intercept, plane.rescaled = top_scaling
        plane.attributes = _attributes(groups)
        planes.append(placed(plane))
    return planes


def detector_planes(header, frames, rows, columns):
    """Planes of a reconstructed NM volume (PS3.3 C.8.4.15); other multi-frame images have no position per frame."""
    if "RECON TOMO" not in header.text(Tag.ImageType) or Tag.DetectorInformationSequence not in header.values:
        raise UnsupportedImage(
            f"{header.path}: {frames} frames without a position for each "
            f"({name_tag(Tag.PerFrameFunctionalGroupsSequence)} is absent): a film, not a volume"
        )
    dataset = read_dataset(header.path, [Tag.DetectorInformationSequence])
    items = dataset.get("DetectorInformationSequence") or []
    if len(items) != 1:
        raise UnsupportedImage(
            f"{header.path}: {len(items)} items in {name_tag(Tag.DetectorInformationSequence)}, not 1"
        )
    position = _finite(header, items[0].get("ImagePositionPatient"), "ImagePositionPatient", 3)
    orientation = _finite(header, items[0].get("ImageOrientationPatient"), "ImageOrientationPatient", 6)
    gap = header.number(Tag.SpacingBetweenSlices)
    if not gap:
        raise MissingGeometry(f"{header.path}: {name_tag(Tag.SpacingBetweenSlices)} is absent, {frames} frames need it")
    places = _slice_vector(header, frames)
    slope, intercept, rescaled = scaling(header)
    spacing = header.vector(Tag.PixelSpacing, 2)
    first = placed(Plane(header, 0, rows, columns, position, orientation, spacing, abs(gap)))
    normal = normal_of(orientation)
    return [
        Plane(
            header,
            k,
            rows,
            columns,
            tuple(p + place * gap * n for p, n in zip(first.position, normal, strict=True)),
            orientation,
            spacing,
            abs(gap),
            slope,
            intercept,
            rescaled,
        )
        for k, place in enumerate(places)
    ]


def _slice_vector(header, frames):
    """The place of each frame in the stack, from 0, by (0054,0080) SliceVector, else by the order of the frames."""
    count = header.integer(Tag.NumberOfSlices, frames)
    raw = header.values.get(Tag.SliceVector) or b""
    vector = struct.unpack(f"{header.order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
    vector = vector or tuple(range(1, frames + 1))
    if count != frames or sorted(vector) != list(range(1, frames + 1)):
        raise UnsupportedImage(
            f"{header.path}: {frames} frames, {name_tag(Tag.NumberOfSlices)} {count}, and {len(set(vector))} different "
            f"numbers in {name_tag(Tag.SliceVector)}: more than one volume in the frames (energy windows, time slots)"
        )
    return [number - 1 for number in vector]


def _find(groups, macro, keyword):
    for group in groups:
        items = group.get(macro)
        if items:
            value = items[0].get(keyword)
            if value not in (None, ""):
                return value
    return None


def _number(header, groups, macro, keyword):
    value = _find(groups, macro, keyword)
    if value is None:
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DamagedFile(f"{header.path}: {name_tag(tag_for_keyword(keyword))} must be one finite number")
    return value


def _vector(header, groups, macro, keyword, count):
    return _finite(header, _find(groups, macro, keyword), keyword, count)


def _finite(header, value, keyword, count):
    if value is None:
        return None
    try:
        values = tuple(map(float, value)) if hasattr(value, "__iter__") else (float(value),)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise MissingGeometry(f"{header.path}: {name_tag(tag_for_keyword(keyword))} must be {count} finite numbers")
    return values


def _attributes(groups):
    attributes = {}
    for name, places in _FRAME_ATTRIBUTES.items():
        for macro, keyword in places:
            value = _find(groups, macro, keyword)
            if value is not None:
                many = not isinstance(value, str) and hasattr(value, "__iter__")
                attributes[name] = "\\".join(map(str, value)) if many else str(value)
                break
    direction = _find(groups, "MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    if direction:
        vector = direction[0].get("DiffusionGradientOrientation")
        if vector is not None:
            attributes["gradient"] = "\\".join(f"{float(v):.4f}" for v in vector)
    index = _find(groups, "FrameContentSequence", "DimensionIndexValues")
    if index is not None:
        values = index if hasattr(index, "__iter__") else [index]
        attributes |= {name: str(value) for name, value in zip(DIMENSIONS, values, strict=False)}
    return attributes
