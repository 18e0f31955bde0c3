"""Planes of Enhanced multi-frame objects, by their functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from faimed3d.dicom.header import FileHeader, Tag, name_tag, quiet, read_dataset
from faimed3d.dicom.planes.plane import DIMENSIONS, Numbers, Plane, Rescale, image_size
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError, UnsupportedImage

# Attribute (see grouping/attributes.py): macro sequence and element in it, in the order in which they are asked
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


def functional_planes(header: FileHeader, frames: int) -> list[Plane]:
    """Planes of an Enhanced CT, MR, PET or similar image, in the order of its frames.

    Raises:
        DamagedFile: the functional groups cannot be read, or are not as many as the frames.
        MissingGeometry: a frame without position, orientation or pixel spacing.
        UnsupportedImage: a parametric map whose values are given by a table.
    """
    tags = [Tag.SharedFunctionalGroupsSequence, Tag.PerFrameFunctionalGroupsSequence]
    dataset = read_dataset(header.path, tags)
    try:
        with quiet():
            return _planes(header, frames, dataset)
    except ReadError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
        raise DamagedFile(f"{header.path}: {name_tag(tags[1])} cannot be read ({type(error).__name__})") from None


def _planes(header: FileHeader, frames: int, dataset: Dataset) -> list[Plane]:
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) != frames:
        raise DamagedFile(
            f"{header.path}: {name_tag(Tag.PerFrameFunctionalGroupsSequence)} has {len(per_frame)} items, "
            f"{name_tag(Tag.NumberOfFrames)} is {frames}"
        )
    rows, columns = image_size(header)
    rescale_of_file = Rescale.of_file(header)
    planes = []
    for k, frame in enumerate(per_frame):
        groups = _Groups(header.path, (frame, shared[0]))
        rescale = _rescale(header, groups)
        gap = groups.number("PixelMeasuresSequence", "SpacingBetweenSlices") or groups.number(
            "PixelMeasuresSequence", "SliceThickness"
        )
        planes.append(
            Plane.placed(
                header,
                frame=k,
                rows=rows,
                columns=columns,
                position=groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
                orientation=groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
                spacing=groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2),
                stated_gap=abs(gap) if gap else None,
                rescale=rescale_of_file if rescale == Rescale() else rescale,
                attributes=_attributes(groups),
            )
        )
    return planes


class _Groups:
    """Functional groups of one frame: its own, and those that all frames share."""

    def __init__(self, path: str, groups: tuple[Dataset, ...]) -> None:
        self.path, self.groups = path, groups
        self.items: dict[str, list[Dataset]] = {}  # by macro: each is asked for several of its elements

    def value(self, macro: str, keyword: str) -> Any:
        """The value of an element in a macro's sequence, as pydicom gives it; None where there is none."""
        items = self.items.get(macro)
        if items is None:
            sequences = [group.get(macro) for group in self.groups]
            items = self.items[macro] = [sequence[0] for sequence in sequences if sequence]
        for item in items:
            value = item.get(keyword)
            if value not in (None, ""):
                return value
        return None

    def numbers(self, macro: str, keyword: str, count: int) -> Numbers | None:
        """``count`` finite numbers, or None."""
        return finite_numbers(self.path, keyword, self.value(macro, keyword), count)

    def number(self, macro: str, keyword: str) -> float | None:
        """A finite number, or None."""
        value = self.value(macro, keyword)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DamagedFile(f"{self.path}: {name_tag(keyword)} must be one finite number")
        return number


def finite_numbers(path: str, keyword: str, value: Any, count: int) -> Numbers | None:
    """``count`` finite numbers out of what pydicom gives for an element of a sequence's item; None for None.

    Raises:
        MissingGeometry: another count, or a value that is no finite number.
    """
    if value is None:
        return None
    try:
        values = tuple(map(float, value)) if hasattr(value, "__iter__") else (float(value),)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise MissingGeometry(f"{path}: {name_tag(keyword)} must be {count} finite numbers")
    return values


def _rescale(header: FileHeader, groups: _Groups) -> Rescale:
    if header.text(Tag.SOPClassUID) != ParametricMapStorage:
        return Rescale.checked(
            header,
            groups.number("PixelValueTransformationSequence", "RescaleSlope"),
            groups.number("PixelValueTransformationSequence", "RescaleIntercept"),
        )
    slope = groups.number("RealWorldValueMappingSequence", "RealWorldValueSlope")
    intercept = groups.number("RealWorldValueMappingSequence", "RealWorldValueIntercept")
    if slope is None or intercept is None:
        raise UnsupportedImage(
            f"{header.path}: a parametric map whose values have no slope and intercept in (0040,9096) "
            "RealWorldValueMappingSequence"
        )
    return Rescale.checked(header, slope, intercept)


def _attributes(groups: _Groups) -> dict[str, str]:
    attributes = {}
    for name, elements in _FRAME_ATTRIBUTES.items():
        for macro, keyword in elements:
            value = groups.value(macro, keyword)
            if value is not None:
                many = not isinstance(value, str) and hasattr(value, "__iter__")
                attributes[name] = "\\".join(map(str, value)) if many else str(value)
                break
    direction = groups.value("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    if direction:
        vector = direction[0].get("DiffusionGradientOrientation")
        if vector is not None:
            attributes["gradient"] = "\\".join(f"{float(v):.4f}" for v in vector)
    index = groups.value("FrameContentSequence", "DimensionIndexValues")
    if index is not None:
        values = index if hasattr(index, "__iter__") else [index]
        attributes |= {name: str(value) for name, value in zip(DIMENSIONS, values, strict=False)}
    return attributes
