"""Acquisition attributes, which tell the planes at one position apart: echo, b-value, time, image type, ..."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Collection, Iterable, Mapping, Set
from functools import lru_cache

import numpy as np

from faimed3d._decimals import decimal_number
from faimed3d.dicom.header import PHILIPS_LABELS, PRIVATE_BLOCKS, FileHeader, Tag, quote_value
from faimed3d.dicom.planes import Plane
from faimed3d.dicom.planes.plane import DIMENSIONS

# In the order in which they are tried: first what makes another kind of image, then the course of time.
CONTENT = (
    *("image type", "component", "kernel", "tube voltage", "echo time", "echo", "b-value", "gradient"),
    *("velocity encoding", "spin labelling", "inversion time", "flip angle"),
)
TIMES = (
    *("time point", "time offset", "phase", "trigger time", "frame time"),
    *("acquisition", "acquisition time", "content time"),
)
# What all slices of one volume share by its definition
VOLUME_ATTRIBUTES = (*CONTENT, "stack", "time point")
# What images may lack because they were acquired without it; where some lack another attribute, they have lost it
MAY_BE_ABSENT = ("component", "kernel", "gradient", "velocity encoding", "spin labelling")
_UNITS = {
    "echo time": " ms",
    "inversion time": " ms",
    "b-value": " s/mm2",
    "flip angle": " degrees",
    "tube voltage": " kV",
}
NUMERIC = ("gradient", *_UNITS)  # values of these are compared as numbers, and may be rounded
_NEARLY = 0.01  # share within which numbers count as one: scanners round echo times
_SAME_DIRECTION = 0.02  # of diffusion gradients: they are written with as few as two decimals
_COUNTED = ("gradient", "velocity encoding", "acquisition", "stack", "phase", *DIMENSIONS)

_TEXT_ATTRIBUTES = (
    ("image type", (Tag.ImageType,)),
    ("echo time", (Tag.EchoTime,)),
    ("echo", (Tag.EchoNumbers,)),
    ("inversion time", (Tag.InversionTime,)),
    ("flip angle", (Tag.FlipAngle,)),
    ("kernel", (Tag.ConvolutionKernel,)),
    ("tube voltage", (Tag.KVP,)),
    ("stack", (Tag.StackID,)),
    ("time point", (Tag.TemporalPositionIdentifier,)),
    ("trigger time", (Tag.TriggerTime,)),
    ("frame time", (Tag.FrameReferenceTime,)),
    ("acquisition", (Tag.AcquisitionNumber,)),
    ("acquisition time", (Tag.AcquisitionDateTime,)),
    ("acquisition time", (Tag.AcquisitionDate, Tag.AcquisitionTime)),
    ("content time", (Tag.ContentDate, Tag.ContentTime)),
    ("instance", (Tag.InstanceNumber,)),
)


_BINARY = (Tag.DiffusionBValue, Tag.UnitedBValue)
_B_VALUES = (
    (None, "", Tag.DiffusionBValue),
    (Tag.PhilipsCreator, "Philips Imaging DD 001", Tag.PhilipsBValue),
    (Tag.SiemensCreator, "SIEMENS MR HEADER", Tag.SiemensBValue),
    (Tag.GECreator, "GEMS_PARM_01", Tag.GEBValue),
    (Tag.UnitedCreator, "Image Private Header", Tag.UnitedBValue),
)
_GRADIENTS = (
    (Tag.SiemensCreator, "SIEMENS MR HEADER", Tag.SiemensGradient),
    (Tag.UnitedCreator, "Image Private Header", Tag.UnitedGradient),
)


def attributes_of(plane: Plane) -> Mapping[str, str]:
    """Attributes of a plane, text by name; absent ones are left out."""
    if not plane.known:
        plane.known.update(_find_attributes(plane))
    return plane.known


def _find_attributes(plane: Plane) -> dict[str, str]:
    header = plane.header
    attributes = {}
    for name, tags in _TEXT_ATTRIBUTES:
        # the last part is a time: a date alone is no attribute
        if name not in attributes and header.values.get(tags[-1]):
            text = " ".join(header.text(tag) for tag in tags)
            attributes[name] = _one_spelling(text) if name in CONTENT else text
    value = b_value(header)
    if value is not None:
        attributes["b-value"] = f"{value:g}"
    gradient = header.values.get(Tag.DiffusionGradientOrientation)
    for creator, name, tag in _GRADIENTS:
        if not gradient and header.text(creator) == name:
            gradient = header.values.get(tag)
    if gradient and len(gradient) == 24:
        attributes["gradient"] = "\\".join(f"{v:.4f}" for v in struct.unpack(header.byte_order + "3d", gradient))
    if Tag.PhilipsPhase in header.values and header.text(Tag.PhilipsCreator) == "Philips Imaging DD 001":
        attributes["phase"] = header.text(Tag.PhilipsPhase)
    if not PHILIPS_LABELS.isdisjoint(header.values):
        label = _philips_label(header)
        if label:
            attributes["spin labelling"] = label
    if header.text(Tag.NumberOfFrames) not in ("", "1"):
        attributes["instance"] = f"{attributes.get('instance', '')} {plane.frame}"
    attributes.update(plane.attributes)
    return attributes


def _philips_label(header: FileHeader) -> str:
    """LABEL or CONTROL of a Philips image of arterial spin labelling, in whatever block its creator has put it."""
    for block in PRIVATE_BLOCKS:
        if header.text(0x20050000 | block) == "Philips MR Imaging DD 005":
            return header.text(0x20050029 | block << 8)
    return ""


@lru_cache(maxsize=1024)
def _one_spelling(text: str) -> str:
    try:
        return f"{decimal_number(text):g}"
    except ValueError:
        return text


def alike(name: str, values: Collection[str]) -> bool:
    """Whether values of the attribute ``name`` are equal, or differ by no more than scanners round one measure."""
    if len(set(values)) <= 1:
        return True
    return _one_direction(values) if name == "gradient" else name in _UNITS and nearly(values)


def nearly(values: Iterable[str]) -> bool:
    """Whether texts are numbers that differ by rounding alone."""
    try:
        numbers = [decimal_number(value) for value in values]
    except ValueError:
        return False
    return max(numbers) - min(numbers) <= _NEARLY * max(map(abs, numbers))


def _one_direction(values):
    try:
        directions = np.array([_direction(value) for value in values])
    except ValueError:
        return False
    return bool((np.ptp(directions, axis=0) <= _SAME_DIRECTION).all())


def _direction(value):
    x, y, z = map(float, value.split("\\")) if value else (0.0, 0.0, 0.0)
    return x, y, z


def representatives(name: str, positions: Mapping[str, Set[int]]) -> dict[str, str]:
    """Choose which of an attribute's values stand for others: nearly equal ones that never meet at one position.

    Args:
        name: one of ``NUMERIC``.
        positions: by value, the numbers of the positions at which planes have it.

    Returns:
        The value that stands for each one that it replaces.
    """
    points = {}
    for value in positions if len(positions) > 1 else ():
        with contextlib.suppress(ValueError):
            points[value] = _direction(value) if name == "gradient" else (decimal_number(value),)
    held = {value: set(numbers) for value, numbers in positions.items()}
    kept: list[str] = []
    same, known = {}, np.empty((len(points), 3 if name == "gradient" else 1))
    for value, point in sorted(points.items(), key=lambda pair: pair[1]):
        below = _SAME_DIRECTION if name == "gradient" else 2 * _NEARLY * abs(point[0])
        start = np.searchsorted(known[: len(kept), 0], point[0] - below)  # scanners may make thousands of values
        near = known[start : len(kept)]
        reach = _SAME_DIRECTION if name == "gradient" else _NEARLY * np.maximum(np.abs(near), abs(point[0]))
        candidates = start + np.flatnonzero((np.abs(near - point) <= reach).all(1))[::-1]
        first = next((kept[k] for k in candidates if held[kept[k]].isdisjoint(held[value])), None)
        if first is None:
            known[len(kept)] = point
            kept.append(value)
        else:
            same[value] = first
            held[first] |= held[value]
    return same


def describe_attribute(name: str, value: str, index: int, count: int) -> str:
    """Return an attribute in words: times as their number in the sequence, for a date belongs to the patient's data."""
    if name in _COUNTED:
        return f"{name} {index + 1} of {count}"
    if name in TIMES:
        return f"time point {index + 1} of {count}"
    if name == "instance":
        return f"repetition {index + 1} of {count}"
    if not value:
        return f"without {name}"
    keys = order_keys(value)
    number = f"{keys[0][1]:g}" if len(keys) == 1 and keys[0][0] == 0 else quote_value(value)
    return f"{name} {number}{_UNITS.get(name, '')}"


def order_keys(value: str) -> list[tuple[int, float, str]]:
    """Sort key of an attribute: numbers by size, other texts behind them by themselves."""
    parts = []
    for part in value.replace("\\", " ").split():
        try:
            parts.append((0, decimal_number(part), ""))
        except ValueError:
            parts.append((1, 0.0, part))
    return parts


def b_value(header: FileHeader) -> float | None:
    """Diffusion weighting of a file in s/mm2, from the standard element or a vendor's own; None where it has none."""
    try:
        for creator, name, tag in _B_VALUES:
            raw = header.values.get(tag)
            if not raw or (creator and header.text(creator) != name):
                continue
            if len(raw) == 8 and tag in _BINARY:
                return struct.unpack(header.byte_order + "d", raw)[0]
            if len(raw) == 4 and tag == Tag.PhilipsBValue:
                return struct.unpack(header.byte_order + "f", raw)[0]
            if tag == Tag.SiemensBValue:
                return decimal_number(header.text(tag))
            if tag == Tag.GEBValue:
                # the vendor adds a multiple of 1e5 (dcm2niix, GE notes)
                return decimal_number(header.text(tag).partition("\\")[0]) % 100000
    except ValueError:
        return None
    return None
